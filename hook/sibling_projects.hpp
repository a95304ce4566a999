#pragma once

#include <optional>
#include <string>
#include <vector>

#include "builder/git_state.hpp"
#include "builder/project_state.hpp"
#include "shadow_store/artifact_store.hpp"

namespace rehook {

// Siblings are the same project in other working trees of one git repository (`git worktree`):
// what was built in one serves the others, as long as all inputs have the same content and
// nothing that is loaded tells in which tree it was built.

// What siblings have in common, in one line; empty outside a repository.
[[nodiscard]] std::string family_of(const GitState& git, const Path& root);

// Writes it beside a project's state, for its siblings to find. Best effort.
void remember_family(FileSystem& fs, const Path& folder, const std::string& family);
// What remember_family() wrote, or empty.
[[nodiscard]] std::string known_family(FileSystem& fs, const Path& folder);

// The folders, in the store, of the siblings of the project whose folder is given, in the same
// configuration.
[[nodiscard]] std::vector<Path> sibling_folders(FileSystem& fs, const Path& folder,
                                                const std::string& family);

// The working tree that the project in `root` is part of; nothing, when its name does not tell.
[[nodiscard]] std::optional<Path> tree_of(const Path& root, const std::string& family);

// The same build as if it had been made in `root` with the build folder `build_dir`: what is in
// the record's working tree is looked for in that of `root`. Nothing, when it can't be told
// from the record alone: the build folder has Python files of the package.
[[nodiscard]] std::optional<ProjectState> moved_to(ProjectState record, const Path& tree,
                                                   const Path& root, const Path& root_tree,
                                                   const Path& build_dir);

// Whether any input is in the working tree `other` after all, by whatever name or link, and not
// in `own`.
[[nodiscard]] bool reads_from(const ProjectState& state, const Path& other, const Path& own);

// Whether something that is loaded of the build holds the name of its tree, as __FILE__, a
// definition or a RUNPATH put it there; also when that can't be read.
[[nodiscard]] bool names_its_tree(FileSystem& fs, const ArtifactStore& store,
                                  const ProjectState& record, const Path& tree);

}  // namespace rehook
