#include "shadow_store/class_layout_reader.hpp"

#include <dlfcn.h>

#include <mutex>
#include <string>
#include <utility>

#include "shadow_store/class_layout_plugin.hpp"

namespace rehook {
namespace {

struct Entry {
  RehookLayoutsRead read = nullptr;
};

// The one loaded library; it stays until the process ends.
struct Plugin {
  std::mutex mutex;
  Path path;  // empty: beside the binary that holds this file
  Entry entry;
};

Plugin& plugin() {
  static Plugin instance;
  return instance;
}

Result<Path> default_path() {
  Dl_info info{};
  if (::dladdr(reinterpret_cast<const void*>(&plugin), &info) == 0 ||
      info.dli_fname == nullptr) {
    return Error{ErrorCode::unsupported, "cannot tell where rehook_layouts.so is installed"};
  }
  std::error_code ignored;
  return std::filesystem::absolute(info.dli_fname, ignored).parent_path() / "rehook_layouts.so";
}

Result<Entry> load() {
  const std::lock_guard lock(plugin().mutex);
  if (plugin().entry.read != nullptr) return plugin().entry;
  Path path = plugin().path;
  if (path.empty()) {
    REHOOK_ASSIGN_OR_RETURN(path, default_path());
  }
  void* const library = ::dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  void* const symbol = library == nullptr ? nullptr : ::dlsym(library, k_rehook_layouts_symbol);
  if (symbol == nullptr) {
    const char* const reason = ::dlerror();
    return Error{ErrorCode::unsupported,
                 std::string("cannot load libdw: ") + (reason == nullptr ? "" : reason),
                 "install libdw (apt-get install libdw1, or dnf install elfutils-libs)"};
  }
  plugin().entry.read = reinterpret_cast<RehookLayoutsRead>(symbol);
  return plugin().entry;
}

void take(void* context, const char* bytes, std::size_t size) {
  static_cast<std::string*>(context)->assign(bytes, size);
}

}  // namespace

Result<ClassLayouts> read_class_layouts(const std::vector<Path>& files) {
  REHOOK_ASSIGN_OR_RETURN(const Entry entry, load());
  std::vector<const char*> names;
  for (const Path& file : files) names.push_back(file.c_str());
  std::string bytes;
  entry.read(names.data(), names.size(), &take, &bytes);
  return parse_class_layouts(bytes);
}

void set_class_layout_plugin(Path path) {
  const std::lock_guard lock(plugin().mutex);
  plugin().path = std::move(path);
  plugin().entry = {};
}

}  // namespace rehook
