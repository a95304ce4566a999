#include "hook/bindings_store.hpp"

#include <pybind11/stl.h>

#include <memory>

#include "hook/bindings_errors.hpp"
#include "hook/build_log.hpp"
#include "hook/project_folders.hpp"

namespace py = pybind11;

namespace rehook {
namespace {

// The errors of a store are all StoreErrors, whatever their code.
template <typename T>
T stored(Result<T> result) {
  if (!result) {
    Error error = std::move(result).error();
    if (error.code != ErrorCode::busy) error.code = ErrorCode::io;
    raise_error(error, {});
  }
  return std::move(result).value();
}

double seconds(std::int64_t ns) {
  return static_cast<double>(ns) / 1e9;
}

py::list texts(const std::set<std::string>& names) {
  py::list list;
  for (const std::string& name : names) list.append(text(name));
  return list;
}

py::list module_names(const ProjectState& state) {
  py::list list;
  for (const BuiltModule& module : state.modules) list.append(text(module.module));
  return list;
}

py::dict describe(const StoreInventory::File& file) {
  py::dict item;
  item["file"] = text(file.file.native());
  item["bytes"] = file.bytes;
  item["last_used"] = seconds(file.last_used_ns);
  item["mapped"] = file.is_leased;
  return item;
}

py::list describe(const std::vector<StoreInventory::File>& files) {
  py::list list;
  for (const StoreInventory::File& file : files) list.append(describe(file));
  return list;
}

py::dict describe(const StoreInventory::Build& counted, const StoreContents::Build& build) {
  py::dict item;
  item["fingerprint"] = text(build.fingerprint);
  item["file"] = text(counted.record.native());
  item["bytes"] = counted.bytes;
  item["last_used"] = seconds(counted.last_used_ns);
  item["damaged"] = counted.is_damaged;
  item["objects"] = texts(counted.objects);
  item["modules"] = build.state ? module_names(*build.state) : py::list();
  item["built_at"] = build.state ? seconds(build.state->built_at_ns) : 0.0;
  item["build_seconds"] = build.state ? build.state->build_seconds : 0.0;
  return item;
}

py::dict describe(const StoreInventory::Configuration& counted,
                  const StoreContents::Project& project) {
  py::dict item;
  item["id"] = text(project.id);
  item["configuration"] = text(project.configuration);
  item["folder"] = text(counted.folder.native());
  item["bytes"] = counted.bytes;
  item["last_used"] = seconds(counted.last_used_ns);
  item["busy"] = counted.is_busy;
  item["source_gone"] = counted.is_source_gone;
  item["objects"] = texts(counted.objects);
  const char* const state = project.state       ? "built"
                            : project.has_state ? "damaged"
                                                : "not built";
  item["state"] = state;
  item["root"] = text(project.state ? project.state->root.native() : "");
  item["fingerprint"] = text(project.state ? project.state->fingerprint.hex() : "");
  item["modules"] = project.state ? module_names(*project.state) : py::list();
  py::list builds;
  for (std::size_t i = 0; i < project.builds.size(); ++i) {
    builds.append(describe(counted.builds[i], project.builds[i]));
  }
  item["builds"] = builds;
  return item;
}

py::dict describe(const SessionFolder& session) {
  const std::string name = session.folder.filename().native();
  py::dict item;
  item["folder"] = text(session.folder.native());
  item["pid"] = text(name.substr(0, name.find('-')));
  item["live"] = session.is_live;
  item["bytes"] = session.bytes;
  py::list files;
  for (const std::string& file : session.files) {
    py::dict one;
    one["name"] = text(file);
    one["artifact"] = text(artifact_of_shadow_copy(file));
    files.append(one);
  }
  item["files"] = files;
  return item;
}

template <typename Action>
auto unlocked(Action action) {
  const py::gil_scoped_release released;
  return action();
}

// One store, opened for questions.
class Store {
 public:
  explicit Store(const std::string& root)
      : fs_(&posix_file_system()), store_(stored(ArtifactStore::open(*fs_, root))) {}

  py::dict contents() {
    const StoreContents found = stored(unlocked([&] { return read_store(*fs_, store_); }));
    py::dict item;
    item["root"] = text(store_.root().native());
    item["bytes"] = found.inventory.bytes();
    py::list projects, sessions;
    for (std::size_t i = 0; i < found.projects.size(); ++i) {
      projects.append(describe(found.inventory.configurations[i], found.projects[i]));
    }
    for (const SessionFolder& session : found.inventory.sessions) {
      sessions.append(describe(session));
    }
    item["projects"] = projects;
    item["objects"] = describe(found.inventory.objects);
    item["sessions"] = sessions;
    item["bridges"] = describe(found.inventory.bridges);
    item["orphans"] = describe(found.inventory.orphans);
    return item;
  }

  py::list verify() {
    const auto damaged = stored(unlocked([&] { return verify_store(*fs_, store_); }));
    py::list list;
    for (const DamagedFile& one : damaged) {
      py::dict item;
      item["file"] = text(one.file.native());
      item["problem"] = text(one.problem);
      list.append(item);
    }
    return list;
  }

  py::dict collect(const py::object& size, const py::object& age, bool dry_run) {
    const StoreLimits limits = store_limits_of(size, age);
    const Collection done = stored(unlocked([&] {
      return collect_garbage(*fs_, store_, limits, dry_run ? DryRun::yes : DryRun::no, {});
    }));
    py::dict item;
    py::list items;
    for (const CollectionPlan::Item& one : done.plan.items) {
      py::dict entry;
      entry["kind"] = name_of(one.kind);
      entry["path"] = text(one.path.native());
      entry["bytes"] = one.bytes;
      entry["reason"] = text(one.reason);
      items.append(entry);
    }
    item["items"] = items;
    item["bytes_before"] = done.plan.bytes_before;
    item["bytes_freed"] = done.plan.bytes_freed;
    item["removed"] = done.result.removed;
    py::list failures;
    for (const std::string& failure : done.result.failures) failures.append(text(failure));
    item["failures"] = failures;
    item["dry_run"] = dry_run;
    return item;
  }

  // The builds of all configurations of a project, each configuration in its own order.
  py::list log(const std::string& root) {
    const Path folder = store_.root() / "projects" / project_id(root);
    const auto names = fs_->list(folder);
    py::list list;
    for (const std::string& name : names ? *names : std::vector<std::string>()) {
      const auto lines = fs_->read(folder / name / "log");
      if (!lines) continue;
      for (const LoggedBuild& build : parse_build_log(*lines)) {
        FileStat stat;
        const Path record = folder / name / "records" / build.fingerprint;
        py::dict item;
        item["project"] = text(root);
        item["configuration"] = text(name);
        item["time"] = text(build.time);
        item["result"] = text(build.kind);
        item["fingerprint"] = text(build.fingerprint);
        item["commit"] = text(build.commit);
        item["branch"] = text(build.branch);
        item["dirty"] = build.dirty;
        item["seconds"] = build.seconds;
        item["reason"] = text(build.reason);
        item["stored"] = fs_->lookup(record.c_str(), stat);
        list.append(item);
      }
    }
    return list;
  }

 private:
  FileSystem* fs_;
  ArtifactStore store_;
};

}  // namespace

StoreLimits store_limits_of(const py::object& size, const py::object& age) {
  StoreLimits limits;
  limits.max_bytes = size.is_none() ? UINT64_MAX : size.cast<std::uint64_t>();
  limits.max_age = std::chrono::nanoseconds::max();
  if (!age.is_none()) {
    limits.max_age =
        std::chrono::nanoseconds(static_cast<std::int64_t>(age.cast<double>()) * 1'000'000'000);
  }
  return limits;
}

void bind_store(py::module_& m) {
  py::class_<Store>(m, "Store", "A store, to be looked at and cleaned.")
      .def(py::init([](const py::object& root) {
             return std::make_unique<Store>(to_string(root.ptr()));
           }),
           py::arg("store_dir"))
      .def("contents", &Store::contents)
      .def("verify", &Store::verify)
      .def("collect", &Store::collect, py::arg("max_bytes"), py::arg("max_age"),
           py::arg("dry_run") = false)
      .def("log", [](Store& store, const py::object& root) {
        return store.log(to_string(root.ptr()));
      });
}

}  // namespace rehook
