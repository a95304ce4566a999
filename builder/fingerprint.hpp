#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "shadow_store/base/digest.hpp"
#include "shadow_store/base/file_system.hpp"

namespace rehook {

enum class InputKind : std::uint8_t {
  file,       // digest of the content
  directory,  // digest of the names in it that a build could pick up
  value,      // digest of `text`
};

// What has to run again when an input changes.
enum class InputRole : std::uint8_t {
  compile,    // the build tool
  configure,  // CMake, then the build tool
  toolchain,  // CMake on an empty cache, then everything
};

// One thing a build depends on. A missing file has an all-zero digest.
struct Input {
  std::string name;  // absolute path; for values "env CXXFLAGS", "compiler /usr/bin/c++", …
  InputKind kind = InputKind::file;
  InputRole role = InputRole::compile;
  Digest digest;
  std::string text;               // values only: what was digested
  FileStat stat;                  // files and directories: as seen just before hashing
  std::int64_t hashed_at_ns = 0;  // when that was
  std::uint64_t modules = ~0ULL;  // bit i: module i of the project depends on it
};

// What changed between two looks at one input.
struct InputChange {
  std::size_t index = 0;  // into the vector that was scanned
  Digest before;
  std::string text_before;
};

struct InputScan {
  std::vector<InputChange> changes;
  bool touched = false;  // some stat data was refreshed although the content is the same
  std::size_t stats = 0, hashed = 0;
};

using ValueMap = std::map<std::string, std::string>;

// Looks at every input again: one stat each, and a hash only where the stat differs from the
// known one or is too young to be trusted (a file may change twice within one tick of the clock
// that stamps it: the "racy git" problem, git's Documentation/technical/racy-git.txt). Updates
// `inputs` in place. Values are compared with `values`; a value that is absent there counts as
// "".
[[nodiscard]] InputScan scan_inputs(FileSystem& fs, std::vector<Input>& inputs,
                                    const ValueMap& values);

// Fills in stat and digest of one file or directory input.
void measure_input(FileSystem& fs, Input& input);

// Identifies a set of inputs: names, kinds and digests in the order of their names.
[[nodiscard]] Digest fingerprint_digest(std::vector<Input>& inputs);

// Names that a directory input ignores: editors' temporary files, compiled output, hidden
// files.
[[nodiscard]] bool is_build_relevant_name(std::string_view name);

}  // namespace rehook
