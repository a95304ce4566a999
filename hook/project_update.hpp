#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "builder/build_folder.hpp"
#include "builder/build_plan.hpp"
#include "builder/project_state.hpp"
#include "hook/build_failure.hpp"
#include "hook/build_values.hpp"
#include "shadow_store/artifact_store.hpp"
#include "shadow_store/base/file_lock.hpp"

namespace rehook {

using DescribeProject = std::function<Result<ProjectDescription>(const Path& root)>;

// What a project's builds depend on besides its files; the same for every project of a session.
struct BuildContext {
  FileSystem* fs = nullptr;
  ProcessRunner* runner = nullptr;
  ArtifactStore* store = nullptr;
  DescribeProject describe;
  ValueMap
      interpreter;  // "python abi", "python prefix", "settings": also choose the build folder
  std::vector<std::string> extension_suffixes;
  Path build_dir;  // the user's own choice, or empty
  std::chrono::milliseconds lock_timeout{120'000};
};

struct UpdateOutcome {
  enum class Kind { up_to_date, reused, built };
  Kind kind = Kind::up_to_date;
  std::string reason;
  bool waited = false, configured = false;
  double decide_seconds = 0, build_seconds = 0;
  std::size_t stats = 0, hashed = 0;
};

// Build again although nothing changed? Try again what failed with these very inputs?
enum class Force { no, yes };
enum class Retry { when_changed, always };

// One project in one configuration: decides, looks up, builds and publishes. The only place
// where builder/ and shadow_store/ meet. Knows nothing of Python; runs without the GIL.
// Thread-safe: threads take turns, but for products() and failure().
class ProjectUpdate final {
 public:
  ProjectUpdate(const BuildContext& context, Path root);

  // Brings the artifacts in step with the sources: nothing, an earlier build from the store, or
  // a build. On failure nothing that runs or is stored has changed, and failure() tells it
  // again.
  Result<UpdateOutcome> update(Force force, Retry retry, const BuildEvents& events);

  // Whether update() would do something, and why; builds nothing.
  [[nodiscard]] Freshness peek();
  struct Difference {
    std::string name, kind, before, after;
  };
  [[nodiscard]] std::size_t input_count();
  // The inputs that differ from the last good build.
  [[nodiscard]] std::vector<Difference> differences();
  // Modules with a changed input, "" standing for all when that can't be told.
  [[nodiscard]] std::vector<std::string> modified_modules();

  // What the last good build made (without its inputs), null when never built. Cheap, and safe
  // to call while another thread updates: it never waits for a build.
  [[nodiscard]] std::shared_ptr<const ProjectState> products();
  [[nodiscard]] std::optional<BuildFailure> failure();
  [[nodiscard]] const Path& root() const { return root_; }
  [[nodiscard]] Path folder() const { return folder_; }
  [[nodiscard]] Path build_dir() const { return build_dir_; }
  [[nodiscard]] Path artifact_path(const BuiltModule& module) const;

 private:
  struct Look {  // one scan and what follows from it
    Freshness freshness;
    InputScan scan;
    // The inputs as they are now; empty when never built, or up to date.
    std::vector<Input> current;
  };

  struct Unseen {  // what the build folder does not know yet
    std::vector<std::string> files;
    InputRole role = InputRole::compile;
  };

  void load_state();
  void publish_products();
  bool save_state(const ProjectState& state);
  void save_record(const ProjectState& state);
  [[nodiscard]] ValueMap values() const;
  [[nodiscard]] ValueMap values(const std::map<std::string, Path>& compilers) const;
  [[nodiscard]] Look look();
  [[nodiscard]] bool artifacts_are_whole(ProjectState& state);
  [[nodiscard]] Path folder_of(const Path& root) const;
  [[nodiscard]] std::vector<Path> records_in(const Path& folder, const std::string& first);
  [[nodiscard]] std::optional<ProjectState> read_record(const Path& file);
  [[nodiscard]] std::optional<ProjectState> find_earlier(const Look& look);
  [[nodiscard]] std::optional<ProjectState> find_in_siblings(const Look& look);
  [[nodiscard]] bool matches_now(ProjectState& record,
                                 std::unordered_map<std::string, Input>& known);
  void serve_earlier(ProjectState record);
  Result<UpdateOutcome> update_locked(Force force, Retry retry, const BuildEvents& events,
                                      UpdateOutcome outcome);
  Status build(const Look& look, Force force, const BuildEvents& events,
               UpdateOutcome& outcome);
  Status run_build(BuildFolder& folder, const ProjectDescription& project, bool configure,
                   Fresh fresh, const std::vector<Input>& before, const BuildEvents& events,
                   ProjectState& next);
  Result<CodeModel> ready_model(BuildFolder& folder, const ProjectDescription& project,
                                bool configure, Fresh fresh, const BuildEvents& events);
  Result<std::vector<ExtensionTarget>> wanted_targets(const CodeModel& model,
                                                      const ProjectDescription& project,
                                                      bool configured);
  Status build_until_stable(BuildFolder& folder, const ProjectDescription& project,
                            CodeModel& model, const std::vector<ExtensionTarget>& targets,
                            std::vector<Input> before, const BuildEvents& events,
                            ProjectState& next);
  [[nodiscard]] Unseen measure_all(std::vector<Input>& inputs, const std::vector<Input>& before,
                                   std::int64_t started);
  [[nodiscard]] Unseen unseen_by_build_tool(const Look& look) const;
  Status publish(BuildFolder& folder, const CodeModel& model, const ProjectDescription& project,
                 const BuildEvents& events, ProjectState& next);
  [[nodiscard]] Digest layouts_of(const BuiltModule& module);
  // From here on, until held_ is let go, nothing of the store is collected.
  Status hold_store(const BuildEvents& events);
  void mark_replaced(const ProjectState& state);
  void tell_use();
  [[nodiscard]] bool folder_is_as_recorded();
  [[nodiscard]] bool mark_folder_as_changing();
  void mark_folder_as_recorded();
  [[nodiscard]] std::set<Path> exchange_objects(const Look& look);
  void remember_attempt(const std::vector<Input>& current);
  void remember_failure(const Error& error, const std::vector<Input>& current);
  void forget_failure();
  void append_log(const ProjectState& state, const UpdateOutcome& outcome);
  [[nodiscard]] ProjectDescription description_from(const ProjectState& state) const;

  struct LetGo {
    std::optional<FileLock>& lock;
    ~LetGo() { lock.reset(); }
  };

  BuildContext context_;
  std::optional<FileLock> held_;  // the store, while something is put into it
  Path root_, folder_, build_dir_;
  std::optional<ProjectState> state_;
  FileStat state_stat_;
  std::optional<BuildFailure> failure_;
  bool artifact_checked_ = false;  // a stat in state_ was refreshed

  std::mutex work_;      // held while state_ is used
  std::mutex snapshot_;  // held for an instant
  std::shared_ptr<const ProjectState> products_;
  std::optional<BuildFailure> shown_failure_;
};

}  // namespace rehook
