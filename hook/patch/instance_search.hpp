#pragma once

#include <unordered_set>
#include <vector>

#include "hook/interpreter.hpp"

namespace rehook {

// Every object of exactly one of these classes that the program is seen to hold: those that
// the garbage collector knows; those that only something it knows refers to, as objects of a C
// class without Py_TPFLAGS_HAVE_GC are; and local variables of functions that run just now.
//
// What nothing but C code holds is not found. Runs no Python code; the collector must be off.
[[nodiscard]] std::vector<Ref> find_instances(const std::unordered_set<PyTypeObject*>& types);

}  // namespace rehook
