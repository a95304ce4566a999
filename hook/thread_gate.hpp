#pragma once

#include <chrono>
#include <cstddef>
#include <memory>
#include <vector>

#include "hook/interpreter.hpp"

namespace rehook {

struct GateState;  // what the gate and the threads that it stops share

// Lets a reload exchange the code of some files while no other Python thread is in the middle
// of a call into them, so that no call runs half in the old code and half in the new.
//
//   ThreadGate gate(file_names);
//   const std::size_t inside = gate.close(100ms);
//   ...                                // exchange the code
//   const std::size_t early = gate.open();
//
// A thread is inside from the moment when it enters a Python frame of these files until no
// frame of them is on its stack; a generator, coroutine or greenlet that is suspended is on
// none. While close() waits, each thread goes on until it leaves the files, and stops there: at
// the return of its outermost call into them, or where it next resumes a generator of theirs.
// It is not stopped where it enters, because a call that has begun has chosen its code already,
// and would run the old one among new globals. Once close() has returned, threads that come
// from outside are stopped where they enter; this can only happen when the exchange gives up
// the GIL.
//
// A thread is stopped by a profile function (PyEval_SetProfile) and waits without the GIL. Not
// stopped, only looked at: threads with a profile function of their own, those that start after
// close() has returned, and those that import one of the files for the first time (they hold
// its import lock). Nothing is set when there is no other thread. All of it needs the GIL.
class ThreadGate final {
 public:
  // Code belongs to the files when its co_filename is one of these str. No thread is stopped
  // for longer than `longest_stop` after the limit of close(), so that a lock which it holds
  // and the exchange needs cannot block both for ever.
  explicit ThreadGate(std::vector<Ref> file_names,
                      std::chrono::milliseconds longest_stop = std::chrono::seconds(5));
  ~ThreadGate();  // opens
  ThreadGate(const ThreadGate&) = delete;
  ThreadGate& operator=(const ThreadGate&) = delete;

  // Waits, with the GIL released in between, until no other thread is inside or the limit has
  // passed. How many are inside still; that number holds as long as the GIL is kept.
  [[nodiscard]] std::size_t close(std::chrono::milliseconds limit);
  // Everybody goes on, and no profile function of ours is left. How many threads had gone on
  // before, since they had been stopped for too long. Does nothing when not closed.
  std::size_t open();

 private:
  std::vector<Ref> file_names_;
  std::chrono::milliseconds longest_stop_;
  std::shared_ptr<GateState> state_;  // null when open
  Ref capsule_;                       // of state_: what the profile function is given
};

}  // namespace rehook
