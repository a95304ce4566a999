#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "hook/interpreter.hpp"

namespace rehook {

// Where references to an object are to go; asked once per reference of the whole heap, so a
// bit filter answers "no" first.
class ObjectMap final {
 public:
  explicit ObjectMap(std::size_t expected) {
    std::size_t capacity = 16;
    while (capacity < expected * 4) capacity *= 2;
    slots_.resize(capacity);
  }

  void add(PyObject* from, PyObject* to) {
    const std::size_t hash = hash_of(from);
    filter_[(hash >> 6) & k_filter_mask] |= std::uint64_t{1} << (hash & 63);
    std::size_t at = hash & (slots_.size() - 1);
    while (slots_[at].from != nullptr && slots_[at].from != from) {
      at = (at + 1) & (slots_.size() - 1);
    }
    if (slots_[at].from == nullptr && ++size_ * 2 > slots_.size()) {
      grow();
      add(from, to);
      return;
    }
    slots_[at] = {from, to};
  }

  // Null when `from` is not in the map.
  [[nodiscard]] PyObject* find(const PyObject* from) const {
    const std::size_t hash = hash_of(from);
    if ((filter_[(hash >> 6) & k_filter_mask] >> (hash & 63) & 1) == 0) return nullptr;
    for (std::size_t at = hash & (slots_.size() - 1); slots_[at].from != nullptr;
         at = (at + 1) & (slots_.size() - 1)) {
      if (slots_[at].from == from) return slots_[at].to;
    }
    return nullptr;
  }
  [[nodiscard]] bool empty() const { return size_ == 0; }
  [[nodiscard]] std::size_t size() const { return size_; }

 private:
  struct Slot {
    PyObject* from = nullptr;
    PyObject* to = nullptr;
  };
  static constexpr std::size_t k_filter_mask = 1023;
  static std::size_t hash_of(const PyObject* object) {
    return (reinterpret_cast<std::uintptr_t>(object) >> 4) * 0x9E3779B97F4A7C15U >> 20;
  }
  void grow() {
    std::vector<Slot> before(slots_.size() * 2);
    before.swap(slots_);
    size_ = 0;
    for (const Slot& slot : before) {
      if (slot.from != nullptr) add(slot.from, slot.to);
    }
  }

  std::vector<Slot> slots_;
  std::vector<std::uint64_t> filter_ = std::vector<std::uint64_t>(k_filter_mask + 1);
  std::size_t size_ = 0;
};

}  // namespace rehook
