#pragma once

#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "hook/patch/callables.hpp"
#include "hook/patch/journal.hpp"
#include "hook/patch/object_map.hpp"

namespace rehook {

// Made by a class statement, or a call of type(), whatever its bases.
[[nodiscard]] bool is_python_class(PyObject* object);

// Why the class object `before` cannot serve the code of `after`, both made by class
// statements; empty when it can. Bases, metaclass, attributes may differ; what an instance is
// laid out for may not.
[[nodiscard]] std::string python_class_obstacle(PyTypeObject* before, PyTypeObject* after);

// The function inside `old` and that inside `fresh` are one definition, of one module: only
// then is the old one ours to change.
[[nodiscard]] bool is_same_definition(PyObject* old, PyObject* fresh);

// A class's own name and module, read without any code of its metaclass.
[[nodiscard]] std::string qualified_name_of(PyTypeObject* type);
[[nodiscard]] std::string module_of(PyTypeObject* type);

// Lets a class object that a class statement made serve the code of the statement's next run:
// attributes, bases, metaclass, abstract methods. Functions are patched where they are, so that
// methods taken out of the class follow.
class PythonClassAdoption final {
 public:
  // `names`: what the old class statement bound, by qualified name. Attributes that are not
  // among them and not in the new class were put there from outside and stay.
  using NamesOf = std::function<const std::set<std::string>*(PyTypeObject* type)>;

  PythonClassAdoption(Journal& journal, Callables& callables, const ObjectMap& successors,
                      NamesOf names)
      : journal_(&journal),
        callables_(&callables),
        successors_(&successors),
        names_(std::move(names)) {}

  // All classes of a reload are in `successors` by now (fresh -> old).
  void adopt(PyTypeObject* before, PyTypeObject* after);
  // What a registry of abstract base classes got in the statement's run, the old one gets, too.
  // Calls C functions of the module _abc; belongs after the last raw write.
  void settle();

  [[nodiscard]] const std::vector<std::pair<std::string, std::string>>& left() const {
    return left_;
  }

 private:
  void take_attributes(PyTypeObject* before, PyTypeObject* after);
  void take_attribute(PyTypeObject* before, PyObject* name, PyObject* value);
  void drop_attributes(PyTypeObject* before, PyTypeObject* after);
  void take_metaclass(PyTypeObject* before, PyTypeObject* after);
  void take_bases(PyTypeObject* before, PyTypeObject* after);
  void write_bases(PyTypeObject* type, PyObject* bases, PyTypeObject* after);
  [[nodiscard]] Ref mapped(PyObject* tuple) const;
  [[nodiscard]] PyObject* successor(PyObject* object) const;

  Journal* journal_;
  Callables* callables_;
  const ObjectMap* successors_;
  NamesOf names_;
  std::vector<std::pair<Ref, Ref>> adopted_;
  std::vector<std::pair<std::string, std::string>> left_;
};

}  // namespace rehook
