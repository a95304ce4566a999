#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace rehook {

// A library whose registry of C++ types an extension shares with others of its process.
enum class BindingLibrary : std::uint8_t { pybind11 = 1, nanobind = 2 };

inline constexpr std::array k_binding_libraries = {BindingLibrary::pybind11,
                                                   BindingLibrary::nanobind};

[[nodiscard]] constexpr std::string_view name_of(BindingLibrary library) {
  return library == BindingLibrary::pybind11 ? "pybind11" : "nanobind";
}

// A set of them: one file may use both.
class BindingLibraries final {
 public:
  constexpr BindingLibraries() = default;
  constexpr explicit BindingLibraries(std::uint8_t bits) : bits_(bits) {}

  void add(BindingLibrary library) { bits_ |= static_cast<std::uint8_t>(library); }
  void add(BindingLibraries other) { bits_ |= other.bits_; }
  [[nodiscard]] bool contains(BindingLibrary library) const {
    return (bits_ & static_cast<std::uint8_t>(library)) != 0;
  }
  [[nodiscard]] bool empty() const { return bits_ == 0; }
  [[nodiscard]] std::uint8_t bits() const { return bits_; }

 private:
  std::uint8_t bits_ = 0;
};

// Which of them left their marks in the file of an extension module. Pure.
[[nodiscard]] BindingLibraries binding_libraries_in(std::string_view bytes);

}  // namespace rehook
