// Reads class layouts out of DWARF, versions 2 to 5. See "DWARF Debugging Information Format,
// Version 5", chapter 5; and dwarf_get_units(3) and friends of elfutils.
#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "shadow_store/base/file_system.hpp"
#include "shadow_store/class_layout_dwarf.hpp"
#include "shadow_store/class_layout_plugin.hpp"
#include "shadow_store/class_layout_set.hpp"

namespace rehook {
namespace {

using namespace dwarf;  // NOLINT(google-build-using-namespace): this file is made of it

using Id = ClassLayoutSet::Id;
using Description = ClassLayoutSet::Description;

constexpr int k_deepest = 100;  // nesting of scopes and types; no program comes near it

// Until libdw has seen a type unit, references to it by signature lead nowhere.
void see_all_units(Dwarf* dwarf) {
  Dwarf_CU* cu = nullptr;
  while (dwarf_get_units(dwarf, cu, &cu, nullptr, nullptr, nullptr, nullptr) == 0) {
  }
}

class LayoutReader {
 public:
  void add(const std::string& path);
  ClassLayouts finish();

 private:
  struct Unit {
    bool has_types = false, imports = false;
  };
  void add_units(OpenFile& file, const std::string& name);
  void add_unit(Dwarf_Die* unit, std::uint8_t kind, Dwarf_Die* split, CodeRanges& ranges);
  void index(Dwarf_Die* parent, const std::string& scope, Unit& unit, int depth);
  void index_class(Dwarf_Die* die, const std::string& scope, Unit& unit, int depth);
  void index_known_class(Dwarf_Die* die, Id id, Unit& unit, int depth);
  void index_late();
  void index_typedef(Dwarf_Die* die, const std::string& scope);
  Description describe(Dwarf_Die* die, int depth);
  void describe_part(Dwarf_Die* part, Description& out, int depth);
  void describe_member(Dwarf_Die* member, Description& out, int depth);
  void describe_virtual(Dwarf_Die* function, Description& out, int depth);
  std::string type_of(Dwarf_Die* die, Description& out, int depth);
  std::string type_name(Dwarf_Die* type, Description& out, int depth);
  std::string class_name(Dwarf_Die* type, Description& out, int depth);
  std::string parameters(Dwarf_Die* function, Description& out, int depth);
  void note(std::string gap) {
    if (gap_.empty()) gap_ = std::move(gap);
  }
  // False once there were more entries than bytes: references that go round in circles; or
  // more text than they can spell: one long name may stand in every scope.
  bool spend(std::size_t letters = 0) {
    budget_ -= std::min(budget_, 1 + letters / 8);
    return budget_ > 0;
  }

  std::vector<OpenFile> files_;
  ClassLayoutSet set_;
  std::unordered_map<const void*, Id> ids_;  // address of a class's entry -> class
  std::unordered_map<Id, std::vector<Dwarf_Die>> definitions_;
  std::vector<Dwarf_Die> late_;  // refer to a class that may not be indexed yet
  std::vector<const void*> describing_;
  std::string gap_;
  std::size_t budget_ = 0;
};

void LayoutReader::add(const std::string& path) {
  const std::string name = Path(path).filename().string();
  OpenFile file;
  if (auto bytes = posix_file_system().read(path)) file.bytes = std::move(*bytes);
  file.elf.reset(file.bytes.empty() ? nullptr
                                    : elf_memory(file.bytes.data(), file.bytes.size()));
  if (file.elf) file.dwarf.reset(dwarf_begin_elf(file.elf.get(), DWARF_C_READ, nullptr));
  if (!file.dwarf) return note(name + ": no debug information");
  budget_ += 64 * file.bytes.size() + 100'000;  // .dwo files and compressed sections are larger
  files_.push_back(std::move(file));
  add_units(files_.back(), name);
}

void LayoutReader::add_units(OpenFile& file, const std::string& name) {
  CodeRanges ranges;
  see_all_units(file.dwarf.get());
  Dwarf_CU* cu = nullptr;
  bool any = false;
  for (;;) {
    Dwarf_Half version = 0;
    std::uint8_t kind = 0;
    Dwarf_Die unit{}, split{};
    const int more = dwarf_get_units(file.dwarf.get(), cu, &cu, &version, &kind, &unit, &split);
    if (more < 0) note(name + ": the debug information is damaged");
    if (more != 0) break;
    any = true;
    add_unit(&unit, kind, &split, ranges);
    if (budget_ == 0) break;
  }
  if (!any) return note(name + ": no debug information");
  ranges.sort();
  bool has_symbols = false;
  const std::string uncovered = uncovered_function(file.elf.get(), ranges, has_symbols);
  if (!has_symbols) note(name + ": the symbol table is missing");
  if (!uncovered.empty()) note(name + ": no debug information for " + uncovered + "()");
}

void LayoutReader::add_unit(Dwarf_Die* unit, std::uint8_t kind, Dwarf_Die* split,
                            CodeRanges& ranges) {
  const std::string name = Path(text_of(dwarf_diename(unit))).filename().string();
  Dwarf_Die* content = unit;
  if (kind == DW_UT_skeleton) {
    if (split->addr == nullptr) return note("a split debug file (.dwo) is lost");
    content = split;
    Dwarf* const other = dwarf_cu_getdwarf(split->cu);
    if (other != nullptr) see_all_units(other);
    Dwarf_CU* cu = nullptr;
    Dwarf_Die type_unit{};
    std::uint8_t type_kind = 0;
    while (other != nullptr &&
           dwarf_get_units(other, cu, &cu, nullptr, &type_kind, &type_unit, nullptr) == 0) {
      Unit ignored;
      if (type_kind == DW_UT_split_type) index(&type_unit, "", ignored, 0);
    }
  }
  ranges.add(unit);
  Unit seen;
  index(content, "", seen, 0);
  const bool is_code = kind != DW_UT_type && kind != DW_UT_partial &&
                       dwarf_srclang(content) != DW_LANG_Mips_Assembler;
  // The code of a link-time optimised program; its types are in the units it was made from.
  const bool is_joined = name == "<artificial>";
  if (is_code && !is_joined && !seen.has_types && !seen.imports) {
    note((name.empty() ? "a file" : name) + ": no types in the debug information");
  }
}

void LayoutReader::index(Dwarf_Die* parent, const std::string& scope, Unit& unit, int depth) {
  if (depth > k_deepest) return;
  for_children(parent, [&](Dwarf_Die* die) {
    const int tag = dwarf_tag(die);
    if (tag == DW_TAG_namespace) {
      const std::string name = text_of(dwarf_diename(die));
      if (!spend(scope.size() + name.size())) return false;
      index(die, scope + (name.empty() ? "(anonymous namespace)" : name) + "::", unit,
            depth + 1);
    } else if (is_class_tag(tag)) {
      index_class(die, scope, unit, depth);
    } else if (tag == DW_TAG_typedef) {
      index_typedef(die, scope);
    } else if (tag == DW_TAG_imported_unit) {
      unit.imports = true;
    }
    if (tag == DW_TAG_base_type || tag == DW_TAG_typedef || is_class_tag(tag)) {
      unit.has_types = true;
    }
    return spend();
  });
}

void LayoutReader::index_class(Dwarf_Die* die, const std::string& scope, Unit& unit,
                               int depth) {
  if (is_skeleton(die)) return late_.push_back(*die);
  const std::string name = text_of(dwarf_diename(die));
  if (name.empty()) return;  // a typedef may name it
  if (!spend(scope.size() + name.size())) return;
  Id id = 0;
  if (Dwarf_Die declared; refer(die, DW_AT_specification, declared)) {
    // A class that is defined outside of its scope: the declaration has it.
    const auto known = ids_.find(declared.addr);
    if (known == ids_.end()) return late_.push_back(*die);
    id = known->second;
  } else {
    id = set_.id_of(scope + name);
  }
  index_known_class(die, id, unit, depth);
}

void LayoutReader::index_known_class(Dwarf_Die* die, Id id, Unit& unit, int depth) {
  ids_.emplace(die->addr, id);
  if (!is_flagged(die, DW_AT_declaration) && !is_skeleton(die))
    definitions_[id].push_back(*die);
  if (dwarf_tag(die) != DW_TAG_enumeration_type && dwarf_haschildren(die) > 0) {
    index(die, set_.name_of(id) + "::", unit, depth + 1);
  }
}

// What referred to entries further on.
void LayoutReader::index_late() {
  for (std::size_t i = 0; i < late_.size(); ++i) {
    Dwarf_Die die = late_[i];
    Dwarf_Die target;
    if (!refer(&die, is_skeleton(&die) ? DW_AT_signature : DW_AT_specification, target)) {
      note("the debug information refers to a class that is not there");
      continue;
    }
    const auto known = ids_.find(target.addr);
    Unit ignored;
    if (known != ids_.end()) index_known_class(&die, known->second, ignored, 0);
  }
  late_.clear();
}

// typedef struct { … } Point;
void LayoutReader::index_typedef(Dwarf_Die* die, const std::string& scope) {
  Dwarf_Die target;
  if (!refer(die, DW_AT_type, target) || !is_class_tag(dwarf_tag(&target))) return;
  if (is_skeleton(&target)) {
    Dwarf_Die whole;
    if (!refer(&target, DW_AT_signature, whole)) return;
    target = whole;
  }
  if (dwarf_diename(&target) != nullptr) return;
  if (!spend(scope.size())) return;
  const Id id = set_.id_of(scope + text_of(dwarf_diename(die)));
  if (ids_.emplace(target.addr, id).second) definitions_[id].push_back(target);
}

// The text of a class: what has to be equal for two of them to be laid out alike.
Description LayoutReader::describe(Dwarf_Die* die, int depth) {
  Description out;
  if (depth > k_deepest || budget_ == 0) {
    note("the debug information is damaged");
    return out;
  }
  out.lines.push_back("size " + number_or_block(die, DW_AT_byte_size));
  if (const auto alignment = number(die, DW_AT_alignment)) {
    out.lines.push_back("alignment " + std::to_string(*alignment));
  }
  if (dwarf_tag(die) == DW_TAG_enumeration_type) {
    out.lines.push_back("underlying " + type_of(die, out, depth));
  }
  for_children(die, [&](Dwarf_Die* part) {
    const std::size_t before = out.lines.size();
    describe_part(part, out, depth + 1);
    return spend(out.lines.size() > before ? out.lines.back().size() : 0);
  });
  return out;
}

void LayoutReader::describe_part(Dwarf_Die* part, Description& out, int depth) {
  switch (dwarf_tag(part)) {
    case DW_TAG_member:
      return describe_member(part, out, depth);
    case DW_TAG_inheritance: {
      const std::string base = type_of(part, out, depth);
      std::string line =
          "base " + base + " @" + number_or_block(part, DW_AT_data_member_location);
      if (number(part, DW_AT_virtuality).value_or(0) != 0) line += " virtual";
      out.lines.push_back(std::move(line));
      return;
    }
    case DW_TAG_enumerator: {
      Dwarf_Attribute found;
      Dwarf_Sword value = 0;
      if (dwarf_attr(part, DW_AT_const_value, &found) != nullptr) {
        std::ignore = dwarf_formsdata(&found, &value);
      }
      out.lines.push_back("enumerator " + text_of(dwarf_diename(part)) + " = " +
                          std::to_string(value));
      return;
    }
    case DW_TAG_template_type_parameter:
      type_of(part, out, depth);  // the name has it already; what it leads to counts
      return;
    case DW_TAG_GNU_template_parameter_pack:
      for_children(part, [&](Dwarf_Die* one) {
        if (dwarf_tag(one) == DW_TAG_template_type_parameter) type_of(one, out, depth);
        return spend();
      });
      return;
    case DW_TAG_subprogram:
      return describe_virtual(part, out, depth);
    default:
      return;
  }
}

void LayoutReader::describe_member(Dwarf_Die* member, Description& out, int depth) {
  if (is_flagged(member, DW_AT_external) || is_flagged(member, DW_AT_declaration)) {
    return;  // static
  }
  std::string line = "member " + text_of(dwarf_diename(member)) + " @";
  const std::string offset = number_or_block(member, DW_AT_data_member_location);
  line += offset.empty() ? "0" : offset;
  if (const auto bits = number(member, DW_AT_bit_size)) {
    line += " bits " + std::to_string(*bits);
    for (const unsigned place : {DW_AT_data_bit_offset, DW_AT_bit_offset}) {
      if (const auto at = number(member, place)) line += " at " + std::to_string(*at);
    }
  }
  out.lines.push_back(line + " " + type_of(member, out, depth));
}

// Old objects keep the old table of virtual functions; new code calls by slot, and old code
// gets what new code passes.
void LayoutReader::describe_virtual(Dwarf_Die* function, Description& out, int depth) {
  if (number(function, DW_AT_virtuality).value_or(0) == 0) return;
  // Made by the compiler where it is used: overrides at most, so no slot of its own.
  if (is_flagged(function, DW_AT_artificial)) return;
  const std::string name = text_of(dwarf_diename(function));
  const std::string result = type_of(function, out, depth);
  out.lines.push_back("virtual " + number_or_block(function, DW_AT_vtable_elem_location) + " " +
                      name + parameters(function, out, depth) +
                      (result == "void" ? "" : " -> " + result));
}

std::string LayoutReader::parameters(Dwarf_Die* function, Description& out, int depth) {
  std::string text;
  for_children(function, [&](Dwarf_Die* part) {
    if (dwarf_tag(part) == DW_TAG_unspecified_parameters) text += text.empty() ? "..." : ",...";
    if (dwarf_tag(part) == DW_TAG_formal_parameter && !is_flagged(part, DW_AT_artificial)) {
      if (!text.empty()) text += ",";
      text += type_of(part, out, depth);
    }
    return spend();
  });
  return "(" + text + ")";
}

std::string LayoutReader::type_of(Dwarf_Die* die, Description& out, int depth) {
  Dwarf_Die type;
  return refer(die, DW_AT_type, type) ? type_name(&type, out, depth + 1) : "void";
}

// Without cv: it does not change a layout.
std::string LayoutReader::type_name(Dwarf_Die* type, Description& out, int depth) {
  if (depth > k_deepest || !spend()) {
    note("the debug information is damaged");
    return "?";
  }
  switch (dwarf_tag(type)) {
    case DW_TAG_pointer_type:
      return type_of(type, out, depth) + "*";
    case DW_TAG_reference_type:
      return type_of(type, out, depth) + "&";
    case DW_TAG_rvalue_reference_type:
      return type_of(type, out, depth) + "&&";
    case DW_TAG_const_type:
    case DW_TAG_volatile_type:
    case DW_TAG_restrict_type:
    case DW_TAG_typedef:
    case DW_TAG_template_alias:
      return type_of(type, out, depth);
    case DW_TAG_atomic_type:
      return "_Atomic " + type_of(type, out, depth);
    case DW_TAG_array_type: {
      std::string text = type_of(type, out, depth);
      for_children(type, [&](Dwarf_Die* range) {
        const auto last = number(range, DW_AT_upper_bound);
        const auto count = last ? std::optional(*last + 1) : number(range, DW_AT_count);
        text += "[" + (count ? std::to_string(*count) : std::string()) + "]";
        return spend();
      });
      return text;
    }
    case DW_TAG_subroutine_type: {
      const std::string result = type_of(type, out, depth);
      return result + parameters(type, out, depth);
    }
    case DW_TAG_ptr_to_member_type: {
      Dwarf_Die owner;
      const std::string of = refer(type, DW_AT_containing_type, owner)
                                 ? type_name(&owner, out, depth + 1)
                                 : std::string("?");
      return type_of(type, out, depth) + " " + of + "::*";
    }
    case DW_TAG_base_type:
      return text_of(dwarf_diename(type)) + ":" + number_or_block(type, DW_AT_byte_size);
    default:
      return is_class_tag(dwarf_tag(type)) ? class_name(type, out, depth)
                                           : text_of(dwarf_diename(type));
  }
}

std::string LayoutReader::class_name(Dwarf_Die* type, Description& out, int depth) {
  if (const auto known = ids_.find(type->addr); known != ids_.end()) {
    out.reaches.push_back(known->second);
    return set_.name_of(known->second);
  }
  if (Dwarf_Die whole; is_skeleton(type) && refer(type, DW_AT_signature, whole)) {
    return is_skeleton(&whole) ? "?" : class_name(&whole, out, depth + 1);
  }
  // Without a name, or local to a function: its text stands for it.
  if (std::find(describing_.begin(), describing_.end(), type->addr) != describing_.end()) {
    return "{itself}";
  }
  describing_.push_back(type->addr);
  Description inner = describe(type, depth + 1);
  describing_.pop_back();
  out.reaches.insert(out.reaches.end(), inner.reaches.begin(), inner.reaches.end());
  std::string text = "{";
  for (const std::string& line : inner.lines) text += line + "; ";
  return text + "}";
}

ClassLayouts LayoutReader::finish() {
  index_late();
  std::vector<Id> waiting;
  for (const auto& [id, entries] : definitions_) {
    if (set_.is_listed(id)) waiting.push_back(id);
  }
  std::sort(waiting.begin(), waiting.end());
  std::unordered_map<Id, bool> queued;
  for (const Id id : waiting) queued[id] = true;
  while (!waiting.empty()) {
    const Id id = waiting.back();
    waiting.pop_back();
    const auto found = definitions_.find(id);
    if (found == definitions_.end()) continue;
    for (Dwarf_Die& entry : found->second) {
      Description description = describe(&entry, 0);
      for (const Id next : description.reaches) {
        if (!std::exchange(queued[next], true)) waiting.push_back(next);
      }
      set_.define(id, std::move(description));
      // Each unit has its own copy of the standard library's classes: one will do.
      if (!set_.is_user_code(id)) break;
    }
  }
  if (budget_ == 0) note("the debug information is damaged");
  return set_.finish(gap_);
}

}  // namespace
}  // namespace rehook

extern "C" __attribute__((visibility("default"))) void rehook_layouts_read(
    const char* const* files, std::size_t count, RehookLayoutsSink sink, void* context) {
  elf_version(EV_CURRENT);
  rehook::LayoutReader reader;
  for (std::size_t i = 0; i < count; ++i) reader.add(files[i]);
  const std::string bytes = rehook::serialize(reader.finish());
  sink(context, bytes.data(), bytes.size());
}
