#pragma once

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdint>
#include <functional>
#include <utility>

namespace rehook {

enum class Ended { exited, killed, cannot_trace };
enum class Then { go_on, kill };

struct TracedChild {
  Ended ended = Ended::cannot_trace;
  int exit_code = -1;
};

// Runs `work` in a child process and calls `before_call` with the number of each system call
// that it is about to make, while it waits: the way to put something at exactly one place of a
// race, or to kill at exactly one place of a write. cannot_trace: this machine forbids it.
inline TracedChild run_traced(const std::function<int()>& work,
                              const std::function<Then(std::uint64_t)>& before_call) {
  const pid_t child = ::fork();
  if (child == 0) {
    if (::ptrace(PTRACE_TRACEME, 0, nullptr, nullptr) != 0) ::_exit(255);
    ::raise(SIGSTOP);
    ::_exit(work());
  }
  constexpr int k_call_stop = SIGTRAP | 0x80;  // what PTRACE_O_TRACESYSGOOD makes of it
  int status = 0;
  bool first = true;
  while (::waitpid(child, &status, 0) == child && WIFSTOPPED(status)) {
    if (std::exchange(first, false)) {
      ::ptrace(PTRACE_SETOPTIONS, child, nullptr, PTRACE_O_TRACESYSGOOD);
    }
    __ptrace_syscall_info call{};
    if (WSTOPSIG(status) == k_call_stop &&
        ::ptrace(PTRACE_GET_SYSCALL_INFO, child, sizeof call, &call) > 0 &&
        call.op == PTRACE_SYSCALL_INFO_ENTRY && before_call(call.entry.nr) == Then::kill) {
      ::kill(child, SIGKILL);
      ::waitpid(child, &status, 0);
      return {Ended::killed, -1};
    }
    if (::ptrace(PTRACE_SYSCALL, child, nullptr, nullptr) != 0) break;
  }
  if (first || !WIFEXITED(status)) return {};
  return {Ended::exited, WEXITSTATUS(status)};
}

}  // namespace rehook
