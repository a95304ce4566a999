#include "hook/patch/instance_migration.hpp"

#include <algorithm>
#include <array>

namespace rehook {
namespace {

constexpr int k_deepest_state = 16;

Ref attribute_of_type(PyObject* type, const char* name) {
  return optional_attribute(type, name);
}

// Whether the class, or one it derives from, has this attribute otherwise than `object` does.
bool defines(PyObject* type, const char* name) {
  const Ref own = attribute_of_type(type, name);
  const Ref common = attribute_of_type(reinterpret_cast<PyObject*>(&PyBaseObject_Type), name);
  return own && own.get() != common.get();
}

Error failure_of(const Ref& type, const std::string& what) {
  const SavedError cause = SavedError::take();
  const std::string name = string_attribute(type.get(), "__qualname__");
  return Error{
      ErrorCode::unsupported,
      what + " of a " + name + (cause ? " raised " + cause.text() : " failed"),
      "give " + name + " pickle support or __rehook_migrate__, or make its objects anew"};
}

// The readable properties and the attributes of an instance that has no __getstate__.
Ref readable_state(PyObject* object) {
  Ref state = Ref::steal(PyDict_New());
  PyObject* const mro = Py_TYPE(object)->tp_mro;
  for (Py_ssize_t i = 0; mro != nullptr && i < PyTuple_GET_SIZE(mro); ++i) {
    const Ref names = Ref::steal(
        PyMapping_Keys(attribute_of_type(PyTuple_GET_ITEM(mro, i), "__dict__").get()));
    PyErr_Clear();
    for (Py_ssize_t j = 0; names && j < PyList_GET_SIZE(names.get()); ++j) {
      PyObject* const name = PyList_GET_ITEM(names.get(), j);
      const Ref descriptor = Ref::steal(PyObject_GetAttr(PyTuple_GET_ITEM(mro, i), name));
      if (!descriptor || to_string(name).starts_with("__") ||
          (Py_TYPE(descriptor.get()) != &PyProperty_Type &&
           Py_TYPE(descriptor.get()) != &PyGetSetDescr_Type)) {
        PyErr_Clear();
        continue;
      }
      const Ref value = Ref::steal(PyObject_GetAttr(object, name));
      if (value) PyDict_SetDefault(state.get(), name, value.get());
      PyErr_Clear();
    }
  }
  if (const Ref own = optional_attribute(object, "__dict__"); own && PyDict_Check(own.get())) {
    PyDict_Update(state.get(), own.get());
  }
  PyErr_Clear();
  return state;
}

// Visits the objects in a state, through the containers that pickling knows.
template <typename Visit>
void for_each_in(PyObject* state, int depth, const Visit& visit) {
  if (state == nullptr || depth > k_deepest_state) return;
  visit(state);
  if (PyDict_Check(state)) {
    PyObject *key = nullptr, *value = nullptr;
    Py_ssize_t at = 0;
    while (PyDict_Next(state, &at, &key, &value) != 0) {
      for_each_in(key, depth + 1, visit);
      for_each_in(value, depth + 1, visit);
    }
  } else if (PyTuple_Check(state) || PyList_Check(state)) {
    for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(state); ++i) {
      for_each_in(PySequence_Fast_GET_ITEM(state, i), depth + 1, visit);
    }
  } else if (PyAnySet_Check(state)) {
    const Ref items = Ref::steal(PySequence_List(state));
    PyErr_Clear();
    for_each_in(items.get(), depth + 1, visit);
  }
}

}  // namespace

InstanceMigration::~InstanceMigration() {
  if (!done_) revert();
}

Status InstanceMigration::collect_one(Instance& instance) const {
  PyObject* const object = instance.object.get();
  PyObject* const new_class = instance.of->new_class;
  const bool has_state = defines(instance.type.get(), "__getstate__");
  const bool takes_state = defines(new_class, "__setstate__");
  if (const Ref migrate = optional_attribute(new_class, "__rehook_migrate__")) {
    const Ref old_state = has_state
                              ? Ref::steal(PyObject_CallMethod(object, "__getstate__", nullptr))
                              : readable_state(object);
    if (!old_state) return failure_of(instance.type, "__getstate__()");
    instance.state = Ref::steal(PyObject_CallOneArg(migrate.get(), old_state.get()));
    if (!instance.state) return failure_of(instance.type, "__rehook_migrate__()");
    if (!takes_state) {
      instance.way = PyDict_Check(instance.state.get()) ? Way::keywords : Way::arguments;
    }
    return ok_status();
  }
  if (has_state && takes_state) {
    instance.state = Ref::steal(PyObject_CallMethod(object, "__getstate__", nullptr));
    if (!instance.state) return failure_of(instance.type, "__getstate__()");
    return ok_status();
  }
  const Ref reduced = Ref::steal(PyObject_CallMethod(object, "__reduce_ex__", "i", 2));
  if (!reduced) return failure_of(instance.type, "__reduce_ex__(2)");
  if (!PyTuple_Check(reduced.get()) || PyTuple_GET_SIZE(reduced.get()) < 2 ||
      PyTuple_GET_ITEM(reduced.get(), 0) != instance.type.get()) {
    return failure_of(instance.type, "pickling with __reduce_ex__(2)");
  }
  instance.state = Ref::borrow(PyTuple_GET_ITEM(reduced.get(), 1));
  instance.way = Way::arguments;
  return ok_status();
}

bool InstanceMigration::is_left_out(PyObject* object) const {
  return std::any_of(left_out_.begin(), left_out_.end(), [&](PyObject* type) {
    return PyObject_TypeCheck(object, reinterpret_cast<PyTypeObject*>(type)) != 0;
  });
}

Status InstanceMigration::collect() {
  for (const ReplacedClass& one : classes_) {
    std::vector<Ref> found;
    one.bridge->instances(
        one.old_class, 1,
        [](PyObject* object, void* context) {
          static_cast<std::vector<Ref>*>(context)->push_back(Ref::borrow(object));
        },
        &found);
    for (Ref& object : found) {
      if (is_left_out(object.get())) continue;
      // Of a class and of a class derived from it, both replaced: the derived one it is.
      const auto known = index_.find(object.get());
      if (known != index_.end()) {
        Instance& before = instances_[known->second];
        if (PyType_IsSubtype(reinterpret_cast<PyTypeObject*>(one.old_class),
                             reinterpret_cast<PyTypeObject*>(before.of->old_class)) != 0) {
          before.of = &one;
        }
        continue;
      }
      index_.emplace(object.get(), instances_.size());
      const Ref type = Ref::borrow(reinterpret_cast<PyObject*>(Py_TYPE(object.get())));
      instances_.push_back({std::move(object), type, Ref(), &one, Way::set_state, nullptr});
    }
  }
  for (Instance& instance : instances_) {
    obstacle_ = instance.of->old_class;
    REHOOK_TRY(collect_one(instance));
  }
  obstacle_ = nullptr;
  return ok_status();
}

// Python classes below a replaced one derive from its successor from now on.
Status InstanceMigration::rebase(PyObject* type, std::set<PyObject*>& seen) {
  const Ref below = Ref::steal(PyObject_CallMethod(type, "__subclasses__", nullptr));
  for (Py_ssize_t i = 0; below && i < PyList_GET_SIZE(below.get()); ++i) {
    PyObject* const subclass = PyList_GET_ITEM(below.get(), i);
    bool is_replaced = false;
    for (const ReplacedClass& one : classes_) is_replaced |= one.old_class == subclass;
    if (is_replaced || !seen.insert(subclass).second) continue;
    const Ref bases = Ref::borrow(reinterpret_cast<PyTypeObject*>(subclass)->tp_bases);
    const Ref mapped = Ref::steal(PyTuple_New(PyTuple_GET_SIZE(bases.get())));
    for (Py_ssize_t j = 0; mapped && j < PyTuple_GET_SIZE(bases.get()); ++j) {
      PyObject* base = PyTuple_GET_ITEM(bases.get(), j);
      for (const ReplacedClass& one : classes_) {
        if (one.old_class == base) base = one.new_class;
      }
      PyTuple_SET_ITEM(mapped.get(), j, Py_NewRef(base));
    }
    if (!mapped || PyObject_SetAttrString(subclass, "__bases__", mapped.get()) < 0) {
      return failure_of(Ref::borrow(subclass), "changing the base class");
    }
    rebased_.push_back({Ref::borrow(subclass), bases});
  }
  PyErr_Clear();
  return ok_status();
}

Status InstanceMigration::fill(Instance& instance) {
  PyObject* const object = instance.object.get();
  Ref done;
  if (instance.way == Way::set_state) {
    done = Ref::steal(PyObject_CallMethod(object, "__setstate__", "(O)", instance.state.get()));
    if (!done) return failure_of(instance.type, "__setstate__()");
  } else {
    const Ref init = Ref::steal(PyObject_GetAttrString(instance.of->new_class, "__init__"));
    const bool by_name = instance.way == Way::keywords;
    const Ref self = Ref::steal(PyTuple_Pack(1, object));
    const Ref rest = by_name ? Ref() : Ref::steal(PySequence_Tuple(instance.state.get()));
    const Ref arguments = rest ? Ref::steal(PySequence_Concat(self.get(), rest.get())) : self;
    if (init && arguments && (by_name || rest)) {
      done = Ref::steal(
          PyObject_Call(init.get(), arguments.get(), by_name ? instance.state.get() : nullptr));
    }
    if (!done) return failure_of(instance.type, "__init__()");
  }
  if (instance.of->bridge->has_value(instance.token) == 0) {
    return failure_of(instance.type, "making the new value");
  }
  return ok_status();
}

// An instance whose state holds others comes after them.
Status InstanceMigration::fill_in_order(std::size_t index, std::vector<int>& progress) {
  enum { untouched, started, filled };
  if (progress[index] != untouched) return ok_status();
  progress[index] = started;
  std::vector<std::size_t> first;
  for_each_in(instances_[index].state.get(), 0, [&](PyObject* part) {
    const auto found = index_.find(part);
    if (found != index_.end() && found->second != index) first.push_back(found->second);
  });
  for (const std::size_t other : first) REHOOK_TRY(fill_in_order(other, progress));
  progress[index] = filled;
  return fill(instances_[index]);
}

Status InstanceMigration::convert() {
  const auto undone = [this](Error error) -> Status {
    revert();
    return error;
  };
  std::set<PyObject*> seen;
  for (const ReplacedClass& one : classes_) {
    obstacle_ = one.old_class;
    if (Status status = rebase(one.old_class, seen); !status) {
      return undone(std::move(status).error());
    }
  }
  for (Instance& instance : instances_) {
    obstacle_ = instance.of->old_class;
    const bool is_exact = instance.type.get() == instance.of->old_class;
    std::array<char, 512> text{};
    instance.token = instance.of->bridge->detach_value(
        instance.object.get(), instance.of->old_class, instance.of->new_class,
        is_exact ? instance.of->new_class : instance.type.get(), text.data(), text.size());
    if (instance.token == nullptr) {
      return undone({ErrorCode::unsupported,
                     "a " + string_attribute(instance.type.get(), "__qualname__") +
                         " cannot change its value: " + text.data(),
                     "make such objects anew"});
    }
  }
  obstacle_ = nullptr;
  std::vector<int> progress(instances_.size(), 0);
  for (std::size_t i = 0; i < instances_.size(); ++i) {
    if (Status status = fill_in_order(i, progress); !status) {
      return undone(std::move(status).error());
    }
  }
  return ok_status();
}

void InstanceMigration::revert() {
  SavedError pending = SavedError::take();
  for (auto instance = instances_.rbegin(); instance != instances_.rend(); ++instance) {
    if (instance->token != nullptr) instance->of->bridge->revert_value(instance->token);
    instance->token = nullptr;
  }
  for (auto one = rebased_.rbegin(); one != rebased_.rend(); ++one) {
    PyObject_SetAttrString(one->type.get(), "__bases__", one->bases.get());
    PyErr_Clear();
  }
  rebased_.clear();
  if (pending) std::move(pending).restore();
}

void InstanceMigration::commit() {
  done_ = true;
  for (Instance& instance : instances_) {
    ++counts_[string_attribute(instance.type.get(), "__qualname__")];
    instance.of->bridge->finish_value(instance.token);
    instance.token = nullptr;
  }
}

}  // namespace rehook
