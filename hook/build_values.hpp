#pragma once

#include <map>
#include <string>

#include "builder/fingerprint.hpp"

namespace rehook {

// What builds depend on besides files: the variables that reach the compiler or CMake, as
// "environment CXXFLAGS", and the identity of the compilers, as "compiler CXX".
[[nodiscard]] ValueMap build_values(FileSystem& fs,
                                    const std::map<std::string, Path>& compilers);

}  // namespace rehook
