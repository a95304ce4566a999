#pragma once

#include <cstddef>
#include <functional>
#include <mutex>
#include <optional>
#include <vector>

#include "shadow_store/base/file_system.hpp"

namespace rehook {

// Records what logic asks of the file system underneath, and breaks it on demand. Thread-safe,
// except that `before` and the break-downs are set up before the threads start.
class FakeFileSystem final : public FileSystem {
 public:
  struct Call {
    std::string_view operation;  // the method's name
    Path path;                   // the file it changes or looks at
  };

  explicit FakeFileSystem(FileSystem& real = posix_file_system()) : real_(&real) {}

  // Every call so far, in order; those that change something; calls of one operation.
  [[nodiscard]] std::vector<Call> calls() const;
  [[nodiscard]] std::vector<Call> writes() const;
  [[nodiscard]] std::size_t count(std::string_view operation) const;
  void forget();  // starts counting anew

  // Counted from now, beginning with 0: that write fails with `error`, once.
  void fail_write(std::size_t index, Error error);
  // As kill -9: that write and everything after it, reads too, has no effect and fails.
  void stop_at_write(std::size_t index);
  [[nodiscard]] bool stopped() const;

  // Runs before each call reaches the real file system: the place to change something
  // meanwhile.
  std::function<void(const Call&)> before;

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
  Status patch(const Path& path, const std::vector<FilePatch>& patches) override;
  Status set_mode(const Path& path, std::uint32_t mode) override;
  Status rename(const Path& from, const Path& to) override;
  Status touch(const Path& path) override;
  Status set_mtime(const Path& path, std::int64_t mtime_ns) override;
  Status append(const Path& path, std::string_view data) override;
  Status make_directories(const Path& path) override;
  Status remove(const Path& path, MissingOk missing) override;
  Status remove_tree(const Path& path) override;

 private:
  enum class Kind { read, write };
  Status note(Kind kind, std::string_view operation, const Path& path);

  FileSystem* real_;
  mutable std::mutex mutex_;
  std::vector<Call> calls_, writes_;
  std::optional<std::size_t> failing_write_, last_write_;
  Error failure_;
  bool stopped_ = false;
};

}  // namespace rehook
