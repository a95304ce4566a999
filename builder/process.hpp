#pragma once

#include <chrono>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "shadow_store/base/file_system.hpp"

namespace rehook {

// A program to run: argv, never a shell.
struct Command {
  std::vector<std::string> argv;  // argv[0] is looked up on PATH (of the changed environment)
  Path directory;                 // empty: ours
  // Applied over our own environment; nullopt removes the variable.
  std::vector<std::pair<std::string, std::optional<std::string>>> environment;
  int niceness = 0;
};

struct ProcessResult {
  int exit_code = 0;   // 128 + signal when killed by one
  std::string output;  // stdout and stderr, interleaved as written
  std::chrono::duration<double> elapsed{};
};

// Both are called on the caller's thread: with each line, without its newline; and about every
// 50 ms, where true means stop now.
using LineSink = std::function<void(std::string_view line)>;
using CancelPoll = std::function<bool()>;

// Runs programs and waits for them. Thread-safe.
class ProcessRunner {
 public:
  virtual ~ProcessRunner() = default;
  // not_found: no such program (message names it). canceled: `cancel` said so; by then the
  // program and all its descendants are gone. A non-zero exit code is a result, not an error.
  virtual Result<ProcessResult> run(const Command& command, const LineSink& on_line,
                                    const CancelPoll& cancel) = 0;
};

// The real one. The child leads a process group of its own, does not see our terminal's Ctrl-C,
// gets SIGTERM when we die (PR_SET_PDEATHSIG), and inherits no descriptor but 0 (/dev/null), 1
// and 2. Descendants that keep its output open after its end are not waited for. On PATH only
// absolute folders count.
[[nodiscard]] ProcessRunner& posix_process_runner();

// The full path of a program found on PATH, or not_found.
[[nodiscard]] Result<Path> find_program(const std::string& name);

}  // namespace rehook
