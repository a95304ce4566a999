#include "hook/loaded_library.hpp"

#include <dlfcn.h>
#include <link.h>

#include <algorithm>
#include <limits>
#include <string>
#include <system_error>

namespace rehook {
namespace {

struct Search {
  std::string given, resolved;
  std::optional<LoadedLibrary> found;
};

int visit(dl_phdr_info* info, size_t /*size*/, void* data) {
  auto& search = *static_cast<Search*>(data);
  const std::string name = info->dlpi_name == nullptr ? "" : info->dlpi_name;
  if (name.empty()) return 0;
  if (name != search.given) {
    // Loaded through another spelling of the path?
    if (name.substr(name.rfind('/') + 1) != search.given.substr(search.given.rfind('/') + 1)) {
      return 0;
    }
    std::error_code ignored;
    if (std::filesystem::canonical(name, ignored).native() != search.resolved) return 0;
  }
  LoadedLibrary library{std::numeric_limits<std::uintptr_t>::max(), 0};
  for (int i = 0; i < info->dlpi_phnum; ++i) {
    const auto& header = info->dlpi_phdr[i];
    if (header.p_type != PT_LOAD) continue;
    const std::uintptr_t begin = info->dlpi_addr + header.p_vaddr;
    library.begin = std::min(library.begin, begin);
    library.end = std::max(library.end, begin + header.p_memsz);
  }
  search.found = library;
  return 1;
}

}  // namespace

std::optional<LoadedLibrary> find_loaded_library(const Path& path) {
  std::error_code ignored;
  Search search{path.native(), std::filesystem::canonical(path, ignored).native(),
                std::nullopt};
  dl_iterate_phdr(&visit, &search);
  return search.found;
}

Result<void*> load_library(const Path& path) {
  void* handle = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle != nullptr) return handle;
  const char* text = dlerror();
  return Error{
      ErrorCode::failed_load, text == nullptr ? "dlopen failed" : text,
      "the module's libraries or symbols are missing; the previous build is untouched"};
}

}  // namespace rehook
