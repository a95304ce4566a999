#include "hook/patch/subclass_lists.hpp"

#include <algorithm>

namespace rehook {
namespace {

// A dict of weak references by address (Objects/typeobject.c, add_subclass()); null when there
// are none. Static types keep theirs elsewhere since Python 3.12.
PyObject* list_of(PyObject* type) {
  auto* const object = reinterpret_cast<PyTypeObject*>(type);
  if (!PyType_HasFeature(object, Py_TPFLAGS_HEAPTYPE)) return nullptr;
  auto* const list = static_cast<PyObject*>(static_cast<void*>(object->tp_subclasses));
  return list != nullptr && PyDict_CheckExact(list) ? list : nullptr;
}

}  // namespace

void SubclassLists::remember_those_of(PyObject* module) {
  if (!PyModule_Check(module)) return;
  PyObject *key = nullptr, *value = nullptr;
  Py_ssize_t at = 0;
  while (PyDict_Next(PyModule_GetDict(module), &at, &key, &value) != 0) {
    if (!PyType_Check(value)) continue;
    PyObject* const mro = reinterpret_cast<PyTypeObject*>(value)->tp_mro;
    for (Py_ssize_t i = 0; mro != nullptr && i < PyTuple_GET_SIZE(mro); ++i) {
      PyObject* const type = PyTuple_GET_ITEM(mro, i);
      const bool known = std::any_of(lists_.begin(), lists_.end(),
                                     [&](const auto& one) { return one.first.get() == type; });
      if (known ||
          !PyType_HasFeature(reinterpret_cast<PyTypeObject*>(type), Py_TPFLAGS_HEAPTYPE)) {
        continue;
      }
      PyObject* const list = list_of(type);
      lists_.emplace_back(Ref::borrow(type),
                          list == nullptr ? Ref() : Ref::steal(PyDict_Copy(list)));
    }
  }
  PyErr_Clear();
}

void SubclassLists::restore() {
  for (const auto& [type, before] : lists_) {
    PyObject* const list = list_of(type.get());
    if (list == nullptr) continue;
    const Ref keys = Ref::steal(PyDict_Keys(list));
    for (Py_ssize_t i = 0; keys && i < PyList_GET_SIZE(keys.get()); ++i) {
      PyObject* const key = PyList_GET_ITEM(keys.get(), i);
      if (before && PyDict_Contains(before.get(), key) != 0) continue;
      PyDict_DelItem(list, key);
    }
    PyErr_Clear();
  }
  lists_.clear();
}

}  // namespace rehook
