#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <utility>

#include "shadow_store/base/file_system.hpp"

namespace rehook {

enum class LockKind { shared, exclusive };

// An flock(2) on a file that is created when missing and never removed by us. It vanishes with
// the process, is not inherited by programs it starts (O_CLOEXEC) and excludes threads of one
// process too. A fork(2) without exec shares it: the child keeps it from vanishing, but only
// the process that took it gives it back early. Two objects are independent; one object is not
// thread-safe.
class FileLock final {
 public:
  FileLock(FileLock&& other) noexcept
      : fd_(std::exchange(other.fd_, -1)), process_(other.process_) {}
  FileLock& operator=(FileLock&& other) noexcept;
  ~FileLock();

  // One attempt; busy when somebody else holds it. Checks that the file is still the one at
  // `path`.
  static Result<FileLock> try_acquire(const Path& path, LockKind kind);
  // Polls until `timeout`; `on_wait` runs about every 50 ms with the time waited, and ends the
  // wait with `canceled` when it returns false. busy after the timeout.
  static Result<FileLock> acquire(
      const Path& path, LockKind kind, std::chrono::milliseconds timeout,
      const std::function<bool(std::chrono::milliseconds)>& on_wait);

 private:
  FileLock(int fd, long process) : fd_(fd), process_(process) {}
  void release();
  int fd_ = -1;
  long process_ = 0;  // whoever took it
};

}  // namespace rehook
