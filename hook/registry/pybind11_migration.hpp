#pragma once

#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "pybind11_instances.hpp"
#include "pybind11_writes.hpp"
#if __has_include(<pybind11/detail/value_and_holder.h>)
#include <pybind11/detail/value_and_holder.h>
#endif

// One object gets a value of another C++ class while it stays the same Python object: its old
// value and holder are put aside, and later either destroyed or put back.

namespace rehook_bridge {

#if __has_include(<pybind11/detail/value_and_holder.h>)
using ValueAndHolder = pybind11::detail::value_and_holder;
#else
// As in <pybind11/detail/type_caster_base.h> of 2.10 to 2.12, which takes seconds to compile.
struct ValueAndHolder {
  ValueAndHolder(Instance* instance, const TypeRecord* record, std::size_t, std::size_t at)
      : inst(instance), index(at), type(record), vh(instance->simple_value_holder) {}
  Instance* inst;
  std::size_t index;
  const TypeRecord* type;
  void** vh;
};
#endif

// Destroys what `instance` holds, as code of `record`'s build does it.
inline void destroy_value(Instance* instance, const TypeRecord& record) {
  ValueAndHolder value(instance, &record, 0, 0);
  record.dealloc(reinterpret_cast<pybind11::detail::value_and_holder&>(value));
}

// The addresses under which a value is registered: its own, and those of its bases.
inline void add_base_addresses(const Internals& internals, void* value,
                               const TypeRecord& record, std::vector<void*>& found) {
  PyObject* bases = record.type->tp_bases;
  for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(bases); ++i) {
    const TypeRecord* base = record_of(internals, as_type(PyTuple_GET_ITEM(bases, i)));
    if (base == nullptr) continue;
    for (const auto& [derived, cast] : base->implicit_casts) {
      if (derived != record.cpptype) continue;
      void* address = cast(value);
      if (address != value) found.push_back(address);
      add_base_addresses(internals, address, *base, found);
      break;
    }
  }
}

class Migration {
 public:
  // Null with a reason when the object has to stay as it is; else it has no value any more.
  static std::unique_ptr<Migration> start(Internals& internals, PyObject* object,
                                          PyTypeObject* old_class, PyTypeObject* new_class,
                                          PyTypeObject* python_class, std::string& error) {
    std::unique_ptr<Migration> migration(new Migration(internals, object));
    migration->old_record_ = record_of(internals, old_class);
    migration->new_record_ = record_of(internals, new_class);
    const char* why = migration->obstacle(old_class, new_class, python_class);
    if (why != nullptr) {
      error = "an object of " + name_of(Py_TYPE(object)) + " cannot be migrated: " + why;
      return nullptr;
    }
    migration->plan(python_class);
    migration->detach();
    return migration;
  }

  bool has_value() const {
    return instance_->simple_value_holder[0] != nullptr && instance_->simple_holder_constructed;
  }

  // The old value is destroyed in a shell of its own: its destructor may run any code.
  void finish() {
    Instance shell;
    std::memcpy(static_cast<void*>(&shell), static_cast<const void*>(instance_), sizeof shell);
    store(shell);
    shell.weakrefs = nullptr;
    shell.has_patients = false;
    if (before_.owned || before_.holder_constructed) destroy_value(&shell, *old_record_);
  }

  void revert() {
    Instance& instance = *instance_;
    if (instance.simple_instance_registered) {
      unregister(instance.simple_value_holder[0], *new_record_);
      instance.simple_instance_registered = false;
    }
    if (instance.simple_value_holder[0] != nullptr || instance.simple_holder_constructed) {
      destroy_value(&instance, *new_record_);
    }
    store(instance);
    class_writes_.undo();
    set_class(before_.type);
    instance.simple_instance_registered = before_.registered;
    for (auto& node : nodes_) internals_.registered_instances.insert(std::move(node));
    nodes_.clear();
    internals_.inactive_override_cache.clear();
  }

 private:
  using Node = decltype(Internals::registered_instances)::node_type;
  static constexpr std::size_t k_words = 1 + pybind11::detail::instance_simple_holder_in_ptrs();
  struct Before {
    PyTypeObject* type = nullptr;
    void* words[k_words] = {};
    bool owned = false, holder_constructed = false, registered = false, is_alias = false;
  };

  Migration(Internals& internals, PyObject* object)
      : internals_(internals), instance_(reinterpret_cast<Instance*>(object)) {}

  PyObject* object() const { return reinterpret_cast<PyObject*>(instance_); }

  const char* obstacle(PyTypeObject* old_class, PyTypeObject* new_class,
                       PyTypeObject* python_class) const {
    PyTypeObject* type = Py_TYPE(object());
    if (old_record_ == nullptr || new_record_ == nullptr) {
      return "its classes are not in this registry";
    }
    if (type != python_class && type != old_class) return "it is not of the class given";
    if (PyType_IsSubtype(python_class, new_class) == 0) {
      return "its class does not derive from the new one";
    }
    if (type->tp_basicsize != python_class->tp_basicsize ||
        type->tp_dictoffset != python_class->tp_dictoffset ||
        ((type->tp_flags ^ python_class->tp_flags) & Py_TPFLAGS_HAVE_GC) != 0) {
      return "it has another layout in Python (py::dynamic_attr?)";
    }
    const auto known = internals_.registered_types_py.find(python_class);
    if (known != internals_.registered_types_py.end() && known->second.size() != 1) {
      return "it derives from several C++ classes";
    }
    if (!instance_->simple_layout || new_record_->holder_size_in_ptrs >= k_words) {
      return "its layout is not simple";
    }
    if (instance_->simple_value_holder[0] == nullptr) return "it has no value";
    if (!instance_->owned) return "its value belongs to C++ code";
    if (is_shared()) return "its value is shared with C++ code";
    if (is_patient()) return "other objects refer to its value (py::keep_alive)";
    return nullptr;
  }

  // As far as the registry tells: in 2.x a shared_ptr is any holder of its size.
  bool is_shared() const {
    if (!instance_->simple_holder_constructed) return false;
    const auto* holder =
        reinterpret_cast<const std::shared_ptr<void>*>(&instance_->simple_value_holder[1]);
#if PYBIND11_VERSION_MAJOR >= 3
    using pybind11::detail::holder_enum_t;
    return old_record_->holder_enum_v == holder_enum_t::std_shared_ptr &&
           holder->use_count() > 1;
#else
    // {value, control block}: only a shared_ptr repeats the value's address.
    return !old_record_->default_holder && old_record_->holder_size_in_ptrs == 2 &&
           holder->get() == instance_->simple_value_holder[0] && holder->use_count() > 1;
#endif
  }

  // Objects that somebody keeps alive, because he refers into them.
  bool is_patient() const {
    for (const auto& [nurse, patients] : internals_.patients) {
      for (const PyObject* patient : patients) {
        if (patient == object()) return true;
      }
    }
    return false;
  }

  void plan(PyTypeObject* python_class) {
    const Instance& instance = *instance_;
    before_.type = Py_TYPE(object());
    std::memcpy(before_.words, instance.simple_value_holder, sizeof before_.words);
    before_.owned = instance.owned;
    before_.holder_constructed = instance.simple_holder_constructed;
    before_.registered = instance.simple_instance_registered;
#if PYBIND11_VERSION_MAJOR >= 3
    before_.is_alias = instance.is_alias;
#endif
    addresses_.push_back(before_.words[0]);
    add_base_addresses(internals_, before_.words[0], *old_record_, addresses_);
    nodes_.reserve(addresses_.size());
    const auto known = internals_.registered_types_py.find(python_class);
    if (known != internals_.registered_types_py.end() && known->second[0] == old_record_) {
      class_writes_.add(&known->second[0], new_record_);
    }
    if (before_.type != python_class) own_its_dict(object());
    python_class_ = python_class;
  }

  void detach() noexcept {
    Instance& instance = *instance_;
    if (before_.registered) {
      for (void* address : addresses_) take_registration(address);
    }
    std::memset(instance.simple_value_holder, 0, sizeof instance.simple_value_holder);
    instance.owned = true;
    instance.simple_holder_constructed = false;
    instance.simple_instance_registered = false;
#if PYBIND11_VERSION_MAJOR >= 3
    instance.is_alias = false;
#endif
    class_writes_.apply();
    set_class(python_class_);
    internals_.inactive_override_cache.clear();
  }

  void take_registration(void* address) noexcept {
    auto& map = internals_.registered_instances;
    const auto range = map.equal_range(address);
    for (auto at = range.first; at != range.second; ++at) {
      if (at->second != instance_) continue;
      nodes_.push_back(map.extract(at));
      return;
    }
  }
  void unregister(void* value, const TypeRecord& record) {
    std::vector<void*> addresses = {value};
    add_base_addresses(internals_, value, record, addresses);
    auto& map = internals_.registered_instances;
    for (void* address : addresses) {
      const auto range = map.equal_range(address);
      for (auto at = range.first; at != range.second; ++at) {
        if (at->second != instance_) continue;
        map.erase(at);
        break;
      }
    }
  }

  void store(Instance& instance) const {
    std::memcpy(instance.simple_value_holder, before_.words, sizeof before_.words);
    instance.owned = before_.owned;
    instance.simple_holder_constructed = before_.holder_constructed;
#if PYBIND11_VERSION_MAJOR >= 3
    instance.is_alias = before_.is_alias;
#endif
  }
  void set_class(PyTypeObject* type) noexcept {
    PyTypeObject* previous = Py_TYPE(object());
    if (previous == type) return;
    Py_INCREF(as_object(type));
    Py_SET_TYPE(object(), type);
    Py_DECREF(as_object(previous));
  }

  Internals& internals_;
  Instance* const instance_;
  TypeRecord *old_record_ = nullptr, *new_record_ = nullptr;
  PyTypeObject* python_class_ = nullptr;
  Before before_;
  std::vector<void*> addresses_;
  std::vector<Node> nodes_;
  Writes class_writes_;
};

}  // namespace rehook_bridge
