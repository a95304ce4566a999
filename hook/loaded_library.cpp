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

LoadedLibrary describe(const dl_phdr_info& info) {
  LoadedLibrary library;
  library.begin = std::numeric_limits<std::uintptr_t>::max();
  for (int i = 0; i < info.dlpi_phnum; ++i) {
    const auto& header = info.dlpi_phdr[i];
    if (header.p_type == PT_GNU_RELRO) ++library.mappings;
    if (header.p_type != PT_LOAD) continue;
    const std::uintptr_t begin = info.dlpi_addr + header.p_vaddr;
    library.begin = std::min(library.begin, begin);
    library.end = std::max(library.end, begin + header.p_memsz);
    ++library.mappings;
    if ((header.p_flags & PF_W) != 0) library.private_bytes += header.p_memsz;
  }
  return library;
}

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
  search.found = describe(*info);
  return 1;
}

}  // namespace

std::map<std::string, LoadedLibrary> loaded_libraries() {
  std::map<std::string, LoadedLibrary> all;
  dl_iterate_phdr(
      [](dl_phdr_info* info, size_t /*size*/, void* data) {
        if (info->dlpi_name != nullptr && *info->dlpi_name != 0) {
          static_cast<decltype(all)*>(data)->emplace(info->dlpi_name, describe(*info));
        }
        return 0;
      },
      &all);
  return all;
}

bool is_library_name_taken(const std::string& name) {
  std::string wanted = name;
  return dl_iterate_phdr(
             [](dl_phdr_info* info, size_t /*size*/, void* data) {
               const std::string path = info->dlpi_name == nullptr ? "" : info->dlpi_name;
               const std::string& name = *static_cast<const std::string*>(data);
               return path.substr(path.rfind('/') + 1) == name ? 1 : 0;
             },
             &wanted) != 0;
}

bool is_loaded_globally(const LoadedLibrary& library, const std::string& symbol) {
  const auto address = reinterpret_cast<std::uintptr_t>(dlsym(RTLD_DEFAULT, symbol.c_str()));
  return address >= library.begin && address < library.end;
}

std::optional<LoadedLibrary> find_loaded_library(const Path& path) {
  std::error_code ignored;
  Search search{path.native(), std::filesystem::canonical(path, ignored).native(),
                std::nullopt};
  dl_iterate_phdr(&visit, &search);
  return search.found;
}

bool is_mapping_of_replaced_file(FileSystem& fs, const Path& path) {
  const auto maps = fs.read("/proc/self/maps");
  return maps && maps->find(" " + path.native() + " (deleted)\n") != std::string::npos;
}

Result<void*> load_library(const Path& path) {
  void* handle = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle != nullptr) return handle;
  const char* const text = dlerror();
  const std::string message = text == nullptr ? "dlopen failed" : text;
  std::string hint =
      "the module's libraries or symbols are missing; the previous build is untouched";
  if (message.find("static TLS") != std::string::npos) {
    hint =
        "its thread_local variables use the initial-exec model, and room for these is laid out "
        "when the process starts: compile without -ftls-model=initial-exec, start Python with "
        "GLIBC_TUNABLES=glibc.rtld.optional_static_tls=65536, or restart the interpreter";
  } else if (message.find("failed to map segment") != std::string::npos) {
    hint = "the store may be on a file system mounted noexec: choose another store-dir";
  } else if (message.find("memory protection") != std::string::npos) {
    hint = "the process has too many memory mappings: restart the interpreter";
  }
  return Error{ErrorCode::failed_load, message, std::move(hint)};
}

}  // namespace rehook
