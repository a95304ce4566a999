#pragma once

#include "hook/interpreter.hpp"
#include "hook/patch/object_map.hpp"

namespace rehook {

// Rebuilds a dict, set or frozenset whose keys are to be replaced, or have another hash than
// when they were put in. The object and the order of a dict stay. The new table is made beside
// the old one and takes its place at once; false, with nothing changed, when that failed.
//
// Keys may be compared, so their own Python code may run: not between raw writes.
[[nodiscard]] bool rebuild_dict(PyObject* dict, const ObjectMap& replacements);
[[nodiscard]] bool rebuild_set(PyObject* set, const ObjectMap& replacements);

}  // namespace rehook
