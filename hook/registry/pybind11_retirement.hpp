#pragma once

#include <cxxabi.h>

#include <memory>
#include <string_view>

#include "bridge_abi.h"
#include "pybind11_foreign.hpp"
#include "pybind11_registry.hpp"
#include "pybind11_translators.hpp"
#include "rtti_memory.hpp"
#include "rtti_objects.hpp"
#include "rtti_renames.hpp"

namespace rehook_bridge {

inline std::string readable_name(const char* name) {
  int status = 0;
  std::unique_ptr<char, decltype(&std::free)> text(
      abi::__cxa_demangle(name[0] == '*' ? name + 1 : name, nullptr, nullptr, &status),
      &std::free);
  return status == 0 && text ? text.get() : name;
}

inline bool made_by_user(const char* name) {
  for (std::string_view prefix : {"St", "NSt", "N8pybind11", "N5boost"}) {
    if (std::string_view(name).substr(0, prefix.size()) == prefix) return false;
  }
  return true;
}

enum class Strictness {
  refuse,       // what cannot be retired stops it all
  best_effort,  // a failed new generation has to go, whatever it did
};

// Libraries whose types, errors and translators are set apart, and all that takes to undo it.
class Retirement {
 public:
  Retirement(const Ranges& libraries, const std::string& suffix, Strictness strictness)
      : libraries_(libraries), renames_(suffix), strictness_(strictness) {}

  // Changes nothing. False with a reason when these libraries cannot be retired.
  bool plan(Internals& internals, const MemoryMap& map, std::string& error) {
    if (!renames_.suffix_is_new()) {
      error = "the suffix for retired types has been used before";
      return false;
    }
    const Ownership ownership(internals, libraries_);
    if (!select_types(internals, ownership, error)) return false;
    select_keys(native_enums(internals));
    select_keys(numpy_dtypes(internals));
    if (!select_exceptions_and_copies(internals, map, error)) return false;
    types_.plan(&internals.registered_types_cpp, renames_);
    all_types_ = &internals.registered_types_cpp;
    conversions_.plan(&internals.direct_conversions, renames_);
    enums_.plan(native_enums(internals), renames_);
    dtypes_.plan(numpy_dtypes(internals), renames_);
    aliases_.plan(fast_types(internals), ownership, libraries_);
    foreign_conversions_.plan(internals, ownership, libraries_);
    translators_.plan(internals.registered_exception_translators, libraries_);
    for (const TypeRecord* record : ownership.records) {
      kept_.push_back(reinterpret_cast<PyObject*>(record->type));
    }
    if (EnumMap* enums = native_enums(internals)) {
      for (const auto& [key, type] : *enums) {
        if (libraries_.contains(object_of(key))) kept_.push_back(type);
      }
    }
    return true;
  }
  std::vector<std::uintptr_t> written_addresses() const { return renames_.addresses(); }
  const Ranges& libraries() const { return libraries_; }
  const Renames& renames() const { return renames_; }
  // The types and native enums that left their places.
  const std::vector<TypeObject>& types() const { return types_.keys(); }
  const std::vector<TypeObject>& enums() const { return enums_.keys(); }

  // Both need the pages of written_addresses() to be writable, and cannot fail.
  void apply() noexcept {
    for (TypeObject object : forgotten_) all_types_->erase(std::type_index(*object));
    take_out();
    renames_.apply();
    put_back();
    aliases_.forget();
    foreign_conversions_.apply();
    translators_.apply();
    for (PyObject* type : kept_) Py_INCREF(type);
  }
  void plan_undo(const Ranges& fresh) {
    types_.plan_return();
    conversions_.plan_return();
    enums_.plan_return();
    dtypes_.plan_return();
    foreign_conversions_.plan_undo(fresh);
  }
  void undo() noexcept {
    take_out();
    renames_.undo();
    put_back();
    foreign_conversions_.undo();
    translators_.undo();
    for (PyObject* type : kept_) release_type(type);
  }
  void commit() noexcept {
    renames_.for_each_old_name([this](const char* name) { put_first(*all_types_, name); });
    foreign_conversions_.release();
    translators_.commit();
  }
  // After undo(): somebody's values live in nodes that we hold.
  bool must_stay() const {
    return types_.displaced_any() || conversions_.displaced_any() || enums_.displaced_any() ||
           dtypes_.displaced_any();
  }

 private:
  bool select_types(Internals& internals, const Ownership& ownership, std::string& error) {
    for (const auto& [key, record] : internals.registered_types_cpp) {
      TypeObject object = object_of(key);
      const bool inside = libraries_.contains(object);
      if (!ownership.owns(record)) continue;
      if (inside) {
        renames_.add(object, Hash::may_change, Internal::stays, Adopted::maybe);
      } else if (record->cpptype == object && !compared_by_address(object) &&
                 renamed_objects().count(object) == 0) {
        if (strictness_ == Strictness::refuse) {
          error = foreign_type(object);
          return false;
        }
        forgotten_.push_back(object);
      }
    }
    if (FastMap* fast = fast_types(internals)) {
      for (const auto& [object, record] : *fast) {
        if (libraries_.contains(object) && ownership.owns(record)) {
          renames_.add(object, Hash::may_change, Internal::stays, Adopted::maybe);
        }
      }
    }
    for (const TypeRecord* record : ownership.records) {
      if (!record->module_local || !libraries_.contains(record->cpptype)) continue;
      renames_.add(record->cpptype,
                   k_locals_found_by_name ? Hash::must_stay : Hash::may_change);
    }
    return true;
  }

  template <typename Map>
  void select_keys(Map* map) {
    if (map == nullptr) return;
    for (const auto& entry : *map) {
      if (!libraries_.contains(object_of(entry.first))) continue;
      renames_.add(object_of(entry.first), Hash::may_change, Internal::stays, Adopted::maybe);
    }
  }

  bool select_exceptions_and_copies(Internals& internals, const MemoryMap& map,
                                    std::string& error) {
    const TypeObjects objects(map);
    std::vector<Library> libraries(libraries_.list.size());
    for (std::size_t i = 0; i < libraries.size(); ++i) {
      const RehookRange& range = libraries_.list[i];
      if (!library_at(range.begin, libraries[i])) {
        if (strictness_ == Strictness::best_effort) continue;  // it did not even load
        error = "no loaded library covers the given address range";
        return false;
      }
      bool translates = false;
      for (Translator translator : internals.registered_exception_translators) {
        translates |= contains(range, reinterpret_cast<std::uintptr_t>(translator));
      }
      if (!translates) continue;
      const Dependencies dependencies(libraries[i]);
      objects.for_each(libraries[i], [&](TypeObject object, const char* name) {
        if (!made_by_user(name) || !objects.is_exception(object)) return;
        // A dependency that has the class too throws its own: old code must go on catching
        // those.
        const void* theirs = dependencies.find("_ZTI" + std::string(name));
        if (theirs == nullptr || libraries_.contains(theirs)) renames_.add(object);
      });
    }
    for (const Library& library : libraries) {
      objects.for_each(library, [&](TypeObject object, const char* name) {
        if (renames_.renames(name)) renames_.add(object);
      });
    }
    return true;
  }

  // A retired type, and each of its predecessors, shares the hash of its successor, which is
  // looked up all the time. What is inserted last is found first.
  static void put_first(TypeMap& types, const char* name) noexcept {
    const NameOnly type(name);
    const std::size_t bucket = types.bucket(type.index());
    auto at = types.cbegin(bucket);
    for (int i = 0; i < 4 && at != types.cend(bucket); ++i, ++at) {
      if (at->first == type.index()) return;
    }
    auto node = types.extract(type.index());
    if (node) types.insert(std::move(node));
  }

  static std::string foreign_type(TypeObject object) {
    Library library;
    library_at(reinterpret_cast<std::uintptr_t>(object), library);
    return "cannot retire the C++ type " + readable_name(raw_name(object)) +
           ": its type information belongs to " +
           (library.path.empty() ? "the program" : library.path) +
           ", which is not being reloaded";
  }

  void take_out() noexcept {
    types_.take_out();
    conversions_.take_out();
    enums_.take_out();
    dtypes_.take_out();
  }
  void put_back() noexcept {
    types_.put_back();
    conversions_.put_back();
    enums_.put_back();
    dtypes_.put_back();
  }

  const Ranges libraries_;
  Renames renames_;
  const Strictness strictness_;
  TypeMap* all_types_ = nullptr;
  std::vector<TypeObject> forgotten_;  // cannot be renamed: their classes become unusable
  MovedEntries<TypeMap> types_;
  MovedEntries<ConversionMap> conversions_;
  MovedEntries<EnumMap> enums_;
  MovedEntries<DtypeMap> dtypes_;
  ForeignAliases aliases_;
  ForeignConversions foreign_conversions_;
  TranslatorExchange translators_;
  std::vector<PyObject*> kept_;  // Python types that must outlive their registration
};

}  // namespace rehook_bridge
