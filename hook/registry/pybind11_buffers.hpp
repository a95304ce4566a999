#pragma once

#include <string>
#include <vector>

#include "pybind11_writes.hpp"

// What a class keeps in slots of its own that no attribute of it sets: its buffer protocol, and
// how the garbage collector visits objects with py::dynamic_attr.

namespace rehook_bridge {

template <typename Function>
void write_function(Function*& slot, Function* after, Writes& writes) {
  writes.add(reinterpret_cast<void**>(&slot), reinterpret_cast<void*>(after));
}

// `to` and the classes below it that have no buffers get those of `from`, or lose them with it.
inline bool plan_buffers(PyTypeObject* from, PyTypeObject* to, References& held, Writes& writes,
                         std::string& error) {
  const auto has_buffer = [](PyTypeObject* type) {
    return type->tp_as_buffer != nullptr && type->tp_as_buffer->bf_getbuffer != nullptr;
  };
  if (has_buffer(from) == has_buffer(to)) return true;
  std::vector<PyTypeObject*> types;
  if (!add_descendants(to, held, types, error)) return false;
  const PyBufferProcs gained = has_buffer(from) ? *from->tp_as_buffer : PyBufferProcs{};
  const getbufferproc lost = has_buffer(to) ? to->tp_as_buffer->bf_getbuffer : nullptr;
  for (PyTypeObject* type : types) {
    if ((type->tp_flags & Py_TPFLAGS_HEAPTYPE) == 0) continue;
    if (has_buffer(type) && type->tp_as_buffer->bf_getbuffer != lost) continue;
    PyBufferProcs* procs = &reinterpret_cast<PyHeapTypeObject*>(type)->as_buffer;
    if (type->tp_as_buffer == nullptr) writes.add(&type->tp_as_buffer, procs);
    if (type->tp_as_buffer != nullptr) procs = type->tp_as_buffer;
    write_function(procs->bf_getbuffer, gained.bf_getbuffer, writes);
    write_function(procs->bf_releasebuffer, gained.bf_releasebuffer, writes);
  }
  return true;
}

inline void plan_traversal(PyTypeObject* from, PyTypeObject* to, Writes& writes) {
  if ((from->tp_flags & to->tp_flags & Py_TPFLAGS_HAVE_GC) == 0) return;
  write_function(to->tp_traverse, from->tp_traverse, writes);
  write_function(to->tp_clear, from->tp_clear, writes);
}

}  // namespace rehook_bridge
