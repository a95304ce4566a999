#include "hook/patch/static_classes.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <tuple>

#include "hook/patch/class_adoption.hpp"
#include "hook/patch/instance_search.hpp"

namespace rehook {
namespace {

// What a type object holds of its build: functions, and tables of functions.
constexpr std::array k_functions = {
    offsetof(PyTypeObject, tp_dealloc),   offsetof(PyTypeObject, tp_getattr),
    offsetof(PyTypeObject, tp_setattr),   offsetof(PyTypeObject, tp_repr),
    offsetof(PyTypeObject, tp_hash),      offsetof(PyTypeObject, tp_call),
    offsetof(PyTypeObject, tp_str),       offsetof(PyTypeObject, tp_getattro),
    offsetof(PyTypeObject, tp_setattro),  offsetof(PyTypeObject, tp_traverse),
    offsetof(PyTypeObject, tp_clear),     offsetof(PyTypeObject, tp_richcompare),
    offsetof(PyTypeObject, tp_iter),      offsetof(PyTypeObject, tp_iternext),
    offsetof(PyTypeObject, tp_descr_get), offsetof(PyTypeObject, tp_descr_set),
    offsetof(PyTypeObject, tp_init),      offsetof(PyTypeObject, tp_alloc),
    offsetof(PyTypeObject, tp_new),       offsetof(PyTypeObject, tp_free),
    offsetof(PyTypeObject, tp_is_gc),     offsetof(PyTypeObject, tp_del),
    offsetof(PyTypeObject, tp_finalize),  offsetof(PyTypeObject, tp_vectorcall),
};
struct Suite {
  std::size_t pointer;  // in the type object
  std::size_t words;
};
constexpr std::array k_suites = {
    Suite{offsetof(PyTypeObject, tp_as_async), sizeof(PyAsyncMethods) / sizeof(void*)},
    Suite{offsetof(PyTypeObject, tp_as_number), sizeof(PyNumberMethods) / sizeof(void*)},
    Suite{offsetof(PyTypeObject, tp_as_sequence), sizeof(PySequenceMethods) / sizeof(void*)},
    Suite{offsetof(PyTypeObject, tp_as_mapping), sizeof(PyMappingMethods) / sizeof(void*)},
    Suite{offsetof(PyTypeObject, tp_as_buffer), sizeof(PyBufferProcs) / sizeof(void*)},
};
constexpr std::array k_descriptions = {
    offsetof(PyTypeObject, tp_methods),
    offsetof(PyTypeObject, tp_members),
    offsetof(PyTypeObject, tp_getset),
    offsetof(PyTypeObject, tp_doc),
};

PyObject* as_object(PyTypeObject* type) {
  return reinterpret_cast<PyObject*>(type);
}
PyTypeObject* as_type(const Ref& object) {
  return reinterpret_cast<PyTypeObject*>(object.get());
}
void** word_at(PyTypeObject* type, std::size_t offset) {
  return reinterpret_cast<void**>(reinterpret_cast<char*>(type) + offset);
}
void** suite_of(PyTypeObject* type, const Suite& suite) {
  return static_cast<void**>(*word_at(type, suite.pointer));
}

// The table of a cdef class's C methods, which every instance points to; null for others.
void* cython_table(PyTypeObject* type) {
  PyObject* const capsule = PyDict_GetItemString(type->tp_dict, "__pyx_vtable__");
  void* table = nullptr;
  if (capsule != nullptr && PyCapsule_CheckExact(capsule)) {
    table = PyCapsule_GetPointer(capsule, PyCapsule_GetName(capsule));
  }
  PyErr_Clear();
  return table;
}

}  // namespace

std::string static_class_obstacle(PyTypeObject* before, PyTypeObject* after) {
  if (const std::string why = layout_obstacle(before, after); !why.empty()) return why;
  if (before->tp_vectorcall_offset != after->tp_vectorcall_offset) {
    return "its objects keep their vectorcall in another place";
  }
  return "";
}

void StaticClasses::move(const std::vector<ObjectPair>& pairs) {
  for (const ObjectPair& pair : pairs) moved_.add(pair.before.get(), pair.after.get());
  for (const ObjectPair& pair : pairs) {
    PyTypeObject *before = as_type(pair.before), *after = as_type(pair.after);
    // Once more when all is undone: the caches of both.
    journal_->on_undo([pair] {
      PyType_Modified(as_type(pair.before));
      PyType_Modified(as_type(pair.after));
    });
    take_attributes(before, after);
    lead_children(before, after);
    take_slots(before, after);
    PyType_Modified(before);
    PyType_Modified(after);
  }
}

void StaticClasses::take_attributes(PyTypeObject* before, PyTypeObject* after) {
  const Ref items = Ref::steal(PyDict_Copy(before->tp_dict));
  PyObject *name = nullptr, *old = nullptr;
  Py_ssize_t at = 0;
  while (items && PyDict_Next(items.get(), &at, &name, &old) != 0) {
    const Ref fresh = Ref::borrow(PyDict_GetItemWithError(after->tp_dict, name));
    PyErr_Clear();
    if (!fresh || fresh.get() == old || !is_callable_kind(old)) continue;
    if (is_descriptor_of(before, old)) {
      if (is_descriptor_of(after, fresh.get())) {
        take_descriptor(before, after, name, old, fresh.get());
      }
    } else if (to_string(name) != "__new__" && ownership_->owns_function(old) &&
               ownership_->owns_function(fresh.get()) &&
               callables_->can_patch(old, fresh.get()) && callables_->patch(old, fresh.get())) {
      std::ignore = journal_->set_item(after->tp_dict, name, old);
    }
  }
}

// The old descriptor, which the program may hold, serves the new type; the old type gets one of
// its own, for instances that are not found.
void StaticClasses::take_descriptor(PyTypeObject* before, PyTypeObject* after, PyObject* name,
                                    PyObject* old, PyObject* fresh) {
  const Ref spare = descriptor_for(before, fresh);
  if (!spare || !callables_->can_patch(old, fresh) || !callables_->patch(old, fresh)) {
    PyErr_Clear();
    replaced_.push_back({Ref::borrow(old), Ref::borrow(fresh), to_string(name)});
    return;
  }
  auto** const owner =
      reinterpret_cast<PyObject**>(&reinterpret_cast<PyDescrObject*>(old)->d_type);
  journal_->refer(old, owner, as_object(after));
  std::ignore = journal_->set_item(before->tp_dict, name, spare.get());
  std::ignore = journal_->set_item(after->tp_dict, name, old);
}

// Classes of Python below the old type derive from the new one from now on, and inherit its
// slots.
void StaticClasses::lead_children(PyTypeObject* before, PyTypeObject* after) {
  std::unordered_set<PyTypeObject*> below;
  for (const Ref& child : subclasses_of(before)) {
    if (moved_.find(child.get()) != nullptr) continue;
    reparent_class(as_type(child), before, after, moved_, *journal_);
    below.insert(as_type(child));
    add_descendants(as_type(child), below);
  }
  for (PyTypeObject* child : below) {
    const auto inherit = [&](void** slot, void* was, void* is) {
      if (*slot == was) journal_->write(as_object(child), slot, is);
    };
    for (const std::size_t offset : k_functions) {
      inherit(word_at(child, offset), *word_at(before, offset), *word_at(after, offset));
    }
    for (const Suite& suite : k_suites) {
      void **own = suite_of(child, suite), **was = suite_of(before, suite),
           **is = suite_of(after, suite);
      for (std::size_t i = 0; own != nullptr && own != was && i < suite.words; ++i) {
        inherit(own + i, was == nullptr ? nullptr : was[i], is == nullptr ? nullptr : is[i]);
      }
    }
  }
  families_.push_back({Ref::borrow(as_object(before)), Ref::borrow(as_object(after)),
                       cython_table(before), cython_table(after), std::move(below)});
}

void StaticClasses::take_slots(PyTypeObject* before, PyTypeObject* after) {
  const auto take = [&](std::size_t offset) {
    journal_->write(as_object(before), word_at(before, offset), *word_at(after, offset));
  };
  for (const std::size_t offset : k_functions) take(offset);
  for (const Suite& suite : k_suites) take(suite.pointer);
  for (const std::size_t offset : k_descriptions) take(offset);
}

void StaticClasses::move_instances() {
  std::unordered_set<PyTypeObject*> types;
  for (const Family& family : families_) {
    types.insert(as_type(family.before));
    if (family.old_table != nullptr) types.insert(family.below.begin(), family.below.end());
  }
  for (const Ref& instance : find_instances(types)) {
    for (const Family& family : families_) {
      PyTypeObject* const type = Py_TYPE(instance.get());
      const bool is_own = type == as_type(family.before);
      if (!is_own && !family.below.contains(type)) continue;
      take_table(instance.get(), family);
      if (is_own) journal_->become(instance.get(), as_type(family.after));
      break;
    }
  }
}

void StaticClasses::take_table(PyObject* instance, const Family& family) {
  if (family.old_table == nullptr || family.new_table == nullptr) return;
  const PyTypeObject* const type = as_type(family.before);
  auto** const words = reinterpret_cast<void**>(instance);
  const std::size_t end = static_cast<std::size_t>(type->tp_basicsize) / sizeof(void*);
  for (std::size_t i = sizeof(PyObject) / sizeof(void*); i < end; ++i) {
    if (words[i] != family.old_table) continue;
    journal_->write(instance, words + i, family.new_table);
    return;
  }
}

}  // namespace rehook
