#pragma once

#include <memory>
#include <string>

#include "shadow_store/artifact_store.hpp"
#include "shadow_store/base/file_lock.hpp"

namespace rehook {

// The folder of this process under <store>/sessions, held by a kernel lock for as long as the
// process lives. Opening it removes the folders of processes that are gone.
// Every file made here has a name of its own that is never used twice. Thread-safe.
class ShadowFolder final {
 public:
  static Result<std::shared_ptr<ShadowFolder>> open(FileSystem& fs, const ArtifactStore& store);

  // Makes the uniquely named file that is really dlopen'ed: a copy of the artifact, checked as an
  // ELF image before and edited (see elf_editor.hpp) before anyone maps it.
  // `module` and `generation` only make the name readable: "pkg._core.g3.<digest8>.<file name>".
  Result<Path> make(const Path& artifact, const Digest& digest, const std::string& module,
                    unsigned generation);

  [[nodiscard]] const Path& path() const { return path_; }

 private:
  ShadowFolder(FileSystem& fs, Path path, FileLock lock)
      : fs_(&fs), path_(std::move(path)), lease_(std::move(lock)) {}
  FileSystem* fs_;
  Path path_;
  FileLock lease_;
};

}  // namespace rehook
