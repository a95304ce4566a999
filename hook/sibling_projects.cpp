#include "hook/sibling_projects.hpp"

#include <algorithm>
#include <array>
#include <string_view>
#include <system_error>
#include <tuple>
#include <utility>

#include "shadow_store/loadable_digest.hpp"

namespace rehook {
namespace {

constexpr const char* k_family = "repository";

Path real(const Path& path) {
  std::error_code failed;
  Path result = std::filesystem::weakly_canonical(path, failed);
  return failed ? path : result;
}

bool is_at_or_below(std::string_view name, const Path& folder) {
  const std::string& text = folder.native();
  return name.starts_with(text) && (name.size() == text.size() || name[text.size()] == '/');
}

// Moves names from folders to others; the first folder that a name is in counts.
class Move final {
 public:
  explicit Move(std::vector<std::pair<Path, Path>> folders) : folders_(std::move(folders)) {}

  void apply(std::string& name) const {
    for (const auto& [from, to] : folders_) {
      if (!is_at_or_below(name, from)) continue;
      name.replace(0, from.native().size(), to.native());
      return;
    }
  }
  void apply(Path& path) const {
    std::string name = path.native();
    apply(name);
    path = std::move(name);
  }
  // For "-I/old/include" and the like.
  void apply_inside(std::string& text) const {
    const std::size_t start = text.find('/');
    if (start == std::string::npos) return;
    std::string name = text.substr(start);
    apply(name);
    text.replace(start, std::string::npos, name);
  }

 private:
  std::vector<std::pair<Path, Path>> folders_;
};

void move_all(ProjectState& state, const Move& move) {
  move.apply(state.build_dir);
  move.apply(state.source_dir);
  for (Input& input : state.inputs) {
    if (input.kind != InputKind::value) move.apply(input.name);
  }
  for (BuiltModule& module : state.modules) {
    move.apply(module.output);
    for (BuiltLibrary& library : module.libraries) move.apply(library.output);
  }
  for (auto& [name, path] : state.packages) move.apply(path);
  for (auto& [name, path] : state.python_files) move.apply(path);
  for (Path& path : state.description_inputs) move.apply(path);
  for (CompileGroup& group : state.compile_groups) {
    for (Path& path : group.includes) move.apply(path);
    for (Path& path : group.system_includes) move.apply(path);
    for (std::string& flag : group.flags) move.apply_inside(flag);
    for (std::string& define : group.defines) move.apply_inside(define);
  }
}

}  // namespace

std::string family_of(const GitState& git, const Path& root) {
  if (!git.is_repository || git.worktree.empty() || git.common_dir.empty()) return "";
  const Path inside = real(root).lexically_relative(real(git.worktree));
  std::string line = real(git.common_dir).native() + "\t" + inside.native();
  return line.find('\n') == std::string::npos ? line + "\n" : "";
}

void remember_family(FileSystem& fs, const Path& folder, const std::string& family) {
  if (family.empty() || known_family(fs, folder) == family) return;
  std::ignore = fs.write_atomic(folder / k_family, family);
}

std::string known_family(FileSystem& fs, const Path& folder) {
  auto text = fs.read(folder / k_family);
  return text ? std::move(*text) : std::string();
}

std::vector<Path> sibling_folders(FileSystem& fs, const Path& folder,
                                  const std::string& family) {
  std::vector<Path> found;
  if (family.empty()) return found;
  const Path projects = folder.parent_path().parent_path();
  const Result<std::vector<std::string>> names = fs.list(projects);
  if (!names) return found;
  for (const std::string& name : *names) {
    Path other = projects / name / folder.filename();
    if (other != folder && known_family(fs, other) == family) found.push_back(std::move(other));
  }
  return found;
}

std::optional<Path> tree_of(const Path& root, const std::string& family) {
  const std::size_t tab = family.find('\t');
  if (tab == std::string::npos || !family.ends_with('\n')) return std::nullopt;
  const std::string inside = family.substr(tab + 1, family.size() - tab - 2);
  if (inside == ".") return root;
  const std::string& name = root.native();
  if (!name.ends_with("/" + inside)) return std::nullopt;  // a link leads into the tree
  return Path(name.substr(0, name.size() - inside.size() - 1));
}

std::optional<ProjectState> moved_to(ProjectState record, const Path& tree, const Path& root,
                                     const Path& root_tree, const Path& build_dir) {
  for (const auto& [name, path] : record.python_files) {
    if (is_at_or_below(path.native(), record.build_dir)) return std::nullopt;
  }
  move_all(record, Move({{record.build_dir, build_dir}, {tree, root_tree}}));
  record.root = root;
  record.build_dir = build_dir;
  record.built.clear();
  return record;
}

bool reads_from(const ProjectState& state, const Path& other, const Path& own) {
  const Path there = real(other);
  const Path here = real(own);
  const bool own_is_inside = is_at_or_below(here.native(), there);
  return std::any_of(state.inputs.begin(), state.inputs.end(), [&](const Input& input) {
    if (input.kind == InputKind::value) return false;
    const Path file = real(input.name);
    return is_at_or_below(file.native(), there) &&
           !(own_is_inside && is_at_or_below(file.native(), here));
  });
}

bool names_its_tree(FileSystem& fs, const ArtifactStore& store, const ProjectState& record,
                    const Path& tree) {
  const std::array names = {tree.native(), real(tree).native(), record.build_dir.native()};
  const auto names_it = [&](const Digest& artifact, const Path& output) {
    const auto bytes = fs.read(store.object_path(artifact, output.filename().native()));
    return !bytes || std::any_of(names.begin(), names.end(), [&](const std::string& name) {
      return is_loaded_with(*bytes, name);
    });
  };
  return std::any_of(record.modules.begin(), record.modules.end(),
                     [&](const BuiltModule& module) {
                       return names_it(module.artifact, module.output) ||
                              std::any_of(module.libraries.begin(), module.libraries.end(),
                                          [&](const BuiltLibrary& library) {
                                            return library.is_private &&
                                                   names_it(library.artifact, library.output);
                                          });
                     });
}

}  // namespace rehook
