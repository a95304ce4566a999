#include "hook/store_contents.hpp"

#include <chrono>
#include <tuple>

#include "shadow_store/base/temporary_name.hpp"
#include "shadow_store/base/timestamp.hpp"
#include "shadow_store/base/trace.hpp"
#include "shadow_store/object_lease.hpp"

namespace rehook {
namespace {

constexpr const char* k_layouts_name = "class-layouts";
constexpr const char* k_stamp = "collected";
constexpr std::int64_t k_every_ns = 24LL * 3600 * 1'000'000'000;
constexpr std::chrono::milliseconds k_in_passing{200};

std::vector<std::string> names_in(FileSystem& fs, const Path& folder) {
  auto names = fs.list(folder);
  return names ? std::move(*names) : std::vector<std::string>();
}

// File names of all that a build put into the store.
std::set<std::string> objects_of(const ProjectState& state, const ArtifactStore& store) {
  std::set<std::string> objects;
  const auto add = [&](const Digest& digest, const std::string& name) {
    if (digest != Digest{}) {
      objects.insert(store.object_path(digest, name).filename().native());
    }
  };
  for (const BuiltModule& module : state.modules) {
    add(module.artifact, module.output.filename().native());
    add(module.layouts, k_layouts_name);
    for (const BuiltLibrary& library : module.libraries) {
      if (library.is_private) add(library.artifact, library.output.filename().native());
    }
  }
  return objects;
}

std::optional<ProjectState> read_state(FileSystem& fs, const Path& file) {
  auto bytes = fs.read(file);
  auto state = bytes ? parse_project_state(*bytes) : Result<ProjectState>(bytes.error());
  if (!state) return std::nullopt;
  return std::move(*state);
}

class Reader final {
 public:
  Reader(FileSystem& fs, const ArtifactStore& store) : fs_(fs), store_(store) {}

  Result<StoreContents> read() {
    auto sessions = list_sessions(fs_, store_);
    if (sessions) contents_.inventory.sessions = std::move(*sessions);
    read_objects();
    for (const std::string& id : names_in(fs_, store_.root() / "projects")) {
      const Path folder = store_.root() / "projects" / id;
      for (const std::string& name : names_in(fs_, folder)) {
        FileStat stat;
        const Path inside = folder / name;
        if (fs_.lookup(inside.c_str(), stat) && stat.is_directory()) {
          read_configuration(id, name, inside);
        }
      }
    }
    read_bridges();
    note_orphans(store_.root());
    return std::move(contents_);
  }

 private:
  StoreInventory& inventory() { return contents_.inventory; }

  void note_orphans(const Path& folder) {
    for (const std::string& name : names_in(fs_, folder)) {
      if (is_orphan(name)) note_orphan(folder / name);
    }
  }
  void note_orphan(const Path& file) {
    inventory().orphans.push_back({file, fs_.tree_size(file), 0, false});
  }

  void read_objects() {
    const Path objects = store_.root() / "objects";
    note_orphans(objects);
    for (const std::string& prefix : names_in(fs_, objects)) {
      if (temporary_owner(prefix)) continue;
      for (const std::string& name : names_in(fs_, objects / prefix)) {
        const Path file = objects / prefix / name;
        FileStat stat;
        if (is_orphan(name)) {
          note_orphan(file);
        } else if (!temporary_owner(name) && fs_.lookup(file.c_str(), stat)) {
          inventory().objects.push_back({file, stat.size, stat.mtime_ns, is_leased(file)});
        }
      }
    }
  }

  void read_bridges() {
    const Path folder = store_.root() / "bridges";
    note_orphans(folder);
    for (const std::string& name : names_in(fs_, folder)) {
      FileStat stat;
      if (temporary_owner(name) || !fs_.lookup((folder / name).c_str(), stat)) continue;
      inventory().bridges.push_back({folder / name, stat.size, stat.mtime_ns, false});
    }
  }

  void read_configuration(const std::string& id, const std::string& name, const Path& folder) {
    StoreContents::Project project;
    StoreInventory::Configuration counted;
    project.id = id;
    project.configuration = name;
    counted.folder = folder;
    const Path lock = folder / "lock";
    FileStat stat;
    if (fs_.lookup(lock.c_str(), stat)) {
      counted.is_busy = !FileLock::try_acquire(lock, LockKind::exclusive).ok();
    }
    const Path state = folder / "state";
    project.has_state = fs_.lookup(state.c_str(), stat);
    if (!project.has_state) std::ignore = fs_.lookup(folder.c_str(), stat);
    counted.last_used_ns = stat.mtime_ns;
    if (project.has_state) project.state = read_state(fs_, state);
    if (project.state) {
      counted.objects = objects_of(*project.state, store_);
      counted.is_source_gone = !fs_.lookup(project.state->root.c_str(), stat);
    }
    std::uint64_t of_records = 0;
    read_builds(folder / "records", project, counted, of_records);
    note_orphans(folder);
    counted.bytes = fs_.tree_size(folder);
    counted.bytes -= std::min(counted.bytes, of_records);
    inventory().configurations.push_back(std::move(counted));
    contents_.projects.push_back(std::move(project));
  }

  void read_builds(const Path& records, StoreContents::Project& project,
                   StoreInventory::Configuration& counted, std::uint64_t& bytes) {
    for (const std::string& name : names_in(fs_, records)) {
      const Path file = records / name;
      FileStat stat;
      if (is_orphan(name)) note_orphan(file);
      if (temporary_owner(name) || !fs_.lookup(file.c_str(), stat)) continue;
      StoreInventory::Build build{file, stat.size, stat.mtime_ns, {}, false};
      auto state = read_state(fs_, file);
      build.is_damaged = !state;
      if (state) build.objects = objects_of(*state, store_);
      bytes += stat.size;
      counted.builds.push_back(std::move(build));
      project.builds.push_back({name, std::move(state)});
    }
  }

  FileSystem& fs_;
  const ArtifactStore& store_;
  StoreContents contents_;
};

}  // namespace

Result<StoreContents> read_store(FileSystem& fs, const ArtifactStore& store) {
  return Reader(fs, store).read();
}

Result<Collection> collect_garbage(FileSystem& fs, ArtifactStore& store,
                                   const StoreLimits& limits, DryRun dry_run,
                                   const std::function<bool()>& go_on) {
  const TraceStep step("collect", "store", store.root().native());
  std::optional<FileLock> alone;
  if (dry_run == DryRun::no) {
    auto lock = store.hold_alone();
    if (!lock && lock.error().code == ErrorCode::busy) {
      return Error{ErrorCode::busy, "a build is being stored in " + store.root().string(),
                   "try again when it has ended"};
    }
    if (!lock) return std::move(lock).error();
    alone.emplace(std::move(*lock));
  }
  REHOOK_ASSIGN_OR_RETURN(const StoreContents contents, read_store(fs, store));
  Collection collection;
  collection.plan =
      plan_collection(contents.inventory, {limits.max_bytes, limits.max_age, now_ns()});
  if (dry_run == DryRun::yes) return collection;
  collection.result = run_collection(fs, collection.plan, go_on);
  return collection;
}

std::string collect_now_and_then(FileSystem& fs, ArtifactStore& store,
                                 const StoreLimits& limits) {
  const Path stamp = store.root() / k_stamp;
  FileStat stat;
  const bool known = fs.lookup(stamp.c_str(), stat);
  if (known && now_ns() - stat.mtime_ns < k_every_ns && stat.mtime_ns <= now_ns()) return "";
  const auto start = std::chrono::steady_clock::now();
  const auto go_on = [&] { return std::chrono::steady_clock::now() - start < k_in_passing; };
  auto done = collect_garbage(fs, store, limits, DryRun::no, go_on);
  // Not now, or not here: the next build tries again.
  if (!done || !done->result.is_complete) return "";
  if (!(known ? fs.touch(stamp) : fs.write_atomic(stamp, "")).ok()) return "";
  if (done->result.removed == 0) return "";
  return "collect store=" + store.root().string() +
         " removed=" + std::to_string(done->result.removed) +
         " freed=" + std::to_string(done->result.bytes_freed);
}

Result<std::vector<DamagedFile>> verify_store(FileSystem& fs, ArtifactStore& store) {
  std::vector<DamagedFile> damaged;
  REHOOK_ASSIGN_OR_RETURN(const StoreContents contents, read_store(fs, store));
  for (const StoreInventory::File& object : contents.inventory.objects) {
    const std::string name = object.file.filename().native();
    const std::size_t dash = name.find('-');
    const auto digest = Digest::from_hex(name.substr(0, dash));
    if (dash == std::string::npos || !digest) {
      damaged.push_back({object.file, "not a name that rehook gives"});
      std::ignore = fs.remove_tree(object.file);
      continue;
    }
    const Status verified = store.verify(*digest, name.substr(dash + 1));
    if (verified || verified.error().code == ErrorCode::not_found) continue;
    damaged.push_back({object.file, "does not have the content it was stored with"});
    std::ignore = fs.remove_tree(object.file);
  }
  for (std::size_t i = 0; i < contents.projects.size(); ++i) {
    const StoreInventory::Configuration& counted = contents.inventory.configurations[i];
    const StoreContents::Project& project = contents.projects[i];
    if (project.has_state && !project.state && !counted.is_busy) {
      damaged.push_back({counted.folder / "state", "torn, or of another format"});
      std::ignore = fs.remove_tree(counted.folder / "state");
    }
    for (const StoreInventory::Build& build : counted.builds) {
      if (!build.is_damaged) continue;
      damaged.push_back({build.record, "torn, or of another format"});
      std::ignore = fs.remove_tree(build.record);
    }
  }
  return damaged;
}

}  // namespace rehook
