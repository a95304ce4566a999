#include "hook/patch/class_adoption.hpp"

#include <array>
#include <cstddef>
#include <tuple>

namespace rehook {
namespace {

// Names the interpreter, not the class's source, gives a class.
bool is_type_name(const std::string& name) {
  return name == "__dict__" || name == "__weakref__" || name == "__module__" ||
         name == "__abstractmethods__" || name == "__subclasshook__" || name == "__new__" ||
         name == "_abc_impl";
}

// Put there by Python code after the class was made: it stays, whatever the new build has.
bool is_from_outside(PyObject* value) {
  return PyFunction_Check(innermost_function(value));
}

void** slot_at(PyTypeObject* type, std::size_t offset) {
  return reinterpret_cast<void**>(reinterpret_cast<char*>(type) + offset);
}

// Slots that no attribute stands for. The others follow when the attribute is set.
constexpr std::array k_bare_slots = {
    offsetof(PyHeapTypeObject, ht_type.tp_dealloc),
    offsetof(PyHeapTypeObject, ht_type.tp_traverse),
    offsetof(PyHeapTypeObject, ht_type.tp_clear),
    offsetof(PyHeapTypeObject, ht_type.tp_is_gc),
    offsetof(PyHeapTypeObject, ht_type.tp_new),
    offsetof(PyHeapTypeObject, ht_type.tp_vectorcall),
    offsetof(PyHeapTypeObject, ht_type.tp_methods),
    offsetof(PyHeapTypeObject, ht_type.tp_getset),
    offsetof(PyHeapTypeObject, ht_type.tp_members),
    offsetof(PyHeapTypeObject, as_buffer.bf_getbuffer),
    offsetof(PyHeapTypeObject, as_buffer.bf_releasebuffer),
    offsetof(PyHeapTypeObject, as_async.am_send),
};

}  // namespace

bool is_descriptor_of(const PyTypeObject* type, PyObject* value) {
  const PyTypeObject* const kind = Py_TYPE(value);
  return (kind == &PyMethodDescr_Type || kind == &PyClassMethodDescr_Type ||
          kind == &PyGetSetDescr_Type || kind == &PyMemberDescr_Type ||
          kind == &PyWrapperDescr_Type) &&
         PyDescr_TYPE(value) == type;
}

Ref descriptor_for(PyTypeObject* type, PyObject* value) {
  PyTypeObject* const kind = Py_TYPE(value);
  if (kind == &PyMethodDescr_Type) {
    return Ref::steal(
        PyDescr_NewMethod(type, reinterpret_cast<PyMethodDescrObject*>(value)->d_method));
  }
  if (kind == &PyClassMethodDescr_Type) {
    return Ref::steal(
        PyDescr_NewClassMethod(type, reinterpret_cast<PyMethodDescrObject*>(value)->d_method));
  }
  if (kind == &PyGetSetDescr_Type) {
    return Ref::steal(
        PyDescr_NewGetSet(type, reinterpret_cast<PyGetSetDescrObject*>(value)->d_getset));
  }
  if (kind == &PyMemberDescr_Type) {
    return Ref::steal(
        PyDescr_NewMember(type, reinterpret_cast<PyMemberDescrObject*>(value)->d_member));
  }
  if (kind == &PyWrapperDescr_Type) {
    const auto* wrapper = reinterpret_cast<PyWrapperDescrObject*>(value);
    return Ref::steal(PyDescr_NewWrapper(type, wrapper->d_base, wrapper->d_wrapped));
  }
  return Ref::borrow(value);
}

std::vector<Ref> subclasses_of(PyTypeObject* type) {
  std::vector<Ref> found;
  // type's own method: a metaclass may have Python code for looking up an attribute.
  const Ref list = Ref::steal(PyObject_CallMethod(reinterpret_cast<PyObject*>(&PyType_Type),
                                                  "__subclasses__", "O", type));
  if (!list) PyErr_Clear();
  for (Py_ssize_t i = 0; list && i < PyList_GET_SIZE(list.get()); ++i) {
    found.push_back(Ref::borrow(PyList_GET_ITEM(list.get(), i)));
  }
  return found;
}

void add_descendants(PyTypeObject* type, std::unordered_set<PyTypeObject*>& family) {
  for (const Ref& child : subclasses_of(type)) {
    auto* const below = reinterpret_cast<PyTypeObject*>(child.get());
    if (family.insert(below).second) add_descendants(below, family);
  }
}

bool is_enum_class(PyTypeObject* type) {
  PyObject* const names = type->tp_dict;
  return names != nullptr && PyDict_GetItemString(names, "_member_map_") != nullptr &&
         PyDict_GetItemString(names, "_value2member_map_") != nullptr;
}

void ClassAdoption::announce(PyTypeObject* before, PyTypeObject* after) {
  successors_->add(reinterpret_cast<PyObject*>(after), reinterpret_cast<PyObject*>(before));
}

void ClassAdoption::adopt(PyTypeObject* before, PyTypeObject* after) {
  auto* const old = reinterpret_cast<PyHeapTypeObject*>(before);
  const auto* const fresh = reinterpret_cast<PyHeapTypeObject*>(after);
  // Methods reach their module's state through the class.
  if (fresh->ht_module != nullptr) {
    journal_->refer(reinterpret_cast<PyObject*>(before), &old->ht_module, fresh->ht_module);
  }
  take_attributes(before, after);
  drop_attributes(before, after);
  // A class that C made with a plain metaclass; a binding library keeps data of its own.
  if (Py_TYPE(before) == &PyType_Type) take_slots(before, after);
  PyType_Modified(before);
}

void ClassAdoption::take_attributes(PyTypeObject* before, PyTypeObject* after) {
  const Ref items = Ref::steal(PyDict_Copy(after->tp_dict));
  PyObject *key = nullptr, *value = nullptr;
  Py_ssize_t at = 0;
  while (items && PyDict_Next(items.get(), &at, &key, &value) != 0) {
    if (!is_type_name(to_string(key))) take_attribute(before, after, key, value);
  }
}

void ClassAdoption::take_attribute(PyTypeObject* before, PyTypeObject* after, PyObject* name,
                                   PyObject* value) {
  const Ref old = Ref::borrow(PyDict_GetItemWithError(before->tp_dict, name));
  if (old.get() == value) return;
  if (old) {
    if (is_from_outside(old.get()) && !is_from_outside(value)) return;
    if (Py_TYPE(old.get()) == &PyWrapperDescr_Type && Py_TYPE(value) == &PyWrapperDescr_Type) {
      patch_slot_wrapper(before, name, old.get(), value);
      return;
    }
    if (can_patch(before, old.get(), value) && callables_->patch(old.get(), value)) return;
  }
  PyObject* const successor = successors_->find(value);
  Ref fresh = successor != nullptr ? Ref::borrow(successor) : Ref();
  if (!fresh) {
    fresh = is_descriptor_of(after, value) ? descriptor_for(before, value) : Ref::borrow(value);
  }
  if (!fresh || !journal_->set_attribute(before, name, fresh.get())) {
    PyErr_Clear();
    left_.emplace_back(std::string(before->tp_name) + "." + to_string(name),
                       "the attribute cannot be set");
  }
}

// Functions that the class merely shows are set as attributes, never changed.
bool ClassAdoption::can_patch(PyTypeObject* owner, PyObject* old, PyObject* fresh) const {
  if (!is_callable_kind(old) || !callables_->can_patch(old, fresh)) return false;
  if (is_descriptor_of(owner, old)) return true;
  return ownership_->owns_function(old) && ownership_->owns_function(fresh);
}

// `__repr__` and its like: the object that stands for a C slot follows, and so does the slot,
// here and in subclasses that inherit it, because setting the attribute says so.
void ClassAdoption::patch_slot_wrapper(PyTypeObject* type, PyObject* name, PyObject* old,
                                       PyObject* fresh) {
  const auto set_again = [owner = Ref::borrow(reinterpret_cast<PyObject*>(type)),
                          key = Ref::borrow(name), value = Ref::borrow(old)] {
    if (PyType_Type.tp_setattro(owner.get(), key.get(), value.get()) < 0) PyErr_Clear();
  };
  journal_->on_undo(set_again);
  callables_->patch(old, fresh);
  set_again();
}

void ClassAdoption::drop_attributes(PyTypeObject* before, PyTypeObject* after) {
  const Ref items = Ref::steal(PyDict_Copy(before->tp_dict));
  PyObject *key = nullptr, *value = nullptr;
  Py_ssize_t at = 0;
  while (items && PyDict_Next(items.get(), &at, &key, &value) != 0) {
    if (is_type_name(to_string(key)) || to_string(key) == "__doc__" ||
        PyDict_Contains(after->tp_dict, key) == 1 || is_from_outside(value)) {
      continue;
    }
    std::ignore = journal_->set_attribute(before, key, nullptr);
  }
}

void ClassAdoption::take_slots(PyTypeObject* before, const PyTypeObject* after) {
  for (const std::size_t offset : k_bare_slots) {
    void* const was = *slot_at(before, offset);
    void* const is = *slot_at(const_cast<PyTypeObject*>(after), offset);
    if (was == is) continue;
    std::vector<Ref> todo = {Ref::borrow(reinterpret_cast<PyObject*>(before))};
    while (!todo.empty()) {
      const Ref owner = std::move(todo.back());
      todo.pop_back();
      auto* const type = reinterpret_cast<PyTypeObject*>(owner.get());
      // A subclass that inherited the slot has a copy of it.
      if (*slot_at(type, offset) != was) continue;
      if (type != before && !PyType_HasFeature(type, Py_TPFLAGS_HEAPTYPE)) continue;
      journal_->write(owner.get(), slot_at(type, offset), is);
      for (Ref& child : subclasses_of(type)) todo.push_back(std::move(child));
    }
  }
}

void ClassAdoption::reparent_children(PyTypeObject* before, PyTypeObject* after) {
  for (const Ref& child : subclasses_of(after)) {
    if (successors_->find(child.get()) != nullptr) continue;  // adopted itself
    if (!PyType_HasFeature(reinterpret_cast<PyTypeObject*>(child.get()), Py_TPFLAGS_HEAPTYPE)) {
      left_.emplace_back(reinterpret_cast<PyTypeObject*>(child.get())->tp_name,
                         "a static type keeps the base class it was made with");
      continue;
    }
    reparent_class(reinterpret_cast<PyTypeObject*>(child.get()), after, before, *successors_,
                   *journal_);
  }
}

void reparent_class(PyTypeObject* child, PyTypeObject* from, PyTypeObject* to,
                    const ObjectMap& replacements, Journal& journal) {
  auto* const owner = reinterpret_cast<PyObject*>(child);
  auto* const base = reinterpret_cast<PyObject*>(to);
  const auto mapped = [&](PyObject* tuple) {
    Ref copy = Ref::steal(PyTuple_New(PyTuple_GET_SIZE(tuple)));
    for (Py_ssize_t i = 0; copy && i < PyTuple_GET_SIZE(tuple); ++i) {
      PyObject* const item = PyTuple_GET_ITEM(tuple, i);
      PyObject* const successor = replacements.find(item);
      PyTuple_SET_ITEM(copy.get(), i, Py_NewRef(successor != nullptr ? successor : item));
    }
    return copy;
  };
  const Ref bases = mapped(child->tp_bases);
  const Ref key = Ref::steal(PyLong_FromVoidPtr(child));
  const Ref weak = Ref::steal(PyWeakref_NewRef(owner, nullptr));
  if (!bases || !key || !weak) {
    PyErr_Clear();
    return;
  }
  journal.refer(owner, &child->tp_bases, bases.get());
  if (child->tp_base == from) {
    journal.refer(owner, reinterpret_cast<PyObject**>(&child->tp_base), base);
  }
  // The whole tree below looks attributes up by its mro.
  std::vector<Ref> todo = {Ref::borrow(owner)};
  while (!todo.empty()) {
    const Ref next = std::move(todo.back());
    todo.pop_back();
    auto* const type = reinterpret_cast<PyTypeObject*>(next.get());
    if (const Ref mro = mapped(type->tp_mro)) {
      journal.refer(next.get(), &type->tp_mro, mro.get());
    }
    for (Ref& grandchild : subclasses_of(type)) todo.push_back(std::move(grandchild));
  }
  // What makes changes of the base reach its new child.
  auto** const children = reinterpret_cast<PyObject**>(&to->tp_subclasses);
  if (*children == nullptr) {
    const Ref made = Ref::steal(PyDict_New());
    journal.refer(base, children, made.get());
  }
  std::ignore = journal.set_item(*children, key.get(), weak.get());
}

}  // namespace rehook
