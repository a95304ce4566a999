#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "hook/generation.hpp"
#include "shadow_store/private_libraries.hpp"

namespace rehook {

// The libraries of one process's extensions: who gives copies their names, and what runs.
struct ProcessLibraries {
  PrivateLibraries* makers = nullptr;
  RunningLibraries running;     // what extensions run now
  std::map<Digest, bool> made;  // of these, the ones made by a reload that has not ended
};

// Makes the copies that one build of an extension needs and loads its libraries for good, in
// order; the extension itself is the caller's to load. `libraries.running` is extended.
// failed_load and unsupported name the library.
[[nodiscard]] Result<PreparedLibraries> load_project_libraries(ShadowFolder& folder,
                                                               const LibraryRequest& request,
                                                               ProcessLibraries& libraries);

// Whether types of the extension at `artifact` live in one of its libraries: a binding library
// that knows them would refuse to know them again.
[[nodiscard]] bool has_types_in_libraries(FileSystem& fs, const LibraryRequest& request);

// Forgets what no current generation runs: its state belongs to retired code.
void keep_running(RunningLibraries& running, const std::vector<const Generation*>& current);

// Where the libraries of a generation are mapped that `successor` does not run, too.
[[nodiscard]] std::vector<LoadedLibrary> libraries_left(
    const std::vector<LibraryInstance>& libraries,
    const std::vector<LibraryInstance>& successor);

}  // namespace rehook
