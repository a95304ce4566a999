#include "builder/git_state.hpp"

#include <dlfcn.h>

#include <mutex>
#include <utility>

#include "builder/git_plugin.hpp"

namespace rehook {
namespace {

struct Entry {
  RehookGitRead read = nullptr;
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
    return Error{ErrorCode::unsupported, "cannot tell where rehook_git.so is installed"};
  }
  std::error_code ignored;
  return std::filesystem::absolute(info.dli_fname, ignored).parent_path() / "rehook_git.so";
}

Result<Entry> load() {
  const std::lock_guard lock(plugin().mutex);
  if (plugin().entry.read != nullptr) return plugin().entry;
  Path path = plugin().path;
  if (path.empty()) {
    REHOOK_ASSIGN_OR_RETURN(path, default_path());
  }
  void* library = ::dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  void* symbol = library == nullptr ? nullptr : ::dlsym(library, k_rehook_git_symbol);
  if (symbol == nullptr) {
    const char* reason = ::dlerror();
    return Error{ErrorCode::unsupported,
                 std::string("cannot load libgit2: ") + (reason == nullptr ? "" : reason),
                 "install rehook again, with libgit2"};
  }
  plugin().entry.read = reinterpret_cast<RehookGitRead>(symbol);
  return plugin().entry;
}

struct Report {
  GitState state;
  Error error;
};

void take(void* context, RehookGitField field, const char* bytes, std::size_t size) {
  Report& report = *static_cast<Report*>(context);
  std::string text(bytes, size);
  switch (field) {
    case k_rehook_git_worktree:
      while (text.size() > 1 && text.back() == '/') text.pop_back();
      report.state.is_repository = true;
      report.state.worktree = std::move(text);
      break;
    case k_rehook_git_commit:
      report.state.commit = std::move(text);
      break;
    case k_rehook_git_branch:
      report.state.branch = std::move(text);
      break;
    case k_rehook_git_common_dir:
      report.state.common_dir = std::move(text);
      break;
    case k_rehook_git_dirty:
      report.state.dirty = !text.empty();
      break;
    case k_rehook_git_error:
      report.error.message = std::move(text);
      break;
    case k_rehook_git_unsafe_error:
      report.error.code = ErrorCode::unsafe;
      report.error.message = "it belongs to somebody else, says libgit2: " + text;
      report.error.hint =
          "if you trust it: git config --global --add safe.directory <its folder>";
      break;
  }
}

}  // namespace

void set_git_plugin(Path path) {
  const std::lock_guard lock(plugin().mutex);
  plugin().path = std::move(path);
  plugin().entry = {};
}

Result<GitState> read_git_state(const Path& folder) {
  REHOOK_ASSIGN_OR_RETURN(const Entry entry, load());
  Report report;
  if (entry.read(folder.c_str(), &take, &report) != 0) {
    report.error.message =
        "cannot read the git repository of " + folder.string() + ": " + report.error.message;
    return report.error;
  }
  return report.state;
}

}  // namespace rehook
