#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "shadow_store/base/result.hpp"

namespace rehook {

// Names the algorithm in every stored format, so that another one can follow.
inline constexpr std::string_view k_digest_algorithm = "xxh3-128";

// XXH3-128 of some bytes, canonical (big-endian) order. It identifies content in a private
// store; it is no defence against somebody who may write there.
struct Digest {
  std::array<std::uint8_t, 16> bytes{};

  [[nodiscard]] std::string hex() const;  // 32 lower-case hexadecimal digits
  [[nodiscard]] static Result<Digest> from_hex(std::string_view text);
  friend auto operator<=>(const Digest&, const Digest&) = default;
};

[[nodiscard]] Digest digest_of(std::string_view bytes);

// Incremental form: add() any number of times, then finish() once.
class Hasher final {
 public:
  Hasher();
  ~Hasher();
  Hasher(Hasher&&) noexcept;
  Hasher& operator=(Hasher&&) noexcept;
  void add(std::string_view bytes);
  // Adds the length first, so that ("ab","c") and ("a","bc") differ.
  void add_field(std::string_view bytes);
  [[nodiscard]] Digest finish() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace rehook
