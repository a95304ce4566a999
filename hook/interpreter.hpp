#pragma once

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "shadow_store/base/result.hpp"

namespace rehook {

// An owned reference to a Python object, or null. All of it needs the GIL.
class Ref final {
 public:
  Ref() = default;
  Ref(const Ref& other) : object_(other.object_) { Py_XINCREF(object_); }
  Ref(Ref&& other) noexcept : object_(std::exchange(other.object_, nullptr)) {}
  Ref& operator=(Ref other) noexcept {
    std::swap(object_, other.object_);
    return *this;
  }
  ~Ref() { Py_XDECREF(object_); }

  static Ref steal(PyObject* object) {
    Ref ref;
    ref.object_ = object;
    return ref;
  }
  static Ref borrow(PyObject* object) {
    Py_XINCREF(object);
    return steal(object);
  }

  [[nodiscard]] PyObject* get() const { return object_; }
  [[nodiscard]] PyObject* release() { return std::exchange(object_, nullptr); }
  explicit operator bool() const { return object_ != nullptr; }

 private:
  PyObject* object_ = nullptr;
};

// Lets other Python threads run while this scope does work without Python objects.
class GilRelease final {
 public:
  GilRelease() : state_(PyEval_SaveThread()) {}
  ~GilRelease() { PyEval_RestoreThread(state_); }
  GilRelease(const GilRelease&) = delete;
  GilRelease& operator=(const GilRelease&) = delete;

 private:
  PyThreadState* state_;
};

class GilAcquire final {
 public:
  GilAcquire() : state_(PyGILState_Ensure()) {}
  ~GilAcquire() { PyGILState_Release(state_); }
  GilAcquire(const GilAcquire&) = delete;
  GilAcquire& operator=(const GilAcquire&) = delete;

 private:
  PyGILState_STATE state_;
};

// A Python exception taken out of the interpreter, to be raised again or attached as a cause.
class SavedError final {
 public:
  SavedError() = default;
  // Takes the current exception (normalised, with its traceback); null when none is set.
  static SavedError take();
  // Makes it the current exception again.
  void restore() &&;
  [[nodiscard]] PyObject* value() const { return value_.get(); }
  explicit operator bool() const { return static_cast<bool>(value_); }
  // "ImportError: no such thing", one line.
  [[nodiscard]] std::string text() const;

 private:
  Ref value_;
};

// UTF-8 with surrogateescape, so that any path survives.
[[nodiscard]] std::string to_string(PyObject* text);
[[nodiscard]] Ref from_string(std::string_view text);
// A str attribute, or "" when it is missing or something else. Clears the exception.
[[nodiscard]] std::string string_attribute(PyObject* object, const char* name);
// An attribute or null, never an exception.
[[nodiscard]] Ref optional_attribute(PyObject* object, const char* name);
// sys.modules[name] or null (borrowed content, own reference), never an exception.
[[nodiscard]] Ref loaded_module(const std::string& name);
[[nodiscard]] Ref sys_modules();
// Calls module.function(*arguments); an Error of `code` with the exception's text on failure.
[[nodiscard]] Ref call(const char* module, const char* function,
                       std::initializer_list<PyObject*> arguments);

// Gives up the import system's global lock for a scope, however often this thread holds it.
// Finders are called with it (importlib._bootstrap._find_spec); a build or a wait must not keep
// other threads from importing, nor deadlock with one that imports while it holds what we wait
// for.
class ImportLockRelease final {
 public:
  ImportLockRelease();
  ~ImportLockRelease();
  ImportLockRelease(const ImportLockRelease&) = delete;
  ImportLockRelease& operator=(const ImportLockRelease&) = delete;

 private:
  int depth_ = 0;
};

// The import system's lock of one module name (importlib._bootstrap._ModuleLock), held for a
// scope, so that other threads' imports of that name wait for us instead of seeing a half-made
// module.
class ImportLock final {
 public:
  ImportLock() = default;
  ImportLock(ImportLock&& other) noexcept : lock_(std::exchange(other.lock_, Ref())) {}
  ImportLock& operator=(ImportLock&&) = delete;
  ~ImportLock();
  // Null lock (and a clear error state) when the interpreter has no such thing.
  static ImportLock acquire(const std::string& module);

 private:
  Ref lock_;
};

}  // namespace rehook
