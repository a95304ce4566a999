#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "shadow_store/base/file_system.hpp"

namespace rehook {

// A pattern of file(GLOB … CONFIGURE_DEPENDS).
struct CmakeGlob {
  std::string pattern;  // absolute: "/src/demo/src/*.cpp"
  bool recurse = false;
};

// The globs in <build>/CMakeFiles/VerifyGlobs.cmake, which CMake writes for its own use. Older
// than 3.30 tells them nowhere else.
[[nodiscard]] std::vector<CmakeGlob> parse_verify_globs(std::string_view text);

// The folders whose listing decides what the globs find: those that exist now, sorted. The
// build folder is passed over, and so are .git folders.
[[nodiscard]] std::vector<Path> glob_folders(FileSystem& fs,
                                             const std::vector<CmakeGlob>& globs,
                                             const Path& build_dir);

}  // namespace rehook
