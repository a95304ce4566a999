#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "shadow_store/base/file_system.hpp"

namespace rehook {

// One object as ninja's deps log has it.
struct RememberedObject {
  Path object;               // absolute
  std::vector<Path> inputs;  // absolute, as the compiler spelled them
  std::int64_t mtime_ns = 0;
};

// What ninja remembers of a build folder: the deps log (version 4) and the log of commands
// (versions 5 to 7). Formats: ninja's src/deps_log.h and src/build_log.cc.
//
// ninja goes by time stamps. Where contents are known, it can be told that an object is up to
// date: the logs are append-only, and their last record counts.
class NinjaMemory final {
 public:
  // unsupported, corrupt: nothing to build on; a torn end counts as corrupt here.
  static Result<NinjaMemory> read(FileSystem& fs, const Path& build_dir);

  [[nodiscard]] const std::vector<RememberedObject>& objects() const { return objects_; }
  // The hash of the command that made it, as ninja wrote it; empty when there is none.
  [[nodiscard]] std::string command_of(const Path& object) const;

  // Says: `object`, with the time stamp that it has, was made by its last command from
  // `inputs`.
  void remember(const RememberedObject& object);
  // Appends what remember() was told to both logs.
  Status write(FileSystem& fs);

 private:
  explicit NinjaMemory(Path build_dir) : build_dir_(std::move(build_dir)) {}
  Status read_deps(std::string_view bytes);
  Status read_commands(std::string_view bytes);
  std::uint32_t number_of(const Path& path);
  [[nodiscard]] std::string name_of(const Path& path) const;

  struct LastCommand {
    std::string times, hash;  // "start\tend"
  };

  Path build_dir_;
  std::vector<RememberedObject> objects_;
  std::unordered_map<std::string, std::uint32_t> numbers_;  // of paths, absolute
  std::uint32_t path_count_ = 0;
  std::unordered_map<std::string, LastCommand> commands_;  // by the output's name
  std::string new_deps_, new_commands_;
};

}  // namespace rehook
