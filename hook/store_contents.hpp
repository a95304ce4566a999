#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "builder/project_state.hpp"
#include "hook/store_limits.hpp"
#include "shadow_store/garbage_collector.hpp"

namespace rehook {

// What a store holds, in the words of those who made it: what the collector counts, with the
// states that tell whose it is.
struct StoreContents {
  struct Build {
    std::string fingerprint;
    std::optional<ProjectState> state;  // none when it is damaged
  };
  struct Project {  // as StoreInventory::configurations, in the same order
    std::string id, configuration;
    std::optional<ProjectState> state;
    bool has_state = false;  // damaged, if `state` is empty
    std::vector<Build> builds;
  };
  StoreInventory inventory;
  std::vector<Project> projects;
};

// Looks at everything. Costs a read per build; damaged files are noted, never an error.
[[nodiscard]] Result<StoreContents> read_store(FileSystem& fs, const ArtifactStore& store);

struct Collection {
  CollectionPlan plan;
  CollectionResult result;  // empty after a dry run
};

enum class DryRun { no, yes };

// One collection, now. busy: somebody publishes, or collects, at this moment.
[[nodiscard]] Result<Collection> collect_garbage(FileSystem& fs, ArtifactStore& store,
                                                 const StoreLimits& limits, DryRun dry_run,
                                                 const std::function<bool()>& go_on);

// The same, if the last one was more than a day ago, within a fraction of a second: what is
// left over is for the next time. For after a build; says what it did, or "".
[[nodiscard]] std::string collect_now_and_then(FileSystem& fs, ArtifactStore& store,
                                               const StoreLimits& limits);

struct DamagedFile {
  Path file;
  std::string problem;
};

// Reads everything that is stored, and removes what has not the content it was stored with.
[[nodiscard]] Result<std::vector<DamagedFile>> verify_store(FileSystem& fs,
                                                            ArtifactStore& store);

}  // namespace rehook
