#pragma once

#include <algorithm>
#include <memory>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "pybind11_buffers.hpp"
#include "pybind11_functions.hpp"
#include "pybind11_instances.hpp"
#include "pybind11_locals.hpp"
#include "pybind11_merged_names.hpp"
#include "pybind11_rebase.hpp"
#include "pybind11_retirement.hpp"

// Old Python classes take the places of new ones. The record of the old class gets the content
// of the new record, and whatever led to the new record leads to the old one: all that old
// builds, Python subclasses and other extensions remember of the class stays true.

namespace rehook_bridge {

class Adoption {
 public:
  // Changes nothing but the bases of new classes that are not adopted themselves; false with a
  // reason and nothing changed at all.
  bool plan(Internals& internals, const Retirement& retirement, const MemoryMap& map,
            const RehookClassPair* pairs, std::size_t count, std::string& error) {
    internals_ = &internals;
    for (std::size_t i = 0; i < count; ++i) {
      PyTypeObject *a = as_type(pairs[i].old_class), *b = as_type(pairs[i].new_class);
      if (!add_pair(internals, retirement, a, b, error)) return false;
    }
    for (const Pair& pair : pairs_) {
      if (!bases_are_adopted(pair, error) ||
          !plan_pair(pair, retirement.libraries(), map, error))
        return false;
    }
    plan_enums(internals);
    plan_entries(internals);
    plan_instances(internals);
    names_.plan(internals, retirement,
                [this](auto* old, auto* fresh) { return replaces(old, fresh); });
    return rebasing_.apply(error);
  }

  void apply() noexcept {
    for (PyObject* type : kept_) Py_INCREF(type);
    writes_.apply();
    swap_records();
    names_.apply();
    set_types(&Pair::fresh, &Pair::old);
    internals_->inactive_override_cache.clear();
  }
  // What could fail before undo(): all of it, or nothing.
  bool prepare_undo(std::string& error) {
    names_.prepare_undo();
    return rebasing_.undo(error);
  }
  // After a prepare_undo(), when the rest of the restoration is not possible.
  void redo() noexcept {
    std::string ignored;
    rebasing_.apply(ignored);
    apply();
  }
  void undo() noexcept {
    set_types(&Pair::old, &Pair::fresh);
    names_.undo();
    forget_aliases();
    swap_records();
    writes_.undo();
    internals_->inactive_override_cache.clear();
    for (PyObject* type : kept_) release_type(type);
  }
  // Drops what is not needed any more. Other threads may be walking the old records' lists in
  // a call that lets go of the GIL, so the object itself has to stay for good once applied.
  void release() noexcept {
    writes_.clear();
    rebasing_.clear();
    instances_.clear();
    successors_.clear();
    held_.clear();
  }

 private:
  struct Pair {
    PyTypeObject *old, *fresh;
    TypeRecord *old_record, *new_record;  // null for native enums
  };
  struct Content {
    TypeRecord *record, *fresh;
    std::unique_ptr<TypeRecord> other;  // the merged content, then the one before
  };
  using Side = PyTypeObject* Pair::*;

  bool add_pair(Internals& internals, const Retirement& retirement, PyTypeObject* a,
                PyTypeObject* b, std::string& error) {
    error = why_not_adopt(internals, a, b);
    if (!error.empty()) return false;
    Pair pair{a, b, record_of(internals, a), record_of(internals, b)};
    const Ranges& retired = retirement.libraries();
    bool is_old = false, is_new = false;
    if (pair.old_record != nullptr) {
      is_old = retired.contains(pair.old_record->init_instance);
      is_new = !retired.contains(pair.new_record->init_instance);
      successors_.emplace(pair.new_record, pair.old_record);
    } else {
      is_old = retired.contains(native_enum_of(internals, a));
      is_new = !retired.contains(native_enum_of(internals, b));
    }
    if (!is_old || !is_new) {
      error = name_of(a) + " cannot be adopted: it is not of a build that is being replaced";
      return false;
    }
    for (const Pair& other : pairs_) {
      if (other.old == a || other.fresh == b) {
        error = name_of(a) + " cannot be adopted twice";
        return false;
      }
    }
    pairs_.push_back(pair);
    return true;
  }
  bool replaces(const TypeRecord* old, const TypeRecord* fresh) const {
    const auto at = successors_.find(fresh);
    return at != successors_.end() && at->second == old;
  }
  bool replaces(PyObject* old, PyObject* fresh) const {
    return as_object(old_class_for(as_type(fresh))) == old;
  }
  PyTypeObject* old_class_for(PyTypeObject* fresh) const {
    for (const Pair& pair : pairs_) {
      if (pair.fresh == fresh) return pair.old;
    }
    return nullptr;
  }

  // Else isinstance() would contradict itself.
  bool bases_are_adopted(const Pair& pair, std::string& error) const {
    PyObject *a = pair.old->tp_bases, *b = pair.fresh->tp_bases;
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(b); ++i) {
      PyObject *old = PyTuple_GET_ITEM(a, i), *fresh = PyTuple_GET_ITEM(b, i);
      if (old == fresh || as_object(old_class_for(as_type(fresh))) == old) continue;
      error = name_of(pair.old) + " cannot be adopted: its base " + name_of(as_type(old)) +
              " is not";
      return false;
    }
    return true;
  }

  bool plan_pair(const Pair& pair, const Ranges& retired, const MemoryMap& map,
                 std::string& error) {
    kept_.push_back(as_object(pair.fresh));
    if (!plan_subclasses(pair, error)) return false;
    if (pair.new_record == nullptr) return true;
    const auto code = reinterpret_cast<std::uintptr_t>(pair.new_record->init_instance);
    if (!contains(library_.image, code)) {  // most are of the same
      library_ = Library();
      if (!library_at(code, library_)) {
        error = "no loaded library has made " + name_of(pair.fresh);
        return false;
      }
    }
    FunctionScopes(*internals_, library_, held_).move(pair.fresh, pair.old, writes_);
    if (pair.new_record->module_local && !plan_local(pair, library_, map, error)) return false;
    keep_properties(pair.old);
    plan_traversal(pair.fresh, pair.old, writes_);
    if (!plan_buffers(pair.fresh, pair.old, held_, writes_, error)) return false;
    writes_.add(&pair.new_record->type, pair.old);
    plan_record(pair, retired);
    return true;
  }

  // pybind11 3.0 frees string literals when the property of an enum_ is destroyed.
  void keep_properties(PyTypeObject* type) {
#if PYBIND11_VERSION_MAJOR == 3 && PYBIND11_VERSION_MINOR == 0
    PyObject *name = nullptr, *value = nullptr;
    for (Py_ssize_t at = 0; PyDict_Next(type->tp_dict, &at, &name, &value) != 0;) {
      if (PyObject_TypeCheck(value, &PyProperty_Type)) kept_.push_back(value);
    }
#else
    (void)type;
#endif
  }

  bool plan_local(const Pair& pair, const Library& library, const MemoryMap& map,
                  std::string& error) {
    const auto entries = local_entries(library, map, pair.new_record);
    for (TypeRecord** entry : entries) writes_.add(entry, pair.old_record);
    if (!entries.empty()) return true;
    error = name_of(pair.old) + " cannot be adopted: the map of py::module_local classes in " +
            library.path + " was not found";
    return false;
  }

  // New classes below it that are not adopted get the old class as their base, and what
  // pybind11 remembers of the classes below it leads to the old record.
  bool plan_subclasses(const Pair& pair, std::string& error) {
    PyObject* list = held_.steal(subclasses_of(pair.fresh));
    if (list == nullptr) {
      error = python_error();
      return false;
    }
    const auto successor = [this](PyTypeObject* type) { return old_class_for(type); };
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(list); ++i) {
      PyTypeObject* type = as_type(PyList_GET_ITEM(list, i));
      if (old_class_for(type) != nullptr) continue;
      if (!rebasing_.plan(type, successor, held_, error)) return false;
    }
    std::vector<PyTypeObject*> below;
    if (!add_descendants(pair.fresh, held_, below, error)) return false;
    for (PyTypeObject* type : below) {
      const auto found = internals_->registered_types_py.find(type);
      if (found == internals_->registered_types_py.end()) continue;
      for (TypeRecord*& record : found->second) {
        const auto at = successors_.find(record);
        if (at != successors_.end()) writes_.add(&record, at->second);
      }
    }
    return true;
  }

  // The new record as the old class's. What other libraries added to the old one stays:
  // conversions into the class, and classes of theirs (or old ones) that derive from it.
  void plan_record(const Pair& pair, const Ranges& retired) {
    const TypeRecord& old = *pair.old_record;
    auto merged = std::make_unique<TypeRecord>(*pair.new_record);
    merged->type = pair.old;
    merged->simple_type = merged->simple_type && old.simple_type;
    for (auto convert : old.implicit_conversions) {
      if (!retired.contains(convert)) merged->implicit_conversions.push_back(convert);
    }
    for (const auto& cast : old.implicit_casts) {
      const auto known = internals_->registered_types_cpp.find(std::type_index(*cast.first));
      if (known != internals_->registered_types_cpp.end() && is_adopted(known->second))
        continue;
      merged->implicit_casts.push_back(cast);
    }
#if PYBIND11_INTERNALS_VERSION >= 12
    for (TypeObject alias : old.alias_chain) merged->alias_chain.push_front(alias);
#endif
    records_.push_back({pair.old_record, pair.new_record, std::move(merged)});
  }
  bool is_adopted(const TypeRecord* record) const {
    return std::any_of(pairs_.begin(), pairs_.end(), [record](const Pair& pair) {
      return pair.old_record == record || pair.new_record == record;
    });
  }

  void plan_enums(Internals& internals) {
    EnumMap* enums = native_enums(internals);
    for (const Pair& pair : pairs_) {
      if (pair.new_record != nullptr || enums == nullptr) continue;
      for (auto& [key, type] : *enums) {
        if (type == as_object(pair.fresh)) writes_.add(&type, as_object(pair.old));
      }
      // In 3.1 the class is unregistered when this attribute of it is replaced.
      PyObject* record = PyDict_GetItemString(pair.old->tp_dict, "__pybind11_native_enum__");
      if (record != nullptr) kept_.push_back(record);
    }
  }

  void plan_entries(Internals& internals) {
    FastMap* fast = fast_types(internals);
    const auto forward = [this, fast](TypeObject object) {
      const auto at = fast == nullptr ? typename FastMap::iterator() : fast->find(object);
      if (fast == nullptr || at == fast->end()) return;
      const auto successor = successors_.find(at->second);
      if (successor != successors_.end()) writes_.add(&at->second, successor->second);
    };
    for (auto& [key, record] : internals.registered_types_cpp) {
      const auto successor = successors_.find(record);
      if (successor == successors_.end()) continue;
      writes_.add(&record, successor->second);
      forward(object_of(key));
    }
    for (const Pair& pair : pairs_) {
      AliasChain* chain = pair.new_record == nullptr ? nullptr : alias_chain(*pair.new_record);
      if (chain == nullptr) continue;
      for (TypeObject alias : *chain) forward(alias);
    }
  }

  // Objects that the new build's initialisation made, such as the members of an enum.
  void plan_instances(Internals& internals) {
    std::vector<PyTypeObject*> fresh;
    for (const Pair& pair : pairs_) {
      if (pair.new_record != nullptr) fresh.push_back(pair.fresh);
    }
    std::sort(fresh.begin(), fresh.end());
    const auto wanted = [&fresh](PyTypeObject* type) {
      return std::binary_search(fresh.begin(), fresh.end(), type);
    };
    for_each_instance(internals, wanted, [this](PyObject* instance) {
      instances_.push_back(held_.hold(instance));
    });
    for (PyObject* instance : instances_) own_its_dict(instance);
  }

  void set_types(Side before, Side after) noexcept {
    for (PyObject* instance : instances_) {
      for (const Pair& pair : pairs_) {
        if (Py_TYPE(instance) != pair.*before) continue;
        Py_INCREF(as_object(pair.*after));
        Py_SET_TYPE(instance, pair.*after);
        release_type(pair.*before);
        break;
      }
    }
  }
  void swap_records() noexcept {
    for (Content& content : records_) std::swap(*content.record, *content.other);
  }
  // What was cached meanwhile, see ForeignAliases, leads to the failed class no more.
  void forget_aliases() noexcept {
    FastMap* fast = fast_types(*internals_);
    if (fast == nullptr) return;
    for (Content& content : records_) {
      for (TypeObject alias : *alias_chain(*content.record)) {
        if (!has_alias(*content.other, alias) && !has_alias(*content.fresh, alias)) {
          fast->erase(alias);
        }
      }
    }
  }
  static bool has_alias(TypeRecord& record, TypeObject alias) {
    const AliasChain& chain = *alias_chain(record);
    return std::find(chain.begin(), chain.end(), alias) != chain.end();
  }

  Internals* internals_ = nullptr;
  Library library_;  // that made the new class looked at last
  std::vector<Pair> pairs_;
  std::unordered_map<const TypeRecord*, TypeRecord*> successors_;  // new record, old record
  std::vector<Content> records_;
  std::vector<PyObject*> instances_;
  std::vector<PyObject*> kept_;  // for good, once committed
  References held_;
  Writes writes_;
  MergedNames names_;
  Rebasing rebasing_;
};

}  // namespace rehook_bridge
