#include "hook/patch/imported_function.hpp"

#include <link.h>

#include <cerrno>
#include <cstring>
#include <string_view>
#include <system_error>

#include "hook/registry/rtti_memory.hpp"

namespace rehook {
namespace {

using rehook_bridge::load_word;
using rehook_bridge::MemoryMap;
using rehook_bridge::pointer_at;
using rehook_bridge::store_word;
using rehook_bridge::WritablePages;

// What the dynamic section of a mapped library says about its imports.
struct Imports {
  std::uintptr_t base = 0;
  std::uintptr_t symbols = 0, names = 0;
  std::uintptr_t tables[2] = {0, 0};  // data and lazy-call relocations, with addends
  std::uintptr_t sizes[2] = {0, 0};   // bytes
};

// Most machines relocate the addresses in the dynamic section, some leave them as in the file.
std::uintptr_t absolute(std::uintptr_t base, std::uintptr_t value) {
  return value < base ? base + value : value;
}

void read_dynamic(const ElfW(Dyn) * entry, Imports& imports) {
  for (; entry->d_tag != DT_NULL; ++entry) {
    const std::uintptr_t address = absolute(imports.base, entry->d_un.d_ptr);
    switch (entry->d_tag) {
      case DT_SYMTAB:
        imports.symbols = address;
        break;
      case DT_STRTAB:
        imports.names = address;
        break;
      case DT_RELA:
        imports.tables[0] = address;
        break;
      case DT_RELASZ:
        imports.sizes[0] = entry->d_un.d_val;
        break;
      case DT_JMPREL:
        imports.tables[1] = address;
        break;
      case DT_PLTRELSZ:
        imports.sizes[1] = entry->d_un.d_val;
        break;
      default:
        break;
    }
  }
}

struct Search {
  std::uintptr_t address;
  Imports imports;
};

int visit(dl_phdr_info* info, std::size_t /*size*/, void* data) {
  auto& search = *static_cast<Search*>(data);
  const ElfW(Phdr)* dynamic = nullptr;
  bool here = false;
  for (int i = 0; i < info->dlpi_phnum; ++i) {
    const auto& header = info->dlpi_phdr[i];
    const std::uintptr_t begin = info->dlpi_addr + header.p_vaddr;
    if (header.p_type == PT_DYNAMIC) dynamic = &header;
    here |= header.p_type == PT_LOAD && search.address >= begin &&
            search.address < begin + header.p_memsz;
  }
  if (!here || dynamic == nullptr) return 0;
  search.imports.base = info->dlpi_addr;
  read_dynamic(pointer_at<const ElfW(Dyn)>(info->dlpi_addr + dynamic->p_vaddr), search.imports);
  return 1;
}

bool stores_address(const ElfW(Rela) & relocation) {
  const auto type = ELF64_R_TYPE(relocation.r_info);
#if defined(__x86_64__)
  const bool whole = type == R_X86_64_JUMP_SLOT || type == R_X86_64_GLOB_DAT ||
                     (type == R_X86_64_64 && relocation.r_addend == 0);
#elif defined(__aarch64__)
  const bool whole = type == R_AARCH64_JUMP_SLOT || type == R_AARCH64_GLOB_DAT ||
                     (type == R_AARCH64_ABS64 && relocation.r_addend == 0);
#else
  const bool whole = false;
#endif
  return whole;
}

std::vector<std::uintptr_t> slots_of(const Imports& imports, std::string_view name) {
  std::vector<std::uintptr_t> slots;
  if (imports.symbols == 0 || imports.names == 0) return slots;
  const auto* symbols = pointer_at<const ElfW(Sym)>(imports.symbols);
  for (int i = 0; i < 2; ++i) {
    if (imports.tables[i] == 0) continue;
    const auto* table = pointer_at<const ElfW(Rela)>(imports.tables[i]);
    for (std::size_t at = 0; at < imports.sizes[i] / sizeof *table; ++at) {
      if (!stores_address(table[at])) continue;
      const auto& symbol = symbols[ELF64_R_SYM(table[at].r_info)];
      if (symbol.st_shndx != SHN_UNDEF) continue;
      if (pointer_at<const char>(imports.names + symbol.st_name) != name) continue;
      slots.push_back(imports.base + table[at].r_offset);
    }
  }
  return slots;
}

}  // namespace

Status ImportedFunction::redirect(const LoadedLibrary& library) {
  Search search{library.begin, {}};
  if (dl_iterate_phdr(&visit, &search) != 1) return ok_status();
  const std::vector<std::uintptr_t> slots = slots_of(search.imports, name_);
  const MemoryMap map;  // asks for this library only, however many there are
  WritablePages pages;
  if (!slots.empty() && !pages.open(map, slots)) {
    return Error{ErrorCode::unsupported,
                 "cannot redirect " + name_ +
                     " in a new build: " + std::generic_category().message(errno),
                 "restart the interpreter to run the new build"};
  }
  for (const std::uintptr_t slot : slots) {
    slots_.push_back({slot, load_word(slot)});
    store_word(slot, reinterpret_cast<std::uintptr_t>(replacement_));
  }
  return ok_status();
}

ImportedFunction::~ImportedFunction() {
  std::vector<std::uintptr_t> addresses;
  for (const Slot& slot : slots_) addresses.push_back(slot.address);
  const MemoryMap map;
  WritablePages pages;
  // They were writable before; if they are no more, the replacement stays, and works.
  if (addresses.empty() || !pages.open(map, addresses)) return;
  for (const Slot& slot : slots_) store_word(slot.address, slot.original);
}

}  // namespace rehook
