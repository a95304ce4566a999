#include "shadow_store/shadow_copy.hpp"

#include <unistd.h>

#include <string_view>
#include <tuple>

#include "shadow_store/base/platform.hpp"
#include "shadow_store/base/trace.hpp"
#include "shadow_store/file_name.hpp"
#include "shadow_store/session_folders.hpp"

namespace rehook {
namespace {

constexpr int k_longest_search = 1000;

constexpr std::uint32_t k_private_mode = 0600;
constexpr std::uint32_t k_loadable_mode = 0500;
constexpr std::size_t k_short_digest = 8;

// A folder that did not exist before. The name of this process may be taken: by another object
// in it, by a process of another container, or by one that ran before the last boot.
Result<Path> make_fresh_folder(FileSystem& fs, const Path& sessions) {
  const std::string name =
      std::to_string(::getpid()) + "-" + std::to_string(process_start_ticks());
  for (int i = 0; i < k_longest_search; ++i) {
    Path path = sessions / (i == 0 ? name : name + "-" + std::to_string(i));
    if (fs.stat(path)) continue;
    REHOOK_TRY(fs.make_directories(path));
    return path;
  }
  return Error{ErrorCode::busy, "no free name in " + sessions.native() + " for " + name,
               "remove this folder when no process uses the store"};
}

}  // namespace

Result<std::shared_ptr<ShadowFolder>> ShadowFolder::open(FileSystem& fs,
                                                         const ArtifactStore& store) {
  const Path sessions = store.root() / "sessions";
  REHOOK_ASSIGN_OR_RETURN(const FileLock lock, lock_sessions(sessions));
  const std::size_t swept = sweep_sessions(fs, sessions);
  REHOOK_ASSIGN_OR_RETURN(Path path, make_fresh_folder(fs, sessions));
  REHOOK_ASSIGN_OR_RETURN(FileLock lease, take_lease(path));
  std::shared_ptr<ShadowFolder> folder(
      new ShadowFolder(fs, std::move(path), std::move(lease), ::getpid()));
  folder->swept_ = swept;
  return folder;
}

Result<Path> ShadowFolder::make(const Path& artifact, const Digest& digest,
                                const std::string& module, unsigned generation,
                                const CopyEdits& edits) {
  if (::getpid() != process_) {
    return Error{ErrorCode::busy,
                 path_.native() + " belongs to process " + std::to_string(process_) +
                     ", of which this one is a fork",
                 "open a shadow folder after the fork"};
  }
  const TraceStep step("shadow_copy", "module", module);
  Path path = unused_path(artifact, digest, module, generation);
  const auto fill = [&]() -> Status {
    REHOOK_TRY(fs_->copy_new(artifact, path, k_private_mode));
    REHOOK_ASSIGN_OR_RETURN(const Digest copied, fs_->digest(path));
    if (copied != digest) {
      return Error{ErrorCode::corrupt,
                   artifact.native() + " does not have the content it was stored with",
                   "build it again"};
    }
    REHOOK_TRY(apply_edits(*fs_, path, edits));
    return fs_->set_mode(path, k_loadable_mode);
  };
  Status filled = fill();
  if (filled) return path;
  std::ignore = fs_->remove(path, MissingOk::yes);  // best effort: sweep_sessions() finds it
  return std::move(filled).error();
}

Path ShadowFolder::unused_path(const Path& artifact, const Digest& digest,
                               const std::string& module, unsigned generation) {
  const std::string hex = digest.hex();
  std::string file_name = artifact.filename().native();
  if (file_name.rfind(hex + "-", 0) == 0) file_name.erase(0, hex.size() + 1);  // as stored
  const std::string tag = ".g" + std::to_string(generation) + "." +
                          hex.substr(0, k_short_digest) + "." + std::to_string(made_++) + ".";
  file_name = plain_file_name(file_name, k_longest_file_name - tag.size());
  const std::size_t room = k_longest_file_name - tag.size() - file_name.size();
  return path_ / (plain_file_name(module, room) + tag + file_name);
}

}  // namespace rehook
