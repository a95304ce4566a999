#include "hook/patch/gc_heap.hpp"

#if PY_VERSION_HEX < 0x030C0000
// Python 3.11 has no public walk over the collector's lists.
#define Py_BUILD_CORE 1
#undef _PyGC_FINALIZED
#undef HAVE_STD_ATOMIC  // C11's, which pycore_atomic.h would use
#include "internal/pycore_gc.h"
#include "internal/pycore_interp.h"
#undef Py_BUILD_CORE
#endif

namespace rehook {

#if PY_VERSION_HEX < 0x030C0000
void visit_gc_objects(void (*visit)(PyObject*, void*), void* context) {
  const auto walk = [&](PyGC_Head* list) {
    const auto next = [](const PyGC_Head* head) {
      return reinterpret_cast<PyGC_Head*>(head->_gc_next & ~std::uintptr_t{1});
    };
    for (PyGC_Head* head = next(list); head != list; head = next(head)) {
      visit(reinterpret_cast<PyObject*>(head + 1), context);
    }
  };
  struct _gc_runtime_state* const gc = &PyInterpreterState_Get()->gc;
  for (auto& generation : gc->generations) walk(&generation.head);
  walk(&gc->permanent_generation.head);
}
#else
namespace {
struct Visit {
  void (*function)(PyObject*, void*);
  void* context;
};
}  // namespace

void visit_gc_objects(void (*visit)(PyObject*, void*), void* context) {
  Visit call{visit, context};
  PyUnstable_GC_VisitObjects(
      [](PyObject* object, void* data) {
        const auto* inner = static_cast<Visit*>(data);
        inner->function(object, inner->context);
        return 1;
      },
      &call);
}
#endif

namespace {
struct Count {
  const PyObject* target;
  long number;
};
}  // namespace

long count_references(PyObject* referrer, const PyObject* target) {
  Count count{target, 0};
  if (Py_TYPE(referrer)->tp_traverse == nullptr) return 0;
  Py_TYPE(referrer)->tp_traverse(
      referrer,
      [](PyObject* object, void* data) {
        auto* inner = static_cast<Count*>(data);
        if (object == inner->target) ++inner->number;
        return 0;
      },
      &count);
  return count.number;
}

}  // namespace rehook
