#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include <charconv>
#include <string>

#include "shadow_store/base/file_system.hpp"
#include "shadow_store/base/platform.hpp"

namespace rehook {

bool clone_file(int from, int to) {
  return ::ioctl(to, FICLONE, from) == 0;
}

std::int64_t kernel_copy(int from, int to, std::uint64_t size) {
  return ::copy_file_range(from, nullptr, to, nullptr, size, 0);
}

int open_for_search(int parent, const char* name) {
  return ::openat(parent, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

MountFacts mount_facts(const std::filesystem::path& path) {
  struct statvfs found {};
  if (::statvfs(path.c_str(), &found) != 0) return {};
  return {(found.f_flag & ST_NOEXEC) == 0,
          static_cast<std::uint64_t>(found.f_bavail) * found.f_frsize};
}

std::uint64_t random_number() {
  std::uint64_t number = 0;
  if (::getrandom(&number, sizeof number, GRND_NONBLOCK) == sizeof number) return number;
  timespec now{};  // only before the kernel's pool is ready, early at boot
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'007U +
         static_cast<std::uint64_t>(now.tv_nsec);
}

std::uint64_t process_start_ticks() {
  // Fields are separated by blanks, but the second is the program's name in parentheses, which
  // may hold blanks and parentheses itself. The start time is the 20th after it; see proc(5).
  Result<std::string> stat = posix_file_system().read("/proc/self/stat");
  if (!stat) return 0;
  std::size_t position = stat->rfind(')');
  for (int field = 0; field < 20 && position != std::string::npos; ++field) {
    position = stat->find(' ', position + 1);
  }
  std::uint64_t ticks = 0;
  if (position == std::string::npos) return 0;
  const char* begin = stat->data() + position + 1;
  const auto parsed = std::from_chars(begin, stat->data() + stat->size(), ticks);
  return parsed.ec == std::errc{} ? ticks : 0;
}

}  // namespace rehook
