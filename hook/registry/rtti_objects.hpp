#pragma once

#include <cstdint>
#include <cstring>
#include <exception>
#include <typeindex>
#include <typeinfo>
#include <vector>

#include "rtti_memory.hpp"

// std::type_info objects as the Itanium C++ ABI lays them out in memory:
//   word 0  vtable pointer: __class_type_info, __si_class_type_info, __vmi_class_type_info, …
//   word 1  name; a leading '*' means "compare me by address" (types with internal linkage)
//   then    si: word 2 is the base; vmi: u32 flags, u32 count, count x {base, offset and flags}

namespace rehook_bridge {

inline std::uintptr_t name_address(const std::type_info* type) {
  return reinterpret_cast<std::uintptr_t>(type) + sizeof(void*);
}
inline const char* raw_name(const std::type_info* type) {
  return pointer_at<const char>(load_word(name_address(type)));
}
inline bool compared_by_address(const std::type_info* type) {
  return raw_name(type)[0] == '*';
}

// The object behind a std::type_index, whose only member is a pointer to it.
inline const std::type_info* object_of(const std::type_index& index) {
  static_assert(sizeof(std::type_index) == sizeof(void*), "std::type_index is not a pointer");
  const std::type_info* object = nullptr;
  std::memcpy(&object, &index, sizeof index);
  return object;
}

// Finds type_info objects in a library's data and walks up their bases, never reading outside
// of what `map` calls readable.
class TypeObjects {
 public:
  explicit TypeObjects(const MemoryMap& map) : map_(map) {
    struct Plain {};
    struct Single : Plain {};
    struct Other {};
    struct Multiple : Plain, Other {};
    enum class Enumeration {};
    plain_ = vtable_of(typeid(Plain));
    single_ = vtable_of(typeid(Single));
    multiple_ = vtable_of(typeid(Multiple));
    enumeration_ = vtable_of(typeid(Enumeration));
  }

  // Calls visit(object, name) for every type_info of a class or enumeration in the library.
  template <typename Visit>
  void for_each(const Library& library, Visit visit) const {
    for (const RehookRange& part : library.data) {
      if (!map_.readable(part.begin, part.end - part.begin)) continue;
      const std::uintptr_t first = (part.begin + sizeof(void*) - 1) & ~(sizeof(void*) - 1);
      for (std::uintptr_t at = first; at + 2 * sizeof(void*) <= part.end; at += sizeof(void*)) {
        if (!is_class(load_word(at)) && load_word(at) != enumeration_) continue;
        if (const char* name = map_.c_string(load_word(at + sizeof(void*)))) {
          visit(pointer_at<const std::type_info>(at), name);
        }
      }
    }
  }

  // Whether std::exception is among the (direct or indirect) bases.
  bool is_exception(const std::type_info* type) const {
    return is_exception(reinterpret_cast<std::uintptr_t>(type), 0);
  }

 private:
  static constexpr int k_deepest = 64;
  static constexpr std::uint32_t k_most_bases = 1024;

  static std::uintptr_t vtable_of(const std::type_info& type) {
    return load_word(reinterpret_cast<std::uintptr_t>(&type));
  }
  bool is_class(std::uintptr_t vtable) const {
    return vtable == plain_ || vtable == single_ || vtable == multiple_;
  }

  bool is_exception(std::uintptr_t at, int depth) const {
    if (depth > k_deepest || at % sizeof(void*) != 0) return false;
    if (!map_.readable(at, 2 * sizeof(void*))) return false;
    const std::uintptr_t vtable = load_word(at);
    if (!is_class(vtable)) return false;
    const char* name = map_.c_string(load_word(at + sizeof(void*)));
    if (name == nullptr) return false;
    if (std::strcmp(name, typeid(std::exception).name()) == 0) return true;
    const std::uintptr_t bases = at + 2 * sizeof(void*);
    if (vtable == plain_ || !map_.readable(bases, sizeof(void*))) return false;
    if (vtable == single_) return is_exception(load_word(bases), depth + 1);
    std::uint32_t count = 0;
    std::memcpy(&count, pointer_at<const void>(bases + sizeof count), sizeof count);
    const std::uintptr_t first = bases + 2 * sizeof count;
    if (count > k_most_bases || !map_.readable(first, count * 2 * sizeof(void*))) return false;
    for (std::uint32_t i = 0; i < count; ++i) {
      if (is_exception(load_word(first + i * 2 * sizeof(void*)), depth + 1)) return true;
    }
    return false;
  }

  const MemoryMap& map_;
  std::uintptr_t plain_ = 0, single_ = 0, multiple_ = 0, enumeration_ = 0;
};

}  // namespace rehook_bridge
