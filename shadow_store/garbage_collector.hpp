#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <set>
#include <string>
#include <vector>

#include "shadow_store/artifact_store.hpp"
#include "shadow_store/session_folders.hpp"

namespace rehook {

// What the collector must know of a store. Who made a project's state, and what it says, is
// none of this layer's business: hook/store_inventory fills it in. Objects are known by file
// name.
struct StoreInventory {
  struct File {
    Path file;
    std::uint64_t bytes = 0;
    std::int64_t last_used_ns = 0;
    bool is_leased = false;  // some process maps it, see object_lease.hpp
  };
  // An earlier build that can be served again.
  struct Build {
    Path record;
    std::uint64_t bytes = 0;  // of the record alone
    std::int64_t last_used_ns = 0;
    std::set<std::string> objects;
    bool is_damaged = false;  // nobody can read it
  };
  // A project in one configuration: its state, its records and its build folder.
  struct Configuration {
    Path folder;
    std::uint64_t bytes = 0;  // of everything but the records
    std::int64_t last_used_ns = 0;
    std::set<std::string> objects;  // of what is current
    std::vector<Build> builds;
    bool is_busy = false;         // somebody builds it now
    bool is_source_gone = false;  // the project's folder does not exist any more
  };
  std::vector<File> objects;
  std::vector<Configuration> configurations;
  std::vector<SessionFolder> sessions;
  std::vector<File> orphans;  // temporary files of processes that are gone
  std::vector<File> bridges;
  std::uint64_t other_bytes = 0;  // of what is never collected

  [[nodiscard]] std::uint64_t bytes() const;
};

struct CollectionPolicy {
  std::uint64_t max_bytes =
      0;  // what to keep at most, by removing what was used least recently
  std::chrono::nanoseconds max_age{0};  // what nobody used for longer goes in any case
  std::int64_t now_ns = 0;
};

// What was current a moment ago may be about to be loaded by somebody, and what was built a
// moment ago is what people go back to: not collected, whatever the budget says.
inline constexpr std::chrono::minutes k_collection_grace{10};
// A project whose folder is gone may be on a disk that is not mounted.
inline constexpr std::chrono::hours k_gone_project_grace{7 * 24};

struct CollectionPlan {
  enum class Kind { orphan, session, configuration, build, object, bridge };
  struct Item {
    Kind kind = Kind::object;
    Path path;
    std::uint64_t bytes = 0;
    std::string reason;
  };
  std::vector<Item> items;  // in the order in which they must be removed
  std::uint64_t bytes_before = 0, bytes_freed = 0;
};

[[nodiscard]] const char* name_of(CollectionPlan::Kind kind);

// Decides what goes. An object goes when nothing that stays uses it. Never collected: what is
// current in a project, unless all of the project goes; what a living process runs, which needs
// it to compare the next build with; what is being built. Pure.
[[nodiscard]] CollectionPlan plan_collection(const StoreInventory& inventory,
                                             const CollectionPolicy& policy);

struct CollectionResult {
  std::size_t removed = 0;
  std::uint64_t bytes_freed = 0;
  std::vector<std::string> failures;  // what could not be removed, and why
  bool is_complete = true;            // false: `go_on` said no
};

// Removes what the plan names, in its order, so that a collector killed in the middle leaves
// nothing that refers to what is gone. The caller holds the store alone; a project that
// somebody began to build since is left out. `go_on` is asked before each.
[[nodiscard]] CollectionResult run_collection(FileSystem& fs, const CollectionPlan& plan,
                                              const std::function<bool()>& go_on);

}  // namespace rehook
