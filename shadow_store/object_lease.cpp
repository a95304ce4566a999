#include "shadow_store/object_lease.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <thread>

namespace rehook {
namespace {

// is_leased() holds its lock for microseconds, unless it is stopped in the middle.
constexpr int k_attempts = 100;
constexpr std::chrono::milliseconds k_pause{1};

}  // namespace

bool lease_object(const Path& object) {
  const int fd = ::open(object.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return false;
  for (int attempt = 0; attempt < k_attempts; ++attempt) {
    if (::flock(fd, LOCK_SH | LOCK_NB) == 0) return true;  // the descriptor stays open
    if (errno == EINTR) continue;
    if (errno != EWOULDBLOCK) break;
    std::this_thread::sleep_for(k_pause);
  }
  ::close(fd);
  return false;
}

bool is_leased(const Path& object) {
  const int fd = ::open(object.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return false;
  const bool leased = ::flock(fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK;
  ::close(fd);
  return leased;
}

}  // namespace rehook
