#pragma once

#include <cstdint>
#include <filesystem>
#include <limits>

namespace rehook {

// What no portable interface offers. The one file behind it is the only one of this layer that
// may assume a particular operating system.

// Makes the empty file `to` share the content of `from` (a reflink). False: it cannot be done
// here, nothing was written.
[[nodiscard]] bool clone_file(int from, int to);

// Lets the kernel copy at most `size` bytes between the current positions of two files. Returns
// what copy_file_range(2) does: bytes copied, 0 at the end, or -1 and errno.
[[nodiscard]] std::int64_t kernel_copy(int from, int to, std::uint64_t size);

// Opens a directory only to look at it and at names in it, which needs no permission to list
// it. Never follows a symbolic link. A descriptor, or -1 and errno.
[[nodiscard]] int open_for_search(int parent, const char* name);

// What the file system that holds a file or folder allows.
struct MountFacts {
  bool allows_code = true;  // not mounted noexec: code may be mapped from it
  std::uint64_t free_bytes = std::numeric_limits<std::uint64_t>::max();  // for this user
};

// All is allowed where the system does not tell.
[[nodiscard]] MountFacts mount_facts(const std::filesystem::path& path);

// Unpredictable enough that two processes never choose the same name.
[[nodiscard]] std::uint64_t random_number();

// When this process began, in clock ticks since boot: with the process id, a name that is not
// used twice before the next boot. 0 when the system does not tell.
[[nodiscard]] std::uint64_t process_start_ticks();

}  // namespace rehook
