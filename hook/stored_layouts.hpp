#pragma once

#include <vector>

#include "shadow_store/artifact_store.hpp"
#include "shadow_store/class_layout.hpp"

namespace rehook {

// Reads the class layouts of one build, a module and the project's libraries it loads, and puts
// them into the store; gives their digest. What cannot be read is stored as that, with the
// reason; a zero digest when the store refuses. `folder` is the project's own, locked.
[[nodiscard]] Digest store_class_layouts(FileSystem& fs, ArtifactStore& store,
                                         const std::vector<Path>& files, const Path& folder);

// The layouts behind BuiltModule::layouts or Generation::layouts. not_found for a build of
// which they were never read, such as one that rehook did not make.
[[nodiscard]] Result<ClassLayouts> load_class_layouts(FileSystem& fs,
                                                      const ArtifactStore& store,
                                                      const Digest& digest);

}  // namespace rehook
