#include "shadow_store/base/file_lock.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <optional>
#include <thread>
#include <vector>

#include "tests/support/temporary_folder.hpp"
#include "tests/support/traced_child.hpp"

namespace rehook {
namespace {

using std::chrono::milliseconds;

ErrorCode code_of(const Result<FileLock>& lock) {
  return lock.ok() ? ErrorCode::invalid : lock.error().code;
}

class FileLockTest : public testing::Test {
 protected:
  [[nodiscard]] Result<FileLock> take(LockKind kind) const {
    return FileLock::try_acquire(path_, kind);
  }
  TemporaryFolder folder_;
  Path path_ = folder_ / "lock";
};

TEST_F(FileLockTest, ExcludesEverybodyElseInTheSameProcess) {
  const Result<FileLock> held = take(LockKind::exclusive);
  ASSERT_TRUE(held.ok()) << reason(held);
  EXPECT_EQ(code_of(take(LockKind::exclusive)), ErrorCode::busy);
  EXPECT_EQ(code_of(take(LockKind::shared)), ErrorCode::busy);
  EXPECT_NE(take(LockKind::shared).error().message.find(path_.native()), std::string::npos);
}

TEST_F(FileLockTest, SharedOnesExcludeOnlyAnExclusiveOne) {
  const Result<FileLock> first = take(LockKind::shared);
  const Result<FileLock> second = take(LockKind::shared);
  ASSERT_TRUE(first.ok() && second.ok());
  EXPECT_EQ(code_of(take(LockKind::exclusive)), ErrorCode::busy);
}

TEST_F(FileLockTest, EndsWithItsObjectAndMovesWithIt) {
  std::optional<FileLock> kept;
  {
    Result<FileLock> held = take(LockKind::exclusive);
    ASSERT_TRUE(held.ok());
    kept = std::move(held).value();
  }
  EXPECT_EQ(code_of(take(LockKind::exclusive)), ErrorCode::busy);
  kept.reset();
  EXPECT_TRUE(take(LockKind::exclusive).ok());
  EXPECT_TRUE(std::filesystem::exists(path_));
}

TEST_F(FileLockTest, AssigningGivesTheOldOneBack) {
  Result<FileLock> first = take(LockKind::exclusive);
  Result<FileLock> second = FileLock::try_acquire(folder_ / "other", LockKind::exclusive);
  ASSERT_TRUE(first.ok() && second.ok());
  *first = std::move(second).value();
  EXPECT_TRUE(take(LockKind::exclusive).ok());
  EXPECT_EQ(code_of(FileLock::try_acquire(folder_ / "other", LockKind::shared)),
            ErrorCode::busy);
}

TEST_F(FileLockTest, ThreadsCountExactly) {
  std::atomic<int> counter{0};  // read and written apart: only the lock keeps the sum right
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int k = 0; k < 5; ++k) {
        const Result<FileLock> lock =
            FileLock::acquire(path_, LockKind::exclusive, milliseconds(20000), {});
        ASSERT_TRUE(lock.ok()) << reason(lock);
        const int seen = counter.load();
        std::this_thread::yield();
        counter.store(seen + 1);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(counter, 20);
}

TEST_F(FileLockTest, VanishesWithAKilledProcess) {
  int ready[2];
  ASSERT_EQ(::pipe(ready), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    const Result<FileLock> lock = take(LockKind::exclusive);
    const char byte = lock.ok() ? 'y' : 'n';
    if (::write(ready[1], &byte, 1) != 1) ::_exit(1);
    while (true) ::pause();
  }
  char byte = 0;
  ASSERT_EQ(::read(ready[0], &byte, 1), 1);
  ASSERT_EQ(byte, 'y');
  EXPECT_EQ(code_of(take(LockKind::exclusive)), ErrorCode::busy);
  ::kill(child, SIGKILL);
  ASSERT_EQ(::waitpid(child, nullptr, 0), child);
  EXPECT_TRUE(take(LockKind::exclusive).ok());
  ::close(ready[0]);
  ::close(ready[1]);
}

TEST_F(FileLockTest, AForkedChildDoesNotKeepWhatTheParentGivesBack) {
  std::optional<Result<FileLock>> held = take(LockKind::exclusive);
  ASSERT_TRUE(held->ok());
  const pid_t child = ::fork();
  if (child == 0) {
    while (true) ::pause();
  }
  held.reset();
  EXPECT_TRUE(take(LockKind::exclusive).ok());
  ::kill(child, SIGKILL);
  ASSERT_EQ(::waitpid(child, nullptr, 0), child);
}

TEST_F(FileLockTest, AForkedChildCannotGiveBackWhatTheParentHolds) {
  std::optional<Result<FileLock>> held = take(LockKind::exclusive);
  ASSERT_TRUE(held->ok());
  run_in_child([&] {
    held.reset();
    return 0;
  });
  EXPECT_EQ(code_of(take(LockKind::exclusive)), ErrorCode::busy);
}

TEST_F(FileLockTest, IsNotInheritedByPrograms) {
  const Result<FileLock> held = take(LockKind::exclusive);
  ASSERT_TRUE(held.ok());
  int found = 0;
  for (int fd = 3; fd < 256; ++fd) {
    std::error_code error;
    const Path target =
        std::filesystem::read_symlink("/proc/self/fd/" + std::to_string(fd), error);
    if (error || target != path_) continue;
    ++found;
    EXPECT_NE(::fcntl(fd, F_GETFD) & FD_CLOEXEC, 0);
  }
  EXPECT_EQ(found, 1);
}

TEST_F(FileLockTest, WaitingReportsAndEndsBusyAfterTheTimeout) {
  const Result<FileLock> held = take(LockKind::exclusive);
  ASSERT_TRUE(held.ok());
  std::vector<milliseconds> reports;
  const auto start = std::chrono::steady_clock::now();
  const Result<FileLock> lock =
      FileLock::acquire(path_, LockKind::shared, milliseconds(180), [&](milliseconds waited) {
        reports.push_back(waited);
        return true;
      });
  EXPECT_EQ(code_of(lock), ErrorCode::busy);
  EXPECT_GE(std::chrono::steady_clock::now() - start, milliseconds(180));
  ASSERT_FALSE(reports.empty());
  EXPECT_LE(reports.size(), 3U);  // about every 50 ms, not at each attempt
  EXPECT_GE(reports.front(), milliseconds(50));
  EXPECT_FALSE(lock.error().hint.empty());
}

TEST_F(FileLockTest, WaitingCanBeCanceled) {
  const Result<FileLock> held = take(LockKind::exclusive);
  ASSERT_TRUE(held.ok());
  const Result<FileLock> lock = FileLock::acquire(
      path_, LockKind::exclusive, milliseconds(60000), [](milliseconds) { return false; });
  EXPECT_EQ(code_of(lock), ErrorCode::canceled);
}

TEST_F(FileLockTest, WaitingEndsWhenTheHolderLetsGo) {
  std::optional<Result<FileLock>> held = take(LockKind::exclusive);
  ASSERT_TRUE(held->ok());
  const Result<FileLock> lock =
      FileLock::acquire(path_, LockKind::exclusive, milliseconds(60000), [&](milliseconds) {
        held.reset();
        return true;
      });
  EXPECT_TRUE(lock.ok()) << reason(lock);
}

// A lock on a file that was removed between open(2) and flock(2) would exclude nobody.
TEST_F(FileLockTest, HoldsTheFileThatIsAtThePath) {
  int removed = 0;
  const TracedChild child = run_traced(
      [&] {
        const Result<FileLock> held = take(LockKind::exclusive);
        return held.ok() && code_of(take(LockKind::exclusive)) == ErrorCode::busy ? 0 : 1;
      },
      [&](std::uint64_t call) {
        if (call == SYS_flock && removed == 0)
          removed += std::filesystem::remove(path_) ? 1 : 0;
        return Then::go_on;
      });
  if (child.ended == Ended::cannot_trace) GTEST_SKIP() << "tracing is forbidden here";
  EXPECT_EQ(removed, 1);
  EXPECT_EQ(child.exit_code, 0);
}

TEST_F(FileLockTest, NoFolderIsNotFound) {
  EXPECT_EQ(code_of(FileLock::try_acquire(folder_ / "no" / "lock", LockKind::shared)),
            ErrorCode::not_found);
}

}  // namespace
}  // namespace rehook
