#pragma once

#include "hook/patch/journal.hpp"
#include "hook/patch/object_map.hpp"

namespace rehook {

// Replaces references in the local variables of functions that run just now, in every thread,
// and gives how many. `references` as in HeapTargets. Variables in cells are the cells'
// content, and no business of this.
//
// Python 3.11: in the frames themselves. 3.13 and later: through frame.f_locals, which writes
// through (PEP 667). 3.12 has no way; nothing is done.
std::size_t replace_in_running_functions(const ObjectMap& references, Journal& journal);

// The same for a suspended generator or coroutine.
std::size_t replace_in_suspended(PyObject* generator, const ObjectMap& references,
                                 Journal& journal);

}  // namespace rehook
