#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <typeinfo>

// The name a retired std::type_info gets: name + suffix + a tail chosen so that the name's hash
// stays what it was. The C++ code of the retired library may hold
// std::unordered_map<std::type_index, …> (pybind11 2.x itself does, for module_local classes):
// such maps find a key by its hash and then by comparing names, and both still work for that
// library when only the hash is unchanged.

namespace rehook_bridge {

#if defined(__GLIBCXX__) && __SIZEOF_SIZE_T__ == 8

// libstdc++ hashes names with MurmurHash64A, which can be run backwards block by block.
class NameHash {
 public:
  static std::uint64_t of(const char* text, std::size_t size) {
    return std::_Hash_bytes(text, size, k_seed);  // what std::type_info::hash_code() calls
  }

  // Appends 16 printable characters to `text`, whose size is a multiple of 8, so that it hashes
  // to `wanted`. The first eight count up until the other eight, which follow from them, are
  // printable: some 3000 attempts.
  static bool extend(std::string& text, std::uint64_t wanted) {
    const std::size_t size = text.size() + 16;
    std::uint64_t state = k_seed ^ (size * k_multiplier);
    for (std::size_t at = 0; at < text.size(); at += 8) state = step(state, load(&text[at]));
    const std::uint64_t last = unmix(unmix(wanted) * k_inverse) * k_inverse;
    for (std::uint64_t attempt = 0; attempt < (1U << 16); ++attempt) {
      const std::uint64_t counter = k_letters + (attempt & 0xf) + ((attempt & 0xf0) << 4) +
                                    ((attempt & 0xf00) << 8) + ((attempt & 0xf000) << 12);
      const std::uint64_t mixed = last ^ step(state, counter);
      const std::uint64_t solved = unmix(mixed * k_inverse) * k_inverse;
      if (!printable(solved)) continue;
      append(text, counter);
      append(text, solved);
      return true;
    }
    return false;
  }

 private:
  static constexpr std::uint64_t k_seed = 0xc70f6907;
  static constexpr std::uint64_t k_multiplier = 0xc6a4a7935bd1e995;

  static constexpr std::uint64_t k_inverse = 0x5f7a0ea7e59b19bd;  // modulo 2^64
  static_assert(k_multiplier * k_inverse == 1, "not the inverse");
  static constexpr std::uint64_t k_ones = 0x0101010101010101;
  static constexpr std::uint64_t k_high = 0x80 * k_ones;
  static constexpr std::uint64_t k_letters = 'a' * k_ones;

  static std::uint64_t load(const char* bytes) {
    std::uint64_t value = 0;
    std::memcpy(&value, bytes, 8);
    return value;
  }
  static std::uint64_t mix(std::uint64_t value) { return value ^ (value >> 47); }
  static std::uint64_t unmix(std::uint64_t value) { return mix(value); }  // 2 * 47 > 64
  static std::uint64_t step(std::uint64_t state, std::uint64_t block) {
    return (state ^ (mix(block * k_multiplier) * k_multiplier)) * k_multiplier;
  }
  static void append(std::string& text, std::uint64_t block) {
    text.append(reinterpret_cast<const char*>(&block), sizeof block);
  }
  // All eight bytes are between '!' and '~'.
  static bool printable(std::uint64_t block) {
    const std::uint64_t above = block + (0x80 - '!') * k_ones;
    const std::uint64_t below = block + k_ones;
    return (block & k_high) == 0 && (above & k_high) == k_high && (below & k_high) == 0;
  }
};

// `keeps_hash` tells whether the tail was found; without it the name is plainly name + suffix.
inline std::string retired_name(const char* name, const char* suffix, bool& keeps_hash) {
  std::string result = std::string(name) + suffix;
  const std::size_t plain = result.size();
  const std::uint64_t wanted = NameHash::of(name, std::strlen(name));
  result.append((8 - plain % 8) % 8, '~');
  keeps_hash =
      NameHash::extend(result, wanted) && NameHash::of(result.data(), result.size()) == wanted;
  if (!keeps_hash) result.resize(plain);
  return result;
}

#else

inline std::string retired_name(const char* name, const char* suffix, bool& keeps_hash) {
  keeps_hash = false;
  return std::string(name) + suffix;
}

#endif

}  // namespace rehook_bridge
