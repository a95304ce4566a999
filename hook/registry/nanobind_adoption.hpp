#pragma once

#include <cstring>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "bridge_abi.h"
#include "nanobind_classes.hpp"

namespace rehook_bridge {

template <typename T, typename = void>
struct HasSupplementPointer : std::false_type {};
template <typename T>
struct HasSupplementPointer<T, std::void_t<decltype(std::declval<T&>().supplement)>>
    : std::true_type {};

template <typename T, typename = void>
struct HasTrampolineTables : std::false_type {};
template <typename T>
struct HasTrampolineTables<T, std::void_t<decltype(std::declval<T&>().trampoline_table_pub)>>
    : std::true_type {};

// What a record says about the C++ class, as opposed to the Python class it is part of: a class
// that is adopted takes these over and keeps its name, aliases, and pool of dead instances.
struct CppPart {
  std::uint32_t flags = 0;
  TypeObject type = nullptr;
  void* init = nullptr;
  decltype(TypeRecord::destruct) destruct = nullptr;
  decltype(TypeRecord::copy) copy = nullptr;
  decltype(TypeRecord::move) move = nullptr;
  decltype(TypeRecord::set_self_py) set_self_py = nullptr;
  decltype(TypeRecord::keep_shared_from_this_alive) keep_shared = nullptr;
  void *implicit_types = nullptr, *implicit_functions = nullptr;
  void* supplement = nullptr;

  static CppPart of(const TypeRecord& record) { return read(record); }
  template <typename T>
  static CppPart read(const T& record) {
    CppPart part;
    part.flags = record.flags;
    part.type = record.type;
    part.init = record.init;
    part.destruct = record.destruct;
    part.copy = record.copy;
    part.move = record.move;
    part.set_self_py = record.set_self_py;
    part.keep_shared = record.keep_shared_from_this_alive;
    std::memcpy(&part.implicit_types, &record.implicit.cpp, sizeof(void*));
    std::memcpy(&part.implicit_functions, &record.implicit.py, sizeof(void*));
    if constexpr (HasSupplementPointer<T>::value) part.supplement = record.supplement;
    return part;
  }
  template <typename T>
  void write(T& record) const noexcept {
    record.flags = flags;
    record.type = type;
    record.init = init;
    record.destruct = destruct;
    record.copy = copy;
    record.move = move;
    record.set_self_py = set_self_py;
    record.keep_shared_from_this_alive = keep_shared;
    std::memcpy(&record.implicit.cpp, &implicit_types, sizeof(void*));
    std::memcpy(&record.implicit.py, &implicit_functions, sizeof(void*));
    if constexpr (HasSupplementPointer<T>::value) record.supplement = supplement;
    if constexpr (HasTrampolineTables<T>::value) record.trampoline_table_pub = nullptr;
  }
};

// The bits of the flags that say whether dead instances wait in a pool (2.13 and later).
template <typename Flags, typename = void>
struct PoolBits : std::integral_constant<std::uint32_t, 0> {};
template <typename Flags>
struct PoolBits<Flags, std::void_t<decltype(Flags::pooled)>>
    : std::integral_constant<std::uint32_t, static_cast<std::uint32_t>(Flags::pooled)> {};

// Whether old_class could serve the C++ class of new_class, as far as nanobind is concerned;
// otherwise why not.
inline bool fits(const RehookClassPair& pair, std::string& error) {
  const FoundClass before = find_class(pair.old_class), after = find_class(pair.new_class);
  const auto refuse = [&](const std::string& reason) {
    error = name_of_class(pair.old_class) + ": " + reason;
    return false;
  };
  if (!before || !after) return refuse("not a class of nanobind's registry");
  if (before.record == after.record) return refuse("old and new are the same class");
  if (before.internals != after.internals) return refuse("the domain (NB_DOMAIN) changed");
  if (before.is_enum != after.is_enum) return refuse("a class became an enumeration, or back");
  PyObject *const old_meta = as_object(Py_TYPE(pair.old_class)), *const new_meta = as_object(
                                                                     Py_TYPE(pair.new_class));
  if (old_meta != new_meta) return refuse("the metaclass, or the kind of enumeration, changed");
  if (before.is_enum) {
    if (before.record->flags != after.record->flags ||
        base_of(pair.old_class) != base_of(pair.new_class)) {
      return refuse("the kind of enumeration changed");
    }
    return true;
  }
  if (before.record->size != after.record->size ||
      before.record->align != after.record->align) {
    return refuse("the size of the C++ class changed from " +
                  std::to_string(before.record->size) + " to " +
                  std::to_string(after.record->size) + " bytes");
  }
  for (const char* name :
       {"__basicsize__", "__itemsize__", "__dictoffset__", "__weakrefoffset__"}) {
    if (number_of(pair.old_class, name) != number_of(pair.new_class, name)) {
      return refuse(std::string("the layout of Python instances changed (") + name + ")");
    }
  }
  constexpr unsigned long k_kind = Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE;
  if (((PyType_GetFlags(as_type(pair.old_class)) ^ PyType_GetFlags(as_type(pair.new_class))) &
       k_kind) != 0) {
    return refuse("the kind of Python class changed (garbage collection, is_final)");
  }
  if (has_flag(*before.record, nb::type_flags::intrusive_ptr) !=
      has_flag(*after.record, nb::type_flags::intrusive_ptr)) {
    return refuse("intrusive reference counting came or went");
  }
  // A metaclass per size of it.
  if (!HasSupplementPointer<TypeRecord>::value && name_of_class(old_meta) != "nb_type_0") {
    return refuse("it has a supplement (nb::supplement) inside of the class object");
  }
  return true;
}

// Old classes that serve new C++ classes, and what it takes to undo that.
class Adoption {
 public:
  Adoption() = default;
  Adoption(const Adoption&) = delete;
  Adoption& operator=(const Adoption&) = delete;
  ~Adoption() {
    release();
    if (applied_) return;  // else the tables are nanobind's
    for (const Enumeration& one : enums_) {
      delete static_cast<EnumMap*>(one.forward);
      delete static_cast<EnumMap*>(one.reverse);
    }
  }

  // Changes nothing.
  bool plan(const RehookClassPair* pairs, std::size_t count, std::string& error) {
    for (std::size_t i = 0; i < count; ++i) {
      if (!fits(pairs[i], error)) return false;
      pairs_.push_back(pairs[i]);
    }
    for (const RehookClassPair& pair : pairs_) {
      if (!find_class(pair.new_class).is_enum && !family_fits(pair, error)) return false;
    }
    for (const RehookClassPair& pair : pairs_) {
      const FoundClass before = find_class(pair.old_class), after = find_class(pair.new_class);
      if (before.is_enum ? !plan_enum(pair, after, error) : !plan_class(pair, before, after)) {
        return false;
      }
    }
    return true;
  }

  void apply() noexcept {
    for (const Change& change : changes_) change.after.write(*change.record);
    for (const Lookup& lookup : lookups_) set(lookup, lookup.after);
    for (const Moved& moved : moved_) become(moved.instance, moved.pair.old_class);
    for (Enumeration& one : enums_) exchange(one, one.pair.old_class);
    for (const Vectorcall& one : vectorcalls_) set_vectorcall(one.type, one.after);
    forget_overrides();
    for (PyObject* object : kept_) Py_INCREF(object);  // for good: records point to them
    applied_ = true;
  }
  void undo() noexcept {
    for (const Vectorcall& one : vectorcalls_) set_vectorcall(one.type, one.before);
    for (Enumeration& one : enums_) exchange(one, one.pair.new_class);
    for (const Moved& moved : moved_) become(moved.instance, moved.pair.new_class);
    for (const Lookup& lookup : lookups_) set(lookup, lookup.before);
    for (const Change& change : changes_) change.before.write(*change.record);
    forget_overrides();
  }

 private:
  // As nb_enum.cpp has it.
  struct NumberHash {
    std::size_t operator()(std::int64_t number) const {
      return static_cast<std::size_t>(fmix64(static_cast<std::uint64_t>(number)));
    }
  };
  using EnumMap = tsl::robin_map<std::int64_t, std::int64_t, NumberHash>;

  struct Change {
    TypeRecord* record;
    CppPart before, after;
  };
  // An entry of one of the two maps: from the new record to the old one.
  struct Lookup {
    Internals* internals;
    TypeObject object;
    bool is_fast;
    TypeRecord *before, *after;
  };
  struct Moved {
    PyObject* instance;
    RehookClassPair pair;
  };
  struct Enumeration {
    TypeRecord* record;
    RehookClassPair pair;
    void *forward, *reverse;  // the tables that it does not use now
  };
  using Call = PyObject* (*)(PyObject*, PyObject* const*, std::size_t, PyObject*);
  struct Vectorcall {
    PyObject* type;
    Call before, after;
  };

  // The references to instances, whose last one may run a destructor.
  void release() noexcept {
    for (const Moved& moved : moved_) Py_DECREF(moved.instance);
    moved_.clear();
  }

  const RehookClassPair* pair_of_new(PyObject* type) const {
    for (const RehookClassPair& pair : pairs_) {
      if (pair.new_class == type) return &pair;
    }
    return nullptr;
  }

  // What derives from the new class would derive from a class nobody sees any more.
  bool family_fits(const RehookClassPair& pair, std::string& error) const {
    PyObject *const old_base = base_of(pair.old_class), *const new_base =
                                                            base_of(pair.new_class);
    const RehookClassPair* const bases = pair_of_new(new_base);
    if (old_base != (bases == nullptr ? new_base : bases->old_class)) {
      error = name_of_class(pair.old_class) + ": its base class " + name_of_class(new_base) +
              " is another one now";
      return false;
    }
    std::vector<PyObject*> subclasses;
    add_subclasses(pair.new_class, subclasses);
    for (PyObject* subclass : subclasses) {
      if (pair_of_new(subclass) != nullptr) continue;
      error = name_of_class(pair.old_class) + ": " + name_of_class(subclass) +
              ", which derives from it, cannot be adopted along";
      return false;
    }
    return true;
  }

  bool plan_class(const RehookClassPair& pair, const FoundClass& before,
                  const FoundClass& after) {
    Internals& internals = *after.internals;
    CppPart wanted = CppPart::of(*after.record);
    constexpr std::uint32_t k_pool = PoolBits<nb::type_flags>::value;
    const CppPart had = CppPart::of(*before.record);
    wanted.flags = (wanted.flags & ~k_pool) | (had.flags & k_pool);
    changes_.push_back({before.record, had, wanted});
    plan_python_subclasses(internals, pair.old_class, had, wanted);
    for (const auto& [object, record] : internals.type_c2p_slow) {
      if (record == after.record) {
        lookups_.push_back({&internals, object, false, after.record, before.record});
      }
    }
    for (const auto& [key, value] : internals.type_c2p_fast) {
      if (static_cast<TypeRecord*>(value) == after.record) {
        lookups_.push_back({&internals, object_of_key(key), true, after.record, before.record});
      }
    }
    for_each_instance(internals, pair.new_class, false, [&](PyObject* instance) {
      Py_INCREF(instance);
      moved_.push_back({instance, pair});
    });
    vectorcalls_.push_back(
        {pair.old_class, vectorcall_of(pair.old_class), vectorcall_of(pair.new_class)});
    kept_.push_back(pair.new_class);  // functions point to it as their scope
    for (void* init : {had.init, wanted.init}) {
      if (init != nullptr) kept_.push_back(static_cast<PyObject*>(init));
    }
    return true;
  }

  // Their records are copies of the base's, with flags and no conversions of their own.
  void plan_python_subclasses(Internals& internals, PyObject* type, const CppPart& had,
                              const CppPart& wanted) {
    std::vector<PyObject*> subclasses;
    add_subclasses(type, subclasses);
    for (PyObject* subclass : subclasses) {
      if (!has_record(internals, subclass)) continue;
      TypeRecord* const record = record_inside(as_type(subclass));
      if (record->type != had.type) continue;  // a C++ class, or not initialised yet
      const CppPart before = CppPart::of(*record);
      CppPart after = wanted;
      const std::uint32_t own = before.flags ^ had.flags;
      after.flags = (wanted.flags & ~own) | (before.flags & own);
      after.implicit_types = before.implicit_types;
      after.implicit_functions = before.implicit_functions;
      after.supplement = before.supplement;
      changes_.push_back({record, before, after});
      holders_.push_back(Reference::to(subclass));
    }
  }

  // The new build's numbers lead to the old member objects of the same names and values. Those
  // of the old build keep its own tables: an enumerator may have another number now.
  bool plan_enum(const RehookClassPair& pair, const FoundClass& after, std::string& error) {
    const Reference olds(PyObject_GetAttrString(pair.old_class, "_member_map_"));
    const Reference news(PyObject_GetAttrString(pair.new_class, "_member_map_"));
    if (olds.get() == nullptr || news.get() == nullptr || !PyDict_Check(olds.get()) ||
        !PyDict_Check(news.get())) {
      PyErr_Clear();
      error = name_of_class(pair.old_class) + ": no enumeration of Python's enum module";
      return false;
    }
    auto forward = std::make_unique<EnumMap>(), reverse = std::make_unique<EnumMap>();
    const auto* numbers = static_cast<const EnumMap*>(after.record->enum_tbl.rev);
    PyObject *name = nullptr, *member = nullptr;
    Py_ssize_t at = 0;
    while (PyDict_Next(news.get(), &at, &name, &member) != 0) {
      const auto number = numbers->find(as_number(member));
      if (number == numbers->end()) continue;
      PyObject* known = PyDict_GetItemWithError(olds.get(), name);
      if (known == nullptr || !same_value(known, member)) known = member;
      forward->emplace(number->second, as_number(known));
      reverse->emplace(as_number(known), number->second);
      kept_.push_back(known);
      kept_.push_back(member);
    }
    kept_.push_back(pair.new_class);
    enums_.push_back({after.record, pair, forward.release(), reverse.release()});
    return true;
  }
  static bool same_value(PyObject* one, PyObject* other) {
    const Reference a(PyObject_GetAttrString(one, "_value_"));
    const Reference b(PyObject_GetAttrString(other, "_value_"));
    if (a.get() != nullptr && b.get() != nullptr) {
      return PyObject_RichCompareBool(a.get(), b.get(), Py_EQ) == 1;
    }
    return PyErr_Clear(), false;
  }
  static void exchange(Enumeration& one, PyObject* type) noexcept {
    one.record->type_py = as_type(type);
    std::swap(one.record->enum_tbl.fwd, one.forward);
    std::swap(one.record->enum_tbl.rev, one.reverse);
  }
  static std::int64_t as_number(const void* object) {
    return static_cast<std::int64_t>(reinterpret_cast<std::uintptr_t>(object));
  }

  static void set(const Lookup& lookup, TypeRecord* record) noexcept {
    if (lookup.is_fast) {
      auto at = lookup.internals->type_c2p_fast.find(fast_key(lookup.object));
      if (at != lookup.internals->type_c2p_fast.end()) at.value() = record;
    } else {
      auto at = lookup.internals->type_c2p_slow.find(lookup.object);
      if (at != lookup.internals->type_c2p_slow.end()) at.value() = record;
    }
  }

  static void become(PyObject* instance, PyObject* type) noexcept {
    PyTypeObject* const before = Py_TYPE(instance);
    if (as_object(before) == type) return;
    Py_INCREF(type);
    Py_SET_TYPE(instance, as_type(type));
    if (Py_REFCNT(as_object(before)) > 1) Py_DECREF(as_object(before));
  }

  static Call vectorcall_of(PyObject* type) {
#if defined(Py_LIMITED_API)
    return record_inside(as_type(type))->vectorcall;
#else
    return as_type(type)->tp_vectorcall;
#endif
  }
  static void set_vectorcall(PyObject* type, Call call) noexcept {
#if defined(Py_LIMITED_API)
    record_inside(as_type(type))->vectorcall = call;
#else
    as_type(type)->tp_vectorcall = call;
#endif
  }

  // nanobind 3 caches which virtual functions a class overrides.
  void forget_overrides() noexcept {
    for (const Lookup& lookup : lookups_) bump(*lookup.internals);
  }
  template <typename T>
  static void bump(T& internals) noexcept {
    if constexpr (HasTrampolineTables<TypeRecord>::value) internals.trampoline_epoch.value++;
  }

  std::vector<RehookClassPair> pairs_;
  std::vector<Change> changes_;
  std::vector<Lookup> lookups_;
  std::vector<Moved> moved_;
  std::vector<Enumeration> enums_;
  std::vector<Vectorcall> vectorcalls_;
  std::vector<PyObject*> kept_;
  std::vector<Reference> holders_;  // of records that could die before undo()
  bool applied_ = false;
};

}  // namespace rehook_bridge
