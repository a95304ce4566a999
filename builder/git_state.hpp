#pragma once

#include <string>

#include "shadow_store/base/file_system.hpp"

namespace rehook {

// What version control says of a folder. "Not a repository" is a normal answer.
struct GitState {
  bool is_repository = false;
  std::string commit;  // 40 hex digits, empty on an unborn branch
  std::string branch;  // short name, empty when detached
  bool dirty =
      false;  // tracked files changed (index or work tree); untracked ones do not count
  Path worktree;
  Path common_dir;  // the same for all working trees of a repository (`git worktree`)
};

// Asks libgit2, which is loaded on first use (it costs milliseconds that an up-to-date import
// must not pay). Any failure of libgit2 itself is an error with its own message.
[[nodiscard]] Result<GitState> read_git_state(const Path& folder);

// Where the library with libgit2 is, for tests; by default rehook_git.so is looked for beside
// the binary that holds this function.
void set_git_plugin(Path path);

}  // namespace rehook
