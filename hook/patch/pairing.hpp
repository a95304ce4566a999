#pragma once

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "hook/interpreter.hpp"
#include "hook/patch/callables.hpp"
#include "hook/patch/ownership.hpp"

namespace rehook {

// What is to become of a class of the old build.
struct Verdict {
  enum class Kind {
    adopt,    // the old class object serves the new code
    replace,  // references follow to the new class; the old one keeps its instances
    leave,    // nothing is done
  };
  Kind kind = Kind::replace;
  std::string reason;  // for `replace` and `leave`, one line
};
using ClassJudge = std::function<Verdict(PyObject* before, PyObject* after)>;

// What the source of a Python module says of it.
struct PythonNames {
  Ref before;                         // dict: a copy of the namespace, of before the run
  std::set<std::string> definitions;  // names that def and class statements bind
  std::set<std::string> decorated;    // those whose attributes decorators may have set
  std::map<std::string, std::set<std::string>> classes;  // qualified name -> names in its body
};

// One module, as it was and as its new build initialised it; of a Python module, `after` is the
// shadow in which its statements ran (python/rehook/_python_world.py).
struct PatchModule {
  std::string name;
  Ref before, after;
  std::shared_ptr<const PythonNames> python = {};
};

struct ObjectPair {
  Ref before, after;
  std::string name;  // qualified
  // A function's attributes are those of the new one, and not those that it has besides.
  bool takes_attributes = false;
  bool is_python = false;  // of a Python module
};

// Who takes whose place, by qualified name. Making it changes nothing.
struct Pairs {
  std::vector<ObjectPair> callables;       // patched in place
  std::vector<ObjectPair> classes;         // adopted, bases first
  std::vector<ObjectPair> python_classes;  // adopted, see python_classes.hpp; bases first
  std::vector<ObjectPair> moved;           // static types, see static_classes.hpp; bases first
  std::vector<ObjectPair> replaced;        // references go from the old to the new object
  std::vector<std::pair<std::string, std::string>> left;  // what stays old, why
};

// Pairs what `modules` hold. Objects that a module merely shows, other modules' functions and
// classes, are nobody's target.
[[nodiscard]] Pairs pair_modules(const std::vector<PatchModule>& modules,
                                 const Ownership& ownership, const Callables& callables,
                                 const ClassJudge& judge);

// Why objects of the old type cannot be served by the new build, going by what the type objects
// say; empty when they can.
[[nodiscard]] std::string layout_obstacle(PyTypeObject* before, PyTypeObject* after);
// Why the old type object cannot take the place of the new one, whatever its C++ layout; empty
// when it can.
[[nodiscard]] std::string adoption_obstacle(PyTypeObject* before, PyTypeObject* after);

}  // namespace rehook
