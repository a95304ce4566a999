#pragma once

#include <functional>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "builder/cmake_file_api.hpp"
#include "builder/extension_targets.hpp"
#include "builder/fingerprint.hpp"
#include "builder/header_deps.hpp"
#include "builder/process.hpp"

namespace rehook {

// How a project wants to be configured; made by the Python side from pyproject.toml and
// friends.
// A file to write before CMake runs.
struct GeneratedFile {
  Path path;  // below the build folder
  std::string text;
  std::string module;  // the Python module that it is, or ""
};

struct ProjectDescription {
  Path root;
  Path source_dir;  // the folder of the top CMakeLists.txt
  std::vector<std::string>
      cmake_args;         // "-DNAME=VALUE", …; "@BUILD@" stands for the build folder
  std::string generator;  // "" picks Ninja
  std::string build_type;
  Path build_dir;  // the project's own choice, or empty
  std::vector<std::pair<std::string, std::optional<std::string>>> environment;
  std::vector<std::string> targets;  // build these instead of all extension targets
  ModuleNaming naming;
  std::vector<Path> inputs;  // files that were read to make this
  std::vector<std::string> missing_requirements;
  std::vector<std::string> exclude;
  std::vector<GeneratedFile> generated;
};

struct Progress {
  std::string phase;  // "configure", "build", "bridge", "wait", "load"
  int done = 0, total = 0;
  std::string text;
};

// Called on the thread that builds, without any lock of ours but the project's.
struct BuildEvents {
  std::function<void(const Progress&)> on_progress;
  CancelPoll cancel;
  // As soon as CMake has told how the extensions are compiled, before they are.
  std::function<void(const CompileGroup&, const Path& compiler)> on_flags = {};
};

enum class Fresh { no, yes };

// One CMake build folder, ours alone while the project's lock is held.
class BuildFolder final {
 public:
  BuildFolder(FileSystem& fs, ProcessRunner& runner, Path dir)
      : fs_(&fs), runner_(&runner), dir_(std::move(dir)) {}

  [[nodiscard]] const Path& dir() const { return dir_; }
  [[nodiscard]] bool is_configured();

  // Runs CMake. Fresh::yes forgets the cache first. failed_build: `detail` is CMake's output.
  Status configure(const ProjectDescription& project, Fresh fresh, const BuildEvents& events);

  [[nodiscard]] Result<CodeModel> model(const ProjectDescription& project);

  // Builds `targets` with the build tool directly. failed_build: `detail` is the tool's output.
  Status build(const CodeModel& model, const ProjectDescription& project,
               const std::vector<std::string>& targets, const BuildEvents& events);

  // Everything the given modules depend on, named but not yet measured. Bit i of Input::modules
  // stands for modules[i]. Leaves out what the build itself makes.
  [[nodiscard]] Result<std::vector<Input>> collect_inputs(
      const CodeModel& model, const ProjectDescription& project,
      const std::vector<ExtensionTarget>& modules);

  // Makes the build tool see that these files changed, whatever their time stamps say: removes
  // what was made from them. Covers edits with an old or unchanged mtime and, for ninja
  // before 1.12, edits made while the file was being compiled (ninja-build/ninja#1162).
  // Objects in `keep` stay: they were made from these contents.
  Status forget_outputs_of(const std::vector<std::string>& files,
                           const std::set<Path>& keep = {});

 private:
  [[nodiscard]] Result<std::vector<ObjectDeps>> object_deps();
  [[nodiscard]] std::vector<Path> rule_inputs(const std::vector<ExtensionTarget>& modules);
  Status forget_rule_outputs(const std::string& file);
  [[nodiscard]] bool is_inside(const Path& path) const;
  Status outdate_future_inputs(const CodeModel& model, const ProjectDescription& project);

  FileSystem* fs_;
  ProcessRunner* runner_;
  Path dir_;
};

// Environment for every tool we start: C locale (diagnostics are parsed), no colours, our
// progress format, and a mark that keeps a rehook inside the build from building again.
[[nodiscard]] std::vector<std::pair<std::string, std::optional<std::string>>> tool_environment(
    const ProjectDescription& project);

}  // namespace rehook
