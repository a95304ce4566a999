#pragma once

#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "hook/interpreter.hpp"
#include "hook/registry/bridge_abi.h"
#include "shadow_store/base/result.hpp"

namespace rehook {

// A class whose C++ layout changed, with the class that took its place.
struct ReplacedClass {
  PyObject* old_class = nullptr;
  PyObject* new_class = nullptr;
  const RehookBridge* bridge = nullptr;
};

// Gives the live instances of replaced classes a value of their new class. The Python objects
// stay, with their attributes and every reference to them; only the C++ value inside is made
// anew, from what the old code tells about it:
//   1. `__rehook_migrate__(old_state)` of the new class, a static or class method: gives what
//      `__setstate__` takes, or else a tuple or dict of arguments for `__init__`
//   2. `__getstate__()` of the old class and `__setstate__(state)` of the new one
//   3. `__reduce_ex__(2)` of the old instance: its arguments go to `__init__`
// `old_state` is what `__getstate__()` gave, or, without one, a dict of the instance's readable
// properties and attributes. Python subclasses are re-based on the new class.
//
// All or none: when one instance cannot be converted, all of them keep their old values, and no
// destructor has run. Runs the program's Python code; other threads may meanwhile see instances
// that have no value yet (and get a TypeError from them).
class InstanceMigration final {
 public:
  // `left_out`: old classes whose instances, and those of classes below, are not touched.
  InstanceMigration(std::vector<ReplacedClass> classes, std::vector<PyObject*> left_out)
      : classes_(std::move(classes)), left_out_(std::move(left_out)) {}
  ~InstanceMigration();
  InstanceMigration(const InstanceMigration&) = delete;
  InstanceMigration& operator=(const InstanceMigration&) = delete;

  // Asks the old code for the states of all instances; changes nothing. unsupported: an
  // instance of obstacle() gives none.
  Status collect();
  // Fills the new values. On failure everything is as it was before; obstacle() is a class
  // without which it may succeed, or null.
  Status convert();
  [[nodiscard]] PyObject* obstacle() const { return obstacle_; }
  // Destroys the old values, with the old code. Without it the destructor brings them back.
  void commit();

  // How many instances were converted, by name of class.
  [[nodiscard]] const std::map<std::string, std::size_t>& counts() const { return counts_; }

 private:
  enum class Way { set_state, arguments, keywords };
  struct Instance {
    Ref object, type, state;
    const ReplacedClass* of = nullptr;
    Way way = Way::set_state;
    void* token = nullptr;
  };
  struct Rebased {
    Ref type, bases;
  };

  Status collect_one(Instance& instance) const;
  Status rebase(PyObject* type, std::set<PyObject*>& seen);
  Status fill(Instance& instance);
  Status fill_in_order(std::size_t index, std::vector<int>& progress);
  void revert();

  [[nodiscard]] bool is_left_out(PyObject* object) const;

  std::vector<ReplacedClass> classes_;
  std::vector<PyObject*> left_out_;
  PyObject* obstacle_ = nullptr;
  std::vector<Instance> instances_;
  std::map<PyObject*, std::size_t> index_;
  std::vector<Rebased> rebased_;
  std::map<std::string, std::size_t> counts_;
  bool done_ = false;
};

}  // namespace rehook
