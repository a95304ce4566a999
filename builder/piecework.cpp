#include "builder/piecework.hpp"

#include <pthread.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <csignal>
#include <thread>

namespace rehook {
namespace {

constexpr std::size_t k_piece = 64;       // numbers that a thread takes at once
constexpr std::size_t k_max_helpers = 7;  // more only wait for each other in the kernel

struct Job {
  std::size_t count = 0;
  const std::function<void(std::size_t)>* work = nullptr;
  std::atomic<std::size_t> next = 0;

  void run() {
    while (true) {
      const std::size_t begin = next.fetch_add(k_piece, std::memory_order_relaxed);
      if (begin >= count) return;
      const std::size_t end = std::min(begin + k_piece, count);
      for (std::size_t i = begin; i < end; ++i) (*work)(i);
    }
  }
};

void* help(void* job) {
  static_cast<Job*>(job)->run();
  return nullptr;
}

std::size_t helpers_for(std::size_t count, std::size_t worth_a_thread) {
  const std::size_t wanted = count / std::max<std::size_t>(worth_a_thread, 1);
  if (wanted <= 1) return 0;
  const std::size_t processors = std::max(1U, std::thread::hardware_concurrency());
  return std::min({wanted - 1, processors - 1, k_max_helpers});
}

}  // namespace

void for_each_number(std::size_t count, std::size_t worth_a_thread,
                     const std::function<void(std::size_t)>& work) {
  Job job;
  job.count = count;
  job.work = &work;
  std::array<pthread_t, k_max_helpers> helpers{};
  const std::size_t wanted = helpers_for(count, worth_a_thread);
  std::size_t started = 0;
  if (wanted > 0) {
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);  // new threads inherit it
    // Not std::thread, which throws: where no thread is to be had, the caller works alone.
    while (started < wanted && pthread_create(&helpers[started], nullptr, &help, &job) == 0) {
      ++started;
    }
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
  }
  job.run();
  for (std::size_t i = 0; i < started; ++i) pthread_join(helpers[i], nullptr);
}

}  // namespace rehook
