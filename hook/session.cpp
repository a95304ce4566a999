#include "hook/session.hpp"

#include <unistd.h>

#include <algorithm>
#include <ctime>

#include "hook/extension_loader.hpp"
#include "hook/project_description.hpp"
#include "hook/store_contents.hpp"
#include "shadow_store/base/trace.hpp"
#include "shadow_store/elf_image.hpp"

namespace rehook {
namespace {

constexpr int k_debug = 10, k_info = 20, k_warning = 30;

thread_local int inside_depth = 0;

std::string top_level_of(const std::string& module) {
  return module.substr(0, module.find('.'));
}

// The package object whose import is under way, or null: one decision serves all of that
// import.
const void* package_being_imported(const std::string& top_level) {
  const Ref package = loaded_module(top_level);
  const Ref spec = optional_attribute(package.get(), "__spec__");
  const Ref initializing = optional_attribute(spec.get(), "_initializing");
  return initializing && initializing.get() == Py_True ? package.get() : nullptr;
}

}  // namespace

Session::Inside::Inside() {
  ++inside_depth;
}
Session::Inside::~Inside() {
  --inside_depth;
}

Session::Session(SessionOptions options)
    : options_(std::move(options)),
      fs_(&posix_file_system()),
      private_libraries_(*fs_, &is_library_name_taken),
      libraries_{&private_libraries_, {}, {}},
      sources_(*fs_),
      budgets_(*fs_) {}

Session::~Session() {
  close();
}

void Session::close() {
  if (closed_) return;
  closed_ = true;
  const GilRelease released;
  registries_.reset();  // waits for the bridge's compiler to be gone
}

namespace {

// A folder that somebody named must look like a project; whether CMake can configure it shows
// later.
Status check_named_project(FileSystem& fs, const Path& root) {
  FileStat stat;
  if (!fs.lookup(root.c_str(), stat) || !stat.is_directory()) {
    return Error{ErrorCode::invalid,
                 "there is no folder " + root.string() + " (named in projects)",
                 "name the folder that holds the project's CMakeLists.txt"};
  }
  for (const char* file : {"CMakeLists.txt", "pyproject.toml", "setup.py"}) {
    if (fs.lookup((root / file).c_str(), stat)) return ok_status();
  }
  return Error{ErrorCode::invalid,
               "there is no CMakeLists.txt in " + root.string() + " (named in projects)",
               "name the folder that holds the project's CMakeLists.txt"};
}

}  // namespace

Result<std::unique_ptr<Session>> Session::create(SessionOptions options) {
  std::unique_ptr<Session> session(new Session(std::move(options)));
  SessionOptions& set = session->options_;
  for (const Path& root : set.projects) REHOOK_TRY(check_named_project(*session->fs_, root));
  REHOOK_ASSIGN_OR_RETURN(session->store_, ArtifactStore::open(*session->fs_, set.store_dir));
  if (session->store_->swept() > 0) {
    session->log(k_info, "clean store=" + session->store_->root().string() + " " +
                             std::to_string(session->store_->swept()) +
                             " unfinished files of killed processes removed");
  }
  session->registries_ =
      std::make_unique<TypeRegistries>(*session->fs_, posix_process_runner(), set.bridge_dir,
                                       session->store_->root() / "bridges");

  BuildContext context;
  context.fs = session->fs_;
  context.runner = &posix_process_runner();
  context.store = &*session->store_;
  context.build_dir = set.build_dir;
  context.lock_timeout = set.lock_timeout;
  const Ref suffixes = call("_imp", "extension_suffixes", {});
  for (Py_ssize_t i = 0; suffixes && i < PyList_GET_SIZE(suffixes.get()); ++i) {
    context.extension_suffixes.push_back(to_string(PyList_GET_ITEM(suffixes.get(), i)));
  }
  std::string abi =
      context.extension_suffixes.empty() ? "" : context.extension_suffixes.front();
  abi = abi.size() > 4 && abi.ends_with(".so") ? abi.substr(1, abi.size() - 4) : abi;
  context.interpreter["python abi"] = abi;
  context.interpreter["python prefix"] = to_string(PySys_GetObject("prefix"));
  context.interpreter["python version"] =
      std::string(Py_GetVersion()).substr(0, std::string(Py_GetVersion()).find(' '));
  context.interpreter["settings"] = set.settings_key;
  Session* const self = session.get();
  context.describe = [self](const Path& root) -> Result<ProjectDescription> {
    const GilAcquire gil;
    const Inside inside;
    auto description =
        describe_in_python(self->options_.describe_project.get(), root, self->cause_);
    if (description && !self->options_.targets.empty()) {
      description->targets = self->options_.targets;
    }
    return description;
  };
  session->projects_ = std::make_unique<ProjectRegistry>(
      std::move(context), set.projects,
      AllowedFolders(*session->fs_, set.allowed_list, set.allowed));
  if (set.enable_reloading) session->sources_.remember_loaded();
  return session;
}

void Session::set_loader_types(Ref extension_loader, Ref reloaded_loader) {
  extension_loader_ = std::move(extension_loader);
  reloaded_loader_ = std::move(reloaded_loader);
}

void Session::log(int level, const std::string& line) {
  if (!options_.log || options_.log.get() == Py_None) return;
  SavedError pending = SavedError::take();
  const Ref number = Ref::steal(PyLong_FromLong(level));
  const Ref text = from_string(line);
  const Ref done = Ref::steal(
      PyObject_CallFunctionObjArgs(options_.log.get(), number.get(), text.get(), nullptr));
  if (!done) PyErr_Clear();
  if (pending) std::move(pending).restore();
}

BuildEvents Session::events(const Project& project) {
  BuildEvents events;
  events.on_progress = [this, root = project.root.native()](const Progress& progress) {
    const GilAcquire gil;
    if (!options_.on_progress || options_.on_progress.get() == Py_None || cause_) return;
    const Ref event = Ref::steal(
        Py_BuildValue("{s:s#,s:i,s:i,s:s#,s:s#}", "phase", progress.phase.data(),
                      static_cast<Py_ssize_t>(progress.phase.size()), "done", progress.done,
                      "total", progress.total, "text", progress.text.data(),
                      static_cast<Py_ssize_t>(progress.text.size()), "project", root.data(),
                      static_cast<Py_ssize_t>(root.size())));
    const Ref done =
        event ? Ref::steal(PyObject_CallOneArg(options_.on_progress.get(), event.get()))
              : Ref();
    if (done) return;
    if (PyErr_ExceptionMatches(PyExc_Exception) != 0) {
      PyErr_Clear();  // a broken progress display must not break the build
    } else {
      cause_ = SavedError::take();  // Ctrl-C reached us inside of it
    }
  };
  if (options_.enable_reloading) {
    events.on_flags = [this](const CompileGroup& flags, const Path& compiler) {
      for (const BindingLibrary library : k_binding_libraries) {
        if (binding_include_dir(*fs_, library, flags).empty()) continue;
        registries_->prepare(library, flags, compiler);
      }
    };
  }
  events.cancel = [this] {
    const GilAcquire gil;
    if (!cause_ && PyErr_CheckSignals() != 0) cause_ = SavedError::take();
    return static_cast<bool>(cause_);  // KeyboardInterrupt, to be raised when the build is gone
  };
  return events;
}

Result<UpdateOutcome> Session::update(Project& project, Force force, Retry retry) {
  const BuildEvents events = this->events(project);
  cause_ = SavedError();
  const ImportLockRelease others_may_import;
  auto outcome = without_gil([&] { return project.update->update(force, retry, events); });
  if (!outcome) {
    if (outcome.error().code != ErrorCode::canceled) mark_stale(project, outcome.error());
    log(k_info, "failed project=" + project.root.string() + " reason=\"" +
                    outcome.error().message + "\"");
    return outcome;
  }
  counters_.stats += outcome->stats;
  counters_.hashed += outcome->hashed;
  counters_.waited += outcome->waited ? 1 : 0;
  counters_.configured += outcome->configured ? 1 : 0;
  switch (outcome->kind) {
    case UpdateOutcome::Kind::up_to_date:
      ++counters_.skipped;
      break;
    case UpdateOutcome::Kind::reused:
      ++counters_.reused;
      break;
    case UpdateOutcome::Kind::built:
      ++counters_.built;
      break;
  }
  if (outcome->kind == UpdateOutcome::Kind::up_to_date) {
    log(k_debug, "up-to-date project=" + project.root.string());
    return outcome;
  }
  project.description.reset();
  prepare_bridge(project);
  const bool built = outcome->kind == UpdateOutcome::Kind::built;
  if (built) {
    const std::string collected =
        without_gil([&] { return collect_now_and_then(*fs_, *store_, options_.store_limits); });
    if (!collected.empty()) log(k_info, collected);
  }
  log(k_info, std::string(built ? "rebuild" : "reuse") + " project=" + project.root.string() +
                  " reason=\"" + outcome->reason + "\" took=" +
                  std::to_string(outcome->decide_seconds + outcome->build_seconds) + "s");
  return outcome;
}

void Session::prepare_bridge(Project& project) {
  const auto products = project.update->products();
  if (!products || !options_.enable_reloading) return;
  const auto compiler = products->compilers.find("CXX");
  if (compiler == products->compilers.end()) return;
  for (const BuiltModule& module : products->modules) {
    for (const BindingLibrary library : k_binding_libraries) {
      if (!module.bindings.contains(library)) continue;
      registries_->prepare(library, products->compile_groups[module.flags], compiler->second);
    }
  }
}

Result<std::shared_ptr<ShadowFolder>> Session::shadows() {
  FileStat stat;
  const bool gone = shadows_ && !fs_->lookup(shadows_->path().c_str(), stat);
  if (!shadows_ || gone ||
      shadows_pid_ != getpid()) {  // after fork() the folder is the parent's
    REHOOK_ASSIGN_OR_RETURN(shadows_, ShadowFolder::open(*fs_, *store_));
    shadows_pid_ = getpid();
    if (shadows_->swept() > 0) {
      log(k_info, "clean store=" + store_->root().string() + " copies of " +
                      std::to_string(shadows_->swept()) + " ended processes removed");
    }
  }
  return shadows_;
}

bool Session::is_excluded(const std::string& name) const {
  return std::any_of(options_.exclude.begin(), options_.exclude.end(),
                     [&](const std::string& pattern) {
                       if (pattern.ends_with(".*")) {
                         return name.starts_with(pattern.substr(0, pattern.size() - 1));
                       }
                       return name == pattern;
                     });
}

void Session::invalidate_caches() {
  projects_->invalidate();
}

Project* Session::project_of(const std::string& module) {
  const Inside inside;
  return projects_->find(top_level_of(module));
}

// ---- the finder ----

Result<Ref> Session::find_spec(PyObject* finder, const std::string& name, PyObject* path,
                               PyObject* target) {
  if (inside_depth > 0 || closed_ || !options_.enable_project_importer) return Ref();
  if (is_excluded(name) || is_excluded(top_level_of(name))) return Ref();
  if (Project* project = project_of(name)) {
    const bool is_reload = target != nullptr && target != Py_None;
    auto spec = is_reload && options_.enable_reloading ? find_for_reload(*project, name, target)
                                                       : find_new(*project, name, path);
    if (!spec || *spec) return spec;
  } else if (auto refused = refuse(name, path); !refused) {
    return refused;
  }
  if (!options_.enable_reloading) return Ref();
  return find_elsewhere(finder, name, path, target);
}

namespace {

// Of the standard library, or below a package that is installed: nothing that anybody edits.
bool is_of_a_library(const std::string& name, PyObject* path) {
  PyObject* const known = PySys_GetObject("stdlib_module_names");
  const Ref top = from_string(top_level_of(name));
  if (known != nullptr && top && PySet_Contains(known, top.get()) == 1) return true;
  PyErr_Clear();
  if (path == nullptr || path == Py_None) return false;
  const Ref folder = Ref::steal(PySequence_GetItem(path, 0));
  PyErr_Clear();
  const std::string text = to_string(folder.get());
  return text.find("/site-packages/") != std::string::npos ||
         text.find("/dist-packages/") != std::string::npos;
}

}  // namespace

// What the finders behind ours find, so that the source of a Python module can be kept as it is
// executed: the next reload compares with it.
Result<Ref> Session::find_elsewhere(PyObject* finder, const std::string& name, PyObject* path,
                                    PyObject* target) {
  if (is_of_a_library(name, path)) return Ref();
  const Ref finders = Ref::borrow(PySys_GetObject("meta_path"));
  if (!finders || !PyList_Check(finders.get())) return Ref();
  const Ref full_name = from_string(name);
  bool is_behind = false;
  for (Py_ssize_t i = 0; i < PyList_GET_SIZE(finders.get()); ++i) {
    const Ref other = Ref::borrow(PyList_GET_ITEM(finders.get(), i));
    if (other.get() == finder) {
      is_behind = true;
      continue;
    }
    if (!is_behind) continue;
    const Ref find = optional_attribute(other.get(), "find_spec");
    if (!find) continue;
    Ref spec = Ref::steal(
        PyObject_CallFunctionObjArgs(find.get(), full_name.get(), path, target, nullptr));
    if (!spec) {
      cause_ = SavedError::take();
      return Error{ErrorCode::failed_load, name + " cannot be found: " + cause_.text()};
    }
    if (spec.get() == Py_None) continue;
    const std::string origin = string_attribute(spec.get(), "origin");
    if (!sources_.is_own(origin)) return Ref();
    sources_.remember(name, origin);
    return spec;
  }
  return Ref();
}

bool Session::makes(Project& project, const std::string& module) {
  const auto products = project.update->products();
  return products &&
         std::any_of(products->modules.begin(), products->modules.end(),
                     [&](const BuiltModule& built) { return built.module == module; });
}

bool Session::is_python_module(const std::string& name, PyObject* path) {
  if (path == nullptr || path == Py_None) return false;
  const Ref entries = Ref::steal(PySequence_List(path));
  if (!entries) {
    PyErr_Clear();
    return false;
  }
  const std::string last = name.substr(name.rfind('.') + 1);
  for (Py_ssize_t i = 0; i < PyList_GET_SIZE(entries.get()); ++i) {
    const Path folder = Path(to_string(PyList_GET_ITEM(entries.get(), i))) / last;
    FileStat stat;
    for (const char* ending : {".py", "/__init__.py"}) {
      const Path file = folder.native() + ending;
      if (!fs_->lookup(file.c_str(), stat) || !stat.is_regular()) continue;
      sources_.remember(name, file);
      return true;
    }
    // A folder alone says nothing: many packages keep the stubs of pkg._core in pkg/_core/.
  }
  return false;
}

Ref Session::package_spec(const std::string& name, const Path& folder, PyObject* loader_type) {
  const Path init = folder / "__init__.py";
  FileStat stat;
  if (!fs_->lookup(init.c_str(), stat)) {
    const Ref external = Ref::steal(PyImport_ImportModule("_frozen_importlib"));
    const Ref type = Ref::steal(PyObject_GetAttrString(external.get(), "ModuleSpec"));
    const Ref arguments = Ref::steal(Py_BuildValue("(sO)", name.c_str(), Py_None));
    const Ref keywords = Ref::steal(Py_BuildValue("{s:O}", "is_package", Py_True));
    Ref spec = Ref::steal(PyObject_Call(type.get(), arguments.get(), keywords.get()));
    if (!spec) return {};
    const Ref locations =
        Ref::steal(PyObject_GetAttrString(spec.get(), "submodule_search_locations"));
    const Ref text = from_string(folder.native());
    PyList_Append(locations.get(), text.get());
    return spec;
  }
  if (loader_type != reloaded_loader_.get()) sources_.remember(name, init);
  return make_file_spec(name, init, loader_type);
}

Result<Ref> Session::extension_spec(Project& project, const BuiltModule& module) {
  const auto known = extensions_.find(module.module);
  const Path file = known != extensions_.end() ? known->second.current.file
                                               : project.update->artifact_path(module);
  Ref spec = make_file_spec(module.module, file, extension_loader_.get());
  if (!spec) {
    cause_ = SavedError::take();
    return Error{ErrorCode::failed_load, "no module spec could be made for " + module.module};
  }
  return spec;
}

Result<Ref> Session::find_new(Project& project, const std::string& name, PyObject* path) {
  const bool is_top_level = name.find('.') == std::string::npos;
  if (is_top_level) {
    project.decided_for = nullptr;  // another import begins
    const Inside inside;
    const Path folder = projects_->package_folder(project, name);
    if (!folder.empty()) {
      const Ref external = Ref::steal(PyImport_ImportModule("_frozen_importlib_external"));
      const Ref source_loader =
          Ref::steal(PyObject_GetAttrString(external.get(), "SourceFileLoader"));
      Ref spec = package_spec(name, folder, source_loader.get());
      // Python files that an editable install generated stay reachable behind the sources.
      const auto description = project.description;
      PyErr_Clear();
      return spec;
    }
  } else if (!makes(project, name) && is_python_module(name, path)) {
    return Ref();
  }
  const void* const import = package_being_imported(top_level_of(name));
  if (import == nullptr || project.decided_for != import) {
    const Force force =
        options_.force_rebuild && project.decided_for == nullptr ? Force::yes : Force::no;
    auto outcome = update(project, force, Retry::always);
    project.undecided.reset();
    if (!outcome) {
      if (outcome.error().code == ErrorCode::canceled) return std::move(outcome).error();
      // Packages with a fallback in Python catch every ImportError, and ask many times.
      project.undecided = outcome.error();
      log(k_warning, top_level_of(name) + " cannot be built: " +
                         outcome.error().message.substr(0, outcome.error().message.find('\n')) +
                         " (see: rehook errors)");
    }
    project.decided_for = import != nullptr ? import : &project;
  }
  if (project.undecided) return *project.undecided;
  const auto products = project.update->products();
  if (!products) return Ref();
  for (const BuiltModule& module : products->modules) {
    if (module.module != name) continue;
    if (const auto known = extensions_.find(name); known != extensions_.end()) {
      // Removed from sys.modules and imported again: the same module object, with the newest
      // code.
      Plan plan;
      ReloadSummary summary;
      this->plan(project, {name}, "imported again", plan, summary);
      if (!plan.modules.empty()) {
        auto transaction = start(plan);
        if (!transaction) return note_failure(plan, std::move(transaction).error());
        if (Status status = finish(**transaction, plan, summary); !status) {
          return note_failure(plan, std::move(status).error());
        }
      }
    }
    return extension_spec(project, module);
  }
  if (const auto file = products->python_files.find(name);
      file != products->python_files.end()) {
    const Ref external = Ref::steal(PyImport_ImportModule("_frozen_importlib_external"));
    const Ref source_loader =
        Ref::steal(PyObject_GetAttrString(external.get(), "SourceFileLoader"));
    sources_.remember(name, file->second);
    Ref spec = make_file_spec(name, file->second, source_loader.get());
    PyErr_Clear();
    return spec;
  }
  // A package that exists only where the project is installed: "pkg.lib" for "pkg.lib._core".
  const auto below = [&](const std::string& module) { return module.starts_with(name + "."); };
  if (std::any_of(products->modules.begin(), products->modules.end(),
                  [&](const BuiltModule& module) { return below(module.module); }) ||
      std::any_of(products->python_files.begin(), products->python_files.end(),
                  [&](const auto& file) { return below(file.first); })) {
    const Ref entries =
        path == nullptr || path == Py_None ? Ref() : Ref::steal(PySequence_List(path));
    PyErr_Clear();
    if (entries && PyList_GET_SIZE(entries.get()) > 0) {
      const Path folder =
          Path(to_string(PyList_GET_ITEM(entries.get(), 0))) / name.substr(name.rfind('.') + 1);
      FileStat stat;
      if (!fs_->lookup(folder.c_str(), stat)) return package_spec(name, folder, nullptr);
    }
  }
  return Ref();
}

// ---- the loader ----

Result<Ref> Session::create_module(PyObject* spec) {
  const std::string name = string_attribute(spec, "name");
  const std::string origin = string_attribute(spec, "origin");
  const auto known = extensions_.find(name);
  if (known != extensions_.end() && known->second.current.file.native() == origin) {
    return known->second.module;
  }
  REHOOK_TRY(prepare_first_load(spec, name, origin));
  Ref module = create_extension(spec);
  if (module) return module;
  SavedError raised = SavedError::take();
  auto bytes = fs_->read(origin);
  auto image = bytes ? ElfImage::parse(*bytes) : Result<ElfImage>(bytes.error());
  if (image) {
    if (Status checked = check_init_symbol(*image, name); !checked) {
      cause_ = std::move(raised);
      return std::move(checked).error();
    }
  }
  std::move(raised).restore();
  return Ref();
}

bool Session::exec_module(PyObject* module) {
  const std::string name = string_attribute(module, "__name__");
  if (const auto known = extensions_.find(name);
      known != extensions_.end() && known->second.module.get() == module) {
    return true;  // executed long ago
  }
  if (!exec_extension(module)) return false;
  LoadedExtension& extension = extensions_[name];
  extension.name = name;
  extension.module = Ref::borrow(module);
  PyObject *key = nullptr, *value = nullptr;
  Py_ssize_t at = 0;
  while (PyModule_Check(module) &&
         PyDict_Next(PyModule_GetDict(module), &at, &key, &value) != 0) {
    extension.names.insert(to_string(key));
  }
  extension.names_known = true;
  extension.current.number = 1;
  extension.current.bindings.reset();
  extension.current.cost.reset();
  const Ref spec = optional_attribute(module, "__spec__");
  extension.current.file = string_attribute(spec.get(), "origin");
  if (Project* project = project_of(name)) {
    extension.project = project->root;
    if (const auto products = project->update->products()) {
      for (const BuiltModule& built : products->modules) {
        if (built.module != name) continue;
        extension.current.artifact = built.artifact;
        extension.current.code = built.code;
        extension.current.bindings = built.bindings;
        remember_libraries(extension, built);
        extension.current.layouts = built.layouts;
      }
    }
  }
  stale_.clear(name);
  log(k_info, "load module=" + name + " generation=1");
  return true;
}

}  // namespace rehook
