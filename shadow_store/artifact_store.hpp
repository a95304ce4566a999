#pragma once

#include <chrono>
#include <functional>
#include <string>

#include "shadow_store/base/digest.hpp"
#include "shadow_store/base/file_lock.hpp"
#include "shadow_store/base/file_system.hpp"

namespace rehook {

// Where artifacts and everything else rehook keeps on disk live. Opening checks that the folder
// is ours alone: owner, mode 0700, no symbolic link, and no parent that others could swap it
// through. Thread-safe; several processes may use one store. Once open, root() holds no
// symbolic link.
//
//   <root>/format                     "rehook store 1 xxh3-128\n"
//   <root>/objects/<hh>/<digest>-<file name>   an artifact, 0500, never written again
//   <root>/projects/<project id>/     one folder per project (see builder/README.md)
//   <root>/sessions/<pid>-<start>/    shadow copies of one live process, and its lease lock
//   <root>/collecting                 a kernel lock: shared by who publishes, see hold()
//   .tmp-<pid>-<random>               being written; removed by open() when that process is
//   gone
class ArtifactStore final {
 public:
  // Creates the folder when missing. unsafe: the message names the directory and the reason.
  static Result<ArtifactStore> open(FileSystem& fs, Path root);

  [[nodiscard]] const Path& root() const { return root_; }
  // How many unfinished files of processes that were killed were removed when it was opened.
  [[nodiscard]] std::size_t swept() const { return swept_; }
  [[nodiscard]] Path object_path(const Digest& digest, std::string_view file_name) const;

  // Keeps the garbage collector away: what is published, and written down as in use, before the
  // lock is given up will not be taken for garbage. Held for as long as that takes, not for a
  // build. `on_wait` as in FileLock::acquire().
  Result<FileLock> hold(std::chrono::milliseconds timeout,
                        const std::function<bool(std::chrono::milliseconds)>& on_wait);
  // What the collector holds meanwhile; busy while somebody publishes.
  Result<FileLock> hold_alone();

  // Copies `file` into the store under the digest of the bytes copied: clone or copy to a
  // private name, re-check that the source did not change meanwhile (retry three times),
  // digest, fsync, link, fsync the directory. Publishing what is already there is cheap and
  // keeps the old inode, unless its content has rotted: then it is replaced. corrupt: `file`
  // kept changing, is empty, or is a shared library that was not written to its end.
  Result<Digest> publish(const Path& file);

  // Whether a whole artifact is there; verifies size > 0 and type, not the digest.
  [[nodiscard]] bool contains(const Digest& digest, std::string_view file_name) const;
  // Reads it back and compares digests; a bad object is removed and reported as corrupt.
  Status verify(const Digest& digest, std::string_view file_name);

 private:
  ArtifactStore(FileSystem& fs, Path root) : fs_(&fs), root_(std::move(root)) {}
  Result<Digest> publish_once(const Path& file);
  // contains(), and the content is what the digest says.
  [[nodiscard]] bool holds(const Digest& digest, std::string_view file_name) const;

  FileSystem* fs_;
  Path root_;
  std::size_t swept_ = 0;
};

}  // namespace rehook
