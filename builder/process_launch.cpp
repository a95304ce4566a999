#include "builder/process_launch.hpp"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <map>
#include <tuple>

extern char** environ;

namespace rehook {
namespace {

Error system_error(const std::string& what, int number) {
  const bool missing = number == ENOENT || number == ENOTDIR;
  return Error{missing ? ErrorCode::not_found : ErrorCode::io,
               what + ": " + std::strerror(number)};
}

// Takes over `raw` (or errno, when negative). The child rearranges descriptors 0 to 3, so ours
// must lie above them.
Result<Fd> above_standard(int raw) {
  const Fd low(raw);
  Fd high(raw < 0 ? -1 : ::fcntl(raw, F_DUPFD_CLOEXEC, 4));
  if (high.get() < 0) return system_error("cannot open a descriptor", errno);
  return high;
}

struct Pipe {
  Fd reader, writer;
};

Result<Pipe> make_pipe() {
  int fds[2] = {-1, -1};
  if (::pipe2(fds, O_CLOEXEC) != 0) return system_error("cannot open a pipe", errno);
  Fd low_writer(fds[1]);
  Pipe pipe;
  REHOOK_ASSIGN_OR_RETURN(pipe.reader, above_standard(fds[0]));
  REHOOK_ASSIGN_OR_RETURN(pipe.writer, above_standard(low_writer.release()));
  return pipe;
}

using Environment = std::map<std::string, std::string>;

Environment changed_environment(const Command& command) {
  Environment result;
  for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry) {
    const std::string_view text(*entry);
    const std::size_t equals = text.find('=');
    if (equals == std::string_view::npos) continue;
    result.emplace(text.substr(0, equals), text.substr(equals + 1));
  }
  for (const auto& [name, value] : command.environment) {
    if (value) {
      result[name] = *value;
    } else {
      result.erase(name);
    }
  }
  return result;
}

bool is_program(const std::string& path) {
  struct stat status {};
  return ::stat(path.c_str(), &status) == 0 && S_ISREG(status.st_mode) &&
         ::access(path.c_str(), X_OK) == 0;
}

// Relative entries of PATH are passed over: a source tree must not get to choose the compiler.
Result<Path> find_on_path(const std::string& name, const std::string& search_path) {
  std::size_t begin = 0;
  while (!name.empty() && begin <= search_path.size()) {
    const std::size_t end = std::min(search_path.find(':', begin), search_path.size());
    const std::string folder = search_path.substr(begin, end - begin);
    if (!folder.empty() && folder.front() == '/' && is_program(folder + "/" + name)) {
      return Path(folder) / name;
    }
    begin = end + 1;
  }
  return Error{ErrorCode::not_found, "cannot find the program '" + name + "' on PATH",
               "install it, or add its folder to PATH"};
}

Result<Path> resolve_program(const std::string& name, const Path& directory,
                             const Environment& environment) {
  if (name.find('/') == std::string::npos) {
    const auto path = environment.find("PATH");
    return find_on_path(
        name, path == environment.end() ? "/usr/local/bin:/usr/bin:/bin" : path->second);
  }
  const Path program = directory.empty() ? Path(name) : directory / name;
  if (is_program(program.string())) return program;
  return Error{ErrorCode::not_found, "there is no executable program " + program.string()};
}

// All that the child needs, made before fork(): afterwards it may not allocate.
struct Preparation {
  std::string program;
  std::string directory;
  std::vector<std::string> environment;
  std::vector<char*> argv, envp;
  int niceness = 0;
  long descriptor_limit = 0;
  pid_t parent = 0;
};

Result<Preparation> prepare(const Command& command) {
  if (command.argv.empty()) return Error{ErrorCode::invalid, "the command line is empty"};
  Preparation ready;
  const Environment environment = changed_environment(command);
  REHOOK_ASSIGN_OR_RETURN(const Path program, resolve_program(command.argv.front(),
                                                              command.directory, environment));
  // The child changes its directory first, and `program` already counts from ours.
  std::error_code ignored;
  ready.program = std::filesystem::absolute(program, ignored).string();
  ready.directory = command.directory.string();
  for (const std::string& word : command.argv) {
    ready.argv.push_back(const_cast<char*>(word.c_str()));  // execve() promises not to write
  }
  ready.argv.push_back(nullptr);
  for (const auto& [name, value] : environment) ready.environment.push_back(name + "=" + value);
  for (std::string& entry : ready.environment) ready.envp.push_back(entry.data());
  ready.envp.push_back(nullptr);
  ready.niceness = command.niceness;
  ready.descriptor_limit = std::clamp(::sysconf(_SC_OPEN_MAX), 256L, 1L << 20);
  ready.parent = ::getpid();
  return ready;
}

// What stopped the child before it became the program.
struct Obstacle {
  enum Step : int { k_none, k_directory, k_program };
  int step = k_none;
  int number = 0;
};

// From here to execve() only async-signal-safe calls, because other threads of the parent may
// have held any lock at the time of the fork. Descriptor 3 reports an obstacle and vanishes on
// success.
[[noreturn]] void become(const Preparation& ready, int input, int output, int report) noexcept {
  const auto fail = [](int step) {
    const Obstacle obstacle{step, errno};
    std::ignore = ::write(3, &obstacle, sizeof obstacle);
    ::_exit(127);
  };
  ::setpgid(0, 0);
  ::prctl(PR_SET_PDEATHSIG, SIGTERM);
  if (::getppid() != ready.parent) ::_exit(127);  // died before the line above
  struct sigaction fallback {};
  fallback.sa_handler = SIG_DFL;
  for (int signal = 1; signal < NSIG; ++signal) ::sigaction(signal, &fallback, nullptr);
  ::dup2(input, 0);
  ::dup2(output, 1);
  ::dup2(output, 2);
  ::dup2(report, 3);
  ::fcntl(3, F_SETFD, FD_CLOEXEC);
  if (::syscall(SYS_close_range, 4U, ~0U, 0U) != 0) {
    for (long fd = 4; fd < ready.descriptor_limit; ++fd) ::close(static_cast<int>(fd));
  }
  if (!ready.directory.empty() && ::chdir(ready.directory.c_str()) != 0) {
    fail(Obstacle::k_directory);
  }
  if (ready.niceness != 0) std::ignore = ::nice(ready.niceness);
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  ::execve(ready.program.c_str(), ready.argv.data(), ready.envp.data());
  fail(Obstacle::k_program);
  ::_exit(127);
}

// Blocks every signal of this thread, so that no handler of ours runs in the forked child.
class SignalBlock final {
 public:
  SignalBlock() {
    sigset_t all;
    ::sigfillset(&all);
    ::pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  SignalBlock(const SignalBlock&) = delete;
  SignalBlock& operator=(const SignalBlock&) = delete;
  ~SignalBlock() { ::pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

 private:
  sigset_t before_{};
};

// Waits until the child has become its program, or tells what kept it from that.
Status await_start(const Fd& report, const Command& command, const Preparation& ready) {
  Obstacle obstacle;
  ssize_t size = 0;
  do {
    size = ::read(report.get(), &obstacle, sizeof obstacle);
  } while (size < 0 && errno == EINTR);
  if (size != static_cast<ssize_t>(sizeof obstacle)) return ok_status();
  if (obstacle.step == Obstacle::k_directory) {
    return system_error("cannot run " + command.argv.front() + " in " + ready.directory,
                        obstacle.number);
  }
  return system_error("cannot run " + ready.program, obstacle.number);
}

}  // namespace

Result<LaunchedProgram> launch(const Command& command) {
  REHOOK_ASSIGN_OR_RETURN(const Preparation ready, prepare(command));
  REHOOK_ASSIGN_OR_RETURN(const Fd input,
                          above_standard(::open("/dev/null", O_RDONLY | O_CLOEXEC)));
  REHOOK_ASSIGN_OR_RETURN(Pipe output, make_pipe());
  REHOOK_ASSIGN_OR_RETURN(Pipe report, make_pipe());
  ::fcntl(output.reader.get(), F_SETFL, O_NONBLOCK);
  pid_t pid = -1;
  {
    const SignalBlock block;
    pid = ::fork();
    if (pid == 0) become(ready, input.get(), output.writer.get(), report.writer.get());
  }
  if (pid < 0) return system_error("cannot start " + ready.program, errno);
  output.writer.reset();
  report.writer.reset();
  Status started = await_start(report.reader, command, ready);
  if (!started) {
    std::ignore = ::waitpid(pid, nullptr, 0);  // it has told why, and exits
    return std::move(started).error();
  }
  return LaunchedProgram{pid, std::move(output.reader)};
}

Result<Path> find_program(const std::string& name) {
  return resolve_program(name, {}, changed_environment({}));
}

}  // namespace rehook
