#include "hook/patch/ownership.hpp"

#include <algorithm>

#include "hook/patch/callables.hpp"

namespace rehook {
namespace {

// Where a compiled function's machine code is, or null.
const void* code_of(PyObject* object) {
  object = innermost_function(object);
  const PyTypeObject* type = Py_TYPE(object);
  const auto address = [](PyCFunction function) {
    return reinterpret_cast<const void*>(function);
  };
  if (PyCFunction_Check(object)) return address(PyCFunction_GET_FUNCTION(object));
  if (is_cython_function(object)) {
    return address(reinterpret_cast<PyCFunctionObject*>(object)->m_ml->ml_meth);
  }
  if (type == &PyMethodDescr_Type || type == &PyClassMethodDescr_Type) {
    return address(reinterpret_cast<PyMethodDescrObject*>(object)->d_method->ml_meth);
  }
  if (type == &PyGetSetDescr_Type) {
    const PyGetSetDef* def = reinterpret_cast<PyGetSetDescrObject*>(object)->d_getset;
    return def->get != nullptr ? reinterpret_cast<const void*>(def->get)
                               : reinterpret_cast<const void*>(def->set);
  }
  return nullptr;
}

}  // namespace

bool Ownership::is_ours(PyObject* object) const {
  const std::string name = string_attribute(object, "__module__");
  return std::any_of(modules_.begin(), modules_.end(), [&](const std::string& module) {
    return name == module || name.starts_with(module + ".");
  });
}

bool Ownership::owns_function(PyObject* function) const {
  const void* const code = code_of(function);
  return (code != nullptr && is_code_(code)) || is_ours(innermost_function(function));
}

bool Ownership::owns_class(PyTypeObject* type) const {
  if (is_code_(type)) return true;  // a static type
  if (is_ours(reinterpret_cast<PyObject*>(type))) return true;
  PyObject *key = nullptr, *value = nullptr;
  Py_ssize_t at = 0;
  while (type->tp_dict != nullptr && PyDict_Next(type->tp_dict, &at, &key, &value) != 0) {
    const void* const code = code_of(value);
    if (code != nullptr && is_code_(code)) return true;
  }
  return false;
}

bool Ownership::owns(PyObject* object) const {
  return PyType_Check(object) != 0 ? owns_class(reinterpret_cast<PyTypeObject*>(object))
                                   : owns_function(object);
}

}  // namespace rehook
