#pragma once

#include <string>
#include <utility>
#include <vector>

#include "pybind11_writes.hpp"

// Classes that derive from a class whose place another takes get that one as their base: what
// `type.__bases__ = …` does. C code only, unless a metaclass has an mro() of its own.

namespace rehook_bridge {

class Rebasing {
 public:
  // `successor` of a class, or null when it keeps its place.
  template <typename Successor>
  bool plan(PyTypeObject* type, Successor successor, References& held, std::string& error) {
    PyObject* bases = type->tp_bases;
    const Py_ssize_t size = PyTuple_GET_SIZE(bases);
    PyObject* changed = held.steal(PyTuple_New(size));
    if (changed == nullptr) return fail(type, error);
    bool differs = false;
    for (Py_ssize_t i = 0; i < size; ++i) {
      PyObject* base = PyTuple_GET_ITEM(bases, i);
      PyTypeObject* other = successor(as_type(base));
      differs |= other != nullptr;
      if (other != nullptr) base = as_object(other);
      Py_INCREF(base);
      PyTuple_SET_ITEM(changed, i, base);
    }
    if (!differs) return true;
    if (!computes_mro_as_usual(type)) {
      error = name_of(type) + " has a metaclass with an mro() of its own";
      return false;
    }
    for (const Change& change : changes_) {
      if (change.type == type) return true;
    }
    held.hold(as_object(type));
    changes_.push_back({type, held.hold(bases), changed});
    return true;
  }

  // All or nothing, forth and back.
  bool apply(std::string& error) { return set_all(&Change::after, &Change::before, error); }
  bool undo(std::string& error) { return set_all(&Change::before, &Change::after, error); }
  void clear() noexcept { changes_.clear(); }

 private:
  struct Change {
    PyTypeObject* type;
    PyObject *before, *after;
  };
  using Which = PyObject* Change::*;

  bool set_all(Which wanted, Which present, std::string& error) {
    for (std::size_t i = 0; i < changes_.size(); ++i) {
      if (set(changes_[i].type, changes_[i].*wanted)) continue;
      fail(changes_[i].type, error);
      while (i-- > 0) {
        if (!set(changes_[i].type, changes_[i].*present)) PyErr_Clear();
      }
      return false;
    }
    return true;
  }
  static bool set(PyTypeObject* type, PyObject* bases) {
    PyObject* name = PyUnicode_InternFromString("__bases__");
    const bool done =
        name != nullptr && PyType_Type.tp_setattro(as_object(type), name, bases) == 0;
    Py_XDECREF(name);
    return done;
  }
  static bool fail(PyTypeObject* type, std::string& error) {
    error = "the bases of " + name_of(type) + " cannot follow: " + python_error();
    return false;
  }
  static bool computes_mro_as_usual(PyTypeObject* type) {
    PyObject* mro = Py_TYPE(as_object(type))->tp_mro;
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(mro); ++i) {
      PyTypeObject* metaclass = as_type(PyTuple_GET_ITEM(mro, i));
      if (metaclass == &PyType_Type) return true;
      if (PyDict_GetItemString(metaclass->tp_dict, "mro") != nullptr) return false;
    }
    return true;
  }

  std::vector<Change> changes_;
};

}  // namespace rehook_bridge
