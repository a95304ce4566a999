#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>
#include <string>
#include <string_view>
#include <typeindex>
#include <unordered_map>
#include <utility>
#include <vector>

#include "rtti_adopted_names.hpp"
#include "rtti_memory.hpp"
#include "rtti_name.hpp"
#include "rtti_objects.hpp"

// Giving std::type_info objects other names, and what that means for hash maps keyed by them.

namespace rehook_bridge {

using TypeObject = const std::type_info*;

// Every type_info that is renamed now, and the name the compiler gave it. Kept for the life of
// the process, without a destructor: old code may look a type up while the interpreter exits.
inline std::unordered_map<TypeObject, const char*>& renamed_objects() {
  static auto& objects = *new std::unordered_map<TypeObject, const char*>();
  return objects;
}

// The name as the compiler wrote it, with the '*' of types that are compared by address.
inline const char* original_name(TypeObject object) {
  const auto found = renamed_objects().find(object);
  return found == renamed_objects().end() ? raw_name(object) : found->second;
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

// Whether types with internal linkage, whose names start with '*' and which C++ compares by
// address, get a new name, too: nanobind compares what follows the '*'.
enum class Internal { stays, renamed };

// Whether the name may be that of an adopted class. No other type is retired along with it just
// because it is called the same.
enum class Adopted { no, maybe };

// The type_info objects of one retirement with their old and new names. Equal old names get
// equal new ones: copies of a type_info in several libraries of the set still mean the same
// type.
class Renames {
 public:
  explicit Renames(const std::string& suffix) : suffix_(suffix) {
    used_suffixes().push_back(suffix_);
  }
  Renames(const Renames&) = delete;
  Renames& operator=(const Renames&) = delete;
  ~Renames() {
    // Names of objects in use stay, and so do those that may have been handed out.
    if (applied_) return;
    for (const Entry& entry : entries_) renamed_objects().erase(entry.object);
    for (const auto& [old_name, chosen] : names_) {
      if (chosen.adopted == nullptr) std::free(chosen.text);
    }
    forget_suffix();
  }

  bool suffix_is_new() const {
    return std::count(used_suffixes().begin(), used_suffixes().end(), suffix_) == 1;
  }

  // Types compared by address cannot clash, and types renamed before do not any more.
  void add(TypeObject object, Hash hash = Hash::may_change, Internal internal = Internal::stays,
           Adopted adopted = Adopted::no) {
    if (renamed_objects().count(object) != 0) return;
    if (internal == Internal::stays && compared_by_address(object)) return;
    Name& name = chosen_name(raw_name(object), adopted);
    if (hash == Hash::must_stay && !name.keeps_hash) return;
    name.used = true;
    entries_.push_back({object, raw_name(object), name.text});
    renamed_objects().emplace(object, raw_name(object));
    objects_.insert(object);
  }

  bool contains(TypeObject object) const { return objects_.count(object) != 0; }
  bool renames(const char* old_name) const {
    const auto found = names_.find(old_name);
    return found != names_.end() && found->second.used;
  }
  // The retired spelling of an old name, which lives as long as the process does once applied.
  char* new_name(const char* old_name) const {
    const auto found = names_.find(old_name);
    return found == names_.end() ? nullptr : found->second.text;
  }
  template <typename Visit>
  void for_each_old_name(Visit visit) const {
    for (const auto& [old_name, chosen] : names_) visit(old_name.data());
  }

  std::vector<std::uintptr_t> addresses() const {
    std::vector<std::uintptr_t> result;
    for (const Entry& entry : entries_) result.push_back(name_address(entry.object));
    return result;
  }
  void apply() noexcept {
    for (const auto& [old_name, chosen] : names_) {
      if (chosen.adopted != nullptr && chosen.used) chosen.adopted->retire();
    }
    for (const Entry& entry : entries_) set_name(entry.object, entry.new_name);
    applied_ = true;
  }
  void undo() noexcept {
    for (const auto& [old_name, chosen] : names_) {
      if (chosen.adopted != nullptr && chosen.used) chosen.adopted->use();
    }
    for (const Entry& entry : entries_) {
      set_name(entry.object, entry.old_name);
      renamed_objects().erase(entry.object);
    }
    forget_suffix();
  }

 private:
  struct Name {
    char* text = nullptr;
    bool keeps_hash = false;
    bool used = false;
    AdoptedName* adopted = nullptr;  // whose text it is
  };
  struct Entry {
    TypeObject object;
    const char *old_name, *new_name;
  };
  Name& chosen_name(const char* old_name, Adopted adopted) {
    Name& name = names_[old_name];
    if (name.text == nullptr && adopted == Adopted::maybe) {
      name.adopted = adopted_name_in_use(old_name);
      if (name.adopted != nullptr) name.text = name.adopted->text();
    }
    if (name.text == nullptr) {
      const std::string star = old_name[0] == '*' ? "*" : "";  // no part of what is hashed
      name.text =
          strdup((star + retired_name(old_name + star.size(), suffix_.c_str(), name.keeps_hash))
                     .c_str());
      if (name.text == nullptr) throw std::bad_alloc();
    }
    return name;
  }
  static void set_name(TypeObject object, const char* name) noexcept {
    store_word(name_address(object), reinterpret_cast<std::uintptr_t>(name));
  }

  static std::vector<std::string>& used_suffixes() {
    static auto& suffixes = *new std::vector<std::string>();
    return suffixes;
  }
  void forget_suffix() noexcept {
    auto& used = used_suffixes();
    const auto at = std::find(used.begin(), used.end(), suffix_);
    if (suffix_noted_) used.erase(at);
    suffix_noted_ = false;
  }

  const std::string suffix_;
  std::unordered_map<std::string_view, Name> names_;  // by old name, which outlives us
  std::vector<Entry> entries_;
  Addresses objects_;
  bool applied_ = false;
  bool suffix_noted_ = true;
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
  bool displaced_any() const { return !displaced_.empty(); }
  const std::vector<TypeObject>& keys() const { return keys_; }

 private:
  Map* map_ = nullptr;
  std::vector<TypeObject> keys_;
  std::vector<typename Map::node_type> nodes_, displaced_;
};

}  // namespace rehook_bridge
