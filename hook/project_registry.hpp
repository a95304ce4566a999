#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "hook/allowed_folders.hpp"
#include "hook/interpreter.hpp"
#include "hook/project_update.hpp"

namespace rehook {

enum class ProjectOrigin { named, editable, search_path };

// A CMake project that rehook may serve modules of.
struct Project {
  Path root;
  ProjectOrigin origin = ProjectOrigin::named;
  std::unique_ptr<ProjectUpdate> update;
  std::optional<ProjectDescription> description;  // known once it was needed
  const void* decided_for =
      nullptr;                     // the package import during which the last decision was made
  std::optional<Error> undecided;  // why that failed
};

// Knows which project a top-level module name belongs to. Projects come, in this order, from
// the `projects` setting, from editable installs (direct_url.json beside the installed
// metadata: PEP 610), and from the parents of sys.path entries that hold a CMakeLists.txt. Of
// the last ones, those that are found only because of where the interpreter was started are
// served only if the user allowed their folder (README.md, "Who may be built"). Both answers
// are remembered until invalidate(). Needs the GIL.
class ProjectRegistry final {
 public:
  ProjectRegistry(BuildContext context, std::vector<Path> named, AllowedFolders allowed);

  // Null: not ours. May run the project description (Python) for a name that a project could
  // provide.
  [[nodiscard]] Project* find(const std::string& top_level);
  // The project with this root, added when new.
  [[nodiscard]] Project& add(const Path& root, ProjectOrigin origin);
  [[nodiscard]] std::vector<Project*> all();
  // The description, made now if it must be.
  [[nodiscard]] Result<const ProjectDescription*> description(Project& project);
  // Source folder of a top-level package of the project, or empty.
  [[nodiscard]] Path package_folder(Project& project, const std::string& top_level);
  void invalidate();
  // The project that makes extensions and seems to provide `top_level`, but that nobody allowed
  // to be built, or empty. Known after find().
  [[nodiscard]] Path refused(const std::string& top_level) const;
  // Whether CMake code in `root` seems to make a module of that name. Runs nothing.
  [[nodiscard]] bool makes_module(const Path& root, const std::string& name);

  [[nodiscard]] const BuildContext& context() const { return context_; }

 private:
  [[nodiscard]] bool provides(Project& project, const std::string& top_level);
  [[nodiscard]] bool mentions(const Path& root, const std::string& name);
  void find_editable_installs();
  [[nodiscard]] Path project_above(const Path& entry);
  // Whether `root` is the user's own and is found from an entry that somebody put on sys.path.
  [[nodiscard]] bool is_chosen(const Path& root);
  [[nodiscard]] bool makes_extensions(const Path& root);

  BuildContext context_;
  AllowedFolders allowed_;
  std::map<std::string, Path> refused_;  // top-level name -> project folder
  std::vector<Path> named_;
  std::map<std::string, Project> projects_;  // by root
  std::vector<std::string> order_;
  std::map<std::string, Project*> known_;  // top-level name -> project or null
  std::map<std::string, Path> above_;  // sys.path entry -> project folder above it, or empty
  std::set<std::string> looked_into_;  // sys.path entries searched for editable installs
};

[[nodiscard]] const char* origin_name(ProjectOrigin origin);

}  // namespace rehook
