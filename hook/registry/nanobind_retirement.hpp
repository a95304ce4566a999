#pragma once

#include <cxxabi.h>

#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "nanobind_conversions.hpp"
#include "nanobind_registry.hpp"
#include "nanobind_translators.hpp"
#include "rtti_memory.hpp"
#include "rtti_objects.hpp"
#include "rtti_renames.hpp"

namespace rehook_bridge {

inline std::string readable_name(const char* name) {
  int status = 0;
  std::unique_ptr<char, decltype(&std::free)> text(
      abi::__cxa_demangle(name, nullptr, nullptr, &status), &std::free);
  return status == 0 && text ? text.get() : name;
}

inline bool made_by_user(const char* name) {
  for (std::string_view prefix : {"St", "NSt", "N8nanobind", "N5boost"}) {
    if (std::string_view(name).substr(0, prefix.size()) == prefix) return false;
  }
  return true;
}

enum class Strictness {
  refuse,       // what cannot be retired stops it all
  best_effort,  // a failed new generation has to go, whatever it did
};

// What some libraries registered in one domain, and all that takes to set it apart.
class RetiredDomain {
 public:
  explicit RetiredDomain(Internals& internals) : internals_(&internals) {}

  bool select_types(const Ranges& libraries, Renames& renames, Strictness strictness,
                    std::string& error) {
    for (const auto& [object, record] : internals_->type_c2p_slow) {
      if (record == nullptr) continue;
      if (libraries.contains(object)) {
        renames.add(object, Hash::may_change, Internal::renamed);
      } else if (renamed_objects().count(object) != 0 || !made_by(*record, libraries)) {
        continue;
      } else if (strictness == Strictness::refuse) {
        error = foreign_type(object);
        return false;
      } else {
        forgotten_.push_back(object);
      }
      owned_.insert(record);
      keep(*record);
    }
    return true;
  }
  // After all renames are known: copies of a type_info in other libraries of the set count.
  void plan(const Ranges& libraries, const Renames& renames) {
    for (const auto& [object, record] : internals_->type_c2p_slow) {
      if (renames.contains(object)) moved_.emplace_back(object, record);
    }
    for (const auto& [key, value] : internals_->type_c2p_fast) {
      TypeObject object = object_of_key(key);
      auto* record = static_cast<TypeRecord*>(value);
      if (owned_.count(record) == 0 || record->type == object) continue;
      if (renames.contains(object) || renamed_objects().count(object) != 0) continue;
      aliases_.emplace_back(object, record);
    }
    conversions_.plan(internals_->type_c2p_slow, owned_, libraries, *internals_);
    translators_.plan(*internals_, libraries);
  }

  void take_out() noexcept {
    for (const auto& [object, record] : moved_) internals_->type_c2p_slow.erase(object);
  }
  // Whoever took a name meanwhile has to go, but stays valid for the library that did.
  void put_back() noexcept {
    for (const auto& [object, record] : moved_) {
      const auto taken = internals_->type_c2p_slow.find(object);
      if (taken != internals_->type_c2p_slow.end()) {
        if (taken->second != nullptr) Py_INCREF(as_object(taken->second->type_py));
        internals_->type_c2p_slow.erase(object);
      }
      internals_->type_c2p_slow[object] = record;
    }
  }
  void apply() noexcept {
    for (TypeObject object : forgotten_) {
      internals_->type_c2p_slow.erase(object);
      internals_->type_c2p_fast.erase(fast_key(object));
    }
    forget_aliases();
    conversions_.apply();
    translators_.apply();
    for (PyObject* object : kept_) Py_INCREF(object);
  }
  void plan_undo(const Ranges& fresh) {
    conversions_.plan_undo(fresh);
    translators_.plan_undo();
  }
  void undo() noexcept {
    conversions_.undo();
    translators_.undo();
    for (PyObject* object : kept_) {
      if (Py_REFCNT(object) > 1) Py_DECREF(object);  // else that would run code
    }
  }
  void commit() noexcept {
    translators_.commit();
    // Retired classes and functions live for ever: at exit nanobind would call that a leak.
    internals_->print_leak_warnings = false;
  }

 private:
  // Classes end their registration with abort() when it has moved: they may not end.
  void keep(const TypeRecord& record) {
    kept_.push_back(as_object(record.type_py));
    if (!is_record_of_enum(*internals_, record)) return;
    PyObject* capsule = PyObject_GetAttrString(as_object(record.type_py), "__nb_enum__");
    if (capsule == nullptr) return PyErr_Clear();
    kept_.push_back(capsule);  // owns the record, and the class may be given another one
    Py_DECREF(capsule);
  }

  // Which record the type_info of any library resolved to is cached. Libraries that are not
  // retired must forget the old record and find its successor.
  void forget_aliases() noexcept {
    for (const auto& [object, record] : aliases_) {
      internals_->type_c2p_fast.erase(fast_key(object));
      for (nb::nb_alias_chain** link = &record->alias_chain; *link != nullptr;
           link = &(*link)->next) {
        if ((*link)->value != object) continue;
        nb::nb_alias_chain* const gone = *link;
        *link = gone->next;
        PyMem_Free(gone);
        break;
      }
    }
  }

  static std::string foreign_type(TypeObject object) {
    Library library;
    library_at(reinterpret_cast<std::uintptr_t>(object), library);
    return "cannot retire the C++ type " + readable_name(object->name()) +
           ": its type information belongs to " +
           (library.path.empty() ? "the program" : library.path) +
           ", which is not being reloaded";
  }

  Internals* internals_;
  Addresses owned_;  // records
  std::vector<TypeObject> forgotten_;
  std::vector<std::pair<TypeObject, TypeRecord*>> moved_, aliases_;
  ForeignConversions conversions_;
  TranslatorExchange translators_;
  std::vector<PyObject*> kept_;
};

// Libraries whose types, errors and translators are set apart in every domain, and all that
// takes to undo it.
class Retirement {
 public:
  Retirement(const Ranges& libraries, const std::string& suffix, Strictness strictness)
      : libraries_(libraries), renames_(suffix), strictness_(strictness) {}

  // Changes nothing. False with a reason when these libraries cannot be retired.
  bool plan(const MemoryMap& map, std::string& error) {
    if (!renames_.suffix_is_new()) {
      error = "the suffix for retired types has been used before";
      return false;
    }
    const std::vector<Internals*> all = find_internals();
    domains_.reserve(all.size());
    for (Internals* internals : all) {
      domains_.emplace_back(*internals);
      if (!domains_.back().select_types(libraries_, renames_, strictness_, error)) return false;
    }
    if (!select_exceptions_and_copies(all, map, error)) return false;
    for (RetiredDomain& domain : domains_) domain.plan(libraries_, renames_);
    return true;
  }
  std::vector<std::uintptr_t> written_addresses() const { return renames_.addresses(); }

  // Both need the pages of written_addresses() to be writable, and cannot fail.
  void apply() noexcept {
    for (RetiredDomain& domain : domains_) domain.take_out();
    renames_.apply();
    for (RetiredDomain& domain : domains_) domain.put_back();
    for (RetiredDomain& domain : domains_) domain.apply();
  }
  void plan_undo(const Ranges& fresh) {
    for (RetiredDomain& domain : domains_) domain.plan_undo(fresh);
  }
  void undo() noexcept {
    for (RetiredDomain& domain : domains_) domain.take_out();
    renames_.undo();
    for (RetiredDomain& domain : domains_) domain.put_back();
    for (RetiredDomain& domain : domains_) domain.undo();
  }
  void commit() noexcept {
    for (RetiredDomain& domain : domains_) domain.commit();
  }

 private:
  bool translates(const std::vector<Internals*>& all, const RehookRange& range) const {
    for (Internals* internals : all) {
      for (const TranslatorNode* node = first_translator(*internals); node != nullptr;
           node = node->next) {
        if (contains(range, reinterpret_cast<std::uintptr_t>(node->translator))) return true;
      }
    }
    return false;
  }

  bool select_exceptions_and_copies(const std::vector<Internals*>& all, const MemoryMap& map,
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
      if (!translates(all, range)) continue;
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

  const Ranges libraries_;
  Renames renames_;
  const Strictness strictness_;
  std::vector<RetiredDomain> domains_;
};

}  // namespace rehook_bridge
