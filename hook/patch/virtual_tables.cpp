#include "hook/patch/virtual_tables.hpp"

#include <link.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <iterator>
#include <system_error>

#include "hook/registry/rtti_memory.hpp"
#include "shadow_store/elf_symbols.hpp"

namespace rehook {
namespace {

using rehook_bridge::load_word;
using rehook_bridge::pointer_at;
using rehook_bridge::store_word;

constexpr std::string_view k_table_prefix = "_ZTV";
constexpr std::size_t k_word = sizeof(std::uintptr_t);
constexpr std::uint64_t k_largest_table = 1U << 20;

constexpr std::uintptr_t k_lowest_code = 1U << 16;  // nothing is mapped below, by default

// Offsets to the top of the object, and of virtual bases.
bool is_offset(std::uintptr_t word) {
  constexpr std::intptr_t k_farthest = 1 << 30;
  const auto value = static_cast<std::intptr_t>(word);
  return value > -k_farthest && value < k_farthest;
}

const ElfSymbol* find(const ElfSymbols& symbols, std::string_view name) {
  const auto at = std::lower_bound(
      symbols.list.begin(), symbols.list.end(), name,
      [](const ElfSymbol& symbol, std::string_view wanted) { return symbol.name < wanted; });
  return at != symbols.list.end() && at->name == name ? &*at : nullptr;
}

struct Segments {
  const LoadedLibrary* library;  // null: of all libraries
  std::vector<std::pair<std::uintptr_t, std::uintptr_t>> code;
};

int add_code(dl_phdr_info* info, std::size_t /*size*/, void* data) {
  auto& wanted = *static_cast<Segments*>(data);
  bool here = wanted.library == nullptr;
  for (int i = 0; !here && i < info->dlpi_phnum; ++i) {
    const std::uintptr_t begin = info->dlpi_addr + info->dlpi_phdr[i].p_vaddr;
    here = info->dlpi_phdr[i].p_type == PT_LOAD && begin == wanted.library->begin;
  }
  for (int i = 0; here && i < info->dlpi_phnum; ++i) {
    const auto& header = info->dlpi_phdr[i];
    if (header.p_type != PT_LOAD || (header.p_flags & PF_X) == 0) continue;
    const std::uintptr_t begin = info->dlpi_addr + header.p_vaddr;
    wanted.code.emplace_back(begin, begin + header.p_memsz);
  }
  return here && wanted.library != nullptr ? 1 : 0;
}

}  // namespace

bool VirtualTables::is_code(std::uintptr_t word) {
  const auto covers = [word](const Range& range) {
    return word >= range.begin && word < range.end;
  };
  if (std::any_of(code_.begin(), code_.end(), covers)) return true;
  if (word < k_lowest_code) return false;
  if (!knows_all_code_) {  // a function of some other library?
    knows_all_code_ = true;
    Segments all{nullptr, {}};
    dl_iterate_phdr(&add_code, &all);
    std::sort(all.code.begin(), all.code.end());
    for (const auto& [begin, end] : all.code) all_code_.push_back({begin, end});
  }
  const auto above = std::upper_bound(
      all_code_.begin(), all_code_.end(), word,
      [](std::uintptr_t value, const Range& range) { return value < range.begin; });
  return above != all_code_.begin() && covers(*std::prev(above));
}

// The words of a table are offsets, pointers to type information, and functions. All but the
// functions must be of one kind in both; a table with anything else in it is not understood.
bool VirtualTables::plan_table(std::uintptr_t old_table, std::uintptr_t new_table,
                               std::uint64_t size) {
  std::vector<Write> writes;
  for (std::uint64_t at = 0; at + k_word <= size; at += k_word) {
    const std::uintptr_t before = load_word(old_table + at), after = load_word(new_table + at);
    if (before == after) continue;
    if (is_code(before) != is_code(after)) return false;
    if (is_code(before)) {
      writes.push_back({old_table + at, before, after});
    } else if (is_offset(before) || is_offset(after)) {
      return false;  // another layout after all
    }
  }
  writes_.insert(writes_.end(), writes.begin(), writes.end());
  return true;
}

Status VirtualTables::plan(const Build& old, const Build& fresh, FollowingTables earlier,
                           const KeepsLayout& keeps_layout) {
  REHOOK_ASSIGN_OR_RETURN(const ElfSymbols before, read_elf_symbols(old.bytes, k_table_prefix));
  REHOOK_ASSIGN_OR_RETURN(const ElfSymbols after,
                          read_elf_symbols(fresh.bytes, k_table_prefix));
  const std::uintptr_t old_bias = old.mapped.begin - before.lowest_address;
  const std::uintptr_t new_bias = fresh.mapped.begin - after.lowest_address;
  following_.open_pages = std::move(earlier.open_pages);
  for (const LoadedLibrary* library : {&old.mapped, &fresh.mapped}) {
    Segments segments{library, {}};
    dl_iterate_phdr(&add_code, &segments);
    for (const auto& [begin, end] : segments.code) code_.push_back({begin, end});
  }
  for (const ElfSymbol& table : before.list) {
    const ElfSymbol* const successor = find(after, table.name);
    const std::string name(table.name.substr(k_table_prefix.size()));
    if (successor == nullptr || successor->size != table.size || table.size == 0 ||
        table.size > k_largest_table || !keeps_layout(name)) {
      continue;
    }
    const std::uintptr_t here = old_bias + table.address;
    const std::uintptr_t there = new_bias + successor->address;
    if (here < old.mapped.begin || here + table.size > old.mapped.end ||
        there < fresh.mapped.begin || there + table.size > fresh.mapped.end ||
        !plan_table(here, there, table.size)) {
      continue;
    }
    std::vector<std::uintptr_t>& tables = following_.by_class[name];
    tables.push_back(here);
    const auto more = earlier.by_class.find(name);
    if (more == earlier.by_class.end()) continue;
    for (const std::uintptr_t older : more->second) {
      if (plan_table(older, there, table.size)) tables.push_back(older);
    }
  }
  return ok_status();
}

Status VirtualTables::apply() {
  const auto page = static_cast<std::uintptr_t>(sysconf(_SC_PAGESIZE));
  for (const Write& write : writes_) {
    const std::uintptr_t begin = write.address & ~(page - 1);
    if (following_.open_pages.contains(begin)) continue;
    // Data of a loaded library: read-only after relocation, or writable already.
    if (mprotect(pointer_at<void>(begin), page, PROT_READ | PROT_WRITE) != 0) {
      return Error{ErrorCode::unsupported,
                   "virtual function tables cannot be changed: " +
                       std::generic_category().message(errno),
                   "objects made before keep their virtual functions until they are made anew"};
    }
    following_.open_pages.insert(begin);
  }
  write_all(true);
  applied_ = true;
  return ok_status();
}

void VirtualTables::write_all(bool new_functions) noexcept {
  for (const Write& write : writes_) {
    store_word(write.address, new_functions ? write.after : write.before);
  }
}

void VirtualTables::undo() noexcept {
  if (applied_) write_all(false);
  applied_ = false;
}

FollowingTables VirtualTables::commit() {
  applied_ = false;
  return std::move(following_);
}

}  // namespace rehook
