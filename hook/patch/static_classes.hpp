#pragma once

#include <string>
#include <unordered_set>
#include <vector>

#include "hook/patch/callables.hpp"
#include "hook/patch/journal.hpp"
#include "hook/patch/object_map.hpp"
#include "hook/patch/ownership.hpp"
#include "hook/patch/pairing.hpp"

namespace rehook {

// Moves what belongs to a static type of the old build over to that of the new one. C code
// names a static type by its address, so the new type object has to be the one in use: its
// instances, the Python classes below it and the descriptors taken out of it go over. That is
// only for layouts known to be the same.
//
// An instance that is not found (nothing but C code holds it) keeps the old type, which runs
// the new build's functions; functions that check the type of what they are given refuse it.
class StaticClasses final {
 public:
  StaticClasses(Journal& journal, const Ownership& ownership, Callables& callables)
      : journal_(&journal), ownership_(&ownership), callables_(&callables) {}

  // Before any reference is replaced: attributes, slots, classes below. Bases come first.
  void move(const std::vector<ObjectPair>& pairs);
  // When nothing else is to be written to them.
  void move_instances();

  // Descriptors that could not be patched: references to them are to be replaced.
  [[nodiscard]] const std::vector<ObjectPair>& replaced() const { return replaced_; }

 private:
  void take_attributes(PyTypeObject* before, PyTypeObject* after);
  void take_descriptor(PyTypeObject* before, PyTypeObject* after, PyObject* name, PyObject* old,
                       PyObject* fresh);
  void lead_children(PyTypeObject* before, PyTypeObject* after);
  void take_slots(PyTypeObject* before, PyTypeObject* after);

  struct Family {
    Ref before, after;
    void *old_table = nullptr, *new_table = nullptr;  // of a cdef class's C methods
    std::unordered_set<PyTypeObject*> below;          // the classes of Python that moved
  };
  void take_table(PyObject* instance, const Family& family);

  Journal* journal_;
  const Ownership* ownership_;
  Callables* callables_;
  ObjectMap moved_{16};  // old -> new
  std::vector<Family> families_;
  std::vector<ObjectPair> replaced_;
};

// Why instances of a static type cannot go over to the type of a new build, whatever their C
// layout; empty when they can.
[[nodiscard]] std::string static_class_obstacle(PyTypeObject* before, PyTypeObject* after);

}  // namespace rehook
