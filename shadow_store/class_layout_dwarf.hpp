#pragma once

// What the readers of debug information share: the headers of elfutils, and looks at one entry.
#include <dwarf.h>
#include <elfutils/libdw.h>
#include <gelf.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace rehook::dwarf {

inline std::string text_of(const char* text) {
  return text == nullptr ? std::string() : std::string(text);
}

inline std::optional<Dwarf_Word> number(Dwarf_Die* die, unsigned attribute) {
  Dwarf_Attribute found;
  Dwarf_Word value = 0;
  if (dwarf_attr(die, attribute, &found) == nullptr) return std::nullopt;
  if (dwarf_formudata(&found, &value) != 0) return std::nullopt;
  return value;
}

// A number, or the bytes of an expression (the offset of a virtual base, a vtable's slot).
inline std::string number_or_block(Dwarf_Die* die, unsigned attribute) {
  if (const auto value = number(die, attribute)) return std::to_string(*value);
  Dwarf_Attribute found;
  Dwarf_Block block{};
  if (dwarf_attr(die, attribute, &found) == nullptr) return "";
  if (dwarf_formblock(&found, &block) != 0) return "?";
  // DW_OP_constu with a one-byte operand, as every vtable slot below 128.
  if (block.length == 2 && block.data[0] == DW_OP_constu && block.data[1] < 0x80) {
    return std::to_string(block.data[1]);
  }
  std::string bytes = "expression";
  for (Dwarf_Word i = 0; i < std::min<Dwarf_Word>(block.length, 64); ++i) {
    bytes += ":" + std::to_string(block.data[i]);
  }
  return bytes;
}

inline bool refer(Dwarf_Die* die, unsigned attribute, Dwarf_Die& target) {
  Dwarf_Attribute found;
  return dwarf_attr_integrate(die, attribute, &found) != nullptr &&
         dwarf_formref_die(&found, &target) != nullptr;
}

// With -fdebug-types-section a class is a mere reference to the unit that describes it.
inline bool is_skeleton(Dwarf_Die* die) {
  return dwarf_hasattr(die, DW_AT_signature) != 0;
}

inline bool is_flagged(Dwarf_Die* die, unsigned attribute) {
  Dwarf_Attribute found;
  bool value = false;
  return dwarf_attr(die, attribute, &found) != nullptr && dwarf_formflag(&found, &value) == 0 &&
         value;
}

inline bool is_class_tag(int tag) {
  return tag == DW_TAG_class_type || tag == DW_TAG_structure_type || tag == DW_TAG_union_type ||
         tag == DW_TAG_enumeration_type;
}

// Calls each(child) until it gives false.
template <typename Each>
void for_children(Dwarf_Die* parent, Each each) {
  Dwarf_Die child;
  if (dwarf_child(parent, &child) != 0) return;
  do {
    if (!each(&child)) return;
  } while (dwarf_siblingof(&child, &child) == 0);
}

struct ElfCloser {
  void operator()(Elf* elf) const { elf_end(elf); }
};
struct DwarfCloser {
  void operator()(Dwarf* dwarf) const { dwarf_end(dwarf); }
};

// A file in memory: one that changes under us must not end the process (SIGBUS).
struct OpenFile {
  std::string bytes;
  std::unique_ptr<Elf, ElfCloser> elf;
  std::unique_ptr<Dwarf, DwarfCloser> dwarf;
};

// Where the code of the units is.
class CodeRanges final {
 public:
  void add(Dwarf_Die* unit);
  void sort();  // after the last add()
  [[nodiscard]] bool contains(Dwarf_Addr address) const;

 private:
  std::vector<std::pair<Dwarf_Addr, Dwarf_Addr>> ranges_;
};

// The first function of people's code outside all ranges, or "".
[[nodiscard]] std::string uncovered_function(Elf* elf, const CodeRanges& ranges,
                                             bool& has_symbols);

}  // namespace rehook::dwarf
