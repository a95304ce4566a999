#include "builder/process.hpp"

#include <poll.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <tuple>

#include "builder/process_family.hpp"
#include "builder/process_launch.hpp"

namespace rehook {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr milliseconds k_poll{50};
// A compiler daemon may keep our pipe open after the build tool has gone; nobody waits for
// those.
constexpr milliseconds k_silence_after_exit{200};
constexpr milliseconds k_chatter_after_exit{2000};
constexpr milliseconds k_patience_with_sigterm{3000};
constexpr milliseconds k_patience_with_sigkill{2000};

// A running program. Leaving its scope early (an exception of a callback) kills it.
class Child final {
 public:
  explicit Child(LaunchedProgram program)
      : pid_(program.pid),
        output_(std::move(program.output)),
        handle_(static_cast<int>(::syscall(SYS_pidfd_open, pid_, 0))) {
  }  // fails on Linux < 5.3
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;
  ~Child() {
    if (!reaped_) stop();
  }

  // Waits for output, the end of the program, or the time.
  void wait(milliseconds time) const {
    if (reaped_ && output_.get() < 0) return;
    pollfd fds[2] = {{output_.get(), POLLIN, 0}, {reaped_ ? -1 : handle_.get(), POLLIN, 0}};
    // Without a handle only asking tells that the program has ended.
    const bool blind = !reaped_ && handle_.get() < 0;
    std::ignore = ::poll(fds, 2, static_cast<int>((blind ? milliseconds(2) : time).count()));
  }

  // What there is to read now; empty when there is nothing.
  std::string_view read() {
    if (output_.get() < 0) return {};
    const ssize_t size = ::read(output_.get(), buffer_.data(), buffer_.size());
    if (size > 0) return {buffer_.data(), static_cast<std::size_t>(size)};
    if (size == 0 || (errno != EAGAIN && errno != EINTR)) output_.reset();
    return {};
  }

  // True once the program has ended.
  bool reap() {
    if (reaped_) return true;
    const pid_t result = ::waitpid(pid_, &status_, WNOHANG);
    lost_ = result < 0 && errno == ECHILD;
    reaped_ = result == pid_ || lost_;
    return reaped_;
  }

  // Ends the program and all its descendants, whatever it takes. The program itself is reaped
  // last: until then its number, and that of its group, cannot be given to somebody else.
  void stop() {
    ProcessFamily family(pid_);
    family.refresh();
    family.signal(SIGTERM);
    family.signal(SIGCONT);
    if (!gone(family, k_patience_with_sigterm, 0)) {
      gone(family, k_patience_with_sigkill, SIGKILL);
    }
    reap();
  }

  [[nodiscard]] bool open() const { return output_.get() >= 0; }
  // Somebody else waited for it, or SIGCHLD is ignored.
  [[nodiscard]] bool lost() const { return lost_; }
  [[nodiscard]] int exit_code() const {
    return WIFSIGNALED(status_) ? 128 + WTERMSIG(status_) : WEXITSTATUS(status_);
  }

 private:
  [[nodiscard]] bool ended() const {
    siginfo_t info{};
    const int result =
        ::waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOHANG | WNOWAIT);
    return result != 0 || info.si_pid == pid_;
  }

  // Waits until nobody is left; the output is drained, so that nobody blocks on it while dying.
  bool gone(ProcessFamily& family, milliseconds patience, int signal) {
    const Clock::time_point end = Clock::now() + patience;
    milliseconds pause{2};
    while (family.refresh() || !ended()) {
      if (Clock::now() >= end) return false;
      if (signal != 0) family.signal(signal);
      pollfd fd{output_.get(), POLLIN, 0};
      std::ignore = ::poll(&fd, 1, static_cast<int>(pause.count()));
      for (int chunks = 0; chunks < 64 && !read().empty(); ++chunks) {
      }
      pause = std::min(pause * 2, k_poll);
    }
    return true;
  }

  pid_t pid_;
  Fd output_, handle_;
  int status_ = 0;
  bool reaped_ = false;
  bool lost_ = false;
  std::array<char, 65536> buffer_;
};

// Passes on whole lines.
class LineSplitter final {
 public:
  explicit LineSplitter(const LineSink& sink) : sink_(sink) {}

  void add(std::string_view text) {
    if (!sink_) return;
    while (true) {
      const std::size_t end = text.find('\n');
      if (end == std::string_view::npos) break;
      rest_.append(text.substr(0, end));
      emit();
      text.remove_prefix(end + 1);
    }
    rest_.append(text);
  }
  void finish() {
    if (!rest_.empty()) emit();
  }

 private:
  void emit() {
    std::string line = std::exchange(rest_, {});
    if (!line.empty() && line.back() == '\r') line.pop_back();
    sink_(line);
  }

  const LineSink& sink_;
  std::string rest_;
};

std::string in_words(const Command& command) {
  std::string text;
  for (const std::string& word : command.argv) text += (text.empty() ? "" : " ") + word;
  return text;
}

class PosixProcessRunner final : public ProcessRunner {
 public:
  Result<ProcessResult> run(const Command& command, const LineSink& on_line,
                            const CancelPoll& cancel) override {
    const Clock::time_point begin = Clock::now();
    REHOOK_ASSIGN_OR_RETURN(LaunchedProgram program, launch(command));
    Child child(std::move(program));
    LineSplitter lines(on_line);
    ProcessResult result;
    Clock::time_point heard = begin, asked = begin, ended = Clock::time_point::max();
    while (true) {
      child.wait(k_poll);
      const std::string_view text = child.read();
      result.output.append(text);
      lines.add(text);
      const Clock::time_point now = Clock::now();
      if (!text.empty()) heard = now;
      if (child.reap()) {
        ended = std::min(ended, now);
        if (!child.open() || now - std::max(heard, ended) >= k_silence_after_exit ||
            now - ended >= k_chatter_after_exit) {
          break;
        }
      } else if (cancel && now - asked >= k_poll) {
        asked = now;
        if (cancel()) {
          child.stop();
          return Error{ErrorCode::canceled, "stopped: " + in_words(command), {}, result.output};
        }
      }
    }
    lines.finish();
    if (child.lost()) {
      return Error{ErrorCode::io, "nobody knows how this ended: " + in_words(command),
                   "SIGCHLD is ignored in this process, or another thread waits for any child"};
    }
    result.exit_code = child.exit_code();
    result.elapsed = Clock::now() - begin;
    return result;
  }
};

}  // namespace

ProcessRunner& posix_process_runner() {
  static PosixProcessRunner runner;
  return runner;
}

}  // namespace rehook
