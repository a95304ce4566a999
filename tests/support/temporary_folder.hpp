#pragma once

#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <string>
#include <system_error>

#include "shadow_store/base/file_system.hpp"

namespace rehook {

// A folder of its own for one test, removed afterwards.
class TemporaryFolder final {
 public:
  TemporaryFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "rehook-test-XXXXXX").native();
    if (::mkdtemp(name.data()) == nullptr) ADD_FAILURE() << "no temporary folder " << name;
    path_ = name;
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  [[nodiscard]] const Path& path() const { return path_; }
  [[nodiscard]] Path operator/(const Path& name) const { return path_ / name; }

 private:
  Path path_;
};

// Runs `work` in a child process and returns how it ended, as waitpid(2) tells. The child exits
// with what `work` returns, without running destructors: as a crash would.
template <typename Work>
int run_in_child(Work work) {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(work());
  int status = -1;
  if (::waitpid(child, &status, 0) != child) ADD_FAILURE() << "lost the child";
  return status;
}

// For failure messages: what went wrong, or "ok".
template <typename T>
std::string reason(const Result<T>& result) {
  return result.ok() ? "ok" : result.error().message;
}

}  // namespace rehook
