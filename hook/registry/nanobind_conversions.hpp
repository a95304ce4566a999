#pragma once

#include <algorithm>
#include <cstring>
#include <utility>
#include <vector>

#include "nanobind_registry.hpp"
#include "rtti_memory.hpp"

namespace rehook_bridge {

// nb::implicitly_convertible<…, T>() adds an entry to the record of T. Those that retired
// libraries added to types of others go: the next generation adds its own, or none. The
// null-terminated arrays belong to nanobind, which replaces them by longer ones.
class ForeignConversions {
 public:
  void plan(const SlowMap& types, const Addresses& owned, const Ranges& libraries,
            Internals& internals) {
    for (const auto& [object, record] : types) {
      if (record == nullptr || owned.count(record) != 0) continue;
      if (!has_conversions(*record) || is_record_of_enum(internals, *record)) continue;
      add(words(record->implicit.cpp), record, Kind::type, libraries);
      add(words(record->implicit.py), record, Kind::function, libraries);
    }
  }
  void apply() noexcept {
    for (Change& change : changes_) {
      void** out = list(change);
      for (void* entry : change.rest) *out++ = entry;
      *out = nullptr;
      Py_INCREF(as_object(change.record->type_py));  // its record is part of it
    }
  }
  // Keeps what third parties added since.
  void plan_undo(const Ranges& fresh) {
    for (Change& change : changes_) {
      change.restored = change.before;
      for (void** at = list(change); at != nullptr && *at != nullptr; ++at) {
        const auto& before = change.before;
        const bool known = std::find(before.begin(), before.end(), *at) != before.end();
        if (!known && !fresh.contains(*at)) change.restored.push_back(*at);
      }
      const std::size_t size = (change.restored.size() + 1) * sizeof(void*);
      change.array = static_cast<void**>(PyMem_Malloc(size));
      if (change.array == nullptr) throw std::bad_alloc();
    }
  }
  void undo() noexcept {
    for (Change& change : changes_) {
      std::copy(change.restored.begin(), change.restored.end(), change.array);
      change.array[change.restored.size()] = nullptr;
      if (change.kind == Kind::type) {
        PyMem_Free(change.record->implicit.cpp);
        set(change.record->implicit.cpp, change.array);
      } else {
        PyMem_Free(change.record->implicit.py);
        set(change.record->implicit.py, change.array);
      }
    }
  }

 private:
  enum class Kind { type, function };
  struct Change {
    TypeRecord* record;
    Kind kind;
    std::vector<void*> before, rest, restored;
    void** array = nullptr;
  };

  static bool has_conversions(const TypeRecord& record) {
#if NB_VERSION_MAJOR >= 3
    return (record.flags &
            static_cast<std::uint32_t>(nb::type_flags_internal::has_implicit_conversions)) != 0;
#else
    return (record.flags &
            static_cast<std::uint32_t>(nb::type_flags::has_implicit_conversions)) != 0;
#endif
  }
  template <typename Array>
  static void set(Array& array, void** entries) noexcept {
    std::memcpy(&array, &entries, sizeof entries);
  }
  static void** words(const void* array) noexcept {
    return static_cast<void**>(const_cast<void*>(array));
  }
  static void** list(const Change& change) noexcept {
    return change.kind == Kind::type ? words(change.record->implicit.cpp)
                                     : words(change.record->implicit.py);
  }
  void add(void** entries, TypeRecord* record, Kind kind, const Ranges& libraries) {
    Change change{record, kind, {}, {}, {}};
    for (; entries != nullptr && *entries != nullptr; ++entries) {
      change.before.push_back(*entries);
      if (!libraries.contains(*entries)) change.rest.push_back(*entries);
    }
    if (change.rest.size() != change.before.size()) changes_.push_back(std::move(change));
  }

  std::vector<Change> changes_;
};

}  // namespace rehook_bridge
