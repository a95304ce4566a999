// The part of Session that concerns the shared libraries of projects, and what loaded
// generations cost.
#include "hook/generation_loader.hpp"
#include "hook/project_libraries.hpp"
#include "hook/session.hpp"
#include "shadow_store/object_lease.hpp"

namespace rehook {
namespace {

constexpr int k_warning = 30;

bool set_origin(PyObject* spec, const Path& file) {
  const Ref text = from_string(file.native());
  const Ref loader = optional_attribute(spec, "loader");
  return text && PyObject_SetAttrString(spec, "origin", text.get()) == 0 && loader &&
         PyObject_SetAttrString(loader.get(), "path", text.get()) == 0;
}

}  // namespace

// An extension that brings libraries along is loaded from copies the first time, too: the build
// tool may write into its own files, and the next build could not be told from them.
Status Session::prepare_first_load(PyObject* spec, const std::string& name,
                                   const std::string& origin) {
  Project* const project = project_of(name);
  const auto products = project == nullptr ? nullptr : project->update->products();
  if (!products) return ok_status();
  for (const BuiltModule& built : products->modules) {
    if (built.module != name || project->update->artifact_path(built).native() != origin) {
      continue;
    }
    const LibraryRequest request = library_request(*store_, *products, built);
    if (request.is_plain()) {
      lease_object(origin);
      return ok_status();
    }
    REHOOK_ASSIGN_OR_RETURN(const std::shared_ptr<ShadowFolder> folder, shadows());
    ProcessLibraries libraries = libraries_;
    auto prepared = load_project_libraries(*folder, request, libraries);
    if (prepared) {
      libraries.made.clear();
      libraries_ = std::move(libraries);
      first_libraries_[name] = std::move(prepared->instances);
      if (!set_origin(spec, prepared->module_file)) PyErr_Clear();
      return ok_status();
    }
    if (prepared.error().code != ErrorCode::unsupported) return std::move(prepared).error();
    log(k_warning, name +
                       " runs its libraries where the build left them, so they cannot be "
                       "reloaded, and writing over one ends this process: " +
                       prepared.error().message);
    for (const StoredLibrary& library : request.libraries) {
      // The extension's own loading tells what is missing.
      if (!find_loaded_library(library.origin)) std::ignore = load_library(library.origin);
    }
    return ok_status();
  }
  return ok_status();
}

void Session::remember_libraries(LoadedExtension& extension, const BuiltModule& built) {
  extension.current.groups = groups_of(built);
  extension.current.static_tls = built.static_tls;
  if (built.static_tls > 0) warn_of_static_tls(extension.name, built.static_tls);
  const auto loaded = first_libraries_.find(extension.name);
  if (loaded == first_libraries_.end()) return;
  extension.current.libraries = std::move(loaded->second);
  first_libraries_.erase(loaded);
}

void Session::commit_libraries(ProcessLibraries libraries) {
  libraries.made.clear();
  libraries_ = std::move(libraries);
  std::vector<const Generation*> current;
  for (const auto& [name, extension] : extensions_) current.push_back(&extension.current);
  keep_running(libraries_.running, current);
}

void Session::warn_of_static_tls(const std::string& module, std::uint64_t size) {
  log(k_warning, module + " keeps " + std::to_string(size) +
                     " bytes of thread_local variables in the static block (initial-exec), "
                     "which has room for only a few builds: it can be reloaded about " +
                     std::to_string(static_tls_room() / size) +
                     " times (see: rehook.generations().totals)");
}

void Session::warn_of_budgets(const std::vector<Budget>& budgets) {
  for (const Budget& budget : budgets) {
    if (!budget.is_half_used() || !budgets_warned_of_.insert(budget.name).second) continue;
    log(k_warning, "half of the " + budget.name + " are used: " + std::to_string(budget.used) +
                       " of " + std::to_string(budget.limit) +
                       "; old builds are never unloaded; " + budget.hint);
  }
}

Status Session::check_room() {
  std::size_t generations = 0;
  for (const auto& [name, extension] : extensions_) {
    generations += extension.retired.size() + 1;
  }
  count_generations();
  const std::vector<Budget> now =
      budgets_.measure(extensions_, GenerationBudgets::Mappings::estimated);
  warn_of_budgets(now);
  return check_budgets(now, generations);
}

std::set<Digest> groups_of(const BuiltModule& module) {
  std::set<Digest> groups;
  if (module.sharing != Digest{}) groups.insert(module.sharing);
  for (const BuiltLibrary& library : module.libraries) {
    if (library.sharing != Digest{}) groups.insert(library.sharing);
  }
  return groups;
}

}  // namespace rehook
