#pragma once

#include <cstdint>
#include <cstring>
#include <string_view>
#include <unordered_set>

#include "shadow_store/base/digest.hpp"

namespace rehook {

// Names given to private copies in this process. None is ever given again: what was loaded
// under it stays loaded. Holds digests of the names, since they are many and long; two names
// of one digest cost a new try, nothing more. Not thread-safe.
class UsedNames final {
 public:
  [[nodiscard]] bool contains(std::string_view name) const { return seen_.contains(key(name)); }
  void add(std::string_view name) { seen_.insert(key(name)); }
  // Counts what was asked for: a different number each time, never 0.
  [[nodiscard]] std::uint64_t next_number() { return ++number_; }

 private:
  static std::uint64_t key(std::string_view name) {
    const Digest digest = digest_of(name);
    std::uint64_t value = 0;
    std::memcpy(&value, digest.bytes.data(), sizeof value);
    return value;
  }
  std::unordered_set<std::uint64_t> seen_;
  std::uint64_t number_ = 0;
};

}  // namespace rehook
