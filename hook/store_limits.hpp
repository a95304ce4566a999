#pragma once

#include <chrono>
#include <cstdint>

namespace rehook {

// The settings store-size and store-age.
struct StoreLimits {
  std::uint64_t max_bytes = 0;
  std::chrono::nanoseconds max_age{0};
};

}  // namespace rehook
