#pragma once

#include <sys/types.h>
#include <unistd.h>

#include <utility>

#include "builder/process.hpp"

namespace rehook {

// Owns a file descriptor.
class Fd final {
 public:
  Fd() = default;
  explicit Fd(int fd) : fd_(fd) {}
  Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Fd& operator=(Fd&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~Fd() { reset(); }
  void reset() {
    if (fd_ >= 0) ::close(std::exchange(fd_, -1));
  }
  int release() { return std::exchange(fd_, -1); }
  [[nodiscard]] int get() const { return fd_; }

 private:
  int fd_ = -1;
};

// A program that has begun to run.
struct LaunchedProgram {
  pid_t pid = -1;
  Fd output;  // its stdout and stderr; reading does not block
};

// fork() and execve(). What kept the child from becoming its program is the error.
[[nodiscard]] Result<LaunchedProgram> launch(const Command& command);

}  // namespace rehook
