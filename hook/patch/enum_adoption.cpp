#include "hook/patch/enum_adoption.hpp"

#include <tuple>

namespace rehook {
namespace {

PyObject* own_item(PyTypeObject* type, const char* name) {
  PyObject* const dict = type->tp_dict;
  return dict == nullptr ? nullptr : PyDict_GetItemString(dict, name);  // borrowed
}

// name -> member, of either kind of enumeration; null when it is neither.
Ref members_of(PyTypeObject* type) {
  if (PyObject* map = own_item(type, "_member_map_")) {
    return PyDict_Check(map) ? Ref::steal(PyDict_Copy(map)) : Ref();
  }
  PyObject* const entries = own_item(type, "__entries");
  if (entries == nullptr || !PyDict_Check(entries)) return {};
  Ref members = Ref::steal(PyDict_New());
  PyObject *key = nullptr, *value = nullptr;
  Py_ssize_t at = 0;
  while (members && PyDict_Next(entries, &at, &key, &value) != 0) {
    // (member, doc)
    if (!PyTuple_Check(value) || PyTuple_GET_SIZE(value) < 1) return {};
    PyDict_SetItem(members.get(), key, PyTuple_GET_ITEM(value, 0));
  }
  return members;
}

bool same_value(PyObject* one, PyObject* other) {
  const Ref a = optional_attribute(one, "value"), b = optional_attribute(other, "value");
  if (!a || !b) return false;
  const int same = PyObject_RichCompareBool(a.get(), b.get(), Py_EQ);
  PyErr_Clear();
  return same == 1;
}

// The tables of a new enumeration, with the kept members in the places of the new ones. Nobody
// but the new class, and soon the old one, has these tables.
void name_kept_members(PyTypeObject* after, const ObjectMap& successors) {
  for (const char* table : {"_member_map_", "_value2member_map_", "__entries"}) {
    PyObject* const dict = own_item(after, table);
    if (dict == nullptr || !PyDict_Check(dict)) continue;
    const Ref items = Ref::steal(PyDict_Copy(dict));
    PyObject *key = nullptr, *value = nullptr;
    Py_ssize_t at = 0;
    while (items && PyDict_Next(items.get(), &at, &key, &value) != 0) {
      PyObject* kept = successors.find(value);
      Ref entry;
      if (PyTuple_Check(value) && PyTuple_GET_SIZE(value) == 2) {
        kept = successors.find(PyTuple_GET_ITEM(value, 0));
        if (kept != nullptr) {
          entry = Ref::steal(PyTuple_Pack(2, kept, PyTuple_GET_ITEM(value, 1)));
          kept = entry.get();
        }
      }
      if (kept != nullptr && PyDict_SetItem(dict, key, kept) < 0) PyErr_Clear();
    }
  }
}

// Its value is an attribute; an IntEnum's is the object itself.
bool is_plain_member(PyObject* member) {
  return Py_TYPE(member)->tp_itemsize == 0 && PyUnicode_Check(member) == 0 &&
         PyFloat_Check(member) == 0 && PyTuple_Check(member) == 0 &&
         PyBytes_Check(member) == 0 && PyLong_Check(member) == 0 &&
         PyType_HasFeature(Py_TYPE(member), Py_TPFLAGS_MANAGED_DICT);
}

void take_content_of(PyObject* old, PyObject* fresh, Journal& journal) {
  const Ref mine = Ref::steal(PyObject_GenericGetDict(old, nullptr));
  const Ref its = Ref::steal(PyObject_GenericGetDict(fresh, nullptr));
  PyErr_Clear();
  if (!mine || !its || !PyDict_Check(mine.get()) || !PyDict_Check(its.get())) return;
  PyObject *key = nullptr, *value = nullptr;
  Py_ssize_t at = 0;
  while (PyDict_Next(its.get(), &at, &key, &value) != 0) {
    if (to_string(key) == "__objclass__") continue;
    std::ignore = journal.set_item(mine.get(), key, value);
  }
}

}  // namespace

EnumMembers pair_members(PyTypeObject* before, PyTypeObject* after, bool is_python) {
  EnumMembers members;
  members.take_content = is_python;
  const Ref old = members_of(before), fresh = members_of(after);
  if (!old || !fresh) return members;
  PyObject *key = nullptr, *value = nullptr;
  Py_ssize_t at = 0;
  while (PyDict_Next(fresh.get(), &at, &key, &value) != 0) {
    const Ref was = Ref::borrow(PyDict_GetItemWithError(old.get(), key));
    if (was && (same_value(was.get(), value) ||
                (is_python && is_plain_member(was.get()) && is_plain_member(value)))) {
      members.kept.emplace_back(was, Ref::borrow(value));
      continue;
    }
    if (was) members.changed.push_back(to_string(key));
    members.added.push_back(Ref::borrow(value));
  }
  PyErr_Clear();
  return members;
}

void adopt_members(const EnumMembers& members, PyTypeObject* before, PyTypeObject* after,
                   Journal& journal, ObjectMap& successors) {
  const Ref owner_name = from_string("__objclass__");
  for (const auto& [old, fresh] : members.kept) {
    successors.add(fresh.get(), old.get());
    if (members.take_content && is_plain_member(old.get())) {
      take_content_of(old.get(), fresh.get(), journal);
    }
  }
  for (const Ref& member : members.added) {
    if (Py_TYPE(member.get()) != after) continue;
    journal.become(member.get(), before);
    const Ref dict = Ref::steal(PyObject_GenericGetDict(member.get(), nullptr));
    PyErr_Clear();
    if (dict && PyDict_Check(dict.get()) &&
        PyDict_Contains(dict.get(), owner_name.get()) == 1) {
      std::ignore =
          journal.set_item(dict.get(), owner_name.get(), reinterpret_cast<PyObject*>(before));
    }
  }
  name_kept_members(after, successors);
}

}  // namespace rehook
