#pragma once

#include <string>
#include <type_traits>
#include <unordered_set>
#include <utility>
#include <vector>

#include "rtti_memory.hpp"
#include "rtti_renames.hpp"

// To be included after nanobind's "nb_internals.h", which one file of ours sees.
//
// nanobind's registries, found without creating them, and what differs between its versions.
//   A process has one per domain (NB_DOMAIN) and ABI tag, in the interpreter's dict under
//   "__nb_internals_<tag>_<domain>__". Up to 2.5 the tag is known to nb_internals.cpp only.
//   2.10 and later keep one metaclass, 2.x before that one per size of the supplement.
//   3.0 splits an extension from its "backend"; the registries are the backend's.

#if defined(Py_GIL_DISABLED) || defined(NB_FREE_THREADED)
#error \
    "rehook cannot reload nanobind extensions in a free-threaded Python: the registries have locks and caches per thread"
#endif

#if defined(NB_INTERNALS_KEY)
#define REHOOK_NB_TAG NB_INTERNALS_KEY
#elif defined(NB_ABI_TAG)
#define REHOOK_NB_TAG NB_ABI_TAG
#else
// As in nb_internals.cpp of nanobind 2.0 to 2.5, GCC and Clang on Linux.
#if NB_VERSION_MAJOR != 2 || NB_VERSION_MINOR > 5
#error "this version of nanobind is not known to rehook"
#elif NB_VERSION_MINOR < 2
#define REHOOK_NB_VERSION "v14"
#else
#define REHOOK_NB_VERSION "v15"
#endif
#if defined(__clang__)
#define REHOOK_NB_COMPILER "_clang"
#else
#define REHOOK_NB_COMPILER "_gcc"
#endif
#if defined(_LIBCPP_VERSION)
#define REHOOK_NB_STDLIB "_libcpp"
#else
#define REHOOK_NB_STDLIB "_libstdcpp"
#endif
#if defined(Py_LIMITED_API)
#define REHOOK_NB_STABLE "_stable"
#else
#define REHOOK_NB_STABLE ""
#endif
#define REHOOK_NB_TAG                                   \
  REHOOK_NB_VERSION REHOOK_NB_COMPILER REHOOK_NB_STDLIB \
      "_cxxabi" NB_TOSTRING(__GXX_ABI_VERSION) REHOOK_NB_STABLE
#endif

namespace rehook_bridge {

namespace nb = nanobind::detail;

using Internals = nb::nb_internals;
using TypeRecord = nb::type_data;
using Function = nb::nb_func;
using SlowMap = nb::nb_type_map_slow;
using FastMap = nb::nb_type_map_fast;
using TranslatorNode = nb::nb_translator_seq;

inline constexpr const char* k_internals_id = REHOOK_NB_TAG;

// ---- the map from addresses of type_info objects: typed up to 2.9, of void* since ----

inline FastMap::key_type fast_key(TypeObject object) {
  return const_cast<std::type_info*>(object);
}
inline TypeObject object_of_key(const void* key) {
  return static_cast<TypeObject>(key);
}

// ---- members that came and went ----

template <typename T, typename = void>
struct HasMeta : std::false_type {};
template <typename T>
struct HasMeta<T, std::void_t<decltype(std::declval<T&>().nb_meta)>> : std::true_type {};

// The class of nanobind's metaclasses, of which there is one per domain.
template <typename T>
PyTypeObject* meta_metaclass(T& internals) {
  if constexpr (HasMeta<T>::value) {
    return internals.nb_meta;
  } else {
    return internals.nb_type == nullptr
               ? nullptr
               : Py_TYPE(reinterpret_cast<PyObject*>(internals.nb_type));
  }
}

// Translators form a list whose head is part of nb_internals up to 2.9, a pointer since.
template <typename T>
TranslatorNode* first_translator(T& internals) {
  if constexpr (std::is_same<decltype(internals.translators), TranslatorNode>::value) {
    return &internals.translators;
  } else {
    return internals.translators.load_acquire();
  }
}
// ---- classes ----

inline PyObject* as_object(PyTypeObject* type) {
  return reinterpret_cast<PyObject*>(type);
}
inline PyTypeObject* as_type(PyObject* object) {
  return reinterpret_cast<PyTypeObject*>(object);
}

// The record inside a class that nanobind made, or that derives from one in Python.
inline TypeRecord* record_inside(PyTypeObject* type) {
#if defined(Py_LIMITED_API)
  return static_cast<TypeRecord*>(
      PyObject_GetTypeData(as_object(type), Py_TYPE(as_object(type))));
#else
  return reinterpret_cast<TypeRecord*>(reinterpret_cast<char*>(type) +
                                       sizeof(PyHeapTypeObject));
#endif
}

// Whether `type` has such a record in this domain.
inline bool has_record(Internals& internals, PyObject* type) {
  if (type == nullptr || !PyType_Check(type)) return false;
  PyTypeObject* const meta = meta_metaclass(internals);
  return meta != nullptr && Py_TYPE(as_object(Py_TYPE(type))) == meta;
}

inline nb::func_data* overloads_of(void* function) {
  return reinterpret_cast<nb::func_data*>(static_cast<char*>(function) + sizeof(Function));
}

inline bool has_flag(const TypeRecord& record, nb::type_flags flag) {
  return (record.flags & static_cast<std::uint32_t>(flag)) != 0;
}

// Whether code of these libraries made the class: the type_info may be somebody else's. Members
// of a record whose flag is not set hold what was on a stack.
inline bool made_by(const TypeRecord& record, const Ranges& libraries) {
  using Flags = nb::type_flags;
  if ((has_flag(record, Flags::has_destruct) && libraries.contains(record.destruct)) ||
      (has_flag(record, Flags::has_copy) && libraries.contains(record.copy)) ||
      (has_flag(record, Flags::has_move) && libraries.contains(record.move))) {
    return true;
  }
  auto* init = static_cast<PyObject*>(record.init);
  return init != nullptr && Py_SIZE(init) > 0 && libraries.contains(overloads_of(init)->impl);
}

// type_info::name() as the compiler wrote it: mangled names have no '@', suffixes start with
// one.
inline const char* name_as_compiled(TypeObject object) {
  static auto& names = *new std::unordered_set<std::string>();
  const std::string name = object->name();
  return names.insert(name.substr(0, name.find('@'))).first->c_str();
}

// ---- domains ----

// Every registry of our ABI tag. Empty when no such extension has been imported.
inline std::vector<Internals*> find_internals() {
  std::vector<Internals*> found;
  PyObject* dict = PyInterpreterState_GetDict(PyInterpreterState_Get());
  const std::string start = std::string("__nb_internals_") + k_internals_id + "_";
  PyObject *key = nullptr, *value = nullptr;
  Py_ssize_t at = 0;
  while (dict != nullptr && PyDict_Next(dict, &at, &key, &value) != 0) {
    if (!PyUnicode_Check(key) || !PyCapsule_CheckExact(value)) continue;
    Py_ssize_t size = 0;
    const char* text = PyUnicode_AsUTF8AndSize(key, &size);
    if (text == nullptr) PyErr_Clear();
    if (text == nullptr || std::string_view(text, size).substr(0, start.size()) != start) {
      continue;
    }
    void* internals = PyCapsule_GetPointer(value, "nb_internals");
    if (internals == nullptr) PyErr_Clear();
    if (internals != nullptr) found.push_back(static_cast<Internals*>(internals));
  }
  return found;
}

// Enumerations are classes of Python's enum module.
inline bool is_record_of_enum(Internals& internals, const TypeRecord& record) {
  return !has_record(internals, as_object(record.type_py));
}

}  // namespace rehook_bridge
