#pragma once

#include <cstring>
#include <string>
#include <vector>

#include "bridge_abi.h"
#include "pybind11_registry.hpp"
#include "rtti_memory.hpp"
#include "rtti_objects.hpp"
#include "rtti_renames.hpp"

// Python classes as the registry knows them, and whether one could stand in for another.

namespace rehook_bridge {

inline PyTypeObject* as_type(PyObject* object) {
  return reinterpret_cast<PyTypeObject*>(object);
}
inline PyObject* as_object(PyTypeObject* type) {
  return reinterpret_cast<PyObject*>(type);
}
inline std::string name_of(PyTypeObject* type) {
  return std::string("class ") + type->tp_name;
}

// The record whose Python class is `type` itself, no base of it; or null.
inline TypeRecord* record_of(const Internals& internals, PyTypeObject* type) {
  const auto found = internals.registered_types_py.find(type);
  if (found == internals.registered_types_py.end() || found->second.size() != 1) return nullptr;
  TypeRecord* record = found->second[0];
  return record->type == type ? record : nullptr;
}

// The C++ enumeration behind a class made by native_enum; null for other classes. When several
// builds know the class, the newest one's.
inline TypeObject native_enum_of(Internals& internals, PyTypeObject* type) {
  const EnumMap* enums = native_enums(internals);
  TypeObject result = nullptr;
  if (enums == nullptr) return result;
  for (const auto& [key, known] : *enums) {
    if (known != as_object(type)) continue;
    TypeObject object = object_of(key);
    if (result == nullptr || renamed_objects().count(object) == 0) result = object;
  }
  return result;
}

inline const char* without_star(const char* name) {
  return name[0] == '*' ? name + 1 : name;
}

inline bool describe_class(Internals& internals, PyObject* object, RehookClass& out) {
  if (!PyType_Check(object)) return false;
  PyTypeObject* type = as_type(object);
  if (const TypeRecord* record = record_of(internals, type)) {
    out.cpp_name = without_star(original_name(record->cpptype));
    out.size = record->type_size;
    out.align = record->type_align;
    out.is_enum = PyDict_GetItemString(type->tp_dict, "__entries") != nullptr ? 1 : 0;
    return true;
  }
  TypeObject enumeration = native_enum_of(internals, type);
  if (enumeration == nullptr) return false;
  out.cpp_name = without_star(original_name(enumeration));
  out.size = out.align = 0;
  out.is_enum = 1;
  return true;
}

// The library that Python itself is in. Asking the dynamic loader takes the longer the more is
// loaded.
inline const RehookRange& image_of_python() {
  static const RehookRange image = [] {
    Library python;
    library_at(reinterpret_cast<std::uintptr_t>(PyType_Type.tp_call), python);
    return python.image;
  }();
  return image;
}

// Slots that py::custom_type_setup may have filled. What Python itself put there follows the
// attributes of the class; anything else would stay on the old build's code.
inline bool has_slots_of_its_own(PyTypeObject* type) {
  const auto foreign = [](auto* function) {
    const auto address = reinterpret_cast<std::uintptr_t>(function);
    return address != 0 && !contains(image_of_python(), address);
  };
  if (foreign(type->tp_repr) || foreign(type->tp_hash) || foreign(type->tp_call) ||
      foreign(type->tp_str) || foreign(type->tp_getattro) || foreign(type->tp_setattro) ||
      foreign(type->tp_richcompare) || foreign(type->tp_iter) || foreign(type->tp_iternext) ||
      foreign(type->tp_descr_get) || foreign(type->tp_descr_set) || foreign(type->tp_alloc) ||
      foreign(type->tp_free) || foreign(type->tp_is_gc) || foreign(type->tp_finalize) ||
      foreign(type->tp_vectorcall)) {
    return true;
  }
  const auto* heap = reinterpret_cast<const PyHeapTypeObject*>(type);
  const auto table = [](const auto& functions) {
    const auto begin = reinterpret_cast<std::uintptr_t>(&functions);
    for (std::uintptr_t at = begin; at < begin + sizeof functions; at += sizeof(void*)) {
      const std::uintptr_t address = load_word(at);
      if (address != 0 && !contains(image_of_python(), address)) return true;
    }
    return false;
  };
  return table(heap->as_async) || table(heap->as_number) || table(heap->as_mapping) ||
         table(heap->as_sequence);
}

inline bool same_holder(const TypeRecord& a, const TypeRecord& b) {
  if (a.holder_size_in_ptrs != b.holder_size_in_ptrs) return false;
#if PYBIND11_VERSION_MAJOR >= 3
  return a.holder_enum_v == b.holder_enum_v;
#else
  return a.default_holder == b.default_holder;
#endif
}

// Whether objects of both classes look the same to Python.
inline const char* difference_of_types(PyTypeObject* a, PyTypeObject* b) {
  unsigned long flags = Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE;
#ifdef Py_TPFLAGS_MANAGED_DICT
  flags |= Py_TPFLAGS_MANAGED_DICT;
#endif
  if (a->tp_basicsize != b->tp_basicsize || a->tp_itemsize != b->tp_itemsize ||
      a->tp_dictoffset != b->tp_dictoffset || a->tp_weaklistoffset != b->tp_weaklistoffset ||
      ((a->tp_flags ^ b->tp_flags) & flags & ~Py_TPFLAGS_BASETYPE) != 0) {
    return "its objects have another layout in Python (py::dynamic_attr?)";
  }
  if (((a->tp_flags ^ b->tp_flags) & Py_TPFLAGS_BASETYPE) != 0) {
    return "py::is_final was added or removed";
  }
  if (Py_TYPE(as_object(a)) != Py_TYPE(as_object(b))) return "it has another metaclass";
  if (a->tp_dealloc != b->tp_dealloc || has_slots_of_its_own(a) || has_slots_of_its_own(b)) {
    return "it has slots of its own (py::custom_type_setup)";
  }
  return nullptr;
}

inline const char* difference_of_records(const TypeRecord& a, const TypeRecord& b) {
  if (std::strcmp(original_name(a.cpptype), original_name(b.cpptype)) != 0) {
    return "it is another C++ class";
  }
  if (a.type_size != b.type_size || a.type_align != b.type_align) {
    return "its C++ objects have another size";
  }
  if (!same_holder(a, b)) return "its C++ objects have another holder";
  if ((a.operator_new == nullptr) != (b.operator_new == nullptr)) {
    return "it gained or lost an operator new of its own";
  }
  if (a.module_local != b.module_local) return "py::module_local was added or removed";
  if (a.simple_ancestors != b.simple_ancestors) return "its bases changed";
  return nullptr;
}

// Base by base, the same class or the same C++ class.
inline bool have_like_bases(Internals& internals, PyTypeObject* a, PyTypeObject* b) {
  PyObject *first = a->tp_bases, *second = b->tp_bases;
  if (PyTuple_GET_SIZE(first) != PyTuple_GET_SIZE(second)) return false;
  for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(first); ++i) {
    PyObject *one = PyTuple_GET_ITEM(first, i), *other = PyTuple_GET_ITEM(second, i);
    RehookClass c{}, d{};
    if (one == other) continue;
    if (!describe_class(internals, one, c) || !describe_class(internals, other, d) ||
        std::strcmp(c.cpp_name, d.cpp_name) != 0) {
      return false;
    }
  }
  return true;
}

// Empty when `a` could serve the C++ class of `b`, else why not.
inline std::string why_not_adopt(Internals& internals, PyTypeObject* a, PyTypeObject* b) {
  const TypeRecord *old_record = record_of(internals, a), *new_record = record_of(internals, b);
  const char* why = nullptr;
  if (a == b) {
    why = "the classes are the same";
  } else if (old_record != nullptr && new_record != nullptr) {
    why = difference_of_records(*old_record, *new_record);
    if (why == nullptr && !have_like_bases(internals, a, b)) why = "its bases changed";
    if (why == nullptr) why = difference_of_types(a, b);
  } else {
    TypeObject old_enum = native_enum_of(internals, a), new_enum = native_enum_of(internals, b);
    if (old_enum == nullptr || new_enum == nullptr) {
      why = "it is not in this registry";
    } else if (std::strcmp(original_name(old_enum), original_name(new_enum)) != 0) {
      why = "it is another C++ enumeration";
    } else if (!have_like_bases(internals, a, b)) {
      why = "its bases changed";
    }
  }
  return why == nullptr ? std::string() : name_of(a) + " cannot be adopted: " + why;
}

}  // namespace rehook_bridge
