#pragma once

#include <functional>

#include "hook/interpreter.hpp"

namespace rehook {

// The collector stands still in this scope.
class GcPause final {
 public:
  GcPause() : was_enabled_(PyGC_Disable() != 0) {}
  ~GcPause() {
    if (was_enabled_) PyGC_Enable();
  }
  GcPause(const GcPause&) = delete;
  GcPause& operator=(const GcPause&) = delete;

 private:
  bool was_enabled_;
};

// Calls `visit` for every object that the collector knows, frozen ones included. `visit` must
// neither make nor release Python objects.
void visit_gc_objects(void (*visit)(PyObject* object, void* context), void* context);

// How often tp_traverse of `referrer` comes by `target`.
[[nodiscard]] long count_references(PyObject* referrer, const PyObject* target);

}  // namespace rehook
