#include "hook/thread_gate.hpp"

#include <unistd.h>

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <tuple>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#if PY_VERSION_HEX >= 0x030D0000
// Exported, but declared for the interpreter's own modules only (internal/pycore_ceval.h).
extern "C" PyAPI_FUNC(int)
    _PyEval_SetProfile(PyThreadState* thread, Py_tracefunc function, PyObject* argument);
#endif

namespace rehook {
namespace {

using Clock = std::chrono::steady_clock;

constexpr const char* k_capsule = "rehook.thread_gate";
constexpr std::chrono::milliseconds k_between_looks{1};
// Threads that compute would each keep the GIL for 5 ms, and those that are inside would be
// long in coming out.
constexpr double k_quick_switches = 0.0001;
constexpr int k_resumable =
    CO_GENERATOR | CO_COROUTINE | CO_ITERABLE_COROUTINE | CO_ASYNC_GENERATOR;

enum class Phase { closing, closed, open };

int on_event(PyObject* capsule, PyFrameObject* frame, int what, PyObject* argument);

// The other threads of this interpreter. The list stays as it is while no Python code runs.
template <typename Visit>
void for_each_other_thread(Visit visit) {
  PyThreadState* const self = PyThreadState_Get();
  PyThreadState* thread = PyInterpreterState_ThreadHead(PyThreadState_GetInterpreter(self));
  for (; thread != nullptr; thread = PyThreadState_Next(thread)) {
    if (thread != self) visit(thread);
  }
}

// Not in a scope that looks at threads: an audit hook may run Python code here.
void set_profile(PyThreadState* thread, PyObject* capsule) {
  SavedError pending = SavedError::take();
  _PyEval_SetProfile(thread, capsule == nullptr ? nullptr : &on_event, capsule);
  PyErr_Clear();  // an audit hook may refuse
  if (pending) std::move(pending).restore();
}

// Calls sys.getswitchinterval() or sys.setswitchinterval(seconds); the functions in C are not
// exported by every version.
double switch_interval(const char* function, PyObject* seconds = nullptr) {
  PyObject* const callee = PySys_GetObject(function);  // borrowed
  if (callee == nullptr) return 0;
  const Ref result = Ref::steal(PyObject_CallFunctionObjArgs(callee, seconds, nullptr));
  const double value =
      result && PyFloat_Check(result.get()) ? PyFloat_AsDouble(result.get()) : 0;
  PyErr_Clear();
  return value;
}

void set_switch_interval(double seconds) {
  // The interpreter keeps whole microseconds, and cuts off.
  const Ref value = Ref::steal(PyFloat_FromDouble(seconds + 0.5e-6));
  if (value) switch_interval("setswitchinterval", value.get());
  PyErr_Clear();
}

// Looking at another thread makes frame objects, and 3.11 may collect garbage whenever an
// object is made: finalizers would run, and other threads go on, in the middle of the look.
class NoCollection final {
 public:
  NoCollection() : was_enabled_(PyGC_Disable()) {}
  ~NoCollection() {
    if (was_enabled_ != 0) PyGC_Enable();
  }
  NoCollection(const NoCollection&) = delete;
  NoCollection& operator=(const NoCollection&) = delete;

 private:
  int was_enabled_;
};

}  // namespace

// Whoever comes last destroys it. The members above the mutex are used with the GIL held.
struct GateState final : std::enable_shared_from_this<GateState> {
  explicit GateState(const std::vector<Ref>& names) : file_names(names) {}

  [[nodiscard]] bool is_forked() const { return getpid() != process; }
  [[nodiscard]] bool concerns(PyFrameObject* frame);
  [[nodiscard]] bool is_inside(Ref frame);
  [[nodiscard]] bool stops(PyFrameObject* frame, int what);
  [[nodiscard]] std::size_t count_inside();
  void give_profile(PyObject* capsule);
  void take_profile(PyObject* capsule);
  void wait_for_a_stop(Clock::time_point until);
  void wait_until_open();
  void make_switches_quick();
  void restore_switch_interval();
  void enter(Phase next);

  const std::vector<Ref> file_names;
  const pid_t process = getpid();
  Clock::time_point deadline;  // of every stop
  // co_filename -> (kept alive, is one of ours)
  std::unordered_map<PyObject*, std::pair<Ref, bool>> verdicts;
  std::unordered_set<std::uint64_t> given;    // threads that got the profile function, once
  std::unordered_set<std::uint64_t> stopped;  // threads that wait here
  std::unordered_set<std::uint64_t> early;    // threads that went on before open()
  double interval_before = 0;                 // 0: not changed

  std::mutex mutex;
  std::condition_variable opened, stopped_one;
  Phase phase = Phase::closing;  // changed with the GIL and the mutex, read with either
  unsigned long stops_made = 0, stops_seen = 0;
};

bool GateState::concerns(PyFrameObject* frame) {
  const Ref code = Ref::steal(reinterpret_cast<PyObject*>(PyFrame_GetCode(frame)));
  PyObject* const name = reinterpret_cast<PyCodeObject*>(code.get())->co_filename;
  if (const auto known = verdicts.find(name); known != verdicts.end()) {
    return known->second.second;
  }
  const bool is_one = std::any_of(file_names.begin(), file_names.end(), [&](const Ref& ours) {
    return ours.get() == name || PyUnicode_Compare(ours.get(), name) == 0;
  });
  verdicts.emplace(name, std::pair(Ref::borrow(name), is_one));
  return is_one;
}

bool GateState::is_inside(Ref frame) {
  while (frame) {
    auto* const current = reinterpret_cast<PyFrameObject*>(frame.get());
    if (concerns(current)) return true;
    frame = Ref::steal(reinterpret_cast<PyObject*>(PyFrame_GetBack(current)));
  }
  return false;
}

// Whether the calling thread is to wait at this event.
bool GateState::stops(PyFrameObject* frame, int what) {
  if (phase == Phase::open || !concerns(frame)) return false;
  const Ref code = Ref::steal(reinterpret_cast<PyObject*>(PyFrame_GetCode(frame)));
  const int flags = reinterpret_cast<PyCodeObject*>(code.get())->co_flags;
  // The body of a module: its thread holds the import lock, which the reload may want.
  if ((flags & CO_NEWLOCALS) == 0) return false;
  // A generator's code is chosen when it is made. Where it yields, 3.11 counts it as suspended
  // already, so that another thread could resume it while this one waits.
  const bool is_resumable = (flags & k_resumable) != 0;
  const bool here =
      what == PyTrace_CALL ? is_resumable || phase == Phase::closed : !is_resumable;
  return here && !is_inside(Ref::steal(reinterpret_cast<PyObject*>(PyFrame_GetBack(frame))));
}

std::size_t GateState::count_inside() {
  const NoCollection no_collection;
  std::size_t count = 0;
  for_each_other_thread([&](PyThreadState* thread) {
    if (stopped.count(PyThreadState_GetID(thread)) != 0) return;
    if (is_inside(Ref::steal(reinterpret_cast<PyObject*>(PyThreadState_GetFrame(thread))))) {
      ++count;
    }
  });
  return count;
}

// Gives the profile function to threads without one. An audit hook may let threads begin and
// end whenever one is set, so the list is read anew each time.
void GateState::give_profile(PyObject* capsule) {
  while (true) {
    PyThreadState* next = nullptr;
    for_each_other_thread([&](PyThreadState* thread) {
      const bool is_free = thread->c_profilefunc == nullptr;
      if (is_free && given.count(PyThreadState_GetID(thread)) == 0) next = thread;
    });
    if (next == nullptr) return;
    given.insert(PyThreadState_GetID(next));
    set_profile(next, capsule);  // when that is refused, the thread is only looked at
  }
}

void GateState::take_profile(PyObject* capsule) {
  while (!given.empty()) {
    PyThreadState* next = nullptr;
    for_each_other_thread([&](PyThreadState* thread) {
      const bool has_it = thread->c_profilefunc == &on_event && thread->c_profileobj == capsule;
      if (has_it && given.count(PyThreadState_GetID(thread)) != 0) next = thread;
    });
    if (next == nullptr) break;
    given.erase(PyThreadState_GetID(next));
    set_profile(next, nullptr);
  }
  const bool all_had_it = given.empty();
  given.clear();
  // Since 3.12 the interpreter decides whether events are made when a profile function is set
  // or removed, not when a thread that had one ends.
  PyThreadState* const self = PyThreadState_Get();
  if (!all_had_it && self->c_profilefunc == nullptr) set_profile(self, nullptr);
}

// Taking the GIL ends a daemon thread when the interpreter is finalized: it unwinds the stack
// from here. So no scope with a destructor that needs the GIL is open, and nothing is noexcept.
void GateState::wait_for_a_stop(Clock::time_point until) {
  until = std::min(until, Clock::now() + k_between_looks);
  PyThreadState* const self = PyEval_SaveThread();
  {
    std::unique_lock lock(mutex);
    stopped_one.wait_until(lock, until, [&] { return stops_made != stops_seen; });
    stops_seen = stops_made;
  }
  PyEval_RestoreThread(self);
}

void GateState::wait_until_open() {
  const std::uint64_t id = PyThreadState_GetID(PyThreadState_Get());
  bool in_time = false;
  stopped.insert(id);
  PyThreadState* const self = PyEval_SaveThread();
  {
    std::unique_lock lock(mutex);
    ++stops_made;
    stopped_one.notify_one();
    in_time = opened.wait_until(lock, deadline, [&] { return phase == Phase::open; });
  }
  PyEval_RestoreThread(self);  // see wait_for_a_stop()
  stopped.erase(id);
  if (!in_time) early.insert(id);
}

void GateState::make_switches_quick() {
  if (interval_before > 0) return;
  const double now = switch_interval("getswitchinterval");
  if (now <= k_quick_switches) return;
  interval_before = now;
  set_switch_interval(k_quick_switches);
}

void GateState::restore_switch_interval() {
  if (interval_before <= 0) return;
  SavedError pending = SavedError::take();
  // Somebody else may have set another one meanwhile.
  const double now = switch_interval("getswitchinterval");
  if (now < k_quick_switches * 1.01) set_switch_interval(interval_before);
  interval_before = 0;
  if (pending) std::move(pending).restore();
}

void GateState::enter(Phase next) {
  if (is_forked()) return;  // see destroy()
  const std::lock_guard lock(mutex);
  phase = next;
  opened.notify_all();
}

namespace {

// In a forked child the mutex may be locked for ever, and the condition variables wait for
// threads that are not there; without the GIL (see wait_for_a_stop()) no reference can be given
// up. In both cases the memory is left alone.
void destroy(GateState* state) {
  if (!state->is_forked() && PyGILState_Check() != 0) delete state;
}

using Share = std::shared_ptr<GateState>;

void drop_share(PyObject* capsule) {
  delete static_cast<Share*>(PyCapsule_GetContext(capsule));
}

int on_event(PyObject* capsule, PyFrameObject* frame, int what, PyObject* /*argument*/) {
  if (what != PyTrace_CALL && what != PyTrace_RETURN) return 0;
  auto* const state = static_cast<GateState*>(PyCapsule_GetPointer(capsule, k_capsule));
  if (state->is_forked()) {
    // The thread that forked went on in a child in which nobody will open.
    state->restore_switch_interval();
    set_profile(PyThreadState_Get(), nullptr);
  } else if (state->stops(frame, what)) {
    // On the heap: see wait_for_a_stop(). open() takes the capsule away while we wait.
    auto* const share = new Share(state->shared_from_this());
    state->wait_until_open();
    delete share;
  }
  return 0;
}

}  // namespace

ThreadGate::ThreadGate(std::vector<Ref> file_names, std::chrono::milliseconds longest_stop)
    : file_names_(std::move(file_names)), longest_stop_(longest_stop) {}

ThreadGate::~ThreadGate() {
  if (PyGILState_Check() != 0) {
    open();
    return;
  }
  // See wait_for_a_stop(): the process ends.
  for (Ref& name : file_names_) std::ignore = name.release();
  std::ignore = capsule_.release();
}

std::size_t ThreadGate::close(std::chrono::milliseconds limit) {
  open();
  std::size_t others = 0;
  for_each_other_thread([&](PyThreadState* /*thread*/) { ++others; });
  if (others == 0) return 0;

  state_ = Share(new GateState(file_names_), &destroy);
  const Clock::time_point until = Clock::now() + limit;
  state_->deadline = until + longest_stop_;
  capsule_ = Ref::steal(PyCapsule_New(state_.get(), k_capsule, &drop_share));
  if (capsule_) PyCapsule_SetContext(capsule_.get(), new Share(state_));
  PyErr_Clear();
  std::size_t inside = 0;
  while (true) {
    if (capsule_) state_->give_profile(capsule_.get());
    inside = state_->count_inside();
    if (inside == 0 || Clock::now() >= until) break;
    state_->make_switches_quick();
    state_->wait_for_a_stop(until);
  }
  state_->restore_switch_interval();
  state_->enter(Phase::closed);
  return inside;
}

std::size_t ThreadGate::open() {
  if (!state_) return 0;
  const Share state = std::exchange(state_, nullptr);
  const Ref capsule = std::exchange(capsule_, Ref());
  state->restore_switch_interval();
  state->enter(Phase::open);
  if (capsule) state->take_profile(capsule.get());
  return state->early.size();
}

}  // namespace rehook
