#include "hook/loaded_library.hpp"

#include <dlfcn.h>
#include <link.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <climits>
#include <cstdio>
#include <limits>
#include <string>
#include <string_view>
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
  const std::string_view name = info->dlpi_name == nullptr ? "" : info->dlpi_name;
  if (name.empty()) return 0;
  if (name != search.given) {
    // Loaded through another spelling of the path?
    const auto file_name = [](std::string_view path) {
      return path.substr(path.rfind('/') + 1);
    };
    if (file_name(name) != file_name(search.given)) return 0;
    std::error_code ignored;
    if (std::filesystem::canonical(name, ignored).native() != search.resolved) return 0;
  }
  search.found = describe(*info);
  return 1;
}

constexpr std::string_view k_gone = " (deleted)";

// The file that is mapped between these addresses, exactly; empty when that cannot be told.
std::string mapped_file(std::uintptr_t begin, std::uintptr_t end) {
  std::array<char, 64> link{};
  std::snprintf(link.data(), link.size(), "/proc/self/map_files/%zx-%zx", begin, end);
  std::string file(PATH_MAX, '\0');
  const ssize_t size = ::readlink(link.data(), file.data(), file.size());
  file.resize(size < 0 ? 0 : static_cast<std::size_t>(size));
  return file;
}

// One of its segments is still mapped as it was loaded, unless somebody changed all of them.
std::string mapped_file(const dl_phdr_info& info) {
  const std::uintptr_t page = static_cast<std::uintptr_t>(sysconf(_SC_PAGESIZE)) - 1;
  for (int i = 0; i < info.dlpi_phnum; ++i) {
    const auto& header = info.dlpi_phdr[i];
    if (header.p_type != PT_LOAD || (header.p_flags & PF_W) != 0) continue;
    const std::uintptr_t begin = info.dlpi_addr + header.p_vaddr;
    std::string file = mapped_file(begin & ~page, (begin + header.p_filesz + page) & ~page);
    if (!file.empty()) return file;
  }
  return "";
}

struct ReplacedSearch {
  std::string but_in;
  std::vector<std::string> found;
  bool complete = true;
};

int add_replaced(dl_phdr_info* info, size_t /*size*/, void* data) {
  auto& search = *static_cast<ReplacedSearch*>(data);
  const std::string_view name = info->dlpi_name == nullptr ? "" : info->dlpi_name;
  // The program, and what the kernel brings, have no path.
  if (name.find('/') == std::string_view::npos || name.starts_with(search.but_in)) return 0;
  std::string file = mapped_file(*info);
  search.complete = !file.empty();
  if (file.ends_with(k_gone)) {
    file.resize(file.size() - k_gone.size());
    search.found.push_back(std::move(file));
  }
  return search.complete ? 0 : 1;
}

std::vector<std::string> replaced_files_in(const std::string& maps) {
  std::vector<std::string> files;
  const std::string end = std::string(k_gone) + "\n";
  for (std::size_t at = maps.find(end); at != std::string::npos; at = maps.find(end, at + 1)) {
    const std::size_t line = maps.rfind('\n', at) + 1;
    const std::size_t path = maps.find('/', line);
    if (path < at) files.push_back(maps.substr(path, at - path));
  }
  return files;
}

}  // namespace

std::vector<std::string> replaced_libraries(FileSystem& fs, const Path& but_in) {
  ReplacedSearch search{but_in.native() + "/", {}};
  dl_iterate_phdr(&add_replaced, &search);
  if (search.complete) return search.found;
  const auto maps = fs.read("/proc/self/maps");
  return maps ? replaced_files_in(*maps) : std::vector<std::string>();
}

bool is_library_name_taken(const std::string& name) {
  std::string copy = name;
  return dl_iterate_phdr(
             [](dl_phdr_info* info, size_t /*size*/, void* data) {
               const std::string path = info->dlpi_name == nullptr ? "" : info->dlpi_name;
               const std::string& wanted = *static_cast<const std::string*>(data);
               return path.substr(path.rfind('/') + 1) == wanted ? 1 : 0;
             },
             &copy) != 0;
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
