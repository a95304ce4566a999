#pragma once

#include <utility>
#include <vector>

#include "hook/interpreter.hpp"

namespace rehook {

// What `__subclasses__()` of classes that outlive a failed build answers: remembers the lists
// before the build initialises, and takes off them what it added. The classes of a failed build
// live on, since its code may still use them, but nobody is to meet them.
class SubclassLists final {
 public:
  // The classes that a module holds, and those they derive from.
  void remember_those_of(PyObject* module);
  void restore();

 private:
  std::vector<std::pair<Ref, Ref>> lists_;  // class, copy of its list or null
};

}  // namespace rehook
