#pragma once

#include <pybind11/attr.h>

#include <cstring>

#include "pybind11_writes.hpp"

// The records of functions that a class has as methods, properties and static methods. Those of
// constructors remember the class (`scope`, a borrowed reference) and accept only its objects.

namespace rehook_bridge {

using FunctionRecord = pybind11::detail::function_record;

// Null when `function` was not made by pybind11 in this library: another library may have
// another layout of records.
inline FunctionRecord* record_of_function(const Internals& internals, PyObject* function,
                                          const Library& library) {
  if (function == nullptr || !PyCFunction_Check(function)) return nullptr;
  const auto code = reinterpret_cast<std::uintptr_t>(
      reinterpret_cast<PyCFunctionObject*>(function)->m_ml->ml_meth);
  PyObject* self = reinterpret_cast<PyCFunctionObject*>(function)->m_self;
  if (self == nullptr || !contains(library.image, code)) return nullptr;
#if PYBIND11_VERSION_MAJOR >= 3
  (void)internals;
  struct Object {
    PyObject_HEAD FunctionRecord* record;
  };
  if (std::strstr(Py_TYPE(self)->tp_name, "pybind11_detail_function_record_") == nullptr) {
    return nullptr;
  }
  return reinterpret_cast<Object*>(self)->record;
#else
#if PYBIND11_INTERNALS_VERSION > 4
  const char* name = internals.function_record_capsule_name.c_str();
#else
  const char* name = nullptr;
  (void)internals;
#endif
  if (!PyCapsule_CheckExact(self) || PyCapsule_GetName(self) != name) return nullptr;
  return static_cast<FunctionRecord*>(PyCapsule_GetPointer(self, name));
#endif
}

class FunctionScopes {
 public:
  FunctionScopes(const Internals& internals, const Library& library, References& held)
      : internals_(internals), library_(library), held_(held) {}

  // Notes that every function among the attributes of `from` shall belong to `to`.
  void move(PyTypeObject* from, PyTypeObject* to, Writes& writes) {
    PyObject *name = nullptr, *value = nullptr;
    for (Py_ssize_t at = 0; PyDict_Next(from->tp_dict, &at, &name, &value) != 0;) {
      if (PyObject_TypeCheck(value, &PyProperty_Type)) {
        for (const char* part : {"fget", "fset", "fdel"}) {
          move_function(held_.steal(PyObject_GetAttrString(value, part)), from, to, writes);
        }
      } else if (Py_IS_TYPE(value, &PyStaticMethod_Type)) {
        move_function(held_.steal(PyObject_GetAttrString(value, "__func__")), from, to, writes);
      } else {
        move_function(value, from, to, writes);
      }
      PyErr_Clear();
    }
  }

 private:
  void move_function(PyObject* value, PyTypeObject* from, PyTypeObject* to, Writes& writes) {
    if (value != nullptr && PyInstanceMethod_Check(value)) {
      value = PyInstanceMethod_GET_FUNCTION(value);
    }
    FunctionRecord* record = record_of_function(internals_, value, library_);
    if (record != nullptr) held_.hold(value);
    for (; record != nullptr; record = record->next) {
      if (record->scope.ptr() == as_object(from)) {
        writes.add(&record->scope.ptr(), as_object(to));
      }
    }
  }

  const Internals& internals_;
  const Library& library_;
  References& held_;
};

}  // namespace rehook_bridge
