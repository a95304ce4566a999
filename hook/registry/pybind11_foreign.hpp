#pragma once

#include <algorithm>
#include <utility>
#include <vector>

#include "pybind11_registry.hpp"
#include "rtti_memory.hpp"
#include "rtti_renames.hpp"

// What retired libraries and the types of others know of each other.

namespace rehook_bridge {

// Undoes a Py_INCREF, unless that would free the type, which runs code.
inline void release_type(void* type) noexcept {
  auto* object = static_cast<PyObject*>(type);
  if (Py_REFCNT(object) > 1) Py_DECREF(object);
}

// pybind11 3.1 caches which record the type_info of any library resolved to. Libraries that are
// not retired must forget the old record and find its successor. Nothing to undo: it is a
// cache.
class ForeignAliases {
 public:
  void plan(FastMap* map, const Ownership& ownership, const Ranges& libraries) {
    map_ = map;
    if (map == nullptr) return;
    for (const auto& [object, record] : *map) {
      if (!ownership.owns(record) || libraries.contains(object)) continue;
      if (renamed_objects().count(object) == 0) aliases_.emplace_back(object, record);
    }
  }
  void forget() noexcept {
    for (const auto& [object, record] : aliases_) {
      map_->erase(object);
      if (AliasChain* chain = alias_chain(*record)) chain->remove(object);
    }
  }

 private:
  FastMap* map_ = nullptr;
  std::vector<std::pair<TypeObject, TypeRecord*>> aliases_;
};

// py::implicitly_convertible<…, T>() adds a function to the record of T. Those that retired
// libraries added to types of others go: the next generation adds its own, or none.
class ForeignConversions {
 public:
  using List = decltype(TypeRecord::implicit_conversions);
  static auto made_in(const Ranges& libraries) {
    return [&libraries](List::value_type convert) { return libraries.contains(convert); };
  }

  void plan(Internals& internals, const Ownership& ownership, const Ranges& libraries) {
    for (const auto& [type, records] : internals.registered_types_py) {
      if (records.size() != 1 || records[0]->type != type || ownership.owns(records[0])) {
        continue;
      }
      List& list = records[0]->implicit_conversions;
      if (std::none_of(list.begin(), list.end(), made_in(libraries))) continue;
      List rest = list;
      rest.erase(std::remove_if(rest.begin(), rest.end(), made_in(libraries)), rest.end());
      changes_.push_back({records[0], list, std::move(rest)});
    }
  }
  void apply() noexcept {
    for (Change& change : changes_) {
      change.record->implicit_conversions.swap(change.other);
      Py_INCREF(change.record->type);
    }
  }
  // Keeps what third parties added since.
  void plan_undo(const Ranges& fresh) {
    for (Change& change : changes_) {
      change.other = change.before;
      for (auto convert : change.record->implicit_conversions) {
        const auto& before = change.before;
        const bool known = std::find(before.begin(), before.end(), convert) != before.end();
        if (!known && !fresh.contains(convert)) change.other.push_back(convert);
      }
    }
  }
  void undo() noexcept {
    for (Change& change : changes_) change.record->implicit_conversions.swap(change.other);
    release();
  }
  void release() noexcept {
    for (Change& change : changes_) release_type(change.record->type);
  }

 private:
  struct Change {
    TypeRecord* record;
    List before, other;
  };
  std::vector<Change> changes_;
};

}  // namespace rehook_bridge
