#pragma once

#include <cstdlib>
#include <string>

#include "shadow_store/base/file_system.hpp"

namespace rehook {

// Compiles C++ text to the shared library `output` with the compiler of the machine. False when
// it refuses, for example because it has no such linker as `options` ask for.
[[nodiscard]] inline bool compile_library(const std::string& source, const Path& output,
                                          const std::string& options = "",
                                          const std::string& compiler = "c++") {
  const Path text = output.native() + ".cpp";
  if (!posix_file_system().write_atomic(text, source)) return false;
  const std::string command = compiler + " -std=c++17 -shared -fPIC -O1 " + options + " -o '" +
                              output.native() + "' '" + text.native() + "' 2>'" +
                              output.native() + ".log'";
  return std::system(command.c_str()) == 0;
}

}  // namespace rehook
