#include "shadow_store/base/file_lock.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <string>
#include <thread>
#include <tuple>

#include "shadow_store/base/os_error.hpp"

namespace rehook {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds k_poll_interval{10};
constexpr milliseconds k_report_interval{50};
constexpr int k_reopen_attempts = 100;

// False when the lock file was removed or replaced after `fd` was opened: others would lock
// another file, and two holders would each believe to be alone.
bool is_still_at(int fd, const Path& path) {
  struct stat ours {};
  struct stat theirs {};
  return ::fstat(fd, &ours) == 0 && ::stat(path.c_str(), &theirs) == 0 &&
         ours.st_dev == theirs.st_dev && ours.st_ino == theirs.st_ino;
}

int flock_now(int fd, LockKind kind) {
  const int operation = (kind == LockKind::shared ? LOCK_SH : LOCK_EX) | LOCK_NB;
  int result = 0;
  do {
    result = ::flock(fd, operation);
  } while (result != 0 && errno == EINTR);
  return result;
}

Error busy_error(const Path& path, milliseconds waited) {
  std::string message = path.native() + " is locked by another process or thread";
  if (waited.count() > 0) message += " (waited " + std::to_string(waited.count()) + " ms)";
  return Error{ErrorCode::busy, std::move(message), "wait for it to finish, and try again"};
}

}  // namespace

FileLock& FileLock::operator=(FileLock&& other) noexcept {
  if (this != &other) {
    release();
    fd_ = std::exchange(other.fd_, -1);
    process_ = other.process_;
  }
  return *this;
}

FileLock::~FileLock() {
  release();
}

void FileLock::release() {
  if (fd_ < 0) return;
  // Closing is not enough when a fork has left a second descriptor in a child; unlocking would
  // be too much if we were that child.
  if (process_ == ::getpid()) std::ignore = ::flock(fd_, LOCK_UN);
  ::close(std::exchange(fd_, -1));
}

Result<FileLock> FileLock::try_acquire(const Path& path, LockKind kind) {
  for (int attempt = 0; attempt < k_reopen_attempts; ++attempt) {
    const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0 && errno == EINTR) continue;
    if (fd < 0) return os_error(errno, "open the lock file", path);
    FileLock lock(fd, ::getpid());
    if (flock_now(fd, kind) != 0) {
      if (errno == EWOULDBLOCK) return busy_error(path, milliseconds(0));
      return os_error(errno, "lock", path);
    }
    if (is_still_at(fd, path)) return lock;
  }
  return busy_error(path, milliseconds(0));
}

Result<FileLock> FileLock::acquire(const Path& path, LockKind kind, milliseconds timeout,
                                   const std::function<bool(milliseconds)>& on_wait) {
  using Clock = std::chrono::steady_clock;
  const Clock::time_point start = Clock::now();
  milliseconds next_report = k_report_interval;
  while (true) {
    Result<FileLock> lock = try_acquire(path, kind);
    if (lock.ok() || lock.error().code != ErrorCode::busy) return lock;
    const auto waited = std::chrono::duration_cast<milliseconds>(Clock::now() - start);
    if (waited >= timeout) return busy_error(path, waited);
    if (waited >= next_report) {
      next_report = waited + k_report_interval;
      if (on_wait && !on_wait(waited)) {
        return Error{ErrorCode::canceled, "canceled while waiting for " + path.native()};
      }
    }
    std::this_thread::sleep_for(std::min(k_poll_interval, timeout - waited));
  }
}

}  // namespace rehook
