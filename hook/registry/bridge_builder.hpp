#pragma once

#include <string>
#include <vector>

#include "builder/binding_libraries.hpp"
#include "builder/cmake_file_api.hpp"
#include "builder/process.hpp"
#include "shadow_store/base/file_system.hpp"

namespace rehook {

// What decides how a bridge is compiled.
struct BridgeRequest {
  Path source_dir;  // holds pybind11_bridge.cpp and nanobind_bridge.cpp as installed
  BindingLibrary library = BindingLibrary::pybind11;
  Path compiler;       // the C++ compiler of the extension's target
  CompileGroup flags;  // of the extension's C++ sources
  Path cache_dir;      // <store>/bridges
};

// The folder holding the library's headers among the include folders (then the compiler's
// /usr/include and /usr/local/include), or empty: this target does not use it.
[[nodiscard]] Path binding_include_dir(FileSystem& fs, BindingLibrary library,
                                       const CompileGroup& flags);

// Folders that a bridge needs besides the extension's own: nanobind's registries are described
// in its sources, which its packages install next to the headers (its CMake package, the wheel,
// Debian), and use tsl::robin_map, which comes with it or from the system. not_found names what
// is missing.
[[nodiscard]] Result<std::vector<Path>> bridge_folders(FileSystem& fs,
                                                       const BridgeRequest& request,
                                                       const Path& headers);

// The compiler's arguments without the output file: of the extension's flags those that the
// layout of the library's registries may depend on, and C++17 at least. Pure.
[[nodiscard]] std::vector<std::string> bridge_command(const BridgeRequest& request,
                                                      const std::vector<Path>& folders);

// Compiles the bridge, or finds it in the cache. The key covers the bridge's source, the
// headers it includes (content), the flags that matter and the compiler's identity; the file is
// published atomically, so several processes may do this at once. not_found: the library is not
// among the include folders. failed_build carries the compiler's text.
[[nodiscard]] Result<Path> build_bridge(FileSystem& fs, ProcessRunner& runner,
                                        const BridgeRequest& request, const CancelPoll& cancel);

}  // namespace rehook
