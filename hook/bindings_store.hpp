#pragma once

#include <pybind11/pybind11.h>

#include "hook/store_contents.hpp"

namespace rehook {

// rehook._core.Store: what the command line asks a store, without a session.
void bind_store(pybind11::module_& m);

// The settings store-size (bytes) and store-age (seconds).
[[nodiscard]] StoreLimits store_limits_of(const pybind11::object& size,
                                          const pybind11::object& age);

}  // namespace rehook
