#include "hook/patch/callables.hpp"

#include <cstring>
#include <string_view>

namespace rehook {
namespace {

// Objects/descrobject.c, Objects/funcobject.c: the same in every Python we support. Before a
// word is written it is compared with what the object's own attribute says.
struct PropertyLayout {
  PyObject_HEAD PyObject* get;
  PyObject *set, *del, *doc;
};
struct MethodWrapperLayout {
  PyObject_HEAD PyObject* callable;
};

bool is_wrapper(PyObject* object) {
  return PyObject_TypeCheck(object, &PyStaticMethod_Type) != 0 ||
         PyObject_TypeCheck(object, &PyClassMethod_Type) != 0;
}

// The attribute as the type's C code gives it, whatever a Python subclass says.
Ref plain_attribute(PyObject* object, const char* name) {
  const Ref key = from_string(name);
  Ref value = key ? Ref::steal(PyObject_GenericGetAttr(object, key.get())) : Ref();
  PyErr_Clear();
  return value;
}

bool has_wrapper_layout(PyObject* object) {
  const Ref inner = plain_attribute(object, "__func__");
  return inner && reinterpret_cast<MethodWrapperLayout*>(object)->callable == inner.get();
}

bool has_property_layout(PyObject* object) {
  const auto* layout = reinterpret_cast<PropertyLayout*>(object);
  const auto same = [&](const char* name, PyObject* word) {
    const Ref value = plain_attribute(object, name);
    return value.get() == (word == nullptr ? Py_None : word);
  };
  return same("fget", layout->get) && same("fset", layout->set) && same("fdel", layout->del);
}

bool is_exact_builtin(PyObject* object) {
  return Py_TYPE(object) == &PyCFunction_Type || Py_TYPE(object) == &PyCMethod_Type;
}

bool type_name_is(const PyObject* object, std::string_view wanted) {
  const std::string_view name = Py_TYPE(object)->tp_name;
  return name == wanted || (name.ends_with(wanted) && name.size() > wanted.size() &&
                            name[name.size() - wanted.size() - 1] == '.');
}

// Attributes that somebody gave a function stay, unless the new one has its own of that name.
Ref merged_attributes(PyObject* old, PyObject* fresh) {
  if (old == nullptr || fresh == nullptr) return Ref::borrow(fresh != nullptr ? fresh : old);
  Ref merged = Ref::steal(PyDict_Copy(old));
  if (!merged || PyDict_Update(merged.get(), fresh) < 0) PyErr_Clear();
  return merged;
}

template <typename T>
void** word(T* pointer) {
  return reinterpret_cast<void**>(pointer);
}

}  // namespace

bool is_cython_function(const PyObject* object) {
  return type_name_is(object, "cython_function_or_method") ||
         type_name_is(object, "fused_cython_function");
}

bool is_nanobind_function(const PyObject* object) {
  return type_name_is(object, "nb_func") || type_name_is(object, "nb_method");
}

PyObject* innermost_function(PyObject* object) {
  for (;;) {
    PyObject* inner = nullptr;
    if (PyInstanceMethod_Check(object)) {
      inner = PyInstanceMethod_GET_FUNCTION(object);
    } else if (PyMethod_Check(object)) {
      inner = PyMethod_GET_FUNCTION(object);
    } else if (is_wrapper(object)) {
      inner = reinterpret_cast<MethodWrapperLayout*>(object)->callable;
    } else if (PyObject_TypeCheck(object, &PyProperty_Type) != 0) {
      const auto* property = reinterpret_cast<PropertyLayout*>(object);
      inner = property->get != nullptr ? property->get : property->set;
    }
    if (inner == nullptr) return object;
    object = inner;
  }
}

bool is_callable_kind(PyObject* object) {
  const PyTypeObject* type = Py_TYPE(object);
  return PyCFunction_Check(object) || PyFunction_Check(object) ||
         PyInstanceMethod_Check(object) || PyMethod_Check(object) || is_wrapper(object) ||
         PyObject_TypeCheck(object, &PyProperty_Type) != 0 || type == &PyMethodDescr_Type ||
         type == &PyClassMethodDescr_Type || type == &PyGetSetDescr_Type ||
         type == &PyMemberDescr_Type || type == &PyWrapperDescr_Type ||
         is_cython_function(object) || is_nanobind_function(object);
}

PyObject* Callables::successor(PyObject* object) const {
  PyObject* const mapped = object != nullptr ? successors_->find(object) : nullptr;
  return mapped != nullptr ? mapped : object;
}

bool Callables::can_patch(PyObject* before, PyObject* after) const {
  const PyTypeObject* type = Py_TYPE(before);
  if (type != Py_TYPE(after)) return false;
  if (is_exact_builtin(before) || PyFunction_Check(before) || PyInstanceMethod_Check(before)) {
    return true;
  }
  if (type == &PyMethodDescr_Type || type == &PyClassMethodDescr_Type) {
    // Methods that get their defining class are a builtin type of their own.
    const auto flags = [](PyObject* descriptor) {
      return reinterpret_cast<PyMethodDescrObject*>(descriptor)->d_method->ml_flags &
             METH_METHOD;
    };
    return flags(before) == flags(after);
  }
  if (type == &PyGetSetDescr_Type || type == &PyMemberDescr_Type ||
      type == &PyWrapperDescr_Type) {
    return true;
  }
  if (is_wrapper(before)) return has_wrapper_layout(before) && has_wrapper_layout(after);
  if (PyObject_TypeCheck(before, &PyProperty_Type) != 0) {
    return has_property_layout(before) && has_property_layout(after);
  }
  if (is_cython_function(before)) return type->tp_itemsize == 0;
  return is_nanobind_function(before) && redirect_;
}

bool Callables::patch(PyObject* before, PyObject* after, Attributes attributes) {
  if (before == after || successors_->find(after) == before) return true;
  const PyTypeObject* type = Py_TYPE(before);
  if (is_nanobind_function(before)) {
    if (!redirect_(before, after)) return false;
    ++counts_["function"];
  } else if (is_cython_function(before)) {
    journal_->swap_bodies(before, after);
    ++counts_["function"];
  } else if (is_exact_builtin(before)) {
    builtin(before, after);
  } else if (PyFunction_Check(before)) {
    python_function(before, after, attributes);
  } else if (PyInstanceMethod_Check(before)) {
    wrapped(before, &reinterpret_cast<PyInstanceMethodObject*>(before)->func,
            PyInstanceMethod_GET_FUNCTION(after));
  } else if (type == &PyMethodDescr_Type || type == &PyClassMethodDescr_Type) {
    method_descriptor(before, after);
  } else if (type == &PyGetSetDescr_Type) {
    journal_->write(before, word(&reinterpret_cast<PyGetSetDescrObject*>(before)->d_getset),
                    reinterpret_cast<PyGetSetDescrObject*>(after)->d_getset);
    ++counts_["property"];
  } else if (type == &PyMemberDescr_Type) {
    journal_->write(before, word(&reinterpret_cast<PyMemberDescrObject*>(before)->d_member),
                    reinterpret_cast<PyMemberDescrObject*>(after)->d_member);
    ++counts_["property"];
  } else if (type == &PyWrapperDescr_Type) {
    auto* old = reinterpret_cast<PyWrapperDescrObject*>(before);
    const auto* fresh = reinterpret_cast<PyWrapperDescrObject*>(after);
    journal_->write(before, word(&old->d_base), fresh->d_base);
    journal_->write(before, word(&old->d_wrapped), fresh->d_wrapped);
    ++counts_["method"];
  } else if (is_wrapper(before)) {
    wrapped(before, &reinterpret_cast<MethodWrapperLayout*>(before)->callable,
            reinterpret_cast<MethodWrapperLayout*>(after)->callable);
  } else {
    auto* old = reinterpret_cast<PropertyLayout*>(before);
    const auto* fresh = reinterpret_cast<PropertyLayout*>(after);
    wrapped(before, &old->get, fresh->get);
    wrapped(before, &old->set, fresh->set);
    wrapped(before, &old->del, fresh->del);
    journal_->refer(before, &old->doc, fresh->doc);
    ++counts_["property"];
  }
  successors_->add(after, before);
  return true;
}

// A function in a wrapper: patched where it is, so that those who took it out follow.
void Callables::wrapped(PyObject* owner, PyObject** slot, PyObject* after) {
  if (*slot == after) return;
  if (*slot != nullptr && after != nullptr && can_patch(*slot, after) && patch(*slot, after)) {
    return;
  }
  journal_->refer(owner, slot, after);
}

void Callables::builtin(PyObject* before, PyObject* after) {
  auto* old = reinterpret_cast<PyCFunctionObject*>(before);
  const auto* fresh = reinterpret_cast<PyCFunctionObject*>(after);
  const Py_hash_t hash = PyObject_Hash(before);
  journal_->refer(before, &old->m_self,
                  fresh->m_self == after ? before : successor(fresh->m_self));
  journal_->refer(before, &old->m_module, fresh->m_module);
  if (Py_TYPE(before) == &PyCMethod_Type) {
    auto* method = reinterpret_cast<PyCMethodObject*>(before);
    auto* type =
        reinterpret_cast<PyObject*>(reinterpret_cast<const PyCMethodObject*>(fresh)->mm_class);
    journal_->refer(before, reinterpret_cast<PyObject**>(&method->mm_class), successor(type));
  }
  journal_->write(before, word(&old->m_ml), fresh->m_ml);
  journal_->write(before, word(&old->vectorcall), reinterpret_cast<void*>(fresh->vectorcall));
  if (PyObject_Hash(before) != hash) rehashed_.push_back(before);
  ++counts_["function"];
}

void Callables::method_descriptor(PyObject* before, PyObject* after) {
  auto* old = reinterpret_cast<PyMethodDescrObject*>(before);
  const auto* fresh = reinterpret_cast<PyMethodDescrObject*>(after);
  definition(old->d_method, fresh->d_method);
  journal_->write(before, word(&old->d_method), fresh->d_method);
  journal_->write(before, word(&old->vectorcall), reinterpret_cast<void*>(fresh->vectorcall));
  ++counts_["method"];
}

void Callables::definition(PyMethodDef* before, PyMethodDef* after) {
  if (before == after || definitions_.contains(before)) return;
  // The vectorcall that fits the new calling convention comes from a builtin made of it.
  PyTypeObject* const type =
      (after->ml_flags & METH_METHOD) != 0 ? &PyBaseObject_Type : nullptr;
  Ref probe = Ref::steal(PyCMethod_New(after, Py_None, nullptr, type));
  if (!probe) {
    PyErr_Clear();
    return;
  }
  definitions_.emplace(before, std::move(probe));
}

void Callables::python_function(PyObject* before, PyObject* after, Attributes attributes) {
  auto* old = reinterpret_cast<PyFunctionObject*>(before);
  auto* fresh = reinterpret_cast<PyFunctionObject*>(after);
#if PY_VERSION_HEX >= 0x030C0000
  const auto tell = [](PyObject* function) {
    // A setter tells the interpreter's caches and watchers; the value stays.
    PyObject* const same = PyFunction_GET_KW_DEFAULTS(function);
    if (PyFunction_SetKwDefaults(function, same != nullptr ? same : Py_None) < 0) PyErr_Clear();
  };
  journal_->on_undo([tell, owner = Ref::borrow(before)] { tell(owner.get()); });
#endif
  // A call in flight has references of its own to all but the globals and builtins.
  const auto take = [&](PyObject** slot, PyObject* value) {
    journal_->exchange(before, slot, successor(value));
  };
  take(&old->func_closure, fresh->func_closure);
  take(&old->func_code, fresh->func_code);
  take(&old->func_defaults, fresh->func_defaults);
  take(&old->func_kwdefaults, fresh->func_kwdefaults);
  take(&old->func_name, fresh->func_name);
  take(&old->func_qualname, fresh->func_qualname);
  take(&old->func_doc, fresh->func_doc);
  take(&old->func_annotations, fresh->func_annotations);
  if (attributes == Attributes::take) {
    take(&old->func_dict, fresh->func_dict);
  } else {
    take(&old->func_dict, merged_attributes(old->func_dict, fresh->func_dict).get());
  }
  take(&old->func_module, fresh->func_module);
#if PY_VERSION_HEX >= 0x030C0000
  take(&old->func_typeparams, fresh->func_typeparams);
#endif
  journal_->refer(before, &old->func_globals, successor(fresh->func_globals));
  journal_->refer(before, &old->func_builtins, successor(fresh->func_builtins));
  journal_->write(before, word(&old->vectorcall), reinterpret_cast<void*>(fresh->vectorcall));
  old->func_version = 0;
#if PY_VERSION_HEX >= 0x030C0000
  tell(before);
#endif
  ++counts_["function"];
}

}  // namespace rehook
