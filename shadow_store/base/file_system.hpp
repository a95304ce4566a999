#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "shadow_store/base/digest.hpp"
#include "shadow_store/base/result.hpp"

namespace rehook {

using Path = std::filesystem::path;

// What one stat(2) tells; times in nanoseconds since the epoch.
struct FileStat {
  std::uint64_t device = 0;
  std::uint64_t inode = 0;
  std::uint64_t size = 0;
  std::int64_t mtime_ns = 0;
  std::int64_t ctime_ns = 0;
  std::uint32_t mode = 0;  // st_mode, type bits included
  std::uint32_t uid = 0;
  friend bool operator==(const FileStat&, const FileStat&) = default;
  [[nodiscard]] bool is_directory() const { return (mode & 0170000U) == 0040000U; }
  [[nodiscard]] bool is_regular() const { return (mode & 0170000U) == 0100000U; }
};

enum class MissingOk { no, yes };

// Bytes to put in place of those at `offset`.
struct FilePatch {
  std::uint64_t offset = 0;
  std::string bytes;
};

// Every side effect on files that logic needs, so that tests can count and break them.
// Implementations are thread-safe. Paths are bytes; nothing is decoded.
class FileSystem {
 public:
  virtual ~FileSystem() = default;

  // Follows symbolic links. not_found when the path does not exist (or a parent is no
  // directory).
  virtual Result<FileStat> stat(const Path& path) = 0;
  // The same for the hot path: no allocation, no message. false when there is nothing to be
  // found.
  virtual bool lookup(const char* path, FileStat& found) {
    const Result<FileStat> known = stat(path);
    if (known) found = *known;
    return known.ok();
  }
  virtual Result<std::string> read(const Path& path) = 0;
  // Digest of the content, without keeping it.
  virtual Result<Digest> digest(const Path& path) = 0;
  // Names in a directory, sorted, without "." and "..".
  virtual Result<std::vector<std::string>> list(const Path& path) = 0;
  // Bytes of all files below a folder, or of a file. What cannot be read counts nothing;
  // symbolic links are not followed.
  virtual std::uint64_t tree_size(const Path& path) = 0;

  // Temporary file in the same directory (O_EXCL, 0600), write, fsync, rename, fsync of the
  // directory.
  virtual Status write_atomic(const Path& path, std::string_view data) = 0;
  // Like write_atomic, but an existing `path` stays as it is (link(2) instead of rename(2));
  // the file ends with mode `mode`. `source` is cloned, else copied.
  virtual Status publish_copy(const Path& source, const Path& path, std::uint32_t mode) = 0;
  // The second half of publish_copy: gives `private_file`, which only the caller knows, its
  // mode, and moves it to `path` unless that exists. Same file system. Gone on success, the
  // caller's on failure.
  virtual Status publish_private(const Path& private_file, const Path& path,
                                 std::uint32_t mode) = 0;
  // A private copy that must not exist yet: FICLONE, else copy_file_range, else read and write.
  // Not synced.
  virtual Status copy_new(const Path& source, const Path& path, std::uint32_t mode) = 0;
  // Overwrites parts of a file that nobody maps, by pwrite(2): a full disk is an error, not a
  // signal. Never makes the file longer. Not synced.
  virtual Status patch(const Path& path, const std::vector<FilePatch>& patches) = 0;
  // Moves a file within its file system, over what may be there. Not synced.
  virtual Status rename(const Path& from, const Path& to) = 0;
  virtual Status set_mode(const Path& path, std::uint32_t mode) = 0;
  // Sets the time stamp of an existing file or folder to now.
  virtual Status touch(const Path& path) = 0;
  // Sets it to `mtime_ns`.
  virtual Status set_mtime(const Path& path, std::int64_t mtime_ns) = 0;
  // Appends one record with a single write(2) to a file opened O_APPEND, creating it 0600.
  virtual Status append(const Path& path, std::string_view data) = 0;
  virtual Status make_directories(const Path& path) = 0;           // new ones get 0700
  virtual Status remove(const Path& path, MissingOk missing) = 0;  // or an empty directory
  // Symbolic links are removed, not followed. Nothing there is success.
  virtual Status remove_tree(const Path& path) = 0;
};

// The real one; stateless, lives as long as the process.
[[nodiscard]] FileSystem& posix_file_system();

}  // namespace rehook
