#pragma once

#include <string>
#include <vector>

#include "builder/cmake_file_api.hpp"
#include "builder/process.hpp"
#include "shadow_store/base/file_system.hpp"

namespace rehook {

// What decides how a bridge is compiled.
struct BridgeRequest {
  Path source;         // pybind11_bridge.cpp as installed
  Path compiler;       // the C++ compiler of the extension's target
  CompileGroup flags;  // of the extension's C++ sources
  Path cache_dir;      // <store>/bridges
};

// The folder holding pybind11/detail/internals.h among the include folders (then the compiler's
// /usr/include and /usr/local/include), or empty: this target does not use pybind11.
[[nodiscard]] Path pybind11_include_dir(FileSystem& fs, const CompileGroup& flags);

// The compiler's arguments without the output file: of the extension's flags those that the
// layout of pybind11's registries may depend on, and C++17 at least. Pure.
[[nodiscard]] std::vector<std::string> bridge_command(const BridgeRequest& request);

// Compiles the bridge, or finds it in the cache. The key covers the bridge's source, the
// headers it includes (content), the flags that matter and the compiler's identity; the file is
// published atomically, so several processes may do this at once. not_found: no pybind11 among
// the include folders. failed_build carries the compiler's text.
[[nodiscard]] Result<Path> build_bridge(FileSystem& fs, ProcessRunner& runner,
                                        const BridgeRequest& request, const CancelPoll& cancel);

}  // namespace rehook
