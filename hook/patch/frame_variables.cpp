#include "hook/patch/frame_variables.hpp"

#if PY_VERSION_HEX < 0x030C0000
// Python 3.11 has no public way to write a running function's local variables.
#define Py_BUILD_CORE 1
#undef _PyGC_FINALIZED
#include "internal/pycore_frame.h"
#undef Py_BUILD_CORE
#endif

namespace rehook {
namespace {

#if PY_VERSION_HEX < 0x030C0000

// A frame object keeps the variables when its function ends, so the place is looked up anew.
PyObject** variable_of(PyObject* frame, int index) {
  return &reinterpret_cast<PyFrameObject*>(frame)->f_frame->localsplus[index];
}

std::size_t replace_in(PyObject* frame, const ObjectMap& references, Journal& journal) {
  const Ref code = Ref::steal(
      reinterpret_cast<PyObject*>(PyFrame_GetCode(reinterpret_cast<PyFrameObject*>(frame))));
  const int count = reinterpret_cast<PyCodeObject*>(code.get())->co_nlocalsplus;
  std::size_t replaced = 0;
  for (int i = 0; i < count; ++i) {
    PyObject** const slot = variable_of(frame, i);
    PyObject* const to = *slot != nullptr ? references.find(*slot) : nullptr;
    if (to == nullptr || to == *slot) continue;
    const Ref owner = Ref::borrow(frame), before = Ref::steal(*slot), after = Ref::borrow(to);
    journal.keep(before.get());
    *slot = Py_NewRef(to);
    journal.on_undo([owner, i, before, after] {
      PyObject** const now = variable_of(owner.get(), i);
      if (*now != after.get()) return;
      *now = Py_NewRef(before.get());
      Py_DECREF(after.get());  // never the last one: `after` holds another
    });
    ++replaced;
  }
  return replaced;
}

#elif PY_VERSION_HEX >= 0x030D0000

std::size_t replace_in(PyObject* frame, const ObjectMap& references, Journal& journal) {
  const Ref locals = Ref::steal(PyFrame_GetLocals(reinterpret_cast<PyFrameObject*>(frame)));
  const Ref names =
      locals && !PyDict_Check(locals.get()) ? Ref::steal(PyMapping_Keys(locals.get())) : Ref();
  std::size_t replaced = 0;
  for (Py_ssize_t i = 0; names && i < PyList_GET_SIZE(names.get()); ++i) {
    const Ref name = Ref::borrow(PyList_GET_ITEM(names.get(), i));
    const Ref before = Ref::steal(PyObject_GetItem(locals.get(), name.get()));
    PyObject* const to = before ? references.find(before.get()) : nullptr;
    if (to == nullptr || to == before.get()) continue;
    journal.keep(before.get());
    if (PyObject_SetItem(locals.get(), name.get(), to) < 0) continue;
    journal.on_undo([locals, name, before] {
      if (PyObject_SetItem(locals.get(), name.get(), before.get()) < 0) PyErr_Clear();
    });
    ++replaced;
  }
  PyErr_Clear();
  return replaced;
}

#else

std::size_t replace_in(PyObject* /*frame*/, const ObjectMap& /*references*/,
                       Journal& /*journal*/) {
  return 0;
}

#endif

}  // namespace

std::size_t replace_in_running_functions(const ObjectMap& references, Journal& journal) {
  std::size_t replaced = 0;
  PyInterpreterState* const interpreter = PyInterpreterState_Get();
  for (PyThreadState* thread = PyInterpreterState_ThreadHead(interpreter); thread != nullptr;
       thread = PyThreadState_Next(thread)) {
    Ref frame = Ref::steal(reinterpret_cast<PyObject*>(PyThreadState_GetFrame(thread)));
    while (frame) {
      replaced += replace_in(frame.get(), references, journal);
      frame = Ref::steal(reinterpret_cast<PyObject*>(
          PyFrame_GetBack(reinterpret_cast<PyFrameObject*>(frame.get()))));
    }
  }
  PyErr_Clear();
  return replaced;
}

std::size_t replace_in_suspended(PyObject* generator, const ObjectMap& references,
                                 Journal& journal) {
  const char* const attribute = PyGen_CheckExact(generator)    ? "gi_frame"
                                : PyCoro_CheckExact(generator) ? "cr_frame"
                                                               : "ag_frame";
  const Ref frame = optional_attribute(generator, attribute);
  if (!frame || !PyFrame_Check(frame.get())) return 0;
  return replace_in(frame.get(), references, journal);
}

}  // namespace rehook
