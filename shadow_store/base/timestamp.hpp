#pragma once

#include <cstdint>
#include <string>

namespace rehook {

// The present as "2026-01-31T12:00:00Z", for people.
[[nodiscard]] std::string utc_now();
// The present in nanoseconds since the epoch, to compare with file stamps.
[[nodiscard]] std::int64_t now_ns();

}  // namespace rehook
