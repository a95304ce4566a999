#pragma once

#include <cstring>
#include <utility>
#include <vector>

#include "pybind11_retirement.hpp"
#include "rtti_adopted_names.hpp"

// The retired names of adopted classes become plain names again (see AdoptedName), and the
// registry has no entries of their own for them any more.

namespace rehook_bridge {

class MergedNames {
 public:
  // `same(before, now)` tells whether two entries of a map are a class and its successor.
  template <typename Same>
  void plan(Internals& internals, const Retirement& retirement, Same same) {
    internals_ = &internals;
    add_names(internals.registered_types_cpp, retirement.types(), retirement.renames(), same);
    if (EnumMap* enums = native_enums(internals)) {
      add_names(*enums, retirement.enums(), retirement.renames(), same);
      enums_.reserve(names_.size());
    }
    types_.reserve(names_.size());
    conversions_.reserve(names_.size());
    dtypes_.reserve(names_.size());
  }

  void apply() noexcept {
    for (const Name& name : names_) {
      const NameOnly retired(name.text);
      take(&internals_->registered_types_cpp, retired, types_);
      take(&internals_->direct_conversions, retired, conversions_);
      take(native_enums(*internals_), retired, enums_);
      take(numpy_dtypes(*internals_), retired, dtypes_);
    }
    for (Name& name : names_) {
      std::swap(*name.entry, name.other);
      name.entry->use();
    }
  }
  void prepare_undo() {
    reserve(&internals_->registered_types_cpp, types_);
    reserve(&internals_->direct_conversions, conversions_);
    reserve(native_enums(*internals_), enums_);
    reserve(numpy_dtypes(*internals_), dtypes_);
  }
  void undo() noexcept {
    for (Name& name : names_) {
      name.entry->retire();
      std::swap(*name.entry, name.other);
    }
    put(&internals_->registered_types_cpp, types_);
    put(&internals_->direct_conversions, conversions_);
    put(native_enums(*internals_), enums_);
    put(numpy_dtypes(*internals_), dtypes_);
  }

 private:
  struct Name {
    const char* text;    // the retired spelling, for now
    AdoptedName* entry;  // of the plain name
    AdoptedName other;   // what the entry becomes, then what it was
  };
  template <typename Map>
  using Nodes = std::vector<typename Map::node_type>;

  template <typename Map, typename Same>
  void add_names(Map& map, const std::vector<TypeObject>& keys, const Renames& renames,
                 Same same) {
    for (TypeObject key : keys) {
      const char* plain = original_name(key);
      const NameOnly name(plain);
      const auto before = map.find(std::type_index(*key)), now = map.find(name.index());
      if (before == map.end() || now == map.end() || !same(before->second, now->second)) {
        continue;
      }
      char* text = renames.new_name(plain);
      AdoptedName* entry = &adopted_names()[plain];
      bool known = text == nullptr;
      for (const Name& other : names_) known |= other.entry == entry;
      if (!known) names_.push_back({text, entry, AdoptedName(text, std::strlen(plain))});
    }
  }
  template <typename Map>
  static void take(Map* map, const NameOnly& name, Nodes<Map>& nodes) noexcept {
    if (map == nullptr) return;
    auto node = map->extract(name.index());
    if (node) nodes.push_back(std::move(node));
  }
  template <typename Map>
  static void reserve(Map* map, const Nodes<Map>& nodes) {
    if (map != nullptr) map->reserve(map->size() + nodes.size());
  }
  template <typename Map>
  static void put(Map* map, Nodes<Map>& nodes) noexcept {
    for (auto& node : nodes) map->insert(std::move(node));
    nodes.clear();
  }

  Internals* internals_ = nullptr;
  std::vector<Name> names_;
  Nodes<TypeMap> types_;
  Nodes<ConversionMap> conversions_;
  Nodes<EnumMap> enums_;
  Nodes<DtypeMap> dtypes_;
};

}  // namespace rehook_bridge
