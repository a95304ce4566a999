#pragma once

#include <pybind11/pybind11.h>

#include "hook/interpreter.hpp"

namespace rehook {

// Raises the Python exception for a failed Result, made by rehook.errors.make(); `cause`
// becomes its
// __cause__. KeyboardInterrupt and ConfigError causes are raised as themselves. The only way
// from an Error to a Python exception.
[[noreturn]] void raise_error(const Error& error, SavedError cause);

template <typename T>
T value_or_raise(Result<T> result, SavedError cause) {
  if (!result) raise_error(result.error(), std::move(cause));
  return std::move(result).value();
}

// Diagnostics in a tool's output as a list of dicts.
[[nodiscard]] pybind11::list diagnostics_of(const std::string& output);

// A str that survives bytes which are no UTF-8.
[[nodiscard]] pybind11::str text(std::string_view value);

}  // namespace rehook
