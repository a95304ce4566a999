#include "shadow_store/session_folders.hpp"

#include <chrono>
#include <tuple>

namespace rehook {
namespace {

constexpr const char* k_lock = "lock";
constexpr const char* k_lease = "lease";
constexpr std::chrono::seconds k_lock_timeout{10};
constexpr std::size_t k_short_digest = 8;

}  // namespace

Result<FileLock> lock_sessions(const Path& sessions) {
  return FileLock::acquire(sessions / k_lock, LockKind::exclusive, k_lock_timeout, {});
}

Result<FileLock> take_lease(const Path& folder) {
  return FileLock::try_acquire(folder / k_lease, LockKind::exclusive);
}

Result<std::vector<SessionFolder>> list_sessions(FileSystem& fs, const ArtifactStore& store) {
  const Path sessions = store.root() / "sessions";
  REHOOK_ASSIGN_OR_RETURN(const FileLock lock, lock_sessions(sessions));
  REHOOK_ASSIGN_OR_RETURN(const std::vector<std::string> names, fs.list(sessions));
  std::vector<SessionFolder> found;
  for (const std::string& name : names) {
    if (name == k_lock) continue;
    SessionFolder session;
    session.folder = sessions / name;
    // Whatever keeps us from taking the lease: nobody said that the process is gone.
    session.is_live = !take_lease(session.folder).ok();
    session.bytes = fs.tree_size(session.folder);
    if (auto files = fs.list(session.folder)) {
      for (std::string& file : *files) {
        if (file != k_lease) session.files.push_back(std::move(file));
      }
    }
    found.push_back(std::move(session));
  }
  return found;
}

std::size_t sweep_sessions(FileSystem& fs, const Path& sessions) {
  std::size_t removed = 0;
  Result<std::vector<std::string>> names = fs.list(sessions);
  if (!names) return removed;
  for (const std::string& name : *names) {
    if (name == k_lock) continue;
    const Result<FileLock> lease = take_lease(sessions / name);
    // Best effort: the next process to open the store tries again.
    if (lease && fs.remove_tree(sessions / name).ok()) ++removed;
  }
  return removed;
}

Status remove_session(FileSystem& fs, const Path& folder) {
  REHOOK_ASSIGN_OR_RETURN(const FileLock lock, lock_sessions(folder.parent_path()));
  FileStat stat;
  if (!fs.lookup(folder.c_str(), stat)) return ok_status();
  REHOOK_ASSIGN_OR_RETURN(const FileLock lease, take_lease(folder));
  return fs.remove_tree(folder);
}

std::string artifact_of_shadow_copy(std::string_view file_name) {
  // "<module>.g<generation>.<digest8>.<counter>.<file name>"; the module may look like
  // anything.
  for (std::size_t at = file_name.find(".g"); at != std::string_view::npos;
       at = file_name.find(".g", at + 1)) {
    const std::size_t end = file_name.find_first_not_of("0123456789", at + 2);
    if (end == std::string_view::npos || end == at + 2 || file_name[end] != '.') continue;
    const std::string_view digits = file_name.substr(end + 1, k_short_digest);
    const std::size_t behind = end + 1 + k_short_digest;
    if (digits.size() == k_short_digest && behind < file_name.size() &&
        file_name[behind] == '.' &&
        digits.find_first_not_of("0123456789abcdef") == std::string_view::npos) {
      return std::string(digits);
    }
  }
  return {};
}

}  // namespace rehook
