#pragma once

#include <utility>
#include <vector>

#include "pybind11_classes.hpp"

// Words that a transaction changes, and references it holds, so that it can be undone exactly.

namespace rehook_bridge {

// Pointers in other people's structures. add() notes what to do, apply() and undo() do it.
class Writes {
 public:
  template <typename T>
  void add(T** slot, T* after) {
    list_.push_back({reinterpret_cast<void**>(slot), reinterpret_cast<void*>(*slot),
                     reinterpret_cast<void*>(after)});
  }
  void apply() noexcept {
    for (const Write& write : list_) *write.slot = write.after;
  }
  // Backwards: a slot may be noted twice.
  void undo() noexcept {
    for (auto write = list_.rbegin(); write != list_.rend(); ++write) {
      *write->slot = write->before;
    }
  }
  void clear() noexcept { list_.clear(); }

 private:
  struct Write {
    void **slot, *before, *after;
  };
  std::vector<Write> list_;
};

// References of a plan, dropped when it ends.
class References {
 public:
  References() = default;
  References(const References&) = delete;
  References& operator=(const References&) = delete;
  ~References() { clear(); }

  // Takes over a new reference; null is allowed.
  PyObject* steal(PyObject* object) {
    if (object != nullptr) list_.push_back(object);
    return object;
  }
  PyObject* hold(PyObject* object) {
    list_.reserve(list_.size() + 1);
    Py_XINCREF(object);
    return steal(object);
  }
  void clear() noexcept {
    std::vector<PyObject*> list;
    list.swap(list_);
    for (PyObject* object : list) Py_DECREF(object);
  }

 private:
  std::vector<PyObject*> list_;
};

// While it lives, allocating does not collect garbage, which would run Python code.
class NoCollection {
 public:
  NoCollection() : was_enabled_(PyGC_Disable() != 0) {}
  NoCollection(const NoCollection&) = delete;
  NoCollection& operator=(const NoCollection&) = delete;
  ~NoCollection() {
    if (was_enabled_) PyGC_Enable();
  }

 private:
  const bool was_enabled_;
};

// What Python set as the current error, as text; it is cleared.
inline std::string python_error() {
  PyObject *type = nullptr, *value = nullptr, *traceback = nullptr;
  PyErr_Fetch(&type, &value, &traceback);
  std::string result = "unknown Python error";
  if (PyObject* text = value == nullptr ? nullptr : PyObject_Str(value)) {
    if (const char* utf8 = PyUnicode_AsUTF8(text)) result = utf8;
    Py_DECREF(text);
  }
  PyErr_Clear();
  Py_XDECREF(type);
  Py_XDECREF(value);
  Py_XDECREF(traceback);
  return result;
}

// The direct subclasses, as a new list; null with a Python error.
inline PyObject* subclasses_of(PyTypeObject* type) {
  return PyObject_CallMethod(as_object(&PyType_Type), "__subclasses__", "O", type);
}

// `type` and everything below it, each once.
inline bool add_descendants(PyTypeObject* type, References& held,
                            std::vector<PyTypeObject*>& found, std::string& error) {
  for (PyTypeObject* known : found) {
    if (known == type) return true;
  }
  held.hold(as_object(type));
  found.push_back(type);
  PyObject* list = held.steal(subclasses_of(type));
  if (list == nullptr) {
    error = python_error();
    return false;
  }
  for (Py_ssize_t i = 0; i < PyList_GET_SIZE(list); ++i) {
    if (!add_descendants(as_type(PyList_GET_ITEM(list, i)), held, found, error)) return false;
  }
  return true;
}

}  // namespace rehook_bridge
