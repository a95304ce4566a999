#pragma once

#include <cstddef>

// What rehook_git.so offers. It is a library of its own because loading libgit2 costs
// milliseconds that an up-to-date import must not pay; this is C so that dlsym() can find it.

enum RehookGitField : int {
  k_rehook_git_worktree,  // these five come only when there is a repository
  k_rehook_git_commit,
  k_rehook_git_branch,
  k_rehook_git_dirty,         // "1" or nothing
  k_rehook_git_common_dir,    // of all working trees of the repository
  k_rehook_git_error,         // libgit2's message
  k_rehook_git_unsafe_error,  // the same, when libgit2 distrusts the owner of the repository
};

// Takes one field; the bytes live as long as the call.
using RehookGitSink = void (*)(void* context, RehookGitField field, const char* bytes,
                               std::size_t size);

// Non-zero when an error was emitted.
using RehookGitRead = int (*)(const char* folder, RehookGitSink sink, void* context);

inline constexpr const char* k_rehook_git_symbol = "rehook_git_read";
