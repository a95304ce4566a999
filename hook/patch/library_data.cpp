#include "hook/patch/library_data.hpp"

#include <link.h>
#include <unistd.h>

#include <algorithm>
#include <limits>

namespace rehook {
namespace {

struct Search {
  std::uintptr_t begin;
  std::vector<std::span<void*>> found;
};

std::span<void*> words_between(std::uintptr_t begin, std::uintptr_t end) {
  begin = (begin + alignof(void*) - 1) / alignof(void*) * alignof(void*);
  if (begin >= end) return {};
  return {reinterpret_cast<void**>(begin), (end - begin) / sizeof(void*)};
}

int visit(dl_phdr_info* info, size_t /*size*/, void* data) {
  auto& search = *static_cast<Search*>(data);
  std::uintptr_t begin = std::numeric_limits<std::uintptr_t>::max();
  std::uintptr_t frozen_begin = 0, frozen_end = 0;
  for (int i = 0; i < info->dlpi_phnum; ++i) {
    const auto& header = info->dlpi_phdr[i];
    if (header.p_type == PT_LOAD) begin = std::min(begin, info->dlpi_addr + header.p_vaddr);
    if (header.p_type == PT_GNU_RELRO) {
      const auto page = static_cast<std::uintptr_t>(sysconf(_SC_PAGESIZE));
      frozen_begin = (info->dlpi_addr + header.p_vaddr) / page * page;
      frozen_end = (info->dlpi_addr + header.p_vaddr + header.p_memsz + page - 1) / page * page;
    }
  }
  if (begin != search.begin) return 0;
  for (int i = 0; i < info->dlpi_phnum; ++i) {
    const auto& header = info->dlpi_phdr[i];
    if (header.p_type != PT_LOAD || (header.p_flags & PF_W) == 0) continue;
    const std::uintptr_t first = info->dlpi_addr + header.p_vaddr;
    const std::uintptr_t last = first + header.p_memsz;
    if (frozen_end <= first || frozen_begin >= last) {
      search.found.push_back(words_between(first, last));
      continue;
    }
    search.found.push_back(words_between(first, frozen_begin));
    search.found.push_back(words_between(frozen_end, last));
  }
  return 1;
}

}  // namespace

std::vector<std::span<void*>> static_variables(std::uintptr_t begin) {
  Search search{begin, {}};
  dl_iterate_phdr(&visit, &search);
  return search.found;
}

}  // namespace rehook
