#pragma once

#include <string>
#include <unordered_set>
#include <vector>

#include "hook/patch/callables.hpp"
#include "hook/patch/journal.hpp"
#include "hook/patch/object_map.hpp"
#include "hook/patch/ownership.hpp"

namespace rehook {

// Lets an old class object serve a new build: it gets the attributes and slots of the new
// class, function by function in place, so that methods taken out of it follow.
//
// The caller has made sure that the objects' layout is the same and, for the classes of a
// binding library, that its registry leads to the old class.
class ClassAdoption final {
 public:
  ClassAdoption(Journal& journal, const Ownership& ownership, Callables& callables,
                ObjectMap& successors)
      : journal_(&journal),
        ownership_(&ownership),
        callables_(&callables),
        successors_(&successors) {}

  // Calls for all classes of a reload first, so that they can name each other.
  void announce(PyTypeObject* before, PyTypeObject* after);
  void adopt(PyTypeObject* before, PyTypeObject* after);
  // New classes that derive from an adopted one become children of the old class object.
  void reparent_children(PyTypeObject* before, PyTypeObject* after);

  // What could not be carried over: (what, why).
  [[nodiscard]] const std::vector<std::pair<std::string, std::string>>& left() const {
    return left_;
  }

 private:
  void take_attributes(PyTypeObject* before, PyTypeObject* after);
  void take_attribute(PyTypeObject* before, PyTypeObject* after, PyObject* name,
                      PyObject* value);
  [[nodiscard]] bool can_patch(PyTypeObject* owner, PyObject* old, PyObject* fresh) const;
  void drop_attributes(PyTypeObject* before, PyTypeObject* after);
  void patch_slot_wrapper(PyTypeObject* type, PyObject* name, PyObject* old, PyObject* fresh);
  void take_slots(PyTypeObject* before, const PyTypeObject* after);

  Journal* journal_;
  const Ownership* ownership_;
  Callables* callables_;
  ObjectMap* successors_;
  std::vector<std::pair<std::string, std::string>> left_;
};

// child.__bases__ = …, and __mro__ of all below, which type refuses when the deallocators
// differ, as those of two builds do. `replacements` are those of all bases concerned; the
// layouts are the same.
void reparent_class(PyTypeObject* child, PyTypeObject* from, PyTypeObject* to,
                    const ObjectMap& replacements, Journal& journal);
// A descriptor that C code defined with the class.
[[nodiscard]] bool is_descriptor_of(const PyTypeObject* type, PyObject* value);
// The descriptors of a C class check that they are used with it: each class needs its own.
[[nodiscard]] Ref descriptor_for(PyTypeObject* type, PyObject* value);
// The classes that name `type` as a base; asked without any Python code of a metaclass.
[[nodiscard]] std::vector<Ref> subclasses_of(PyTypeObject* type);
// And those below them; static types, too.
void add_descendants(PyTypeObject* type, std::unordered_set<PyTypeObject*>& family);
// Whether `type` was made by enum.EnumType; its members stay, see enum_adoption.hpp.
[[nodiscard]] bool is_enum_class(PyTypeObject* type);

}  // namespace rehook
