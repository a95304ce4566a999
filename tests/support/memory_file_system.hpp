#pragma once

#include <map>
#include <string>
#include <string_view>

#include "shadow_store/base/file_system.hpp"

namespace rehook {

// Files in memory, for readers that are fed thousands of times per second. A folder exists as
// long as a file is below it. All belongs to this user, who alone may write. Not thread-safe.
class MemoryFileSystem final : public FileSystem {
 public:
  void put(const Path& path, std::string content) {
    files_[path.native()] = std::move(content);
  }
  // Several files in one text, each after a line "--- <path>"; paths count from `root`.
  void put_archive(const Path& root, std::string_view archive);

  Result<FileStat> stat(const Path& path) override;
  Result<std::string> read(const Path& path) override;
  Result<Digest> digest(const Path& path) override;
  Result<std::vector<std::string>> list(const Path& path) override;
  std::uint64_t tree_size(const Path& path) override;
  Status write_atomic(const Path& path, std::string_view data) override;
  Status publish_copy(const Path& source, const Path& path, std::uint32_t mode) override;
  Status publish_private(const Path& private_file, const Path& path,
                         std::uint32_t mode) override;
  Status copy_new(const Path& source, const Path& path, std::uint32_t mode) override;
  // A patch outside of the file is `invalid`, as in the real one.
  Status patch(const Path& path, const std::vector<FilePatch>& patches) override;
  Status set_mode(const Path& path, std::uint32_t mode) override;
  Status rename(const Path& from, const Path& to) override;
  Status set_mtime(const Path& path, std::int64_t mtime_ns) override;
  Status touch(const Path& path) override;
  Status append(const Path& path, std::string_view data) override;
  Status make_directories(const Path& path) override;
  Status remove(const Path& path, MissingOk missing) override;
  Status remove_tree(const Path& path) override;

 private:
  Result<std::string*> find(const Path& path);

  std::map<std::string, std::string, std::less<>> files_;
};

}  // namespace rehook
