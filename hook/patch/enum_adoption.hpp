#pragma once

#include <string>
#include <utility>
#include <vector>

#include "hook/patch/journal.hpp"
#include "hook/patch/object_map.hpp"

namespace rehook {

// The members of an enumeration, old and new. A member of the same name and value stays the
// object it was; one that is new, or whose value changed, is the new object.
//
// Works for Python's enum classes (pybind11's native_enum, nanobind's enums) and for pybind11's
// enum_, whose members are instances listed in `__entries`. A member of a Python enumeration
// keeps its identity even if its value changes, when the value is an attribute of it and not,
// as with IntEnum, what the object itself is.
struct EnumMembers {
  std::vector<std::pair<Ref, Ref>> kept;  // old member, new member
  std::vector<Ref> added;                 // new members the old class takes over
  std::vector<std::string> changed;       // names whose value is another one now
  bool take_content = false;              // kept members get what the new ones have
};

// Compares; may run the members' own code, so it belongs before the first write.
[[nodiscard]] EnumMembers pair_members(PyTypeObject* before, PyTypeObject* after,
                                       bool is_python = false);

// Before the old class adopts the attributes: the new class's tables name the kept members, and
// the added ones become the old class's. `successors` gets new member -> kept member.
void adopt_members(const EnumMembers& members, PyTypeObject* before, PyTypeObject* after,
                   Journal& journal, ObjectMap& successors);

}  // namespace rehook
