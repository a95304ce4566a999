#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "builder/binding_libraries.hpp"
#include "builder/cmake_file_api.hpp"
#include "builder/fingerprint.hpp"

namespace rehook {

// A shared library that an extension is linked with and that no system folder provides.
struct BuiltLibrary {
  std::string soname;              // what it calls itself, may be empty
  std::vector<std::string> names;  // what those that need it call it
  Path output;                     // the file itself, no symbolic link
  bool is_private = true;  // the project's own; else used where it is, and nothing below is set
  Digest artifact;
  Digest code;     // its loadable content and that of all it needs
  Digest sharing;  // of the group it shares C++ variables with, zero when there is none
  FileStat stat;   // as in BuiltModule
};

// One extension module as built.
struct BuiltModule {
  std::string module;      // "pkg._core"
  std::string target;      // what the build tool is asked for
  Path output;             // where the build leaves it
  std::string defined_in;  // "CMakeLists.txt:12"
  Digest artifact;         // its content in the store
  Digest code;  // its loadable content, without debug information and build id, and that of
                // the project's libraries it needs
  BindingLibraries bindings;  // whose types must retire before the next build is loaded
  std::uint32_t flags = 0;    // which of ProjectState::compile_groups
  FileStat stat;              // of the artifact in the store, when its content was last checked
  std::vector<BuiltLibrary> libraries = {};  // what a library needs comes before it
  Digest sharing = {};                       // as in BuiltLibrary
  std::uint64_t static_tls =
      0;                // bytes that each load takes of the process's few, see ElfImage
  Digest layouts = {};  // of its C++ classes, an object of the store; zero when there is none
};

// All that is known about one build of one project in one configuration: enough to decide, with
// one stat per input, that nothing has to be done.
//
// On disk: magic, format number, length-prefixed fields, and an XXH3-128 of everything before
// it. Constraints: one read; replaced atomically, so it is old or new; a truncated or flipped
// byte is noticed and means "never built"; another format number likewise (it is a cache, so
// nothing is lost). The same bytes serve as the record of an earlier build, named by its
// fingerprint. Rejected: JSON (five times the time to read, and paths need not be UTF-8).
struct ProjectState {
  Path root;  // the project's folder
  Path build_dir;
  std::vector<Input> inputs;  // sorted by fingerprint_digest()
  Digest fingerprint;
  std::vector<BuiltModule> modules;
  std::map<std::string, Path> packages;      // top-level package -> source folder
  std::map<std::string, Path> python_files;  // module -> .py that the build makes or moves
  std::vector<std::string> exclude;
  // What the next compile needs of the project's description, so that it need not be made
  // again.
  Path source_dir;
  std::string build_type;
  std::vector<std::pair<std::string, std::optional<std::string>>> environment;
  std::vector<Path> description_inputs;
  // Content that each input had when the build tool last ran: differs from `inputs` after a
  // build was served from the store.
  std::map<std::string, Digest> built;
  std::map<std::string, Path> compilers;  // language -> compiler
  // How the C++ sources of modules are compiled, each way once.
  std::vector<CompileGroup> compile_groups;
  std::int64_t built_at_ns = 0;
  double build_seconds = 0;
};

inline constexpr std::uint32_t k_state_format = 3;

[[nodiscard]] std::string serialize(const ProjectState& state);
// corrupt: torn, flipped or of another format.
[[nodiscard]] Result<ProjectState> parse_project_state(std::string_view bytes);

}  // namespace rehook
