#pragma once

#include <optional>
#include <set>
#include <string>
#include <unordered_map>

#include "builder/ninja_memory.hpp"
#include "shadow_store/base/digest.hpp"
#include "shadow_store/base/file_system.hpp"

namespace rehook {

// The digest of each input by its name (an absolute, normal path); a zero digest, or none: not
// known.
using Contents = std::unordered_map<std::string, Digest>;

// Objects of a ninja build folder that were made from other contents than the present ones:
// put aside instead of being removed, and put back when those contents are there again. So an
// edit after an undo, a stash or a checkout compiles what was edited, not all that moved.
//
// An object is taken for made from `was` only when ninja's deps log has a valid record of it,
// that is, one with its time stamp, nothing that the build itself makes is newer, and its rule
// in build.ninja has no inputs but its source (precompiled headers, C++ modules and
// OBJECT_DEPENDS have, and these are not in the deps log). Files: <shelf>/<stem>-<key>, and the
// list of its inputs in <same>.inputs, which ends in the object's digest and its own. Neither
// is synced: a torn one is not used.
class ObjectShelf final {
 public:
  // `toolchain` is all that objects depend on besides files: they are only put back under the
  // same.
  ObjectShelf(FileSystem& fs, Path build_dir, Path shelf, std::string toolchain)
      : fs_(&fs),
        build_dir_(std::move(build_dir)),
        shelf_(std::move(shelf)),
        toolchain_(std::move(toolchain)) {}

  // Puts aside the objects whose inputs differ between `was`, which they were made from, and
  // `now`; puts back those that were made from `now`; tells ninja of these, and of objects
  // whose inputs have other time stamps but the same content. Gives the objects that were put
  // back. Best effort: what fails here is compiled again.
  std::set<Path> exchange(const Contents& was, const Contents& now);

 private:
  // The contents of the inputs of an object, as one text; nothing when one is not known.
  [[nodiscard]] std::optional<std::string> list_inputs(const RememberedObject& object,
                                                       const Contents& contents);
  [[nodiscard]] std::optional<Digest> content_of(const Path& input, const Contents& contents);
  void put_aside(const RememberedObject& object, const std::string& inputs);
  [[nodiscard]] bool put_back(RememberedObject& object, const Contents& now);
  enum class Newer { nothing, inputs, made_by_build };
  [[nodiscard]] Newer newer_than(const RememberedObject& object);
  [[nodiscard]] bool is_made_of_source_alone(const Path& object) const;
  [[nodiscard]] bool is_in_build(const Path& path) const;
  [[nodiscard]] std::string stem_of(const Path& object) const;
  void keep_small();

  FileSystem* fs_;
  Path build_dir_, shelf_;
  std::string toolchain_;
  std::string manifest_;  // build.ninja
  std::optional<NinjaMemory> memory_;
  Contents made_;  // of files in the build folder
};

}  // namespace rehook
