#pragma once

#include <cstdlib>
#include <cstring>
#include <vector>

#include "pybind11_classes.hpp"

// A library's own map of its module_local classes, which nothing outside of it knows. The
// addresses of the map's values that are `record`, keyed by the class or its trampoline.

namespace rehook_bridge {

#if PYBIND11_VERSION_MAJOR >= 3

// Every library keeps its map in the interpreter's dict, under the address of a static of its.
inline std::vector<TypeRecord**> local_entries(const Library& library, const MemoryMap&,
                                               TypeRecord* record) {
  std::vector<TypeRecord**> result;
  const char* prefix = PYBIND11_MODULE_LOCAL_ID;
  const std::size_t size = std::strlen(prefix);
  PyObject *name = nullptr, *capsule = nullptr;
  PyObject* dict = PyInterpreterState_GetDict(PyInterpreterState_Get());
  for (Py_ssize_t at = 0; PyDict_Next(dict, &at, &name, &capsule) != 0;) {
    const char* text = PyUnicode_Check(name) ? PyUnicode_AsUTF8(name) : nullptr;
    if (text == nullptr || std::strncmp(text, prefix, size) != 0) continue;
    if (!contains(library.image, std::strtoull(text + size, nullptr, 10))) continue;
    if (!PyCapsule_CheckExact(capsule)) continue;
    void* holder = PyCapsule_GetPointer(capsule, PyCapsule_GetName(capsule));
    auto* locals =
        holder == nullptr ? nullptr : *static_cast<pybind11::detail::local_internals**>(holder);
    if (locals == nullptr) continue;
    for (auto& [key, value] : locals->registered_types_cpp) {
      if (value == record) result.push_back(&value);
    }
  }
  PyErr_Clear();
  return result;
}

#else

// In 2.x a hidden static of the library points to the map. It is found by what it must contain:
// a chain of nodes {next, key, value, …} of which one holds the class and its record.
inline std::vector<TypeRecord**> local_entries(const Library& library, const MemoryMap& map,
                                               TypeRecord* record) {
#if defined(__GLIBCXX__)
  constexpr std::size_t k_most = 1U << 16;
  constexpr std::uintptr_t k_word = sizeof(void*);
  for (std::uintptr_t at = (library.image.begin + k_word - 1) & ~(k_word - 1);
       at + k_word <= library.image.end; at += k_word) {
    if ((map.protection(at) & PROT_WRITE) == 0) {  // a page at a time
      at = (at | 0xfff) + 1 - k_word;
      continue;
    }
    const std::uintptr_t table = load_word(at);
    if (table % k_word != 0 || contains(library.image, table)) continue;
    if (table == 0 || !map.readable(table, 4 * k_word)) continue;
    const std::uintptr_t count = load_word(table + 3 * k_word);
    if (count == 0 || count > k_most) continue;
    std::vector<TypeRecord**> result;
    bool found = false;
    std::uintptr_t node = load_word(table + 2 * k_word);
    for (std::uintptr_t i = 0; i < count && node % k_word == 0; ++i) {
      if (node == 0 || !map.readable(node, 3 * k_word)) break;
      if (load_word(node + 2 * k_word) == reinterpret_cast<std::uintptr_t>(record)) {
        result.push_back(pointer_at<TypeRecord*>(node + 2 * k_word));
        found |= load_word(node + k_word) == reinterpret_cast<std::uintptr_t>(record->cpptype);
      }
      node = load_word(node);
    }
    if (found) return result;
  }
#else
  (void)library, (void)map, (void)record;
#endif
  return {};
}

#endif

}  // namespace rehook_bridge
