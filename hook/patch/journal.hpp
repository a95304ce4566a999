#pragma once

#include <functional>
#include <vector>

#include "hook/interpreter.hpp"

namespace rehook {

// What a patch wrote, and how to take it back. Writes never release a reference, so no
// destructor, and no Python code, runs while a patch is under way.
//
// After commit() the references that were overwritten are kept for ever: a call that was in
// flight with the GIL released may still use them, and nobody can tell when it ends.
class Journal final {
 public:
  Journal() = default;
  ~Journal() { undo(); }
  Journal(const Journal&) = delete;
  Journal& operator=(const Journal&) = delete;

  // A plain word inside `owner`, whose memory must not move while `owner` lives.
  void write(PyObject* owner, void** slot, void* value);
  // A slot inside `owner` that owns a reference.
  void refer(PyObject* owner, PyObject** slot, PyObject* value);
  // The same for what no call in flight uses but through references of its own, such as the
  // code of a Python function: commit() releases what was there.
  void exchange(PyObject* owner, PyObject** slot, PyObject* value);
  // The class of an object.
  void become(PyObject* object, PyTypeObject* type);
  // type.__setattr__(type, name, value), or __delattr__ when `value` is null.
  [[nodiscard]] bool set_attribute(PyTypeObject* type, PyObject* name, PyObject* value);
  // dict[key] = value for a key that is there or not; del dict[key] when `value` is null.
  [[nodiscard]] bool set_item(PyObject* dict, PyObject* key, PyObject* value);
  // A list may be resized before the undo: the place is looked at again then.
  void set_list_item(PyObject* list, Py_ssize_t index, PyObject* value);
  void remove_list_item(PyObject* list, Py_ssize_t index);
  // Everything between the header and the end of two objects of one fixed-size type.
  void swap_bodies(PyObject* one, PyObject* other);
  // Anything else; runs when its turn comes in the undo.
  void on_undo(std::function<void()> action);
  // A reference that a write left over, given up when the writes stay.
  void release_on_commit(PyObject* object) { left_over_.push_back(object); }
  // Keeps a reference as long as the journal's writes are in force.
  void keep(PyObject* object) { kept_.push_back(Py_NewRef(object)); }

  [[nodiscard]] std::size_t size() const { return entries_.size(); }
  // Takes everything back, the last write first.
  void undo();
  // The writes stay.
  void commit();

 private:
  enum class Kind { word, reference, exchanged, type, action };
  struct Entry {
    Kind kind = Kind::word;
    PyObject* owner = nullptr;  // owned
    void** slot = nullptr;
    void* before = nullptr;
    std::function<void()> action;
  };
  void push(Kind kind, PyObject* owner, void** slot, void* before);

  std::vector<Entry> entries_;
  std::vector<PyObject*> kept_;
  std::vector<PyObject*> left_over_;
};

}  // namespace rehook
