#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "shadow_store/base/result.hpp"

namespace rehook {

// A defined symbol with its place in the file's address space (add the load bias).
struct ElfSymbol {
  std::string_view name;
  std::uint64_t address = 0, size = 0;
};

// The symbols of a shared library, hidden and local ones too unless it was stripped.
struct ElfSymbols {
  std::uint64_t lowest_address = 0;  // of all that is loaded; the bias is where this ended up
  std::vector<ElfSymbol> list;       // sorted by name
};

// Reads .symtab, or .dynsym when there is none. Only names with this prefix are listed. `bytes`
// must outlive the result. corrupt: not a 64-bit ELF file, or a table reaches past its end.
[[nodiscard]] Result<ElfSymbols> read_elf_symbols(std::string_view bytes,
                                                  std::string_view prefix);

}  // namespace rehook
