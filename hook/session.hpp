#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "hook/generation.hpp"
#include "hook/generation_budget.hpp"
#include "hook/generation_loader.hpp"
#include "hook/project_registry.hpp"
#include "hook/python_sources.hpp"
#include "hook/reload_transaction.hpp"
#include "hook/stale_registry.hpp"

namespace rehook {

class ExtensionNeeds;

// What install() was asked for, as plain values.
struct SessionOptions {
  Path store_dir;
  std::vector<Path> projects;
  std::vector<std::string> exclude;  // module names; "pkg.*" takes everything below
  std::vector<std::string> targets;
  Path build_dir;
  std::string settings_key;
  InstancePolicy instances = InstancePolicy::adopt;
  bool enable_reloading = true;
  bool enable_project_importer = true;
  bool force_rebuild = false;
  std::chrono::milliseconds lock_timeout{120'000};
  Path bridge_dir;  // the sources of the registry bridges
  Ref describe_project, on_progress, log;
};

struct ReloadedModule {
  std::string name, kind, reason;
  unsigned old_generation = 0, new_generation = 0;
  double seconds = 0;
};

struct ReloadSummary {
  std::vector<ReloadedModule> modules;
  std::vector<std::string> unchanged;
  std::vector<std::pair<std::string, std::string>> stale;  // module, why
  std::vector<LeftBehind> left;
  std::map<std::string, std::size_t> patched;  // kind -> objects
  std::size_t built = 0, reused = 0;
  double decide = 0, build = 0, load = 0, total = 0;  // seconds
};

struct Counters {
  std::size_t built = 0, reused = 0, waited = 0, configured = 0, reloaded = 0, skipped = 0,
              stats = 0, hashed = 0;
};

// A failure of any project, for errors().
struct ReportedFailure {
  Path project;
  std::vector<std::string> modules;
  std::string kind;  // "build" or "reload"
  Error error;
  std::string when;
};

// One installed rehook: answers the import system and reloads. Every method needs the GIL;
// builds run without it. After a failure, take_cause() holds the Python exception behind it, if
// there is one.
class Session final {
 public:
  static Result<std::unique_ptr<Session>> create(SessionOptions options);
  ~Session();

  // importlib.abc.MetaPathFinder.find_spec. A null Ref is None; `target` is the module that
  // importlib.reload() is about to execute again.
  // `finder` is the entry of sys.meta_path that asks.
  Result<Ref> find_spec(PyObject* finder, const std::string& name, PyObject* path,
                        PyObject* target);
  void invalidate_caches();

  // Loader callbacks, see extension_loader.hpp.
  // A null Ref: what the module's own initialisation raised is the current exception.
  Result<Ref> create_module(PyObject* spec);
  bool exec_module(PyObject* module);

  Result<ReloadSummary> reload(const std::vector<std::string>& names, Retry retry);
  std::vector<std::string> modified(const std::string& path);
  Result<std::vector<std::pair<Path, UpdateOutcome>>> build(
      const std::vector<std::string>& targets, Force force);
  [[nodiscard]] bool is_reloading() const { return reloading_thread_ != 0; }

  [[nodiscard]] ProjectRegistry& projects() { return *projects_; }
  // The project that serves `module`, or null.
  [[nodiscard]] Project* project_of(const std::string& module);
  [[nodiscard]] const std::map<std::string, LoadedExtension>& extensions() const {
    return extensions_;
  }
  // What the loaded builds take of what the process has, see generation_budget.hpp.
  [[nodiscard]] std::vector<Budget> budgets() {
    count_generations();
    return budgets_.measure(extensions_, GenerationBudgets::Mappings::counted);
  }
  // Fills in the costs of the generations.
  void count_generations() { budgets_.count(extensions_); }
  [[nodiscard]] const StaleRegistry& stale() const { return stale_; }
  [[nodiscard]] const Counters& counters() const { return counters_; }
  [[nodiscard]] std::vector<ReportedFailure> failures();
  // Runs `action` on a project's update object with the GIL released.
  template <typename Action>
  auto without_gil(Action action) {
    const Inside inside;
    const GilRelease released;
    return action();
  }

  // The second one's exec_module does nothing: importlib.reload() finds the work done.
  void set_loader_types(Ref extension_loader, Ref reloaded_loader);
  // How a summary is told to Python code (a dict), for those that take part in a reload.
  void set_describe(std::function<Ref(const ReloadSummary&)> describe) {
    describe_ = std::move(describe);
  }
  void set_progress(Ref callback) { options_.on_progress = std::move(callback); }
  [[nodiscard]] SavedError take_cause() { return std::move(cause_); }
  void close();

 private:
  // Marks this thread as running rehook's own code: imports made meanwhile are not ours to
  // serve.
  struct Inside {
    Inside();
    ~Inside();
    Inside(const Inside&) = delete;
    Inside& operator=(const Inside&) = delete;
  };
  // One reload at a time; waits for another thread's without the GIL.
  class Turn {
   public:
    explicit Turn(Session& session);
    ~Turn();
    Turn(const Turn&) = delete;
    Turn& operator=(const Turn&) = delete;

   private:
    Session* session_;
    std::unique_lock<std::mutex> lock_;
  };
  [[nodiscard]] bool is_reloading_here() const;
  struct Plan {
    std::vector<Reloadable> modules;
    std::vector<std::string> reasons;
    std::vector<PythonReload> python;  // Python modules whose source changed
    [[nodiscard]] bool empty() const { return modules.empty() && python.empty(); }
  };
  using Wanted =
      std::vector<std::string>;  // module names; each stands for itself and all below it

  explicit Session(SessionOptions options);
  void log(int level, const std::string& line);
  [[nodiscard]] BuildEvents events(const Project& project);
  Result<UpdateOutcome> update(Project& project, Force force, Retry retry);
  [[nodiscard]] bool is_excluded(const std::string& name) const;
  [[nodiscard]] Result<Ref> find_new(Project& project, const std::string& name, PyObject* path);
  [[nodiscard]] Result<Ref> find_for_reload(Project& project, const std::string& name,
                                            PyObject* target);
  [[nodiscard]] Ref package_spec(const std::string& name, const Path& folder,
                                 PyObject* loader_type);
  [[nodiscard]] Result<Ref> extension_spec(Project& project, const BuiltModule& module);
  // Whether the project's last good build made an extension of that name.
  [[nodiscard]] static bool makes(Project& project, const std::string& module);
  [[nodiscard]] bool is_python_module(const std::string& name, PyObject* path);
  [[nodiscard]] Result<Ref> find_elsewhere(PyObject* finder, const std::string& name,
                                           PyObject* path, PyObject* target);
  [[nodiscard]] LoadedExtension* loaded_extension(Project& project, const BuiltModule& module);
  Result<Wanted> resolve(const std::vector<std::string>& names,
                         std::vector<Project*>& projects);
  using Unchanged = std::vector<std::pair<const BuiltModule*, LoadedExtension*>>;
  void plan(Project& project, const Wanted& wanted, const std::string& reason, Plan& plan,
            ReloadSummary& summary);
  [[nodiscard]] static bool is_wanted(const std::string& module, const Wanted& wanted);
  void add_extension(Project& project, const BuiltModule& built, LoadedExtension& extension,
                     const std::string& why, Plan& plan);
  void plan_dependants(Project& project, ExtensionNeeds& needs, Unchanged& same, Plan& plan);
  static void order_extensions(ExtensionNeeds& needs, Plan& plan);
  void plan_python(const Wanted& wanted, Retry retry, Plan& plan, ReloadSummary& summary);
  void add_python(const std::string& name, bool whole, Plan& plan);
  // By its __rehook_exclude__.
  [[nodiscard]] static bool is_excluding_itself(const std::string& name);
  [[nodiscard]] bool is_python(const std::string& name) const;
  Status tell_before(const Plan& plan);
  Status tell_after(const Plan& plan, const ReloadSummary& summary);
  [[nodiscard]] ClassLayouts layouts_of(const Digest& digest, const std::string& build) const;
  Result<std::shared_ptr<ReloadTransaction>> start(Plan& plan);
  Status finish(ReloadTransaction& transaction, Plan& plan, ReloadSummary& summary);
  static void summarize(const ReloadTransaction& transaction, const Plan& plan,
                        ReloadSummary& summary);
  void mark_stale(Project& project, const Error& error);
  void remind(ReloadSummary* summary);
  Result<std::shared_ptr<ShadowFolder>> shadows();
  void prepare_bridge(Project& project);
  Result<ReloadSummary> update_and_plan(const std::vector<Project*>& projects,
                                        const Wanted& wanted, Retry retry, Plan& plan);
  Error note_failure(const Plan& plan, Error error);
  void forget_failure_of(const std::string& module);
  Status prepare_first_load(PyObject* spec, const std::string& name, const std::string& origin);
  void remember_libraries(LoadedExtension& extension, const BuiltModule& built);
  void commit_libraries(ProcessLibraries libraries);
  Status check_room();
  void warn_of_static_tls(const std::string& module, std::uint64_t size);
  void warn_of_budgets(const std::vector<Budget>& budgets);

  SessionOptions options_;
  FileSystem* fs_;
  std::optional<ArtifactStore> store_;
  std::unique_ptr<ProjectRegistry> projects_;
  std::unique_ptr<TypeRegistries> registries_;
  std::shared_ptr<ShadowFolder> shadows_;
  PrivateLibraries private_libraries_;
  ProcessLibraries libraries_;
  std::map<std::string, std::vector<LibraryInstance>> first_libraries_;  // of modules in import
  int shadows_pid_ = 0;
  Ref extension_loader_, reloaded_loader_;
  std::map<std::string, LoadedExtension> extensions_;
  PythonSources sources_;
  PythonSources::State failed_python_;  // what the last reload failed with
  std::function<Ref(const ReloadSummary&)> describe_;
  std::vector<ReportedFailure> reload_failures_;
  GenerationBudgets budgets_;
  std::set<std::string> budgets_warned_of_;
  StaleRegistry stale_;
  Counters counters_;
  SavedError cause_;
  std::mutex reload_mutex_;
  std::atomic<unsigned long> reloading_thread_{0};
  bool closed_ = false;
};

}  // namespace rehook
