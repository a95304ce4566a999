#pragma once

#include <string>
#include <vector>

#include "shadow_store/artifact_store.hpp"
#include "shadow_store/base/file_lock.hpp"

namespace rehook {

// The folder of one process under <store>/sessions: shadow copies, and the lease, which a
// kernel lock holds for as long as that process lives.
struct SessionFolder {
  Path folder;
  bool is_live = false;
  std::uint64_t bytes = 0;
  std::vector<std::string> files;  // shadow copies
};

// Held by whoever makes or removes folders there: so no folder is removed while it is made.
[[nodiscard]] Result<FileLock> lock_sessions(const Path& sessions);
// Takes the lease of a folder; busy while its process lives.
[[nodiscard]] Result<FileLock> take_lease(const Path& folder);

[[nodiscard]] Result<std::vector<SessionFolder>> list_sessions(FileSystem& fs,
                                                               const ArtifactStore& store);
// Removes the folders of processes that are gone; the sessions are locked. A file that some
// process has mapped nevertheless stays readable to it: the name goes, not the content.
std::size_t sweep_sessions(FileSystem& fs, const Path& sessions);
// Removes one folder, unless its process lives: busy.
[[nodiscard]] Status remove_session(FileSystem& fs, const Path& folder);

// The first eight digits of the artifact that a shadow copy was made of, from its name; empty
// when it has none.
[[nodiscard]] std::string artifact_of_shadow_copy(std::string_view file_name);

}  // namespace rehook
