#include "hook/bindings_session.hpp"

#include <pybind11/stl.h>

#include <cstdlib>

#include "builder/git_state.hpp"
#include "hook/bindings_errors.hpp"
#include "hook/bindings_store.hpp"
#include "hook/session.hpp"
#include "shadow_store/base/trace.hpp"

namespace py = pybind11;

namespace rehook {
namespace {

using SessionPtr = std::shared_ptr<Session>;

// sys.meta_path holds this one; it goes quiet when its session is closed.
struct ModuleFinder {
  SessionPtr session;
};

Ref ref(const py::handle& object) {
  return Ref::borrow(object.ptr());
}
py::object object(Ref value) {
  if (!value) return py::none();
  return py::reinterpret_steal<py::object>(value.release());
}

std::string string_of(const py::handle& value) {
  return to_string(value.ptr());
}

std::vector<std::string> strings_of(const py::handle& value) {
  std::vector<std::string> out;
  if (value.is_none()) return out;
  for (const py::handle item : value) out.push_back(string_of(item));
  return out;
}

// `class <name>(base)` whose methods are C++ functions taking self.
py::object make_loader_type(const char* name, const char* base, const py::dict& methods) {
  const py::object parent = py::module_::import("_frozen_importlib_external").attr(base);
  py::dict body;
  for (const auto& [key, function] : methods) {
    body[key] = py::reinterpret_steal<py::object>(PyInstanceMethod_New(function.ptr()));
  }
  body["__module__"] = "rehook._core";
  return py::module_::import("builtins").attr("type")(name, py::make_tuple(parent), body);
}

void add_loader_types(const SessionPtr& session) {
  const std::weak_ptr<Session> weak = session;
  py::dict extension;
  extension["create_module"] =
      py::cpp_function([weak](const py::object& /*self*/, const py::object& spec) {
        const SessionPtr alive = weak.lock();
        Ref module = alive
                         ? value_or_raise(alive->create_module(spec.ptr()), alive->take_cause())
                         : call("_imp", "create_dynamic", {spec.ptr()});
        if (!module) throw py::error_already_set();
        return object(std::move(module));
      });
  extension["exec_module"] =
      py::cpp_function([weak](const py::object& /*self*/, const py::object& module) {
        const SessionPtr alive = weak.lock();
        const bool done = alive
                              ? alive->exec_module(module.ptr())
                              : static_cast<bool>(call("_imp", "exec_dynamic", {module.ptr()}));
        if (!done) throw py::error_already_set();
      });
  py::dict reloaded;
  reloaded["exec_module"] =
      py::cpp_function([](const py::object& /*self*/, const py::object& /*module*/) {});
  session->set_loader_types(
      ref(make_loader_type("ExtensionLoader", "ExtensionFileLoader", extension)),
      ref(make_loader_type("PackageLoader", "SourceFileLoader", reloaded)));
}

py::dict describe(const ReloadSummary& summary);

SessionPtr make_session(const py::dict& given) {
  SessionOptions options;
  const auto option = [&](const char* name) -> py::object {
    return given.contains(name) ? py::object(given[name]) : py::object(py::none());
  };
  const auto flag = [&](const char* name, bool otherwise) {
    const py::object value = option(name);
    return value.is_none() ? otherwise : value.cast<bool>();
  };
  options.store_dir = string_of(option("store_dir"));
  for (const std::string& root : strings_of(option("projects"))) {
    options.projects.emplace_back(root);
  }
  options.allowed_list = string_of(option("allowed_list"));
  for (const std::string& folder : strings_of(option("allowed"))) {
    options.allowed.emplace_back(folder);
  }
  if (const py::object settings = option("settings"); !settings.is_none()) {
    const auto setting = [&](const char* name) -> py::object {
      return settings.attr("get")(name, py::none());
    };
    options.exclude = strings_of(setting("exclude"));
    options.targets = strings_of(setting("targets"));
    const std::string instances = string_of(setting("instances"));
    if (instances == "migrate") options.instances = InstancePolicy::migrate;
    if (instances == "keep") options.instances = InstancePolicy::keep;
    if (const py::object dir = setting("build-dir"); !dir.is_none()) {
      options.build_dir = string_of(dir);
    }
    options.store_limits = store_limits_of(setting("store-size"), setting("store-age"));
  }
  options.settings_key = string_of(option("settings_key"));
  options.enable_reloading = flag("enable_reloading", true);
  options.enable_project_importer =
      flag("enable_project_importer", true) && std::getenv("REHOOK_BUILDING") == nullptr;
  options.force_rebuild = flag("force_rebuild", false);
  if (const py::object seconds = option("lock_timeout"); !seconds.is_none()) {
    options.lock_timeout =
        std::chrono::milliseconds(static_cast<long>(seconds.cast<double>() * 1000));
  }
  options.bridge_dir = Path(string_of(option("bridge_dir")));
  options.describe_project = ref(option("describe_project"));
  options.on_progress = ref(option("on_progress"));
  options.log = ref(option("log"));
  if (const std::string trace = string_of(option("trace_file")); !trace.empty()) {
    Trace::set_file(trace);
  }
  auto created = Session::create(std::move(options));
  // What is wrong here is an argument or the store; nothing was built yet.
  if (!created && created.error().code != ErrorCode::invalid) {
    Error error = std::move(created).error();
    error.code = ErrorCode::io;
    raise_error(error, {});
  }
  SessionPtr session = value_or_raise(std::move(created), {});
  add_loader_types(session);
  session->set_describe([](const ReloadSummary& summary) { return ref(describe(summary)); });
  return session;
}

py::dict describe(const ReloadSummary& summary) {
  py::dict report;
  py::list modules;
  for (const ReloadedModule& module : summary.modules) {
    py::dict item;
    item["name"] = text(module.name);
    item["kind"] = text(module.kind);
    item["old_generation"] = module.old_generation;
    item["new_generation"] = module.new_generation;
    item["reason"] = text(module.reason);
    item["seconds"] = module.seconds;
    modules.append(item);
  }
  report["modules"] = modules;
  report["unchanged"] = summary.unchanged;
  py::list stale, left;
  for (const auto& [module, why] : summary.stale) {
    py::dict item;
    item["module"] = text(module);
    item["error"] = text(why);
    stale.append(item);
  }
  for (const LeftBehind& one : summary.left) {
    py::dict item;
    item["what"] = text(one.what);
    item["why"] = text(one.why);
    item["count"] = one.count;
    left.append(item);
  }
  py::dict patched;
  for (const auto& [kind, count] : summary.patched) patched[text(kind)] = count;
  report["patched"] = patched;
  report["stale"] = stale;
  report["left"] = left;
  report["built"] = summary.built;
  report["reused"] = summary.reused;
  py::dict durations;
  durations["decide"] = summary.decide;
  durations["build"] = summary.build;
  durations["load"] = summary.load;
  durations["total"] = summary.total;
  report["durations"] = durations;
  return report;
}

const char* state_name(Session& session, Project& project) {
  const Freshness freshness = session.without_gil([&] { return project.update->peek(); });
  if (std::holds_alternative<UpToDate>(freshness)) return "up-to-date";
  return project.update->products() ? "changed" : "never built";
}

py::dict describe_project_state(Session& session, Project& project) {
  py::dict item;
  item["root"] = text(project.root.native());
  item["source"] = origin_name(project.origin);
  item["build_dir"] = text(project.update->build_dir().native());
  item["state"] = state_name(session, project);
  auto git = session.without_gil([&] { return read_git_state(project.root); });
  item["commit"] = text(git ? git->commit : "");
  item["branch"] = text(git ? git->branch : "");
  item["dirty"] = git && git->dirty;
  return item;
}

py::dict describe_counters(const Counters& counters) {
  py::dict item;
  item["built"] = counters.built;
  item["reused"] = counters.reused;
  item["waited"] = counters.waited;
  item["configured"] = counters.configured;
  item["reloaded"] = counters.reloaded;
  item["skipped"] = counters.skipped;
  item["stats"] = counters.stats;
  item["hashed"] = counters.hashed;
  return item;
}

py::dict status(Session& session) {
  py::dict status;
  py::list projects, modules;
  for (Project* project : session.projects().all()) {
    projects.append(describe_project_state(session, *project));
    const auto products = project->update->products();
    const auto changed =
        session.without_gil([&] { return project->update->modified_modules(); });
    for (const BuiltModule& built : products ? products->modules : std::vector<BuiltModule>()) {
      const auto loaded = session.extensions().find(built.module);
      const bool is_loaded = loaded != session.extensions().end();
      const auto why = session.stale().why(built.module);
      const bool is_changed =
          std::find(changed.begin(), changed.end(), built.module) != changed.end();
      py::dict item;
      item["name"] = text(built.module);
      item["project"] = text(project->root.native());
      item["generation"] = is_loaded ? loaded->second.current.number : 0;
      item["file"] = text(is_loaded ? loaded->second.current.file.native()
                                    : project->update->artifact_path(built).native());
      item["loaded"] = is_loaded;
      item["stale"] = why.has_value();
      item["error"] = why ? py::object(text(*why)) : py::object(py::none());
      item["running_equals_saved"] =
          is_loaded && !is_changed && loaded->second.current.code == built.code;
      modules.append(item);
    }
  }
  status["modules"] = modules;
  status["projects"] = projects;
  status["counters"] = describe_counters(session.counters());
  return status;
}

py::dict explain(Session& session, const std::string& module) {
  Project* project = session.project_of(module);
  if (project == nullptr) {
    raise_error(session.no_project_for(module), {});
  }
  const Freshness freshness = session.without_gil([&] { return project->update->peek(); });
  const auto differences = session.without_gil([&] { return project->update->differences(); });
  const auto products = project->update->products();
  py::dict out;
  out["module"] = text(module);
  out["project"] = text(project->root.native());
  const auto* rebuild = std::get_if<Rebuild>(&freshness);
  out["decision"] = rebuild == nullptr ? "up-to-date" : "rebuild";
  out["reason"] =
      text(rebuild == nullptr ? "no input changed since the last build" : rebuild->reason);
  out["inputs"] = session.without_gil([&] { return project->update->input_count(); });
  out["target"] = "";
  out["artifact"] = "";
  for (const BuiltModule& built : products ? products->modules : std::vector<BuiltModule>()) {
    if (built.module != module) continue;
    out["target"] = text(built.target);
    out["artifact"] = text(project->update->artifact_path(built).native());
  }
  py::list changes;
  for (const auto& difference : differences) {
    py::dict item;
    item["name"] = text(difference.name);
    item["kind"] = text(difference.kind);
    item["before"] = text(difference.before);
    item["after"] = text(difference.after);
    changes.append(item);
  }
  out["changes"] = changes;
  return out;
}

py::list errors(Session& session) {
  py::list list;
  for (const ReportedFailure& failure : session.failures()) {
    py::dict item;
    item["project"] = text(failure.project.native());
    item["modules"] = failure.modules;
    item["kind"] = text(failure.kind);
    item["message"] = text(failure.error.message);
    item["hint"] = text(failure.error.hint);
    item["text"] = text(failure.error.detail);
    item["diagnostics"] = diagnostics_of(failure.error.detail);
    item["time"] = text(failure.when);
    list.append(item);
  }
  return list;
}

py::list generations(Session& session) {
  py::list list;
  session.count_generations();
  const auto add = [&](const LoadedExtension& extension, const Generation& generation,
                       bool is_current) {
    const GenerationCost cost = generation.cost.value_or(GenerationCost{});
    py::list libraries;
    for (const LibraryInstance& library : generation.libraries) {
      py::dict one;
      one["name"] = text(library.origin.filename().native());
      one["file"] = text(library.file.native());
      libraries.append(one);
    }
    py::dict item;
    item["module"] = text(extension.name);
    item["generation"] = generation.number;
    item["file"] = text(generation.file.native());
    item["artifact"] = generation.artifact.hex();
    item["current"] = is_current;
    item["loaded_at"] = text(generation.loaded_at);
    item["mapped"] = cost.mapped;
    item["mappings"] = cost.mappings;
    item["libraries"] = libraries;
    list.append(item);
  };
  for (const auto& [name, extension] : session.extensions()) {
    for (const Generation& generation : extension.retired) add(extension, generation, false);
    add(extension, extension.current, true);
  }
  return list;
}

py::dict budgets(Session& session) {
  py::dict totals;
  for (const Budget& budget : session.budgets()) {
    py::dict item;
    item["used"] = budget.used;
    item["limit"] = budget.limit == 0 ? py::object(py::none()) : py::int_(budget.limit);
    totals[text(budget.name)] = item;
  }
  return totals;
}

py::list build(Session& session, const std::vector<std::string>& targets, bool force) {
  auto outcomes = session.build(targets, force ? Force::yes : Force::no);
  py::list list;
  for (const auto& [root, outcome] :
       value_or_raise(std::move(outcomes), session.take_cause())) {
    static constexpr const char* k_names[] = {"up-to-date", "reused", "built"};
    py::dict item;
    item["project"] = text(root.native());
    item["result"] = k_names[static_cast<int>(outcome.kind)];
    item["reason"] = text(outcome.reason);
    item["seconds"] = outcome.decide_seconds + outcome.build_seconds;
    py::list modules;
    const auto products = session.projects().add(root, ProjectOrigin::named).update->products();
    for (const BuiltModule& module :
         products ? products->modules : std::vector<BuiltModule>()) {
      modules.append(text(module.module));
    }
    item["modules"] = modules;
    list.append(item);
  }
  return list;
}

}  // namespace

void bind_session(py::module_& m) {
  py::class_<ModuleFinder>(m, "ModuleFinder", "The entry of sys.meta_path.")
      .def(
          "find_spec",
          [](const py::object& self, const py::object& name, const py::object& path,
             const py::object& target) {
            Session& session = *self.cast<ModuleFinder&>().session;
            auto spec =
                session.find_spec(self.ptr(), string_of(name), path.ptr(), target.ptr());
            return object(value_or_raise(std::move(spec), session.take_cause()));
          },
          py::arg("fullname"), py::arg("path") = py::none(), py::arg("target") = py::none(),
          "importlib.abc.MetaPathFinder.find_spec; raises BuildError and ReloadError.")
      .def("invalidate_caches",
           [](ModuleFinder& finder) { finder.session->invalidate_caches(); });

  const auto report = [](Session& session, Result<ReloadSummary> summary) {
    return describe(value_or_raise(std::move(summary), session.take_cause()));
  };
  py::class_<Session, SessionPtr>(m, "Session", py::dynamic_attr(), "One installed rehook.")
      .def(py::init(&make_session), py::arg("options"))
      .def_property_readonly(
          "finder",
          [](const py::object& self) {
            // One finder object per session, so that `in sys.meta_path` means identity.
            const py::object known = py::getattr(self, "_finder", py::none());
            if (!known.is_none()) return known;
            py::object finder = py::cast(ModuleFinder{self.cast<SessionPtr>()});
            self.attr("_finder") = finder;
            return finder;
          })
      .def("reload",
           [report](Session& session, const std::vector<std::string>& names) {
             return report(session, session.reload(names, Retry::when_changed));
           })
      .def("retry",
           [report](Session& session) {
             return report(session, session.reload({}, Retry::always));
           })
      .def("modified", [](Session& session,
                          const py::object& path) { return session.modified(string_of(path)); })
      .def("status", &status)
      .def("explain", &explain)
      .def("errors", &errors)
      .def("generations", &generations)
      .def("budgets", &budgets)
      .def("build", &build, py::arg("targets"), py::arg("force") = false)
      .def("is_reloading", &Session::is_reloading)
      .def("set_progress",
           [](Session& session, const py::object& callback) {
             session.set_progress(ref(callback));
           })
      .def("close", &Session::close);
}

}  // namespace rehook
