#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "hook/patch/journal.hpp"
#include "hook/patch/object_map.hpp"

namespace rehook {

// Makes functions, methods, properties and their wrappers run another build's code, in place:
// the object stays, so whoever holds it follows. A call costs what it cost before.
//
// What is patched must be of one type on both sides; a change of kind is the heap pass's work.
class Callables final {
 public:
  // A function object that only its binding library can read: true when `before` runs `after`'s
  // code from now on.
  using Redirect = std::function<bool(PyObject* before, PyObject* after)>;

  // `successors` gets fresh -> old for everything patched.
  Callables(Journal& journal, ObjectMap& successors, Redirect redirect)
      : journal_(&journal), successors_(&successors), redirect_(std::move(redirect)) {}

  // Whether patch() would do it. Changes nothing.
  [[nodiscard]] bool can_patch(PyObject* before, PyObject* after) const;
  // Only after can_patch(). False when the binding library refused to redirect.
  // What somebody gave a Python function as attributes stays, or goes.
  enum class Attributes { merge, take };
  bool patch(PyObject* before, PyObject* after, Attributes attributes = Attributes::merge);

  // Builtins whose hash is another one now.
  [[nodiscard]] const std::vector<PyObject*>& rehashed() const { return rehashed_; }
  // The definition a method had -> a builtin made of the definition that replaces it: bound
  // methods share the definition and are found by it.
  [[nodiscard]] const std::map<PyMethodDef*, Ref>& definitions() const { return definitions_; }
  // How many objects of each kind were patched.
  [[nodiscard]] const std::map<std::string, std::size_t>& counts() const { return counts_; }

 private:
  void builtin(PyObject* before, PyObject* after);
  void method_descriptor(PyObject* before, PyObject* after);
  void definition(PyMethodDef* before, PyMethodDef* after);
  void python_function(PyObject* before, PyObject* after, Attributes attributes);
  void wrapped(PyObject* owner, PyObject** slot, PyObject* after);
  [[nodiscard]] PyObject* successor(PyObject* object) const;

  Journal* journal_;
  ObjectMap* successors_;
  Redirect redirect_;
  std::vector<PyObject*> rehashed_;
  std::map<PyMethodDef*, Ref> definitions_;
  std::map<std::string, std::size_t> counts_;
};

// The function inside a staticmethod, classmethod, instancemethod, bound method or property
// (its getter), however deep, or the object itself. Borrowed.
[[nodiscard]] PyObject* innermost_function(PyObject* object);
[[nodiscard]] bool is_cython_function(const PyObject* object);
[[nodiscard]] bool is_nanobind_function(const PyObject* object);
// Functions, methods and the descriptors and wrappers a C class holds them in.
[[nodiscard]] bool is_callable_kind(PyObject* object);

}  // namespace rehook
