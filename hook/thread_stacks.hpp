#pragma once

#include <cstddef>
#include <vector>

#include "hook/loaded_library.hpp"

namespace rehook {

// How many other threads of this process are inside one of these libraries: waiting somewhere,
// with a return address into it on their stack. Threads that use a processor at this very
// moment cannot be looked at and are not counted; a leftover on a stack can make one count
// wrongly. Source: proc_pid_syscall(5), process_vm_readv(2).
[[nodiscard]] std::size_t count_threads_inside(const std::vector<LoadedLibrary>& libraries);

}  // namespace rehook
