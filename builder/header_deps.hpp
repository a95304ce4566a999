#pragma once

#include <string>
#include <vector>

#include "shadow_store/base/file_system.hpp"

namespace rehook {

// The files one object was compiled from, as the build tool recorded them.
struct ObjectDeps {
  Path object;               // absolute
  std::vector<Path> inputs;  // absolute, as the compiler spelled them
};

// From ninja's deps log (<build>/.ninja_deps, versions 3 and 4), the last record of each
// output. A truncated tail is legal and ignored; anything else out of order is corrupt.
// Missing: empty. Format: ninja's src/deps_log.h.
[[nodiscard]] Result<std::vector<ObjectDeps>> read_ninja_deps(FileSystem& fs,
                                                              const Path& build_dir);

// From the .d files that the Makefile generators leave beside the objects.
[[nodiscard]] Result<std::vector<ObjectDeps>> read_depfiles(FileSystem& fs,
                                                            const Path& build_dir);

// One "output: input" line of the rules that CMake's Makefile generators write; absolute paths.
struct MakeRule {
  Path output, input;
};

// From <build>/**/CMakeFiles/<target>.dir/build.make: what custom commands read, which no
// depfile tells.
[[nodiscard]] Result<std::vector<MakeRule>> read_make_rules(FileSystem& fs,
                                                            const Path& build_dir);

}  // namespace rehook
