#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "shadow_store/base/file_system.hpp"

namespace rehook {

// The parts of CMake's File API (v1) that rehook uses; see cmake-file-api(7). Absolute paths.
struct CompileGroup {
  std::string language;            // "CXX", "C", …
  std::string standard;            // "17" or empty
  std::vector<std::string> flags;  // compileCommandFragments, split as a shell would
  std::vector<std::string> defines;
  std::vector<Path> includes;         // in order, -isystem ones too
  std::vector<Path> system_includes;  // the subset CMake marks isSystem
};

struct TargetSource {
  Path path;
  bool generated = false;
  bool compiled = false;
};

struct Target {
  std::string id;
  std::string name;          // the CMake target's name; never the module's
  std::string type;          // "MODULE_LIBRARY", "SHARED_LIBRARY", "STATIC_LIBRARY", …
  std::string name_on_disk;  // "_core.cpython-311-x86_64-linux-gnu.so"
  std::vector<Path> artifacts;
  // As CMake wrote them: relative to the prefix, or absolute.
  std::vector<std::string> install_destinations;
  std::vector<std::string> dependencies;  // ids
  std::vector<TargetSource> sources;
  std::vector<CompileGroup> compile_groups;
  std::string defined_in;  // "CMakeLists.txt:12", for messages
  bool lto = false;
};

struct Toolchain {
  std::string language, compiler_id, version;
  Path compiler;
};

// A file that `cmake --install` would place: installers of type file and directory.
struct InstalledFile {
  Path from;                // file or directory in the source or build tree
  std::string destination;  // as in Target
  std::string to;           // name (or sub-path) below the destination
};

struct CodeModel {
  std::string cmake_version;
  std::string generator;
  std::string configuration;  // the chosen one; "" for an unset CMAKE_BUILD_TYPE
  Path source_dir, build_dir;
  std::vector<Target> targets;
  std::vector<Toolchain> toolchains;
  // Without CMake's own modules and without what was generated in the build folder.
  std::vector<Path> cmake_inputs;
  // Folders that CONFIGURE_DEPENDS globs look into (globsDependent or VerifyGlobs.cmake).
  std::vector<Path> glob_dirs;
  std::map<std::string, std::string> cache;
  std::vector<InstalledFile> installed_files;
};

// Asks for codemodel 2, cmakeFiles 1, toolchains 1 and cache 2; call before configuring.
[[nodiscard]] Status write_file_api_query(FileSystem& fs, const Path& build_dir);

// Reads the newest reply. not_found: never configured. Unknown kinds and fields are ignored; a
// file that vanishes under us (CMake is re-running) is read again. With a multi-configuration
// generator `configuration` picks one.
[[nodiscard]] Result<CodeModel> read_file_api_reply(FileSystem& fs, const Path& build_dir,
                                                    const std::string& configuration);

}  // namespace rehook
