#include "hook/patch/instance_search.hpp"

#include "hook/patch/gc_heap.hpp"

#if PY_VERSION_HEX < 0x030C0000
// Python 3.11 has no public way to a running function's local variables that leaves no copy of
// them behind.
#define Py_BUILD_CORE 1
#undef _PyGC_FINALIZED
#include "internal/pycore_frame.h"
#undef Py_BUILD_CORE
#endif

namespace rehook {
namespace {

class Search {
 public:
  explicit Search(const std::unordered_set<PyTypeObject*>& types) : types_(&types) {}

  void look_at(PyObject* object) {
    if (object == nullptr || !types_->contains(Py_TYPE(object))) return;
    if (seen_.insert(object).second) found_.push_back(Ref::borrow(object));
  }
  static int referent(PyObject* object, void* search) {
    static_cast<Search*>(search)->look_at(object);
    return 0;
  }
  std::vector<Ref> take() { return std::move(found_); }

 private:
  const std::unordered_set<PyTypeObject*>* types_;
  std::unordered_set<PyObject*> seen_;
  std::vector<Ref> found_;
};

#if PY_VERSION_HEX < 0x030C0000
void look_at_locals(PyFrameObject* frame, PyCodeObject* code, Search& search) {
  for (int i = 0; i < code->co_nlocalsplus; ++i) {
    search.look_at(frame->f_frame->localsplus[i]);
  }
}
#else
void look_at_locals(PyFrameObject* frame, PyCodeObject* code, Search& search) {
  // Those in cells are found as the cells' content.
  const Ref names = Ref::steal(PyCode_GetVarnames(code));
  for (Py_ssize_t i = 0; names && i < PyTuple_GET_SIZE(names.get()); ++i) {
    const Ref value = Ref::steal(PyFrame_GetVar(frame, PyTuple_GET_ITEM(names.get(), i)));
    search.look_at(value.get());
    PyErr_Clear();  // not bound yet
  }
}
#endif

void look_at_running_functions(Search& search) {
  PyInterpreterState* const interpreter = PyInterpreterState_Get();
  for (PyThreadState* thread = PyInterpreterState_ThreadHead(interpreter); thread != nullptr;
       thread = PyThreadState_Next(thread)) {
    Ref frame = Ref::steal(reinterpret_cast<PyObject*>(PyThreadState_GetFrame(thread)));
    while (frame) {
      auto* const at = reinterpret_cast<PyFrameObject*>(frame.get());
      const Ref code = Ref::steal(reinterpret_cast<PyObject*>(PyFrame_GetCode(at)));
      look_at_locals(at, reinterpret_cast<PyCodeObject*>(code.get()), search);
      frame = Ref::steal(reinterpret_cast<PyObject*>(PyFrame_GetBack(at)));
    }
  }
  PyErr_Clear();
}

}  // namespace

std::vector<Ref> find_instances(const std::unordered_set<PyTypeObject*>& types) {
  Search search(types);
  if (types.empty()) return {};
  visit_gc_objects(
      [](PyObject* object, void* context) {
        auto* const inner = static_cast<Search*>(context);
        inner->look_at(object);
        if (const traverseproc traverse = Py_TYPE(object)->tp_traverse) {
          traverse(object, Search::referent, inner);
        }
      },
      &search);
  look_at_running_functions(search);
  return search.take();
}

}  // namespace rehook
