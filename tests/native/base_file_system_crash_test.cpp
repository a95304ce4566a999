// Kills a process before each of the system calls that a write consists of, one after the
// other.
#include <gtest/gtest.h>
#include <sys/syscall.h>

#include <algorithm>
#include <cstdint>
#include <fstream>
#include <functional>
#include <string>
#include <tuple>
#include <vector>

#include "shadow_store/base/file_system.hpp"
#include "shadow_store/base/temporary_name.hpp"
#include "tests/support/temporary_folder.hpp"
#include "tests/support/traced_child.hpp"

namespace rehook {
namespace {

// Runs `work` in a child that is killed when it is about to make its system call number
// `index`. The numbers of the calls before that are left in `made`.
Ended run_until_call(int index, std::vector<std::uint64_t>& made,
                     const std::function<void()>& work) {
  made.clear();
  const auto count = [&](std::uint64_t call) {
    if (static_cast<int>(made.size()) == index) return Then::kill;
    made.push_back(call);
    return Then::go_on;
  };
  return run_traced(
             [&] {
               work();
               return 0;
             },
             count)
      .ended;
}

std::string text_of(const Path& path) {
  const Result<std::string> text = posix_file_system().read(path);
  return text.ok() ? text.value() : "(missing)";
}

// Everything in the folder except `expected` is a temporary file that names its dead owner.
void expect_only_orphans_beside(const Path& folder, const std::vector<std::string>& expected) {
  const Result<std::vector<std::string>> names = posix_file_system().list(folder);
  ASSERT_TRUE(names.ok());
  for (const std::string& name : names.value()) {
    if (std::find(expected.begin(), expected.end(), name) == expected.end()) {
      EXPECT_TRUE(is_orphan(name)) << name;
    }
  }
}

constexpr int k_more_calls_than_any = 200;
constexpr int k_never = -1;

// The calls among `made` that decide what a power cut leaves, in order: "sync name sync".
std::string durable_steps(const std::vector<std::uint64_t>& made) {
  std::string steps;
  for (const std::uint64_t call : made) {
    bool names = call == SYS_renameat2 || call == SYS_renameat || call == SYS_linkat;
#ifdef SYS_rename  // not on newer architectures
    names = names || call == SYS_rename || call == SYS_link;
#endif
    if (names) steps += "name ";
    if (call == SYS_fsync) steps += "sync ";
  }
  return steps;
}

TEST(FileSystemCrash, ContentIsOnDiskBeforeItsNameAndTheNameBeforeReturning) {
  const TemporaryFolder folder;
  std::vector<std::uint64_t> made;
  std::ofstream(folder / "source") << "content";
  const Ended ended = run_until_call(k_never, made, [&] {
    std::ignore = posix_file_system().write_atomic(folder / "file", "new");
  });
  if (ended == Ended::cannot_trace) GTEST_SKIP() << "tracing is forbidden here";
  EXPECT_EQ(durable_steps(made), "sync name sync ");
  run_until_call(k_never, made, [&] {
    std::ignore = posix_file_system().publish_copy(folder / "source", folder / "other", 0500);
  });
  EXPECT_EQ(durable_steps(made), "sync name sync ");
}

TEST(FileSystemCrash, WriteAtomicLeavesTheOldTextOrTheNew) {
  int old_seen = 0;
  int new_seen = 0;
  int index = 0;
  std::vector<std::uint64_t> made;
  for (Ended ended = Ended::killed; ended == Ended::killed; ++index) {
    ASSERT_LT(index, k_more_calls_than_any);
    const TemporaryFolder folder;
    std::ofstream(folder / "file") << "old";
    ended = run_until_call(index, made, [&] {
      std::ignore = posix_file_system().write_atomic(folder / "file", "new");
    });
    if (ended == Ended::cannot_trace) GTEST_SKIP() << "tracing is forbidden here";
    const std::string text = text_of(folder / "file");
    EXPECT_TRUE(text == "old" || text == "new")
        << "killed before call " << index << ": " << text;
    ++(text == "old" ? old_seen : new_seen);
    expect_only_orphans_beside(folder.path(), {"file"});
  }
  EXPECT_GE(old_seen, 4);  // before open, write, fsync and rename at least
  EXPECT_GE(new_seen, 2);  // between rename and the end
}

TEST(FileSystemCrash, PublishCopyLeavesNothingOrTheWholeFile) {
  const std::string whole(200000, 'x');
  int missing_seen = 0;
  int whole_seen = 0;
  int index = 0;
  std::vector<std::uint64_t> made;
  for (Ended ended = Ended::killed; ended == Ended::killed; ++index) {
    ASSERT_LT(index, k_more_calls_than_any);
    const TemporaryFolder folder;
    std::ofstream(folder / "source") << whole;
    ended = run_until_call(index, made, [&] {
      std::ignore = posix_file_system().publish_copy(folder / "source", folder / "file", 0500);
    });
    if (ended == Ended::cannot_trace) GTEST_SKIP() << "tracing is forbidden here";
    const std::string text = text_of(folder / "file");
    EXPECT_TRUE(text == "(missing)" || text == whole) << "killed before call " << index;
    ++(text == whole ? whole_seen : missing_seen);
    if (text == whole) {
      EXPECT_EQ(posix_file_system().stat(folder / "file")->mode & 07777U, 0500U);
    }
    expect_only_orphans_beside(folder.path(), {"file", "source"});
  }
  EXPECT_GE(missing_seen, 5);
  EXPECT_GE(whole_seen, 3);
}

}  // namespace
}  // namespace rehook
