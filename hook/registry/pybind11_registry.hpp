#pragma once

#include <forward_list>
#include <string>
#include <typeindex>
#include <unordered_map>
#include <vector>

#include "rtti_memory.hpp"
#include "rtti_objects.hpp"

#ifdef Py_GIL_DISABLED
#error \
    "rehook cannot reload pybind11 extensions in a free-threaded Python: the registries have locks of their own"
#endif

// To be included after <pybind11/detail/internals.h>, which one file of ours sees.
//
// pybind11's registries, found without creating them, and what differs between its versions.
//   internals v4 (2.10 - 2.13, Python < 3.12) lives in builtins, later ones in the
//   interpreter's dict 3.0 adds native enums, 3.1 (v12) a second map from type_info addresses
//   with alias chains

namespace rehook_bridge {

using Internals = pybind11::detail::internals;
using TypeRecord = pybind11::detail::type_info;
using Translator = pybind11::ExceptionTranslator;
using TranslatorList = decltype(Internals::registered_exception_translators);
using TypeMap = decltype(Internals::registered_types_cpp);
using ConversionMap = decltype(Internals::direct_conversions);
using AliasChain = std::forward_list<const std::type_info*>;

// pybind11::detail::numpy_internals, from <pybind11/numpy.h>, which is the same in 2.2 to 3.1.
struct NumpyType {
  PyObject* dtype;
  std::string format;
};
using DtypeMap = std::unordered_map<std::type_index, NumpyType>;

#if PYBIND11_VERSION_MAJOR >= 3
using EnumMap = decltype(Internals::native_enum_type_map);
inline EnumMap* native_enums(Internals& internals) {
  return &internals.native_enum_type_map;
}
#else
using EnumMap = std::unordered_map<std::type_index, PyObject*>;
inline EnumMap* native_enums(Internals&) {
  return nullptr;
}
#endif

#if PYBIND11_INTERNALS_VERSION >= 12
using FastMap = decltype(Internals::registered_types_cpp_fast);
inline FastMap* fast_types(Internals& internals) {
  return &internals.registered_types_cpp_fast;
}
inline AliasChain* alias_chain(TypeRecord& record) {
  return &record.alias_chain;
}
#else
using FastMap = std::unordered_map<const std::type_info*, TypeRecord*>;
inline FastMap* fast_types(Internals&) {
  return nullptr;
}
inline AliasChain* alias_chain(TypeRecord&) {
  return nullptr;
}
#endif

// Whether a library's own map of module_local classes finds them by name (2.x) or address
// (3.x).
using LocalKey = decltype(pybind11::detail::local_internals::registered_types_cpp)::key_type;
inline constexpr bool k_locals_found_by_name = std::is_same<LocalKey, std::type_index>::value;

inline DtypeMap* numpy_dtypes(Internals& internals) {
#if PYBIND11_VERSION_MAJOR == 2 || (PYBIND11_VERSION_MAJOR == 3 && PYBIND11_VERSION_MINOR <= 1)
  const auto found = internals.shared_data.find("_numpy_internals");
  return found == internals.shared_data.end() ? nullptr : static_cast<DtypeMap*>(found->second);
#else
  return nullptr;  // unknown layout; a structured dtype is then "already registered" on reload
#endif
}

inline Internals* internals_in(PyObject* dict) {
  PyObject* key = dict == nullptr ? nullptr : PyUnicode_FromString(PYBIND11_INTERNALS_ID);
  if (key == nullptr) return nullptr;
  PyObject* capsule = PyDict_GetItemWithError(dict, key);
  Py_DECREF(key);
  if (capsule == nullptr || !PyCapsule_CheckExact(capsule)) return nullptr;
  // 2.x: internals**; 3.x: std::unique_ptr<internals>*, which is one pointer too.
  static_assert(sizeof(std::unique_ptr<Internals>) == sizeof(Internals*),
                "unexpected unique_ptr");
  void* holder = PyCapsule_GetPointer(capsule, PyCapsule_GetName(capsule));
  return holder == nullptr ? nullptr : *static_cast<Internals**>(holder);
}

// Null when no pybind11 extension with this PYBIND11_INTERNALS_ID has been imported.
inline Internals* find_internals() {
  PyObject *type = nullptr, *value = nullptr, *traceback = nullptr;
  PyErr_Fetch(&type, &value, &traceback);
#if PYBIND11_INTERNALS_VERSION <= 4
  Internals* found = internals_in(PyEval_GetBuiltins());
  if (found == nullptr) {  // called from code that has __builtins__ of its own
    PyObject* builtins = PyImport_AddModule("builtins");
    found = builtins == nullptr ? nullptr : internals_in(PyModule_GetDict(builtins));
  }
#else
  Internals* found = internals_in(PyInterpreterState_GetDict(PyInterpreterState_Get()));
#endif
  PyErr_Restore(type, value, traceback);
  return found;
}

// Which type records some libraries created. Asks the map of living Python types:
// registered_types_cpp may hold dangling records, because pybind11 forgets to unregister the
// trampoline class of a type that dies.
struct Ownership {
  std::vector<TypeRecord*> records;

  Ownership(Internals& internals, const Ranges& libraries) {
    for (const auto& [type, bases] : internals.registered_types_py) {
      if (bases.size() != 1 || bases[0]->type != type) continue;
      TypeRecord* record = bases[0];
      if (libraries.contains(record->dealloc) || libraries.contains(record->init_instance)) {
        records.push_back(record);
        known_.insert(record);
      }
    }
  }
  bool owns(const TypeRecord* record) const { return known_.count(record) != 0; }

 private:
  Addresses known_;
};

}  // namespace rehook_bridge
