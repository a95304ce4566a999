#pragma once

#include <cstring>
#include <memory>
#include <new>
#include <string>
#include <type_traits>

#include "nanobind_adoption.hpp"
#include "nanobind_classes.hpp"

namespace rehook_bridge {

using Instance = nb::nb_inst;

template <typename T, typename = void>
struct HasOwnBits : std::false_type {};
template <typename T>
struct HasOwnBits<T, std::void_t<decltype(std::declval<T&>().clear_keep_alive)>>
    : std::true_type {};

// The state of an instance: bits of its own up to 2.12, in a word of a type of its own since.
template <typename T>
auto& bits_of(T& instance) {
  if constexpr (HasOwnBits<T>::value) {
    return instance;
  } else {
    return instance.state;
  }
}

// How one build moves and destroys values of one class.
class ValueType {
 public:
  explicit ValueType(const TypeRecord& record)
      : size_(record.size),
        align_(record.align),
        moves_(has_flag(record, nb::type_flags::is_move_constructible)),
        copies_(has_flag(record, nb::type_flags::is_copy_constructible)),
        move_(has_flag(record, nb::type_flags::has_move) ? record.move : nullptr),
        copy_(has_flag(record, nb::type_flags::has_copy) ? record.copy : nullptr),
        destruct_(has_flag(record, nb::type_flags::has_destruct) ? record.destruct : nullptr) {}

  bool can_move() const { return moves_ || copies_; }
  void destroy(void* value) const {
    if (destruct_ != nullptr) destruct_(value);
  }
  // Leaves no value where it was.
  void move(void* to, void* from) const {
    if (moves_ && move_ != nullptr) {
      move_(to, from);
    } else if (!moves_ && copy_ != nullptr) {
      copy_(to, from);
    } else {
      std::memcpy(to, from, size_);
    }
    destroy(from);
  }
  void* allocate() const { return operator new(size_, std::align_val_t(align_)); }
  void free(void* memory) const { operator delete(memory, std::align_val_t(align_)); }

 private:
  std::size_t size_, align_;
  bool moves_, copies_;
  decltype(TypeRecord::move) move_;
  decltype(TypeRecord::copy) copy_;
  decltype(TypeRecord::destruct) destruct_;
};

inline PyTypeObject* change_class(PyObject* instance, PyTypeObject* type) noexcept {
  PyTypeObject* const before = Py_TYPE(instance);
  Py_INCREF(as_object(type));
  Py_SET_TYPE(instance, type);
  return before;  // with the reference that the instance had
}

// One instance whose C++ value changes from an old class's to a new one's. nanobind keeps
// values inside of the Python object: the old one moves out, with the old build's own move
// constructor, and back when that must be undone.
class DetachedValue {
 public:
  // Null with the reason.
  static std::unique_ptr<DetachedValue> detach(PyObject* object, PyObject* old_class,
                                               PyObject* new_class, PyObject* python_class,
                                               std::string& error) {
    const FoundClass before = find_class(old_class), after = find_class(new_class);
    const char* const reason = why_not(object, before, after, python_class);
    if (reason != nullptr) {
      error = name_of_class(old_class) + ": " + reason;
      return nullptr;
    }
    return std::unique_ptr<DetachedValue>(
        new DetachedValue(object, *before.record, as_type(python_class)));
  }

  bool has_value() const { return bits_of(*instance_).state == nb_state_ready; }
  void finish() noexcept {
    old_.destroy(value_);
    old_.free(value_);
    Py_DECREF(as_object(old_class_));
    Py_DECREF(object_);
  }
  void revert() noexcept {
    if (has_value()) ValueType(*record_inside(Py_TYPE(object_))).destroy(place_);
    PyTypeObject* const other = Py_TYPE(object_);
    Py_SET_TYPE(object_, old_class_);
    Py_DECREF(as_object(other));
    old_.move(place_, value_);
    old_.free(value_);
    auto& bits = bits_of(*instance_);
    bits.destruct = destruct_;
    bits.state = nb_state_ready;
    Py_DECREF(object_);
  }

 private:
  static constexpr unsigned nb_state_ready = 2, nb_state_uninitialized = 0;

  DetachedValue(PyObject* object, const TypeRecord& before, PyTypeObject* python_class)
      : object_(object),
        instance_(reinterpret_cast<Instance*>(object)),
        old_(before),
        value_(old_.allocate()),
        place_(reinterpret_cast<char*>(object) + instance_->offset) {
    Py_INCREF(object);
    old_.move(value_, place_);
    auto& bits = bits_of(*instance_);
    destruct_ = bits.destruct;
    bits.destruct = 0;
    bits.state = nb_state_uninitialized;
    old_class_ = change_class(object, python_class);
  }

  static const char* why_not(PyObject* object, const FoundClass& before,
                             const FoundClass& after, PyObject* python_class) {
    if (!before || !after || before.is_enum || after.is_enum) {
      return "not a class of nanobind's registry";
    }
    if (before.internals != after.internals || !has_record(*after.internals, python_class) ||
        PyType_IsSubtype(as_type(python_class), after.record->type_py) == 0) {
      return "the new class is not in the same domain (NB_DOMAIN)";
    }
    if (Py_TYPE(object) != before.record->type_py) {
      return "nanobind keeps the value of a Python subclass's instance in an object of a class "
             "of its own (a trampoline), which cannot be moved out";
    }
    const auto* instance = reinterpret_cast<const Instance*>(object);
    const auto& bits = bits_of(*instance);
    if (bits.state != nb_state_ready) return "an instance has no value";
    if (bits.internal == 0 || bits.direct == 0) {
      return "C++ code owns the value of an instance, or shares it";
    }
    if (has_flag(*before.record, nb::type_flags::intrusive_ptr) ||
        has_flag(*after.record, nb::type_flags::intrusive_ptr)) {
      return "it uses intrusive reference counting";
    }
    if (!ValueType(*before.record).can_move()) {
      return "its values can be neither moved nor copied, and nanobind keeps them inside of "
             "the Python object";
    }
    for (const char* name : {"__basicsize__", "__dictoffset__", "__weakrefoffset__"}) {
      if (number_of(as_object(Py_TYPE(object)), name) != number_of(python_class, name)) {
        return "nanobind keeps values inside of the Python object, and the new one has "
               "another size";
      }
    }
    std::uintptr_t place = reinterpret_cast<std::uintptr_t>(instance + 1);
    const std::uintptr_t align = after.record->align;
    if (align > sizeof(void*)) place = (place + align - 1) & ~(align - 1);
    if (place != reinterpret_cast<std::uintptr_t>(object) +
                     static_cast<std::uintptr_t>(instance->offset)) {
      return "the new value needs another alignment";
    }
    return nullptr;
  }

  PyObject* object_;
  Instance* instance_;
  ValueType old_;
  void *value_, *place_;
  PyTypeObject* old_class_ = nullptr;
  unsigned destruct_ = 0;
};

}  // namespace rehook_bridge
