#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace rehook {

// The words of a loaded library that it can write to itself: its static variables. `begin` is
// where it is mapped. What the loader made read-only after relocation is not among them.
[[nodiscard]] std::vector<std::span<void*>> static_variables(std::uintptr_t begin);

}  // namespace rehook
