// The reloading half of Session: resolve what was asked for, update the projects, plan,
// transact.
#include <algorithm>
#include <chrono>

#include "hook/extension_loader.hpp"
#include "hook/extension_needs.hpp"
#include "hook/project_libraries.hpp"
#include "hook/session.hpp"
#include "hook/stored_layouts.hpp"
#include "shadow_store/base/timestamp.hpp"
#include "shadow_store/base/trace.hpp"
#include "shadow_store/elf_image.hpp"
#include "shadow_store/loadable_digest.hpp"

namespace rehook {
namespace {

constexpr int k_info = 20, k_warning = 30;
using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

bool is_below(const std::string& module, const std::string& wanted) {
  return module == wanted || module.starts_with(wanted + ".");
}

std::string first_line(const std::string& text) {
  return text.substr(0, text.find('\n'));
}

}  // namespace

Session::Turn::Turn(Session& session)
    : session_(&session), lock_(session.reload_mutex_, std::defer_lock) {
  {
    const GilRelease released;
    lock_.lock();
  }
  session_->reloading_thread_ = PyThread_get_thread_ident();
}

Session::Turn::~Turn() {
  session_->reloading_thread_ = 0;
}

bool Session::is_reloading_here() const {
  return reloading_thread_.load() == PyThread_get_thread_ident();
}

ClassLayouts Session::layouts_of(const Digest& digest, const std::string& build) const {
  auto layouts = load_class_layouts(*fs_, *store_, digest);
  if (layouts) return std::move(*layouts);
  ClassLayouts unknown;
  unknown.gap = "of the " + build + " build: " + layouts.error().message;
  return unknown;
}

Result<std::shared_ptr<ReloadTransaction>> Session::start(Plan& plan) {
  if (!plan.modules.empty()) REHOOK_TRY(check_room());
  REHOOK_ASSIGN_OR_RETURN(const std::shared_ptr<ShadowFolder> folder, shadows());
  for (Reloadable& module : plan.modules) {
    module.before = layouts_of(module.extension->current.layouts, "running");
    module.after = layouts_of(module.layouts, "new");
  }
  auto transaction = std::make_shared<ReloadTransaction>(
      *fs_, *registries_, *folder, libraries_, options_.instances, extension_loader_.get());
  const auto cancel = [this] {
    const GilAcquire gil;
    if (PyErr_CheckSignals() == 0) return false;
    cause_ = SavedError::take();
    return true;
  };
  std::vector<std::string> names;
  for (const Reloadable& module : plan.modules) names.push_back(module.extension->name);
  const auto run = [&]() -> Status {
    REHOOK_TRY(transaction->stage(plan.modules, cancel));
    REHOOK_TRY(
        transaction->prepare(std::make_unique<PythonBatch>(plan.python, names, sources_)));
    REHOOK_TRY(tell_before(plan));
    REHOOK_TRY(transaction->load());
    REHOOK_TRY(transaction->run());
    return transaction->take_over();
  };
  if (Status status = run(); !status) {
    if (SavedError cause = transaction->take_cause()) cause_ = std::move(cause);
    return std::move(status).error();
  }
  return transaction;
}

Status Session::finish(ReloadTransaction& transaction, Plan& plan, ReloadSummary& summary) {
  transaction.migrate();
  for (const auto& left : transaction.left_behind()) summary.left.push_back(left);
  summary.patched = transaction.patched();
  summarize(transaction, plan, summary);
  REHOOK_TRY(tell_after(plan, summary));
  if (transaction.has_left_functions()) sources_.note_left_functions();
  transaction.commit();
  commit_libraries(transaction.take_libraries());
  for (std::size_t i = 0; i < plan.modules.size(); ++i) {
    LoadedExtension& extension = *plan.modules[i].extension;
    extension.current.loaded_at = utc_now();
    forget_failure_of(extension.name);
    ++counters_.reloaded;
    log(k_info, "reload module=" + extension.name + " reason=\"" + plan.reasons[i] +
                    "\" generation=" + std::to_string(extension.current.number));
  }
  failed_python_.clear();
  for (PythonReload& one : plan.python) {
    forget_failure_of(one.name);
    sources_.adopt(one.name, std::move(one.saved.text), one.saved.file);
    log(k_info, "reload module=" + one.name + " reason=\"its source changed\"");
  }
  return ok_status();
}

// What the report says of the modules.
void Session::summarize(const ReloadTransaction& transaction, const Plan& plan,
                        ReloadSummary& summary) {
  for (std::size_t i = 0; i < plan.modules.size(); ++i) {
    const LoadedExtension& extension = *plan.modules[i].extension;
    summary.modules.push_back({extension.name, "extension", plan.reasons[i],
                               extension.current.number, plan.modules[i].next_number, 0});
  }
  for (const PythonReload& one : plan.python) {
    summary.modules.push_back({one.name, "python", "its source changed", 0, 0, 0});
  }
  for (const auto& [name, statements] : transaction.statements()) {
    const bool is_known =
        std::any_of(summary.modules.begin(), summary.modules.end(),
                    [&](const ReloadedModule& module) { return module.name == name; });
    if (!is_known) {
      summary.modules.push_back({name, "python", "it reads what changed", 0, 0, 0});
    }
  }
}

void Session::forget_failure_of(const std::string& module) {
  stale_.clear(module);
  std::erase_if(reload_failures_, [&](const ReportedFailure& failure) {
    return std::find(failure.modules.begin(), failure.modules.end(), module) !=
           failure.modules.end();
  });
}

Error Session::note_failure(const Plan& plan, Error error) {
  ReportedFailure failure{{}, {}, "reload", error, utc_now()};
  for (const Reloadable& module : plan.modules) {
    failure.modules.push_back(module.extension->name);
    failure.project = module.extension->project;
    stale_.mark(module.extension->name, first_line(error.message));
  }
  for (const PythonReload& one : plan.python) {
    if (!one.is_changed) continue;
    failure.modules.push_back(one.name);
    stale_.mark(one.name, first_line(error.message));
  }
  failed_python_.clear();
  for (const PythonReload& one : plan.python) {
    if (error.code != ErrorCode::canceled) failed_python_[one.name] = one.saved.file.digest;
  }
  if (error.code != ErrorCode::canceled) {
    std::erase_if(reload_failures_, [&](const ReportedFailure& known) {
      return known.modules == failure.modules;
    });
    reload_failures_.push_back(std::move(failure));
  }
  return error;
}

void Session::mark_stale(Project& project, const Error& error) {
  const auto products = project.update->products();
  if (!products) return;
  // Only what a changed input concerns, where that can be told.
  std::vector<std::string> changed =
      without_gil([&] { return project.update->modified_modules(); });
  if (changed.empty()) {
    for (const BuiltModule& module : products->modules) changed.push_back(module.module);
  }
  for (const std::string& module : changed) {
    if (loaded_module(module)) stale_.mark(module, first_line(error.message));
  }
}

// One line per reason, however many modules wait for it to be mended.
void Session::remind(ReloadSummary* summary) {
  std::map<std::string, std::vector<std::string>> by_reason;
  for (const auto& [module, why] : stale_.all()) {
    if (summary != nullptr) summary->stale.emplace_back(module, why);
    by_reason[why].push_back(module);
  }
  for (const auto& [why, modules] : by_reason) {
    const std::string others =
        modules.size() > 1 ? " and " + std::to_string(modules.size() - 1) + " more" : "";
    log(k_warning, modules.front() + others + " still " +
                       (others.empty() ? "runs its" : "run their") + " previous build: " + why +
                       " (see: rehook errors)");
  }
}

Result<Session::Wanted> Session::resolve(const std::vector<std::string>& names,
                                         std::vector<Project*>& projects) {
  Wanted wanted;
  if (names.empty()) {
    projects = projects_->all();
    return wanted;
  }
  // A save that adds or removes modules names them, too; they have nothing to reload.
  const bool is_any_loaded = std::any_of(names.begin(), names.end(), [&](const auto& name) {
    return loaded_module(name) || extensions_.contains(name);
  });
  for (const std::string& name : names) {
    if (!loaded_module(name) && !extensions_.contains(name)) {
      if (is_any_loaded) continue;
      return Error{ErrorCode::invalid, name + " is not imported, so there is nothing to reload",
                   "import it first, or check the spelling"};
    }
    if (is_excluded(name)) {
      return Error{ErrorCode::invalid,
                   name + " is excluded from reloading by the setting exclude",
                   "take it out of exclude, or reload another module"};
    }
    Project* project = project_of(name);
    if (project == nullptr && is_python(name)) {
      wanted.push_back(name);
      continue;
    }
    if (project == nullptr) {
      return no_project_for(name, " is no Python module with a source file, and");
    }
    if (std::find(projects.begin(), projects.end(), project) == projects.end()) {
      projects.push_back(project);
    }
    wanted.push_back(name);
  }
  return wanted;
}

Result<ReloadSummary> Session::update_and_plan(const std::vector<Project*>& projects,
                                               const Wanted& wanted, Retry retry, Plan& plan) {
  ReloadSummary summary;
  std::vector<std::string> reasons;
  std::vector<Project*> current;
  for (Project* project : projects) {
    // Never built and nothing of it loaded: reload() has no business building it.
    const auto products = project->update->products();
    const bool concerned =
        !wanted.empty() ||
        (products && std::any_of(products->modules.begin(), products->modules.end(),
                                 [](const BuiltModule& module) {
                                   return static_cast<bool>(loaded_module(module.module));
                                 }));
    if (!concerned) continue;
    auto outcome = update(*project, Force::no, retry);
    if (!outcome) {
      const auto failure = project->update->failure();
      const bool is_news = retry == Retry::always || !failure || !failure->repeated;
      if (is_news) return std::move(outcome).error();
      continue;  // told before; the reminder says it again
    }
    summary.decide += outcome->decide_seconds;
    summary.build += outcome->build_seconds;
    summary.built += outcome->kind == UpdateOutcome::Kind::built ? 1 : 0;
    summary.reused += outcome->kind == UpdateOutcome::Kind::reused ? 1 : 0;
    reasons.push_back(outcome->reason);
    current.push_back(project);
  }
  for (std::size_t i = 0; i < current.size(); ++i) {
    this->plan(*current[i], wanted, reasons[i], plan, summary);
  }
  plan_python(wanted, retry, plan, summary);
  return summary;
}

Result<ReloadSummary> Session::reload(const std::vector<std::string>& names, Retry retry) {
  const auto start_time = Clock::now();
  if (is_reloading_here()) {
    return Error{ErrorCode::invalid, "a reload is running in this thread already",
                 "call reload() after it has ended"};
  }
  const Turn turn(*this);
  const TraceStep step("reload");

  std::vector<Project*> projects;
  REHOOK_ASSIGN_OR_RETURN(const Wanted wanted, resolve(names, projects));
  Plan plan;
  REHOOK_ASSIGN_OR_RETURN(ReloadSummary summary,
                          update_and_plan(projects, wanted, retry, plan));
  if (!plan.empty()) {
    const auto load_start = Clock::now();
    auto transaction = start(plan);
    if (!transaction) return note_failure(plan, std::move(transaction).error());
    summary.load = seconds_since(load_start);
    if (Status status = finish(**transaction, plan, summary); !status) {
      transaction->reset();  // the old world is back
      return note_failure(plan, std::move(status).error());
    }
    summary.load = seconds_since(load_start);
  }
  remind(&summary);
  summary.total = seconds_since(start_time);
  for (ReloadedModule& module : summary.modules) module.seconds = summary.total;
  return summary;
}

// importlib.reload(module): everything is reloaded here, before the import system touches
// anything; a package's own body runs as a whole. The import system then finds nothing to do.
Result<Ref> Session::find_for_reload(Project& project, const std::string& name,
                                     PyObject* target) {
  if (is_reloading_here()) return Ref();
  const ImportLockRelease others_may_import;
  const Turn turn(*this);
  Plan plan;
  const bool is_extension = extensions_.contains(name) || makes(project, name) ||
                            string_attribute(target, "__file__").ends_with(".so");
  const Ref path = optional_attribute(target, "__path__");
  if (!is_extension && !path) {
    return Ref();  // a plain Python module: the import system's own business
  }
  REHOOK_ASSIGN_OR_RETURN(ReloadSummary summary,
                          update_and_plan({&project}, {name}, Retry::when_changed, plan));
  const bool has_body = !is_extension && is_python(name);
  if (has_body) add_python(name, true, plan);
  auto transaction = start(plan);
  if (!transaction) return note_failure(plan, std::move(transaction).error());
  if (Status status = finish(**transaction, plan, summary); !status) {
    transaction->reset();
    return note_failure(plan, std::move(status).error());
  }
  remind(nullptr);
  const auto products = project.update->products();
  if (is_extension) {
    for (const BuiltModule& module :
         products ? products->modules : std::vector<BuiltModule>()) {
      if (module.module == name) return extension_spec(project, module);
    }
    return Error{ErrorCode::not_found, name + " is no longer built by " + project.root.string(),
                 "the module keeps running as it is; restart the interpreter to be rid of it"};
  }
  Path package = projects_->package_folder(project, name);
  const Ref file = optional_attribute(target, "__file__");
  if (package.empty() && file && file.get() != Py_None) {
    package = Path(to_string(file.get())).parent_path();
  }
  Ref spec = package.empty() ? Ref() : package_spec(name, package, reloaded_loader_.get());
  PyErr_Clear();
  return spec;
}

std::vector<std::string> Session::modified(const std::string& path) {
  std::vector<std::string> names;
  for (Project* project : projects_->all()) {
    if (!path.empty() && !is_below(project->root.native(), path) &&
        !project->root.native().starts_with(path + "/") &&
        !path.starts_with(project->root.native())) {
      continue;
    }
    const auto products = project->update->products();
    if (!products) continue;
    const auto changed = without_gil([&] { return project->update->modified_modules(); });
    for (const std::string& module : changed) {
      if (loaded_module(module)) names.push_back(module);
    }
    Plan plan;
    ReloadSummary unused;
    this->plan(*project, {}, "", plan, unused);
    for (const Reloadable& module : plan.modules) names.push_back(module.extension->name);
  }
  for (const std::string& name : sources_.names()) {
    const std::string& file = sources_.find(name)->file.name;
    const bool is_asked = path.empty() || file == path || file.starts_with(path + "/");
    if (is_asked && loaded_module(name) && !is_excluding_itself(name) &&
        sources_.is_changed(name)) {
      names.push_back(name);
    }
  }
  std::sort(names.begin(), names.end());
  names.erase(std::unique(names.begin(), names.end()), names.end());
  return names;
}

Result<std::vector<std::pair<Path, UpdateOutcome>>> Session::build(
    const std::vector<std::string>& targets, Force force) {
  std::vector<Project*> projects;
  for (const std::string& target : targets) {
    if (target.find('/') != std::string::npos) {
      projects.push_back(&projects_->add(target, ProjectOrigin::named));
    } else if (Project* project = project_of(target)) {
      projects.push_back(project);
    } else {
      return Error{ErrorCode::invalid,
                   target + " does not belong to a CMake project that rehook knows",
                   "give the project's folder instead"};
    }
  }
  if (targets.empty()) projects = projects_->all();
  std::vector<std::pair<Path, UpdateOutcome>> outcomes;
  for (Project* project : projects) {
    auto outcome = update(*project, force, Retry::always);
    if (!outcome) return std::move(outcome).error();
    outcomes.emplace_back(project->root, *outcome);
  }
  return outcomes;
}

std::vector<ReportedFailure> Session::failures() {
  std::vector<ReportedFailure> failures;
  for (Project* project : projects_->all()) {
    const auto failure = project->update->failure();
    if (!failure) continue;
    ReportedFailure reported{project->root, {}, "build", failure->error, failure->when};
    if (const auto products = project->update->products()) {
      for (const BuiltModule& module : products->modules) {
        reported.modules.push_back(module.module);
      }
    }
    failures.push_back(std::move(reported));
  }
  failures.insert(failures.end(), reload_failures_.begin(), reload_failures_.end());
  return failures;
}

}  // namespace rehook
