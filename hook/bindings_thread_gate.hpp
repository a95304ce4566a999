#pragma once

#include <pybind11/pybind11.h>

namespace rehook {

// Adds _thread_gate(), with which the tests close and open a ThreadGate.
void bind_thread_gate(pybind11::module_& m);

}  // namespace rehook
