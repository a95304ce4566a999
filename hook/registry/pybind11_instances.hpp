#pragma once

#include <unordered_set>

#include "pybind11_classes.hpp"

// Live objects, as the registry knows them: by the addresses of their C++ values.

namespace rehook_bridge {

using Instance = pybind11::detail::instance;

inline PyTypeObject* type_of(const Instance* instance) {
  return Py_TYPE(const_cast<PyObject*>(reinterpret_cast<const PyObject*>(instance)));
}

// The attributes of an object may be stored as its class says. Before it gets another class
// they have to be in a dict of their own.
inline void own_its_dict(PyObject* object) {
  bool has_dict = Py_TYPE(object)->tp_dictoffset != 0;
#ifdef Py_TPFLAGS_MANAGED_DICT
  has_dict |= (Py_TYPE(object)->tp_flags & Py_TPFLAGS_MANAGED_DICT) != 0;
#endif
  if (!has_dict) return;
  PyObject* dict = PyObject_GenericGetDict(object, nullptr);
  if (dict == nullptr) PyErr_Clear();
  Py_XDECREF(dict);
}

// An object is registered under its value's address, and under the addresses of its bases where
// these differ, so there is a second look at those that may come again. Calls visit(instance)
// once for each object whose class is wanted(class); the registry must not change meanwhile.
template <typename Wanted, typename Visit>
std::size_t for_each_instance(const Internals& internals, Wanted wanted, Visit visit) {
  std::size_t count = 0;
  std::unordered_set<const Instance*> seen;
  for (const auto& [address, instance] : internals.registered_instances) {
    if (!wanted(type_of(instance))) continue;
    if (!instance->simple_layout || instance->simple_value_holder[0] != address) {
      if (instance->simple_layout && instance->simple_value_holder[0] != nullptr) continue;
      if (!seen.insert(instance).second) continue;
    }
    ++count;
    visit(reinterpret_cast<PyObject*>(instance));
  }
  return count;
}

inline std::size_t visit_instances(const Internals& internals, PyTypeObject* type,
                                   bool subclasses, void (*visit)(PyObject*, void*),
                                   void* context) {
  const auto wanted = [type, subclasses](PyTypeObject* found) {
    return found == type || (subclasses && PyType_IsSubtype(found, type) != 0);
  };
  return for_each_instance(internals, wanted, [visit, context](PyObject* instance) {
    if (visit != nullptr) visit(instance, context);
  });
}

}  // namespace rehook_bridge
