#include <git2.h>

#include <memory>
#include <string>

#include "builder/git_plugin.hpp"

namespace {

template <auto free_function>
struct Release {
  template <typename T>
  void operator()(T* handle) const {
    free_function(handle);
  }
};
using Repository = std::unique_ptr<git_repository, Release<git_repository_free>>;
using Reference = std::unique_ptr<git_reference, Release<git_reference_free>>;
using Object = std::unique_ptr<git_object, Release<git_object_free>>;
using Tree = std::unique_ptr<git_tree, Release<git_tree_free>>;
using Diff = std::unique_ptr<git_diff, Release<git_diff_free>>;

constexpr int k_found_a_change = -4711;  // none of libgit2's codes
constexpr int k_distrusts_owner = -36;   // GIT_EOWNER, which libgit2 1.1 does not have yet

class Reader final {
 public:
  Reader(RehookGitSink sink, void* context) : sink_(sink), context_(context) {}

  int read(const char* folder) {
    git_repository* raw = nullptr;
    const int opened = git_repository_open_ext(&raw, folder, 0, nullptr);
    repository_.reset(raw);
    if (opened == GIT_ENOTFOUND && !lacks_safe_directory()) return 0;
    if (opened < 0) return fail(opened == GIT_ENOTFOUND ? k_distrusts_owner : opened);
    if (const int result = head(); result < 0) return fail(result);
    const char* worktree = git_repository_workdir(repository_.get());
    if (worktree != nullptr) {
      const int result = changed();
      if (result < 0 && result != k_found_a_change) return fail(result);
      emit(k_rehook_git_dirty, result == k_found_a_change ? "1" : "");
    }
    const char* common = git_repository_commondir(repository_.get());
    emit(k_rehook_git_common_dir, common == nullptr ? "" : common);
    emit(k_rehook_git_worktree, worktree == nullptr ? "" : worktree);
    return 0;
  }

 private:
  void emit(RehookGitField field, const std::string& text) {
    sink_(context_, field, text.data(), text.size());
  }

  // libgit2 1.5 distrusts an owner with "not found" when the user has a configuration and that
  // has no safe.directory.
  static bool lacks_safe_directory() {
    const git_error* error = git_error_last();
    return error != nullptr && error->klass == GIT_ERROR_CONFIG;
  }

  // The message belongs to this thread and dies with the next call, so it is passed on at once.
  int fail(int code) {
    const git_error* error = git_error_last();
    const std::string text = error != nullptr && error->message != nullptr
                                 ? error->message
                                 : "libgit2 error " + std::to_string(code);
    emit(code == k_distrusts_owner ? k_rehook_git_unsafe_error : k_rehook_git_error, text);
    return 1;
  }

  int head() {
    git_reference* raw = nullptr;
    int result = git_repository_head(&raw, repository_.get());
    Reference head(raw);
    if (result == GIT_EUNBORNBRANCH || result == GIT_ENOTFOUND) return unborn_branch();
    if (result < 0) return result;
    if (git_reference_is_branch(head.get()) == 1) {
      emit(k_rehook_git_branch, git_reference_shorthand(head.get()));
    }
    git_object* commit = nullptr;
    result = git_reference_peel(&commit, head.get(), GIT_OBJECT_COMMIT);
    const Object owned(commit);
    if (result < 0) return result;
    char hex[GIT_OID_HEXSZ + 1];
    emit(k_rehook_git_commit, git_oid_tostr(hex, sizeof hex, git_object_id(commit)));
    git_object* tree = nullptr;
    result = git_object_peel(&tree, commit, GIT_OBJECT_TREE);
    tree_.reset(reinterpret_cast<git_tree*>(tree));
    return result;
  }

  int unborn_branch() {
    git_reference* raw = nullptr;
    const int result = git_reference_lookup(&raw, repository_.get(), "HEAD");
    const Reference head(raw);
    const char* target = result < 0 ? nullptr : git_reference_symbolic_target(head.get());
    const std::string name = target == nullptr ? "" : target;
    const std::string prefix = "refs/heads/";
    if (name.compare(0, prefix.size(), prefix) == 0) {
      emit(k_rehook_git_branch, name.substr(prefix.size()));
    }
    return 0;
  }

  // Two diffs rather than a status list: they end at the first change, and they can leave out
  // what is untracked inside submodules. Neither writes the index.
  int changed() {
    git_diff_options options = GIT_DIFF_OPTIONS_INIT;
    options.ignore_submodules = GIT_SUBMODULE_IGNORE_UNTRACKED;
    options.notify_cb = [](const git_diff*, const git_diff_delta*, const char*, void*) {
      return k_found_a_change;
    };
    git_diff* raw = nullptr;
    int result =
        git_diff_tree_to_index(&raw, repository_.get(), tree_.get(), nullptr, &options);
    const Diff staged(raw);
    if (result < 0) return result;
    raw = nullptr;
    result = git_diff_index_to_workdir(&raw, repository_.get(), nullptr, &options);
    const Diff unstaged(raw);
    return result;
  }

  RehookGitSink sink_;
  void* context_;
  Repository repository_;
  Tree tree_;  // of HEAD; null on an unborn branch
};

}  // namespace

extern "C" __attribute__((visibility("default"))) int rehook_git_read(const char* folder,
                                                                      RehookGitSink sink,
                                                                      void* context) noexcept {
  // Counted by libgit2 and never given back: threads may be inside until the process ends.
  static const int started = git_libgit2_init();
  if (started < 0) return sink(context, k_rehook_git_error, "libgit2 does not start", 22), 1;
  return Reader(sink, context).read(folder);
}
