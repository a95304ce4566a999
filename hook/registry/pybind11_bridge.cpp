// The registry bridge for pybind11; see bridge_abi.h for the contract and README.md for the
// idea. Shipped as source and compiled on the user's machine against the headers, flags and
// compiler of the user's extension. pybind11 2.10 to 3.1.

// First, as it includes Python.h; and alone, as all of pybind11 takes seconds to compile.
#include <pybind11/detail/internals.h>

#include <cxxabi.h>
#include <dlfcn.h>

#include <cstdio>
#include <exception>
#include <memory>
#include <string_view>
#include <tuple>

#include "bridge_abi.h"
#include "pybind11_registry.hpp"
#include "rtti_memory.hpp"
#include "rtti_name.hpp"
#include "rtti_objects.hpp"

namespace rehook_bridge {
namespace {

using TypeObject = const std::type_info*;

// Every type_info that is renamed now. Kept for the life of the process, without a destructor:
// old code may look a type up while the interpreter exits.
Addresses& renamed_objects() {
  static auto& objects = *new Addresses();
  return objects;
}

std::string readable_name(const char* name) {
  int status = 0;
  std::unique_ptr<char, decltype(&std::free)> text(
      abi::__cxa_demangle(name[0] == '*' ? name + 1 : name, nullptr, nullptr, &status),
      &std::free);
  return status == 0 && text ? text.get() : name;
}

// Undoes a Py_INCREF, unless that would free the type, which runs code.
void release_type(void* type) noexcept {
  auto* object = static_cast<PyObject*>(type);
  if (Py_REFCNT(object) > 1) Py_DECREF(object);
}

// As much of a type_info as comparing by name needs.
class NameOnly {
 public:
  explicit NameOnly(const char* name) : words_{nullptr, name} {}
  std::type_index index() const { return *reinterpret_cast<TypeObject>(words_); }

 private:
  const void* words_[2];
};

enum class Hash { may_change, must_stay };

// The type_info objects of one retirement with their old and new names. Equal old names get
// equal new ones: copies of a type_info in several libraries of the set still mean the same
// type.
class Renames {
 public:
  explicit Renames(const char* suffix) : suffix_(suffix) {}
  Renames(const Renames&) = delete;
  Renames& operator=(const Renames&) = delete;
  ~Renames() {
    if (applied_)
      return;  // names of living objects; a name may have been handed out, so it stays
    for (const Entry& entry : entries_) renamed_objects().erase(entry.object);
    for (const auto& [old_name, chosen] : names_) std::free(chosen.text);
  }

  // Types compared by address cannot clash, and types renamed before do not any more.
  void add(TypeObject object, Hash hash = Hash::may_change) {
    if (compared_by_address(object) || renamed_objects().count(object) != 0) return;
    Name& name = chosen_name(raw_name(object));
    if (hash == Hash::must_stay && !name.keeps_hash) return;
    name.used = true;
    entries_.push_back({object, raw_name(object), name.text});
    renamed_objects().insert(object);
    objects_.insert(object);
  }

  bool contains(TypeObject object) const { return objects_.count(object) != 0; }
  bool renames(const char* old_name) const {
    const auto found = names_.find(old_name);
    return found != names_.end() && found->second.used;
  }
  // visit(old name, new name)
  template <typename Visit>
  void for_each_name(Visit visit) const {
    for (const auto& [old_name, chosen] : names_) visit(old_name.data(), chosen.text);
  }

  std::vector<std::uintptr_t> addresses() const {
    std::vector<std::uintptr_t> result;
    for (const Entry& entry : entries_) result.push_back(name_address(entry.object));
    return result;
  }
  void apply() noexcept {
    for (const Entry& entry : entries_) set_name(entry.object, entry.new_name);
    applied_ = true;
  }
  void undo() noexcept {
    for (const Entry& entry : entries_) {
      set_name(entry.object, entry.old_name);
      renamed_objects().erase(entry.object);
    }
  }

 private:
  struct Name {
    char* text = nullptr;
    bool keeps_hash = false;
    bool used = false;
  };
  struct Entry {
    TypeObject object;
    const char *old_name, *new_name;
  };
  Name& chosen_name(const char* old_name) {
    Name& name = names_[old_name];
    if (name.text == nullptr) {
      name.text = strdup(retired_name(old_name, suffix_.c_str(), name.keeps_hash).c_str());
      if (name.text == nullptr) throw std::bad_alloc();
    }
    return name;
  }
  static void set_name(TypeObject object, const char* name) noexcept {
    store_word(name_address(object), reinterpret_cast<std::uintptr_t>(name));
  }

  std::string suffix_;
  std::unordered_map<std::string_view, Name> names_;  // by old name, which outlives us
  std::vector<Entry> entries_;
  Addresses objects_;
  bool applied_ = false;
};

// The entries of one map that are keyed by renamed objects. A key must not change inside a hash
// map, and TypeRecord::direct_conversions points into one, so the nodes themselves are taken
// out and put back. plan() allocates everything; the rest cannot fail.
template <typename Map>
class MovedEntries {
 public:
  void plan(Map* map, const Renames& renames) {
    map_ = map;
    if (map == nullptr) return;
    for (const auto& entry : *map) {
      if (renames.contains(object_of(entry.first))) keys_.push_back(object_of(entry.first));
    }
    nodes_.reserve(keys_.size());
    displaced_.reserve(keys_.size());
  }
  void plan_return() {
    if (map_ != nullptr) map_->reserve(map_->size() + keys_.size());
  }
  void take_out() noexcept {
    for (TypeObject key : keys_) {
      auto node = map_->extract(std::type_index(*key));
      if (node) nodes_.push_back(std::move(node));
    }
  }
  // Whoever took a key meanwhile has to go, but its value stays valid.
  void put_back() noexcept {
    for (auto& node : nodes_) {
      auto result = map_->insert(std::move(node));
      if (result.inserted) continue;
      displaced_.push_back(map_->extract(result.position));
      map_->insert(std::move(result.node));
    }
    nodes_.clear();
  }
  Map* map() const { return map_; }
  bool displaced_any() const { return !displaced_.empty(); }

 private:
  Map* map_ = nullptr;
  std::vector<TypeObject> keys_;
  std::vector<typename Map::node_type> nodes_, displaced_;
};

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
      if (records.size() != 1 || records[0]->type != type || ownership.owns(records[0]))
        continue;
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

// Translators of retired libraries leave pybind11's list: they would see exceptions of new
// code. One translator in their place asks them about exceptions whose class a retired library
// defines.
struct RetiredTranslators {
  Ranges libraries;
  std::vector<Translator> translators;  // in the order in which pybind11 asked them
  RetiredTranslators* next = nullptr;
};
RetiredTranslators* g_retired_translators = nullptr;  // newest first

TypeObject class_of(const std::exception_ptr& exception) {
  try {
    std::rethrow_exception(exception);
  } catch (...) {
    return abi::__cxa_current_exception_type();
  }
}

// Throws what it cannot translate, as pybind11 expects from a translator.
void translate_for_retired(std::exception_ptr exception) {
  if (!exception) return;
  TypeObject type = class_of(exception);
  const RetiredTranslators* retired = g_retired_translators;
  while (retired != nullptr && !retired->libraries.contains(type)) retired = retired->next;
  if (retired == nullptr) std::rethrow_exception(exception);
  for (Translator translate : retired->translators) {
    try {
      translate(exception);
      return;
    } catch (...) {
      exception = std::current_exception();
    }
  }
  std::rethrow_exception(exception);
}

class TranslatorExchange {
 public:
  void plan(TranslatorList& list, const Ranges& libraries) {
    list_ = &list;
    before_ = list;
    auto record = std::make_unique<RetiredTranslators>();
    auto last = after_.before_begin();
    bool present = false;
    for (Translator translator : list) {
      const bool retired = libraries.contains(translator);
      if (retired) record->translators.push_back(translator);
      if (retired || translator == &translate_for_retired) {
        if (!present) last = after_.insert_after(last, &translate_for_retired);
        present = true;
      } else {
        last = after_.insert_after(last, translator);
      }
    }
    if (record->translators.empty()) return;
    record->libraries = libraries;
    record_ = std::move(record);
  }
  void apply() noexcept {
    if (!record_) return;
    list_->swap(after_);
    record_->next = g_retired_translators;
    g_retired_translators = record_.get();
  }
  // Keeps what other libraries registered since.
  void undo() noexcept {
    if (!record_) return;
    list_->remove_if([this](Translator translator) {
      return translator == &translate_for_retired ||
             std::find(before_.begin(), before_.end(), translator) != before_.end();
    });
    auto last = list_->before_begin();
    while (std::next(last) != list_->end()) ++last;
    list_->splice_after(last, before_);
    for (auto** link = &g_retired_translators; *link != nullptr; link = &(*link)->next) {
      if (*link != record_.get()) continue;
      *link = record_->next;
      break;
    }
  }
  void commit() noexcept {
    std::ignore = record_.release();
  }  // translate_for_retired() walks it

 private:
  TranslatorList* list_ = nullptr;
  TranslatorList before_, after_;
  std::unique_ptr<RetiredTranslators> record_;
};

// Whether a library that `library` depends on, outside of `libraries`, defines the same class.
// It throws its own objects of it, which old code must go on catching by name.
bool shared_with_dependency(const Library& library, const Ranges& libraries, const char* name) {
  void* handle = dlopen(library.path.c_str(), RTLD_LAZY | RTLD_NOLOAD);
  if (handle == nullptr) return false;
  const void* found = dlsym(handle, ("_ZTI" + std::string(name)).c_str());
  dlclose(handle);
  return found != nullptr && !libraries.contains(found);
}

bool made_by_user(const char* name) {
  for (std::string_view prefix : {"St", "NSt", "N8pybind11", "N5boost"}) {
    if (std::string_view(name).substr(0, prefix.size()) == prefix) return false;
  }
  return true;
}

// One retire(), and all that restore() needs.
class Retirement {
 public:
  Retirement(const RehookRange* old_libraries, std::size_t count, const char* suffix)
      : libraries_(old_libraries, count), renames_(suffix) {}

  // Changes nothing. False with a reason when these libraries cannot be retired.
  bool plan(Internals& internals, const MemoryMap& map, std::string& error) {
    const Ownership ownership(internals, libraries_);
    if (!select_types(internals, ownership, error)) return false;
    select_keys(native_enums(internals));
    select_keys(numpy_dtypes(internals));
    if (!select_exceptions_and_copies(internals, map, error)) return false;
    if (!names_are_free(internals, error)) return false;
    types_.plan(&internals.registered_types_cpp, renames_);
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

  // Both need the pages of written_addresses() to be writable, and cannot fail.
  void apply() noexcept {
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
    if (TypeMap* types = types_.map()) {
      // A retired type shares the hash of its successor, and so do all its predecessors.
      // Entries put in last are found first.
      renames_.for_each_name([types](const char* name, const char*) {
        auto successor = types->extract(NameOnly(name).index());
        if (successor) types->insert(std::move(successor));
      });
    }
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
        renames_.add(object);
      } else if (record->cpptype == object && !compared_by_address(object) &&
                 renamed_objects().count(object) == 0) {
        error = foreign_type(object);
        return false;
      }
    }
    if (FastMap* fast = fast_types(internals)) {
      for (const auto& [object, record] : *fast) {
        if (libraries_.contains(object) && ownership.owns(record)) renames_.add(object);
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
      if (libraries_.contains(object_of(entry.first))) renames_.add(object_of(entry.first));
    }
  }

  bool select_exceptions_and_copies(Internals& internals, const MemoryMap& map,
                                    std::string& error) {
    const TypeObjects objects(map);
    std::vector<Library> libraries(libraries_.list.size());
    for (std::size_t i = 0; i < libraries.size(); ++i) {
      const RehookRange& range = libraries_.list[i];
      if (!library_at(range.begin, libraries[i])) {
        error = "no loaded library covers the given address range";
        return false;
      }
      bool translates = false;
      for (Translator translator : internals.registered_exception_translators) {
        translates |= contains(range, reinterpret_cast<std::uintptr_t>(translator));
      }
      if (!translates) continue;
      objects.for_each(libraries[i], [&](TypeObject object, const char* name) {
        if (!made_by_user(name) || !objects.is_exception(object)) return;
        if (!shared_with_dependency(libraries[i], libraries_, name)) renames_.add(object);
      });
    }
    for (const Library& library : libraries) {
      objects.for_each(library, [&](TypeObject object, const char* name) {
        if (renames_.renames(name)) renames_.add(object);
      });
    }
    return true;
  }

  bool names_are_free(Internals& internals, std::string& error) const {
    bool free = true;
    renames_.for_each_name([&](const char*, const char* name) {
      const NameOnly type(name);
      const std::type_index key = type.index();
      free &= internals.registered_types_cpp.count(key) == 0 &&
              internals.direct_conversions.count(key) == 0;
      if (EnumMap* enums = native_enums(internals)) free &= enums->count(key) == 0;
      if (DtypeMap* dtypes = numpy_dtypes(internals)) free &= dtypes->count(key) == 0;
    });
    if (!free) error = "the suffix for retired types has been used before";
    return free;
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

  Ranges libraries_;
  Renames renames_;
  MovedEntries<TypeMap> types_;
  MovedEntries<ConversionMap> conversions_;
  MovedEntries<EnumMap> enums_;
  MovedEntries<DtypeMap> dtypes_;
  ForeignAliases aliases_;
  ForeignConversions foreign_conversions_;
  TranslatorExchange translators_;
  std::vector<PyObject*> kept_;  // Python types that must outlive their registration
};

// Makes pybind11 forget what a failed new generation registered. Its Python types stay alive
// for good: a dying type erases its registration by name, and that name is the old type's
// again.
class Purge {
 public:
  Purge(Internals& internals, const RehookRange* fresh, std::size_t count)
      : internals_(internals), libraries_(fresh, count), ownership_(internals, libraries_) {
    std::size_t dying = 0;
    for (const auto& entry : internals.direct_conversions)
      dying += owns_key(entry.first) ? 1 : 0;
    buried().reserve(buried().size() + dying);
  }

  void apply() noexcept {
    for (const TypeRecord* record : ownership_.records) Py_INCREF(record->type);
    erase_if(&internals_.registered_types_cpp, [this](const auto& entry) {
      return owns_key(entry.first) || ownership_.owns(entry.second);
    });
    erase_if(fast_types(internals_),
             [this](const auto& entry) { return ownership_.owns(entry.second); });
    erase_if(native_enums(internals_), [this](const auto& entry) {
      if (!owns_key(entry.first)) return false;
      Py_INCREF(entry.second);
      return true;
    });
    erase_if(numpy_dtypes(internals_),
             [this](const auto& entry) { return owns_key(entry.first); });
    forget_conversions();
    internals_.registered_exception_translators.remove_if(
        [this](Translator translator) { return libraries_.contains(translator); });
  }

 private:
  using ConversionNode = ConversionMap::node_type;

  // Records of purged types point to the vectors in these.
  static std::vector<ConversionNode>& buried() {
    static auto& nodes = *new std::vector<ConversionNode>();
    return nodes;
  }
  bool owns_key(const std::type_index& key) const {
    return libraries_.contains(object_of(key));
  }

  template <typename Map, typename Unwanted>
  static void erase_if(Map* map, Unwanted unwanted) noexcept {
    if (map == nullptr) return;
    for (auto at = map->begin(); at != map->end();)
      at = unwanted(*at) ? map->erase(at) : std::next(at);
  }
  template <typename Vector, typename Unwanted>
  static void remove_if(Vector& vector, Unwanted unwanted) noexcept {
    vector.erase(std::remove_if(vector.begin(), vector.end(), unwanted), vector.end());
  }

  // Also those that the new generation added to types of others.
  void forget_conversions() noexcept {
    auto& conversions = internals_.direct_conversions;
    for (auto at = conversions.begin(); at != conversions.end();) {
      const auto next = std::next(at);
      if (owns_key(at->first)) {
        buried().push_back(conversions.extract(at));
      } else {
        remove_if(at->second, [this](auto convert) { return libraries_.contains(convert); });
      }
      at = next;
    }
    for (auto& [type, records] : internals_.registered_types_py) {
      for (TypeRecord* record : records) {
        if (ownership_.owns(record)) continue;
        remove_if(record->implicit_conversions,
                  [this](auto convert) { return libraries_.contains(convert); });
        remove_if(record->implicit_casts,
                  [this](const auto& cast) { return libraries_.contains(cast.second); });
      }
    }
  }

  Internals& internals_;
  const Ranges libraries_;
  const Ownership ownership_;
};

// Nothing is thrown across the C boundary: what could still fail then is memory.
template <typename Value, typename Body>
Value guarded(Value failure, char* error, std::size_t error_size, Body body) noexcept {
  std::string message;
  try {
    Value value = body(message);
    if (value != failure) return value;
  } catch (const std::exception& exception) {
    std::snprintf(error, error_size, "%s", exception.what());
    return failure;
  } catch (...) {
    message.clear();
  }
  std::snprintf(error, error_size, "%s", message.empty() ? "unknown failure" : message.c_str());
  return failure;
}

bool open_pages(WritablePages& pages, const MemoryMap& map, const Retirement& retirement,
                std::string& error) {
  if (pages.open(map, retirement.written_addresses())) return true;
  error = std::string("cannot make type information writable: ") + std::strerror(errno);
  return false;
}

void* retire(const RehookRange* old_libraries, std::size_t count, const char* suffix,
             char* error, std::size_t error_size) noexcept {
  return guarded<void*>(nullptr, error, error_size, [&](std::string& message) -> void* {
    auto retirement = std::make_unique<Retirement>(old_libraries, count, suffix);
    Internals* internals = find_internals();
    if (internals == nullptr) return retirement.release();
    MemoryMap map;
    if (!map.read()) {
      message = "cannot read /proc/self/maps";
      return nullptr;
    }
    if (!retirement->plan(*internals, map, message)) return nullptr;
    WritablePages pages;
    if (!open_pages(pages, map, *retirement, message)) return nullptr;
    retirement->apply();
    return retirement.release();
  });
}

int restore(void* handle, const RehookRange* fresh, std::size_t count, char* error,
            std::size_t error_size) noexcept {
  return guarded<int>(-1, error, error_size, [&](std::string& message) -> int {
    auto* retirement = static_cast<Retirement*>(handle);
    Internals* internals = find_internals();
    if (internals != nullptr) {
      MemoryMap map;
      WritablePages pages;
      if (!map.read()) {
        message = "cannot read /proc/self/maps";
        return -1;
      }
      Purge purge(*internals, fresh, count);
      retirement->plan_undo(Ranges(fresh, count));
      if (!open_pages(pages, map, *retirement, message)) return -1;
      purge.apply();
      retirement->undo();
    }
    if (!retirement->must_stay()) delete retirement;
    return 0;
  });
}

void commit(void* handle) noexcept {
  auto* retirement = static_cast<Retirement*>(handle);
  retirement->commit();
  delete retirement;
}

std::size_t count_types(const RehookRange* libraries, std::size_t count) noexcept {
  Internals* internals = find_internals();
  if (internals == nullptr) return 0;
  std::size_t result = 0;
  try {
    const Ranges ranges(libraries, count);
    for (const TypeRecord* record : Ownership(*internals, ranges).records) {
      result += record->module_local ? 0 : 1;
    }
    if (EnumMap* enums = native_enums(*internals)) {
      for (const auto& entry : *enums)
        result += ranges.contains(object_of(entry.first)) ? 1 : 0;
    }
  } catch (...) {
    return 0;
  }
  return result;
}

}  // namespace
}  // namespace rehook_bridge

extern "C" __attribute__((visibility("default"))) const RehookBridge* rehook_registry_bridge() {
  static const RehookBridge bridge = {
      REHOOK_BRIDGE_ABI,      PYBIND11_INTERNALS_ID, rehook_bridge::retire,
      rehook_bridge::restore, rehook_bridge::commit, rehook_bridge::count_types,
  };
  return &bridge;
}
