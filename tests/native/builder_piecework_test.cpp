#include "builder/piecework.hpp"

#include <gtest/gtest.h>
#include <pthread.h>

#include <atomic>
#include <csignal>
#include <mutex>
#include <set>
#include <thread>
#include <vector>

namespace rehook {
namespace {

TEST(Piecework, EveryNumberIsWorkedOnOnce) {
  for (const std::size_t count : {0U, 1U, 63U, 64U, 65U, 1000U, 100'000U}) {
    std::vector<std::atomic<int>> times(count);
    for_each_number(count, 10, [&](std::size_t i) { ++times[i]; });
    for (std::size_t i = 0; i < count; ++i) ASSERT_EQ(times[i], 1) << i << " of " << count;
  }
}

TEST(Piecework, LittleWorkStaysWithTheCaller) {
  std::mutex mutex;
  std::set<std::thread::id> workers;
  for_each_number(1999, 1000, [&](std::size_t) {
    const std::lock_guard lock(mutex);
    workers.insert(std::this_thread::get_id());
  });
  EXPECT_EQ(workers, std::set{std::this_thread::get_id()});
}

TEST(Piecework, SignalsAreForTheThreadsOfTheProgram) {
  const std::thread::id caller = std::this_thread::get_id();
  std::atomic<int> wrong = 0;
  for_each_number(10'000, 10, [&](std::size_t) {
    sigset_t mask;
    pthread_sigmask(SIG_SETMASK, nullptr, &mask);
    const bool is_blocked = sigismember(&mask, SIGINT) == 1;
    if (is_blocked == (std::this_thread::get_id() == caller)) ++wrong;
  });
  EXPECT_EQ(wrong, 0);
}

}  // namespace
}  // namespace rehook
