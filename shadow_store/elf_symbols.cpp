#include "shadow_store/elf_symbols.hpp"

#include <elf.h>

#include <algorithm>
#include <cstring>
#include <limits>

namespace rehook {
namespace {

Error corrupt(const char* what) {
  return Error{ErrorCode::corrupt, std::string(what) + " reaches past the end of the file"};
}

class Reader final {
 public:
  Reader(std::string_view bytes, std::string_view prefix) : bytes_(bytes), prefix_(prefix) {}

  Result<ElfSymbols> read() {
    Elf64_Ehdr header;
    if (!load(0, header) || std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0 ||
        header.e_ident[EI_CLASS] != ELFCLASS64) {
      return Error{ErrorCode::corrupt, "not a 64-bit ELF file"};
    }
    REHOOK_TRY(read_segments(header));
    REHOOK_TRY(read_tables(header));
    const auto by_name = [](const ElfSymbol& one, const ElfSymbol& other) {
      return one.name < other.name;
    };
    std::sort(symbols_.list.begin(), symbols_.list.end(), by_name);
    return std::move(symbols_);
  }

 private:
  template <typename T>
  [[nodiscard]] bool load(std::uint64_t offset, T& value) const {
    if (offset > bytes_.size() || bytes_.size() - offset < sizeof value) return false;
    std::memcpy(&value, bytes_.data() + offset, sizeof value);
    return true;
  }
  // Entry `index` of a table that begins at `offset`; false past the end of the file.
  template <typename T>
  [[nodiscard]] bool load(std::uint64_t offset, std::uint64_t index, T& value) const {
    const std::uint64_t most = std::numeric_limits<std::uint64_t>::max();
    return index < most / sizeof value && offset < most - index * sizeof value &&
           load(offset + index * sizeof value, value);
  }

  Status read_segments(const Elf64_Ehdr& header) {
    symbols_.lowest_address = std::numeric_limits<std::uint64_t>::max();
    for (std::uint64_t i = 0; i < header.e_phnum; ++i) {
      Elf64_Phdr segment;
      if (!load(header.e_phoff, i, segment)) return corrupt("the program header table");
      if (segment.p_type == PT_LOAD) {
        symbols_.lowest_address = std::min(symbols_.lowest_address, segment.p_vaddr);
      }
    }
    return ok_status();
  }

  Status read_tables(const Elf64_Ehdr& header) {
    for (const std::uint32_t wanted : {SHT_SYMTAB, SHT_DYNSYM}) {
      for (std::uint64_t i = 0; header.e_shoff != 0 && i < header.e_shnum; ++i) {
        Elf64_Shdr table, names;
        if (!load(header.e_shoff, i, table)) return corrupt("the section header table");
        if (table.sh_type != wanted) continue;
        if (!load(header.e_shoff, table.sh_link, names)) return corrupt("a symbol table");
        return read_table(table, names);
      }
    }
    return ok_status();
  }

  Status read_table(const Elf64_Shdr& table, const Elf64_Shdr& names) {
    if (names.sh_offset > bytes_.size() || bytes_.size() - names.sh_offset < names.sh_size) {
      return corrupt("a table of names");
    }
    const std::string_view texts = bytes_.substr(names.sh_offset, names.sh_size);
    for (std::uint64_t i = 0; i < table.sh_size / sizeof(Elf64_Sym); ++i) {
      Elf64_Sym symbol;
      if (!load(table.sh_offset, i, symbol)) return corrupt("a symbol table");
      if (symbol.st_shndx == SHN_UNDEF || symbol.st_name >= texts.size()) continue;
      const std::string_view rest = texts.substr(symbol.st_name);
      if (!rest.starts_with(prefix_)) continue;
      symbols_.list.push_back(
          {rest.substr(0, rest.find('\0')), symbol.st_value, symbol.st_size});
    }
    return ok_status();
  }

  std::string_view bytes_, prefix_;
  ElfSymbols symbols_;
};

}  // namespace

Result<ElfSymbols> read_elf_symbols(std::string_view bytes, std::string_view prefix) {
  return Reader(bytes, prefix).read();
}

}  // namespace rehook
