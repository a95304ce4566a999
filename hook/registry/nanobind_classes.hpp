#pragma once

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "nanobind_registry.hpp"

namespace rehook_bridge {

// Owns a reference.
class Reference {
 public:
  explicit Reference(PyObject* object) : object_(object) {}
  Reference(Reference&& other) noexcept : object_(other.object_) { other.object_ = nullptr; }
  Reference(const Reference&) = delete;
  Reference& operator=(const Reference&) = delete;
  ~Reference() { Py_XDECREF(object_); }
  static Reference to(PyObject* object) {
    Py_XINCREF(object);
    return Reference(object);
  }
  PyObject* get() const { return object_; }

 private:
  PyObject* object_;
};

// A Python class that nanobind made, with the record its registry has of it. Of several records
// that name an enumeration (it served several builds) the newest counts.
struct FoundClass {
  Internals* internals = nullptr;
  TypeRecord* record = nullptr;
  bool is_enum = false;
  explicit operator bool() const { return record != nullptr; }
};

inline FoundClass find_class(PyObject* type) {
  FoundClass found;
  if (type == nullptr || !PyType_Check(type)) return found;
  for (Internals* internals : find_internals()) {
    if (has_record(*internals, type)) {
      TypeRecord* record = record_inside(as_type(type));
      if (record->type == nullptr) return found;
      const auto at = internals->type_c2p_slow.find(record->type);
      // The record of a class made in Python is a copy of its base's.
      if (at == internals->type_c2p_slow.end() || at->second != record) return found;
      return {internals, record, false};
    }
    for (const auto& [object, record] : internals->type_c2p_slow) {
      if (record == nullptr || as_object(record->type_py) != type) continue;
      if (!found || renamed_objects().count(object) == 0) found = {internals, record, true};
    }
  }
  return found;
}

// An attribute of a class that is a number, like __basicsize__; -1 when there is none. Asks
// slots of `type` itself, which run no Python code.
inline long number_of(PyObject* type, const char* name) {
  const Reference value(PyObject_GetAttrString(type, name));
  const long number = value.get() == nullptr ? -1 : PyLong_AsLong(value.get());
  if (PyErr_Occurred() != nullptr) PyErr_Clear();
  return number;
}

inline PyObject* base_of(PyObject* type) {
  return static_cast<PyObject*>(PyType_GetSlot(as_type(type), Py_tp_base));
}

// Direct and indirect subclasses that are alive.
inline void add_subclasses(PyObject* type, std::vector<PyObject*>& found) {
  const Reference list(PyObject_CallMethod(reinterpret_cast<PyObject*>(&PyType_Type),
                                           "__subclasses__", "O", type));
  if (list.get() == nullptr) return PyErr_Clear();
  for (Py_ssize_t i = 0; i < PyList_Size(list.get()); ++i) {
    PyObject* subclass = PyList_GetItem(list.get(), i);
    if (std::find(found.begin(), found.end(), subclass) != found.end()) continue;
    found.push_back(subclass);
    add_subclasses(subclass, found);
  }
}

inline std::string name_of_class(PyObject* type) {
  const Reference name(PyObject_GetAttrString(type, "__qualname__"));
  const char* text =
      name.get() == nullptr ? nullptr : PyUnicode_AsUTF8AndSize(name.get(), nullptr);
  if (text == nullptr) PyErr_Clear();
  return text == nullptr ? "?" : text;
}

// The live instances of exactly this class. An address may have several (a class and its first
// member), and since 2.13 dead ones wait in a pool to be used again.
template <typename Visit>
void for_each_instance(Internals& internals, PyObject* type, bool subclasses, Visit visit) {
  const auto look_at = [&](PyObject* instance) {
    if (Py_REFCNT(instance) <= 0) return;
    PyTypeObject* const own = Py_TYPE(instance);
    if (as_object(own) == type || (subclasses && PyType_IsSubtype(own, as_type(type)) != 0)) {
      visit(instance);
    }
  };
  for (const auto& [address, value] : internals.shards[0].inst_c2p) {
    if ((reinterpret_cast<std::uintptr_t>(value) & 1) == 0) {
      look_at(static_cast<PyObject*>(value));
      continue;
    }
    auto* entry = pointer_at<nb::nb_inst_seq>(reinterpret_cast<std::uintptr_t>(value) &
                                              ~std::uintptr_t{1});
    for (; entry != nullptr; entry = entry->next) look_at(entry->inst);
  }
}

}  // namespace rehook_bridge
