// Which code of a library its debug information tells of.
#include "shadow_store/class_layout_dwarf.hpp"

#include <string_view>

namespace rehook::dwarf {
namespace {

// Functions that compilers, not people, put into a library.
bool is_made_by_tools(std::string_view name) {
  for (const std::string_view one :
       {"__", "_ZTh", "_ZTv", "_ZTc", "_init", "_fini", "_start"}) {
    if (name.starts_with(one)) return true;
  }
  return name == "frame_dummy" || name.find("register_tm_clones") != std::string_view::npos;
}

}  // namespace

void CodeRanges::add(Dwarf_Die* unit) {
  Dwarf_Addr base = 0, begin = 0, end = 0;
  std::ptrdiff_t offset = 0;
  // Corrupt ranges could go on for ever.
  for (int i = 0; i < 1'000'000; ++i) {
    offset = dwarf_ranges(unit, offset, &base, &begin, &end);
    if (offset <= 0) return;
    ranges_.emplace_back(begin, end);
  }
}

void CodeRanges::sort() {
  std::sort(ranges_.begin(), ranges_.end());
  Dwarf_Addr reached = 0;
  for (auto& [begin, end] : ranges_) end = reached = std::max(reached, end);
}

bool CodeRanges::contains(Dwarf_Addr address) const {
  const auto after =
      std::upper_bound(ranges_.begin(), ranges_.end(), std::pair(address, ~Dwarf_Addr{0}));
  return after != ranges_.begin() && address < std::prev(after)->second;
}

std::string uncovered_function(Elf* elf, const CodeRanges& ranges, bool& has_symbols) {
  for (Elf_Scn* section = nullptr; (section = elf_nextscn(elf, section)) != nullptr;) {
    GElf_Shdr header;
    if (gelf_getshdr(section, &header) == nullptr || header.sh_type != SHT_SYMTAB) continue;
    Elf_Data* const data = elf_getdata(section, nullptr);
    if (data == nullptr || header.sh_entsize == 0) continue;
    has_symbols = true;
    for (std::size_t i = 0; i < data->d_size / header.sh_entsize; ++i) {
      GElf_Sym symbol;
      if (gelf_getsym(data, static_cast<int>(i), &symbol) == nullptr) break;
      if (GELF_ST_TYPE(symbol.st_info) != STT_FUNC || symbol.st_shndx == SHN_UNDEF ||
          symbol.st_size == 0 || ranges.contains(symbol.st_value)) {
        continue;
      }
      const std::string name = text_of(elf_strptr(elf, header.sh_link, symbol.st_name));
      if (!is_made_by_tools(name)) return name.empty() ? "?" : name;
    }
  }
  return "";
}

}  // namespace rehook::dwarf
