#include "shadow_store/garbage_collector.hpp"

#include <algorithm>
#include <map>
#include <tuple>
#include <utility>

#include "shadow_store/base/file_lock.hpp"
#include "shadow_store/object_lease.hpp"

namespace rehook {
namespace {

using Item = CollectionPlan::Item;
using Kind = CollectionPlan::Kind;
using Build = StoreInventory::Build;
using Configuration = StoreInventory::Configuration;

constexpr std::size_t k_short_digest = 8;
constexpr std::int64_t k_day_ns = 24LL * 3600 * 1'000'000'000;

std::string days(std::int64_t ns) {
  const std::int64_t count = ns / k_day_ns;
  return std::to_string(count) + (count == 1 ? " day" : " days");
}

// Something that may go to make room: one build, or all of a configuration.
struct Candidate {
  std::int64_t last_used_ns = 0;
  std::size_t configuration = 0;
  const Build* build = nullptr;  // null: the whole configuration
};

class Planner final {
 public:
  Planner(const StoreInventory& inventory, const CollectionPolicy& policy)
      : inventory_(inventory), policy_(policy), gone_(inventory.configurations.size()) {
    for (const SessionFolder& session : inventory.sessions) {
      if (!session.is_live) continue;
      any_live_ = true;
      for (const std::string& file : session.files) {
        if (std::string digits = artifact_of_shadow_copy(file); !digits.empty()) {
          running_.insert(std::move(digits));
        }
      }
    }
    for (const Configuration& one : inventory.configurations) {
      for (const std::string& object : one.objects) ++users_[object];
      for (const Build& build : one.builds) {
        for (const std::string& object : build.objects) ++users_[object];
      }
    }
    for (const StoreInventory::File& object : inventory.objects) {
      const std::string name = object.file.filename().native();
      sizes_[name] = object.bytes;
      if (!object.is_leased) continue;
      running_.insert(name.substr(0, k_short_digest));
      any_live_ = true;
    }
    left_ = inventory.bytes();
    plan_.bytes_before = left_;
  }

  CollectionPlan make() {
    drop_leftovers();
    drop_what_is_old();
    make_room();
    drop_unused_objects();
    plan_.bytes_freed = plan_.bytes_before - left_;
    return std::move(plan_);
  }

 private:
  void add(Kind kind, const Path& path, std::uint64_t bytes, std::string reason) {
    plan_.items.push_back({kind, path, bytes, std::move(reason)});
    left_ -= std::min(left_, bytes);
  }

  // A process that runs an artifact compares the next build with it.
  [[nodiscard]] bool is_running(const std::set<std::string>& objects) const {
    return std::any_of(objects.begin(), objects.end(), [&](const std::string& name) {
      return running_.contains(name.substr(0, k_short_digest));
    });
  }
  [[nodiscard]] std::int64_t age(std::int64_t last_used_ns) const {
    return policy_.now_ns - last_used_ns;
  }
  [[nodiscard]] bool may_go(const Build& build) const {
    return age(build.last_used_ns) > std::chrono::nanoseconds(k_collection_grace).count() &&
           !is_running(build.objects);
  }
  [[nodiscard]] bool may_go(const Configuration& one) const {
    const auto stays = [&](const Build& build) {
      return !build.is_damaged && !dropped_.contains(&build) && !may_go(build);
    };
    return !one.is_busy && !is_running(one.objects) &&
           age(one.last_used_ns) > std::chrono::nanoseconds(k_collection_grace).count() &&
           std::none_of(one.builds.begin(), one.builds.end(), stays);
  }

  // Fewer users; what has none left no longer counts.
  void release(const std::set<std::string>& objects) {
    for (const std::string& object : objects) {
      if (--users_[object] > 0) continue;
      const auto size = sizes_.find(object);
      if (size == sizes_.end() || running_.contains(object.substr(0, k_short_digest))) continue;
      left_ -= std::min(left_, size->second);
    }
  }
  void drop(const Build& build, std::string reason) {
    dropped_.insert(&build);
    add(Kind::build, build.record, build.bytes, std::move(reason));
    release(build.objects);
  }
  void drop(std::size_t index, std::string reason) {
    const Configuration& one = inventory_.configurations[index];
    gone_[index] = true;
    std::uint64_t bytes = one.bytes;
    for (const Build& build : one.builds) {
      if (!dropped_.insert(&build).second) continue;
      bytes += build.bytes;
      release(build.objects);
    }
    add(Kind::configuration, one.folder, bytes, std::move(reason));
    release(one.objects);
  }

  void drop_leftovers() {
    for (const StoreInventory::File& file : inventory_.orphans) {
      add(Kind::orphan, file.file, file.bytes, "left behind by a process that is gone");
    }
    for (const SessionFolder& session : inventory_.sessions) {
      if (session.is_live) continue;
      add(Kind::session, session.folder, session.bytes, "its process is gone");
    }
    for (const Configuration& one : inventory_.configurations) {
      for (const Build& build : one.builds) {
        if (build.is_damaged) drop(build, "damaged, or of another format");
      }
    }
  }

  void drop_what_is_old() {
    const std::int64_t limit = policy_.max_age.count();
    for (std::size_t i = 0; i < inventory_.configurations.size(); ++i) {
      const Configuration& one = inventory_.configurations[i];
      const std::int64_t unused = age(one.last_used_ns);
      const bool is_gone =
          one.is_source_gone && unused > std::chrono::nanoseconds(k_gone_project_grace).count();
      if ((unused > limit || is_gone) && may_go(one)) {
        drop(i, (is_gone ? "its project is gone, and it was not used for " : "not used for ") +
                    days(unused));
        continue;
      }
      for (const Build& build : one.builds) {
        if (dropped_.contains(&build) || age(build.last_used_ns) <= limit || !may_go(build)) {
          continue;
        }
        drop(build, "not used for " + days(age(build.last_used_ns)));
      }
    }
    if (any_live_) return;  // a bridge stays mapped for as long as its process lives
    for (const StoreInventory::File& bridge : inventory_.bridges) {
      if (age(bridge.last_used_ns) <= limit) continue;
      add(Kind::bridge, bridge.file, bridge.bytes,
          "not used for " + days(age(bridge.last_used_ns)));
    }
  }

  void make_room() {
    std::vector<Candidate> candidates;
    for (std::size_t i = 0; i < inventory_.configurations.size(); ++i) {
      if (gone_[i]) continue;
      const Configuration& one = inventory_.configurations[i];
      std::int64_t newest = one.last_used_ns;
      for (const Build& build : one.builds) {
        newest = std::max(newest, build.last_used_ns);
        // What is current is in the store as long as its configuration is: nothing to gain.
        if (dropped_.contains(&build) || build.objects == one.objects) continue;
        candidates.push_back({build.last_used_ns, i, &build});
      }
      candidates.push_back({newest, i, nullptr});
    }
    std::stable_sort(candidates.begin(), candidates.end(),
                     [](const Candidate& a, const Candidate& b) {
                       return std::make_tuple(a.last_used_ns, a.build == nullptr) <
                              std::make_tuple(b.last_used_ns, b.build == nullptr);
                     });
    drop_objects_nobody_uses_from_count();
    for (const Candidate& one : candidates) {
      if (left_ <= policy_.max_bytes) return;
      if (gone_[one.configuration]) continue;
      constexpr const char* k_reason = "the store is larger than its budget";
      if (one.build != nullptr) {
        if (may_go(*one.build)) drop(*one.build, k_reason);
      } else if (may_go(inventory_.configurations[one.configuration])) {
        drop(one.configuration, k_reason);
      }
    }
  }

  // They go in any case, so they are no reason to let anything else go.
  void drop_objects_nobody_uses_from_count() {
    for (const StoreInventory::File& object : inventory_.objects) {
      const std::string name = object.file.filename().native();
      if (users_.contains(name) || running_.contains(name.substr(0, k_short_digest))) continue;
      left_ -= std::min(left_, object.bytes);
    }
  }

  void drop_unused_objects() {
    for (const StoreInventory::File& object : inventory_.objects) {
      const std::string name = object.file.filename().native();
      const auto users = users_.find(name);
      if (users != users_.end() && users->second > 0) continue;
      if (running_.contains(name.substr(0, k_short_digest))) continue;
      // Counted already, when its last user went.
      plan_.items.push_back(
          {Kind::object, object.file, object.bytes, "no build that is kept uses it"});
    }
  }

  const StoreInventory& inventory_;
  const CollectionPolicy& policy_;
  CollectionPlan plan_;
  std::vector<bool> gone_;            // configurations
  std::set<const Build*> dropped_;    // builds
  std::set<std::string> running_;     // first digits of artifacts
  std::map<std::string, int> users_;  // of objects
  std::map<std::string, std::uint64_t> sizes_;
  std::uint64_t left_ = 0;
  bool any_live_ = false;
};

// The state goes first: without it nothing that is left is believed. The lock goes last, under
// which all of this happens.
Status remove_configuration(FileSystem& fs, const Path& folder) {
  REHOOK_ASSIGN_OR_RETURN(const FileLock lock,
                          FileLock::try_acquire(folder / "lock", LockKind::exclusive));
  REHOOK_TRY(fs.remove(folder / "state", MissingOk::yes));
  REHOOK_TRY(fs.remove_tree(folder));
  std::ignore = fs.remove(folder.parent_path(), MissingOk::yes);  // unless others are in it
  return ok_status();
}

Status remove_item(FileSystem& fs, const Item& item) {
  switch (item.kind) {
    case Kind::configuration:
      return remove_configuration(fs, item.path);
    case Kind::session:
      return remove_session(fs, item.path);
    case Kind::orphan:
      return fs.remove_tree(item.path);
    case Kind::object:
      if (is_leased(item.path)) {
        return Error{ErrorCode::busy,
                     item.path.native() + " has just been loaded by a process"};
      }
      break;
    case Kind::build:
    case Kind::bridge:
      break;
  }
  return fs.remove(item.path, MissingOk::yes);
}

}  // namespace

std::uint64_t StoreInventory::bytes() const {
  std::uint64_t total = other_bytes;
  for (const std::vector<File>* files : {&objects, &orphans, &bridges}) {
    for (const File& file : *files) total += file.bytes;
  }
  for (const SessionFolder& session : sessions) total += session.bytes;
  for (const Configuration& one : configurations) {
    total += one.bytes;
    for (const Build& build : one.builds) total += build.bytes;
  }
  return total;
}

const char* name_of(CollectionPlan::Kind kind) {
  switch (kind) {
    case Kind::orphan:
      return "orphan";
    case Kind::session:
      return "session";
    case Kind::configuration:
      return "project";
    case Kind::build:
      return "build";
    case Kind::object:
      return "object";
    case Kind::bridge:
      return "bridge";
  }
  return "";
}

CollectionPlan plan_collection(const StoreInventory& inventory,
                               const CollectionPolicy& policy) {
  return Planner(inventory, policy).make();
}

CollectionResult run_collection(FileSystem& fs, const CollectionPlan& plan,
                                const std::function<bool()>& go_on) {
  CollectionResult result;
  bool projects_stayed = false;
  for (const Item& item : plan.items) {
    if (go_on && !go_on()) {
      result.is_complete = false;
      return result;
    }
    // Objects that were counted as free may be of a project that could not be removed.
    if (item.kind == Kind::object && projects_stayed) continue;
    Status removed = remove_item(fs, item);
    if (removed) {
      ++result.removed;
      result.bytes_freed += item.bytes;
      continue;
    }
    if (item.kind == Kind::configuration || item.kind == Kind::build) projects_stayed = true;
    result.failures.push_back(removed.error().message);
  }
  return result;
}

}  // namespace rehook
