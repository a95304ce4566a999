#include "hook/patch/journal.hpp"

#include <algorithm>
#include <cstring>
#include <tuple>

namespace rehook {
namespace {

// The interpreter's caches of what a call site does with `owner` end here.
void forget_caches(PyObject* owner) {
  if (PyFunction_Check(owner)) {
    reinterpret_cast<PyFunctionObject*>(owner)->func_version = 0;
  } else if (PyType_Check(owner)) {
    PyType_Modified(reinterpret_cast<PyTypeObject*>(owner));
  }
}

// A thread may be inside a call of `function`, without the GIL, and use what it was bound to: a
// module's state, a binding library's record. That is never released, as after commit().
bool may_be_in_use(PyObject* function, PyObject* bound) {
  return PyCFunction_Check(function) && bound != nullptr && bound != function &&
         !PyUnicode_Check(bound) && !PyType_Check(bound);
}

// The attributes of an ordinary instance may lie in the object itself, in an order that only
// its present class knows. Asking for the dictionary brings them out.
void bring_out_attributes(PyObject* object) {
  if (!PyType_HasFeature(Py_TYPE(object), Py_TPFLAGS_MANAGED_DICT)) return;
  const Ref attributes = Ref::steal(PyObject_GenericGetDict(object, nullptr));
#if defined(Py_TPFLAGS_INLINE_VALUES)
  // Since 3.13 they stay in the object even then, until the dictionary gets a table of its own;
  // popitem() makes one. What it takes is the last item, and put back as the last one.
  if (attributes && PyType_HasFeature(Py_TYPE(object), Py_TPFLAGS_INLINE_VALUES)) {
    if (PyDict_GET_SIZE(attributes.get()) == 0) {
      const Ref name = from_string("__rehook__");
      PyDict_SetItem(attributes.get(), name.get(), Py_None);
      std::ignore = Ref::steal(PyObject_CallMethod(attributes.get(), "popitem", nullptr));
    } else if (const Ref item =
                   Ref::steal(PyObject_CallMethod(attributes.get(), "popitem", nullptr))) {
      PyDict_SetItem(attributes.get(), PyTuple_GET_ITEM(item.get(), 0),
                     PyTuple_GET_ITEM(item.get(), 1));
    }
  }
#endif
  PyErr_Clear();
}

void exchange_bodies(PyObject* one, PyObject* other) {
  const PyTypeObject* type = Py_TYPE(one);
  for (Py_ssize_t at = sizeof(PyObject);
       at + static_cast<Py_ssize_t>(sizeof(void*)) <= type->tp_basicsize; at += sizeof(void*)) {
    if (at == type->tp_weaklistoffset) continue;
    auto* a = reinterpret_cast<void**>(reinterpret_cast<char*>(one) + at);
    auto* b = reinterpret_cast<void**>(reinterpret_cast<char*>(other) + at);
    std::swap(*a, *b);
    // An object that points to itself (a Cython function does) still does.
    if (*a == other) *a = one;
    if (*b == one) *b = other;
  }
}

}  // namespace

void Journal::push(Kind kind, PyObject* owner, void** slot, void* before) {
  entries_.push_back({kind, Py_NewRef(owner), slot, before, {}});
}

void Journal::write(PyObject* owner, void** slot, void* value) {
  if (*slot == value) return;
  push(Kind::word, owner, slot, *slot);
  *slot = value;
  forget_caches(owner);
}

void Journal::refer(PyObject* owner, PyObject** slot, PyObject* value) {
  if (*slot == value) return;
  push(Kind::reference, owner, reinterpret_cast<void**>(slot), *slot);
  *slot = Py_XNewRef(value);
  forget_caches(owner);
}

void Journal::exchange(PyObject* owner, PyObject** slot, PyObject* value) {
  if (*slot == value) return;
  push(Kind::exchanged, owner, reinterpret_cast<void**>(slot), *slot);
  *slot = Py_XNewRef(value);
  forget_caches(owner);
}

void Journal::become(PyObject* object, PyTypeObject* type) {
  if (Py_TYPE(object) == type) return;
  bring_out_attributes(object);
  push(Kind::type, object, nullptr, Py_TYPE(object));
  Py_INCREF(type);
  Py_SET_TYPE(object, type);
}

bool Journal::set_attribute(PyTypeObject* type, PyObject* name, PyObject* value) {
  const Ref owner = Ref::borrow(reinterpret_cast<PyObject*>(type));
  const Ref key = Ref::borrow(name);
  const Ref before = Ref::borrow(PyDict_GetItemWithError(type->tp_dict, name));
  if (before.get() == value) return true;
  if (before) keep(before.get());
  // The metaclass of a binding library looks for static properties first; this is the class's
  // own dictionary.
  if (PyType_Type.tp_setattro(owner.get(), name, value) < 0) {
    PyErr_Clear();
    return false;
  }
  on_undo([owner, key, before] {
    if (PyType_Type.tp_setattro(owner.get(), key.get(), before.get()) < 0) PyErr_Clear();
  });
  return true;
}

bool Journal::set_item(PyObject* dict, PyObject* key, PyObject* value) {
  const Ref owner = Ref::borrow(dict);
  const Ref name = Ref::borrow(key);
  const Ref before = Ref::borrow(PyDict_GetItemWithError(dict, key));
  const Ref after = Ref::borrow(value);
  if (before.get() == value) return true;
  if (before) keep(before.get());
  const int done =
      value != nullptr ? PyDict_SetItem(dict, key, value) : PyDict_DelItem(dict, key);
  if (done < 0) {
    PyErr_Clear();
    return false;
  }
  on_undo([owner, name, before, after] {
    // Somebody else may have written here meanwhile; that stays.
    if (PyDict_GetItemWithError(owner.get(), name.get()) != after.get()) return;
    const int undone = before ? PyDict_SetItem(owner.get(), name.get(), before.get())
                              : PyDict_DelItem(owner.get(), name.get());
    if (undone < 0) PyErr_Clear();
  });
  return true;
}

void Journal::set_list_item(PyObject* list, Py_ssize_t index, PyObject* value) {
  const Ref owner = Ref::borrow(list);
  const Ref after = Ref::borrow(value);
  PyObject** const items = reinterpret_cast<PyListObject*>(list)->ob_item;
  const Ref before = Ref::steal(items[index]);
  keep(before.get());
  items[index] = Py_NewRef(value);
  on_undo([owner, index, before, after] {
    if (index >= PyList_GET_SIZE(owner.get())) return;
    PyObject** const now = reinterpret_cast<PyListObject*>(owner.get())->ob_item;
    if (now[index] != after.get()) return;
    now[index] = Py_NewRef(before.get());
    Py_DECREF(after.get());  // never the last one: `after` holds another
  });
}

void Journal::remove_list_item(PyObject* list, Py_ssize_t index) {
  const Ref owner = Ref::borrow(list);
  const Ref item = Ref::borrow(PyList_GET_ITEM(list, index));
  keep(item.get());
  if (PyList_SetSlice(list, index, index + 1, nullptr) < 0) {
    PyErr_Clear();
    return;
  }
  on_undo([owner, item, index] {
    const Py_ssize_t at = std::min(index, PyList_GET_SIZE(owner.get()));
    if (PyList_Insert(owner.get(), at, item.get()) < 0) PyErr_Clear();
  });
}

void Journal::swap_bodies(PyObject* one, PyObject* other) {
  const Ref first = Ref::borrow(one), second = Ref::borrow(other);
  exchange_bodies(one, other);
  on_undo([first, second] { exchange_bodies(first.get(), second.get()); });
}

void Journal::on_undo(std::function<void()> action) {
  entries_.push_back({Kind::action, nullptr, nullptr, nullptr, std::move(action)});
}

void Journal::undo() {
  std::vector<Entry> entries = std::move(entries_);
  entries_.clear();
  std::vector<PyObject*> garbage;  // released when everything is back in its place
  for (auto entry = entries.rbegin(); entry != entries.rend(); ++entry) {
    switch (entry->kind) {
      case Kind::action:
        entry->action();
        break;
      case Kind::type:
        garbage.push_back(reinterpret_cast<PyObject*>(Py_TYPE(entry->owner)));
        Py_SET_TYPE(entry->owner, static_cast<PyTypeObject*>(entry->before));
        break;
      case Kind::exchanged:
        garbage.push_back(static_cast<PyObject*>(*entry->slot));
        *entry->slot = entry->before;
        break;
      case Kind::reference:
        if (!may_be_in_use(entry->owner, static_cast<PyObject*>(*entry->slot))) {
          garbage.push_back(static_cast<PyObject*>(*entry->slot));
        }
        [[fallthrough]];
      case Kind::word:
        *entry->slot = entry->before;
        break;
    }
    if (entry->owner != nullptr) {
      forget_caches(entry->owner);
      garbage.push_back(entry->owner);
    }
  }
  garbage.insert(garbage.end(), kept_.begin(), kept_.end());
  kept_.clear();
  left_over_.clear();
  for (PyObject* object : garbage) Py_XDECREF(object);
}

void Journal::commit() {
  // What was overwritten is not released, see the class comment; only the owners are, and what
  // was said to be of no further use.
  kept_.clear();
  std::vector<PyObject*> left_over = std::move(left_over_);
  left_over_.clear();
  std::vector<Entry> entries = std::move(entries_);
  entries_.clear();
  for (const Entry& entry : entries) {
    Py_XDECREF(entry.owner);
    if (entry.kind == Kind::exchanged) Py_XDECREF(static_cast<PyObject*>(entry.before));
  }
  for (PyObject* object : left_over) Py_XDECREF(object);
}

}  // namespace rehook
