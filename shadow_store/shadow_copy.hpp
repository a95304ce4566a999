#pragma once

#include <atomic>
#include <memory>
#include <string>

#include "shadow_store/artifact_store.hpp"
#include "shadow_store/base/file_lock.hpp"
#include "shadow_store/copy_edits.hpp"

namespace rehook {

// The folder of this process under <store>/sessions, held by a kernel lock for as long as the
// process lives. Opening it removes the folders of processes that are gone.
// Every file made here has a name of its own that is never used twice. Thread-safe.
// A child made by fork(2) has a process id, and so needs a folder, of its own: open another
// one.
class ShadowFolder final {
 public:
  static Result<std::shared_ptr<ShadowFolder>> open(FileSystem& fs, const ArtifactStore& store);

  // How many folders of processes that are gone were removed when this one was opened.
  [[nodiscard]] std::size_t swept() const { return swept_; }

  // Makes the uniquely named file that is really dlopen'ed: a copy of the artifact, checked
  // against `digest`, the one it was published under, and as an ELF image, and edited (see
  // copy_edits.hpp) before anyone maps it; then 0500. corrupt: the artifact is not what was
  // published. busy: this folder belongs to another process, of which this one is a fork.
  // `module` and `generation` only make the name readable:
  // "pkg._core.g3.<digest8>.<counter>.<file name>".
  Result<Path> make(const Path& artifact, const Digest& digest, const std::string& module,
                    unsigned generation, const CopyEdits& edits = {});

  [[nodiscard]] const Path& path() const { return path_; }

 private:
  ShadowFolder(FileSystem& fs, Path path, FileLock lease, long process)
      : fs_(&fs), path_(std::move(path)), lease_(std::move(lease)), process_(process) {}
  [[nodiscard]] Path unused_path(const Path& artifact, const Digest& digest,
                                 const std::string& module, unsigned generation);

  FileSystem* fs_;
  Path path_;
  FileLock lease_;
  long process_;
  std::atomic<unsigned> made_{0};
  std::size_t swept_ = 0;
};

}  // namespace rehook
