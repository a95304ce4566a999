#pragma once

#include <pybind11/pybind11.h>

namespace rehook {

// Adds Session and ModuleFinder to the module.
void bind_session(pybind11::module_& m);

}  // namespace rehook
