#pragma once

#include <string>
#include <unordered_map>
#include <vector>

#include "nanobind_classes.hpp"

namespace rehook_bridge {

// Functions that run others in their place. nanobind calls every function, method and bound
// method through the pointer in its nb_func object, so that is all that changes: the old record
// stays whole for calls that are inside of it without the GIL. Copying the new record over it
// would save one lookup per call, but takes away the captured values under such calls.
using Redirections = std::unordered_map<PyObject*, PyObject*>;
inline Redirections& redirections() {
  static auto& all = *new Redirections();  // needed until the process ends
  return all;
}

inline PyObject* call_successor(PyObject* function, PyObject* const* arguments,
                                std::size_t count, PyObject* names) noexcept {
  const auto found = redirections().find(function);
  if (found == redirections().end()) {
    PyErr_SetString(PyExc_SystemError, "a function of a retired build has no successor");
    return nullptr;
  }
  auto* successor = reinterpret_cast<Function*>(found->second);
  return successor->vectorcall(found->second, arguments, count, names);
}

// The nb_func behind a function, method or bound method; null for anything else.
inline PyObject* nanobind_function(PyObject* object) {
  for (Internals* internals : find_internals()) {
    if (Py_TYPE(object) == internals->nb_func || Py_TYPE(object) == internals->nb_method) {
      return object;
    }
    if (Py_TYPE(object) == internals->nb_bound_method) {
      return reinterpret_cast<PyObject*>(reinterpret_cast<nb::nb_bound_method*>(object)->func);
    }
  }
  return nullptr;
}

class RedirectedFunctions {
 public:
  bool add(PyObject* old_function, PyObject* new_function, std::string& error) {
    PyObject *const from = nanobind_function(old_function),
                    *to = nanobind_function(new_function);
    if (from == nullptr || to == nullptr) {
      error = "not a function of nanobind";
      return false;
    }
    if (Py_TYPE(from) != Py_TYPE(to)) {
      error = "a function became a method, or back";
      return false;
    }
    for (auto next = redirections().find(to); next != redirections().end();
         next = redirections().find(to)) {
      to = next->second;
    }
    if (from == to) {
      error = "the new function already runs the old one";
      return false;
    }
    auto* function = reinterpret_cast<Function*>(from);
    const auto known = redirections().find(from);
    changes_.push_back(
        {from, known == redirections().end() ? nullptr : known->second, function->vectorcall});
    redirections()[from] = to;
    Py_INCREF(from);  // for good: calls may be inside of them
    Py_INCREF(to);
    function->vectorcall = &call_successor;
    return true;
  }
  void undo() noexcept {
    for (auto change = changes_.rbegin(); change != changes_.rend(); ++change) {
      reinterpret_cast<Function*>(change->function)->vectorcall = change->vectorcall;
      if (change->successor == nullptr) {
        redirections().erase(change->function);
      } else {
        redirections()[change->function] = change->successor;
      }
    }
    changes_.clear();
  }

 private:
  struct Change {
    PyObject *function, *successor;  // what it ran before, when that was another one
    decltype(Function::vectorcall) vectorcall;
  };
  std::vector<Change> changes_;
};

}  // namespace rehook_bridge
