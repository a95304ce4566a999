#include "hook/patch/python_classes.hpp"

#include <algorithm>
#include <array>
#include <string_view>
#include <tuple>

#include <structmember.h>

#include "hook/patch/class_adoption.hpp"

namespace rehook {
namespace {

PyObject* object_of(PyTypeObject* type) {
  return reinterpret_cast<PyObject*>(type);
}

// What type.__new__ gives every class (Objects/typeobject.c, subtype_dealloc): it is not
// exported, so a class is made to ask.
destructor class_statement_dealloc() {
  static const destructor dealloc = [] {
    const Ref made = Ref::steal(PyObject_CallFunction(reinterpret_cast<PyObject*>(&PyType_Type),
                                                      "s(){}", "rehook_probe"));
    if (!made) PyErr_Clear();
    return made ? reinterpret_cast<PyTypeObject*>(made.get())->tp_dealloc : nullptr;
  }();
  return dealloc;
}

// The first class, going up, that C code laid out.
PyTypeObject* solid_base(PyTypeObject* type) {
  while (type->tp_base != nullptr && type->tp_dealloc == class_statement_dealloc()) {
    type = type->tp_base;
  }
  return type;
}

// Flags that say how an instance is laid out: garbage collection, attributes and weak
// references in front of it, a built-in base.
constexpr unsigned long k_layout_flags =
    Py_TPFLAGS_HAVE_GC | (1UL << 2) | (1UL << 3) | (1UL << 4) | (0xFFUL << 24);

// Slots: name -> offset.
std::map<std::string, Py_ssize_t> slots_of(PyTypeObject* type) {
  std::map<std::string, Py_ssize_t> slots;
  PyObject *key = nullptr, *value = nullptr;
  Py_ssize_t at = 0;
  while (PyDict_Next(type->tp_dict, &at, &key, &value) != 0) {
    if (Py_TYPE(value) != &PyMemberDescr_Type) continue;
    slots[to_string(key)] = reinterpret_cast<PyMemberDescrObject*>(value)->d_member->offset;
  }
  return slots;
}

bool is_dunder(std::string_view name) {
  return name.size() > 4 && name.starts_with("__") && name.ends_with("__");
}

// Names the interpreter gives a class, and that stay with it.
bool is_own_name(std::string_view name) {
  return name == "__dict__" || name == "__weakref__" || name == "__module__" ||
         name == "_abc_impl" || name == "__slots__" || name == "__slotnames__" ||
         name == "__abstractmethods__" || name == "__subclasses__";
}

// Attributes of `type` itself; setting them on a class means something else.
bool is_type_attribute(std::string_view name) {
  static constexpr std::array k_names = {"__class__",
                                         "__bases__",
                                         "__base__",
                                         "__mro__",
                                         "__name__",
                                         "__dict__",
                                         "__doc__",
                                         "__qualname__",
                                         "__annotations__",
                                         "__abstractmethods__",
                                         "__module__",
                                         "__type_params__",
                                         "__text_signature__",
                                         "__new__",
                                         "__init_subclass__",
                                         "__class_getitem__",
                                         "__annotate__"};
  return std::find(k_names.begin(), k_names.end(), name) != k_names.end();
}

// Of the Python function inside a method or property; "" for anything else. What a class holds
// may be an object with code of its own for being asked.
std::string function_name_of(PyObject* value) {
  PyObject* const inner = innermost_function(value);
  if (!PyFunction_Check(inner)) return "";
  return to_string(reinterpret_cast<PyFunctionObject*>(inner)->func_qualname);
}

}  // namespace

bool is_python_class(PyObject* object) {
  if (PyType_Check(object) == 0) return false;
  auto* const type = reinterpret_cast<PyTypeObject*>(object);
  return PyType_HasFeature(type, Py_TPFLAGS_HEAPTYPE) && class_statement_dealloc() != nullptr &&
         type->tp_dealloc == class_statement_dealloc() &&
         !PyType_HasFeature(type, Py_TPFLAGS_IMMUTABLETYPE);
}

std::string python_class_obstacle(PyTypeObject* before, PyTypeObject* after) {
  if (!is_python_class(object_of(before)) || !is_python_class(object_of(after))) {
    return "it is a class of C code in one of the versions";
  }
  if (slots_of(before) != slots_of(after)) return "its __slots__ changed";
  if (before->tp_basicsize != after->tp_basicsize ||
      before->tp_itemsize != after->tp_itemsize ||
      before->tp_dictoffset != after->tp_dictoffset ||
      before->tp_weaklistoffset != after->tp_weaklistoffset ||
      (before->tp_flags & k_layout_flags) != (after->tp_flags & k_layout_flags)) {
    return "its base classes give its objects another layout";
  }
  PyTypeObject *old_base = solid_base(before), *new_base = solid_base(after);
  if (old_base != new_base &&
      std::string_view(old_base->tp_name) != std::string_view(new_base->tp_name)) {
    return "it derives from " + std::string(new_base->tp_name) + " instead of " +
           old_base->tp_name;
  }
  if (Py_TYPE(before) != Py_TYPE(after) &&
      Py_TYPE(before)->tp_basicsize != Py_TYPE(after)->tp_basicsize) {
    return "its metaclass changed";
  }
  if (is_enum_class(before) != is_enum_class(after)) {
    return "it is an enumeration in one of the versions only";
  }
  return "";
}

std::string qualified_name_of(PyTypeObject* type) {
  if (!PyType_HasFeature(type, Py_TPFLAGS_HEAPTYPE)) return type->tp_name;
  return to_string(reinterpret_cast<PyHeapTypeObject*>(type)->ht_qualname);
}

std::string module_of(PyTypeObject* type) {
  const Ref name = from_string("__module__");
  PyObject* const module = PyDict_GetItemWithError(type->tp_dict, name.get());
  PyErr_Clear();
  return to_string(module);
}

bool is_same_definition(PyObject* old, PyObject* fresh) {
  PyObject *was = innermost_function(old), *is = innermost_function(fresh);
  if (Py_TYPE(was) != Py_TYPE(is)) return false;
  return string_attribute(was, "__qualname__") == string_attribute(is, "__qualname__") &&
         string_attribute(was, "__module__") == string_attribute(is, "__module__");
}

PyObject* PythonClassAdoption::successor(PyObject* object) const {
  PyObject* const found = object != nullptr ? successors_->find(object) : nullptr;
  return found != nullptr ? found : object;
}

Ref PythonClassAdoption::mapped(PyObject* tuple) const {
  Ref copy = Ref::steal(PyTuple_New(PyTuple_GET_SIZE(tuple)));
  for (Py_ssize_t i = 0; copy && i < PyTuple_GET_SIZE(tuple); ++i) {
    PyTuple_SET_ITEM(copy.get(), i, Py_NewRef(successor(PyTuple_GET_ITEM(tuple, i))));
  }
  return copy;
}

void PythonClassAdoption::adopt(PyTypeObject* before, PyTypeObject* after) {
  adopted_.emplace_back(Ref::borrow(object_of(before)), Ref::borrow(object_of(after)));
  take_metaclass(before, after);
  take_bases(before, after);
  take_attributes(before, after);
  drop_attributes(before, after);
  PyType_Modified(before);
}

void PythonClassAdoption::take_metaclass(PyTypeObject* before, PyTypeObject* after) {
  auto* const wanted =
      reinterpret_cast<PyTypeObject*>(successor(object_of(Py_TYPE(object_of(after)))));
  journal_->become(object_of(before), wanted);
}

// ---- bases ----

void PythonClassAdoption::take_bases(PyTypeObject* before, PyTypeObject* after) {
  const Ref bases = mapped(after->tp_bases);
  bool same = bases && PyTuple_GET_SIZE(bases.get()) == PyTuple_GET_SIZE(before->tp_bases);
  for (Py_ssize_t i = 0; same && i < PyTuple_GET_SIZE(bases.get()); ++i) {
    same = PyTuple_GET_ITEM(bases.get(), i) == PyTuple_GET_ITEM(before->tp_bases, i);
  }
  if (!bases || same) {
    PyErr_Clear();
    return;
  }
  const Ref owner = Ref::borrow(object_of(before));
  const Ref old = Ref::borrow(before->tp_bases);
  const Ref name = from_string("__bases__");
  // type's own setter; a metaclass may have a __setattr__.
  if (PyType_Type.tp_setattro(owner.get(), name.get(), bases.get()) == 0) {
    journal_->on_undo([owner, old, name] {
      if (PyType_Type.tp_setattro(owner.get(), name.get(), old.get()) < 0) PyErr_Clear();
    });
    return;
  }
  PyErr_Clear();
  write_bases(before, bases.get(), after);
}

// Lets attribute look-ups and C slots see what the bases have now: setting and deleting an
// attribute makes the interpreter work its slot out anew, here and in all classes below.
static void refresh_slots(PyTypeObject* type, const std::vector<Ref>& relatives) {
  std::set<std::string> names;
  for (const Ref& relative : relatives) {
    PyObject *key = nullptr, *value = nullptr;
    Py_ssize_t at = 0;
    PyObject* const dict = reinterpret_cast<PyTypeObject*>(relative.get())->tp_dict;
    while (dict != nullptr && PyDict_Next(dict, &at, &key, &value) != 0) {
      const std::string name = to_string(key);
      if (is_dunder(name) && !is_type_attribute(name)) names.insert(name);
    }
  }
  PyType_Modified(type);
  for (const std::string& name : names) {
    const Ref key = from_string(name);
    if (PyDict_Contains(type->tp_dict, key.get()) != 0) continue;
    if (PyType_Type.tp_setattro(object_of(type), key.get(), Py_None) < 0 ||
        PyType_Type.tp_setattro(object_of(type), key.get(), nullptr) < 0) {
      PyErr_Clear();
    }
  }
}

static std::vector<Ref> items_of(PyObject* tuple) {
  std::vector<Ref> items;
  for (Py_ssize_t i = 0; tuple != nullptr && i < PyTuple_GET_SIZE(tuple); ++i) {
    items.push_back(Ref::borrow(PyTuple_GET_ITEM(tuple, i)));
  }
  return items;
}

static PyObject** children_of(PyTypeObject* type) {
  return reinterpret_cast<PyObject**>(&type->tp_subclasses);
}

// `type` refuses to exchange `object` for another base, or the other way round: "deallocator
// differs". The layout is the same, as the obstacles say, so the words are written.
void PythonClassAdoption::write_bases(PyTypeObject* type, PyObject* bases,
                                      PyTypeObject* after) {
  PyObject* const owner = object_of(type);
  std::vector<Ref> relatives = items_of(type->tp_mro);
  for (Ref& item : items_of(after->tp_mro)) relatives.push_back(std::move(item));
  const std::vector<Ref> old_bases = items_of(type->tp_bases), new_bases = items_of(bases);
  const Ref mro = mapped(after->tp_mro);
  const Ref key = Ref::steal(PyLong_FromVoidPtr(type));
  const Ref weak = Ref::steal(PyWeakref_NewRef(owner, nullptr));
  if (!mro || !key || !weak) {
    PyErr_Clear();
    return;
  }
  journal_->on_undo([kept = Ref::borrow(owner), relatives] {
    refresh_slots(reinterpret_cast<PyTypeObject*>(kept.get()), relatives);
  });
  journal_->refer(owner, &type->tp_bases, bases);
  journal_->refer(owner, reinterpret_cast<PyObject**>(&type->tp_base),
                  successor(object_of(after->tp_base)));
  journal_->refer(owner, &type->tp_mro, mro.get());
  for (const Ref& base : old_bases) {
    auto* const parent = reinterpret_cast<PyTypeObject*>(base.get());
    if (!PyType_HasFeature(parent, Py_TPFLAGS_HEAPTYPE)) continue;
    PyObject* const children = *children_of(parent);
    if (children != nullptr && PyDict_Contains(children, key.get()) == 1) {
      std::ignore = journal_->set_item(children, key.get(), nullptr);
    }
  }
  for (const Ref& base : new_bases) {
    auto* const parent = reinterpret_cast<PyTypeObject*>(base.get());
    if (!PyType_HasFeature(parent, Py_TPFLAGS_HEAPTYPE)) continue;
    if (*children_of(parent) == nullptr) {
      const Ref made = Ref::steal(PyDict_New());
      journal_->refer(base.get(), children_of(parent), made.get());
    }
    std::ignore = journal_->set_item(*children_of(parent), key.get(), weak.get());
  }
  std::unordered_set<PyTypeObject*> family;
  add_descendants(type, family);
  std::vector<PyTypeObject*> below(family.begin(), family.end());
  std::sort(below.begin(), below.end(), [](PyTypeObject* a, PyTypeObject* b) {
    return PyTuple_GET_SIZE(a->tp_mro) < PyTuple_GET_SIZE(b->tp_mro);
  });
  for (PyTypeObject* child : below) {
    const Ref lines = Ref::steal(PyObject_CallMethod(reinterpret_cast<PyObject*>(&PyType_Type),
                                                     "mro", "O", object_of(child)));
    const Ref tuple = lines ? Ref::steal(PyList_AsTuple(lines.get())) : Ref();
    if (!tuple) {
      PyErr_Clear();
      continue;
    }
    journal_->refer(object_of(child), &child->tp_mro, tuple.get());
  }
  refresh_slots(type, relatives);
}

// ---- attributes ----

void PythonClassAdoption::take_attributes(PyTypeObject* before, PyTypeObject* after) {
  const Ref items = Ref::steal(PyDict_Copy(after->tp_dict));
  PyObject *key = nullptr, *value = nullptr;
  Py_ssize_t at = 0;
  while (items && PyDict_Next(items.get(), &at, &key, &value) != 0) {
    const std::string name = to_string(key);
    if (is_own_name(name) || is_descriptor_of(after, value)) continue;
    take_attribute(before, key, value);
  }
  // A class without a base of its own has these; it may have had a base.
  for (const char* name : {"__dict__", "__weakref__"}) {
    const Ref own = from_string(name);
    PyObject* const fresh = PyDict_GetItemWithError(after->tp_dict, own.get());
    if (fresh == nullptr || PyDict_Contains(before->tp_dict, own.get()) != 0) continue;
    const Ref made = descriptor_for(before, fresh);
    if (made) std::ignore = journal_->set_item(before->tp_dict, own.get(), made.get());
    PyErr_Clear();
  }
  // It has a flag of its own behind it.
  const Ref abstract = from_string("__abstractmethods__");
  PyObject* const methods = PyDict_GetItemWithError(after->tp_dict, abstract.get());
  PyErr_Clear();
  if (methods != nullptr || PyDict_Contains(before->tp_dict, abstract.get()) == 1) {
    std::ignore = journal_->set_attribute(before, abstract.get(), methods);
  }
}

void PythonClassAdoption::take_attribute(PyTypeObject* before, PyObject* name,
                                         PyObject* value) {
  const Ref old = Ref::borrow(PyDict_GetItemWithError(before->tp_dict, name));
  PyErr_Clear();
  if (old.get() == value) return;
  const bool is_plain =
      Py_TYPE(value) != &PyMemberDescr_Type &&
      (PyObject_TypeCheck(value, &PyProperty_Type) == 0 || Py_TYPE(value) == &PyProperty_Type);
  if (old && is_plain && is_callable_kind(old.get()) && is_callable_kind(value) &&
      is_same_definition(old.get(), value) && callables_->can_patch(old.get(), value) &&
      callables_->patch(old.get(), value, Callables::Attributes::take)) {
    return;
  }
  if (!journal_->set_attribute(before, name, successor(value))) {
    left_.emplace_back(std::string(before->tp_name) + "." + to_string(name),
                       "the attribute cannot be set");
  }
}

void PythonClassAdoption::drop_attributes(PyTypeObject* before, PyTypeObject* after) {
  const std::set<std::string>* const known = names_(before);
  const std::string prefix = qualified_name_of(before) + ".";
  const Ref items = Ref::steal(PyDict_Copy(before->tp_dict));
  PyObject *key = nullptr, *value = nullptr;
  Py_ssize_t at = 0;
  while (items && PyDict_Next(items.get(), &at, &key, &value) != 0) {
    const std::string name = to_string(key);
    if (is_own_name(name) || PyDict_Contains(after->tp_dict, key) == 1 ||
        is_descriptor_of(before, value)) {
      continue;
    }
    const bool is_of_statement = known == nullptr || known->contains(name);
    // What a decorator such as dataclass made.
    const bool is_made = function_name_of(value) == prefix + name ||
                         name.starts_with("__dataclass_") || name == "__match_args__" ||
                         name == "__annotations__" || name == "__hash__";
    if (is_of_statement || is_made) {
      std::ignore = journal_->set_attribute(before, key, nullptr);
    }
  }
}

void PythonClassAdoption::settle() {
  const Ref module = Ref::steal(PyImport_ImportModule("_abc"));
  for (const auto& [before, after] : adopted_) {
    if (!module || !optional_attribute(before.get(), "_abc_impl") ||
        !optional_attribute(after.get(), "_abc_impl")) {
      continue;
    }
    std::ignore =
        Ref::steal(PyObject_CallMethod(module.get(), "_reset_caches", "O", before.get()));
    PyErr_Clear();
    const Ref dump =
        Ref::steal(PyObject_CallMethod(module.get(), "_get_dump", "O", after.get()));
    const Ref registered =
        dump ? Ref::steal(PySequence_List(PyTuple_GET_ITEM(dump.get(), 0))) : Ref();
    for (Py_ssize_t i = 0; registered && i < PyList_GET_SIZE(registered.get()); ++i) {
      const Ref type = Ref::steal(PyObject_CallNoArgs(PyList_GET_ITEM(registered.get(), i)));
      if (!type || type.get() == Py_None) continue;
      std::ignore = Ref::steal(PyObject_CallMethod(module.get(), "_abc_register", "OO",
                                                   before.get(), successor(type.get())));
    }
    PyErr_Clear();
  }
}

}  // namespace rehook
