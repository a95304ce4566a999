#pragma once

#include <algorithm>
#include <iterator>
#include <typeindex>
#include <utility>
#include <vector>

#include "pybind11_registry.hpp"
#include "rtti_memory.hpp"
#include "rtti_objects.hpp"

namespace rehook_bridge {

// Makes pybind11 forget what a failed new generation registered. Its Python types stay alive
// for good: a dying type erases its registration by name, and that name is the old type's
// again.
class Purge {
 public:
  Purge(Internals& internals, const RehookRange* fresh, std::size_t count)
      : internals_(internals), libraries_(fresh, count), ownership_(internals, libraries_) {
    std::size_t dying = 0;
    for (const auto& entry : internals.direct_conversions) {
      dying += owns_key(entry.first) ? 1 : 0;
    }
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
    for (auto at = map->begin(); at != map->end();) {
      at = unwanted(*at) ? map->erase(at) : std::next(at);
    }
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

}  // namespace rehook_bridge
