#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

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
// metadata: PEP 610), and from the parents of sys.path entries that hold a CMakeLists.txt. Both
// answers are remembered until invalidate(). Needs the GIL.
class ProjectRegistry final {
 public:
  ProjectRegistry(BuildContext context, std::vector<Path> named);

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

  [[nodiscard]] const BuildContext& context() const { return context_; }

 private:
  [[nodiscard]] bool provides(Project& project, const std::string& top_level);
  [[nodiscard]] bool mentions(const Path& root, const std::string& name);
  void find_editable_installs();
  [[nodiscard]] Path project_above(const Path& entry);
  [[nodiscard]] bool makes_module(const Path& root, const std::string& name);

  BuildContext context_;
  std::vector<Path> named_;
  std::map<std::string, Project> projects_;  // by root
  std::vector<std::string> order_;
  std::map<std::string, Project*> known_;  // top-level name -> project or null
  std::map<std::string, Path> above_;  // sys.path entry -> project folder above it, or empty
  std::set<std::string> looked_into_;  // sys.path entries searched for editable installs
};

[[nodiscard]] const char* origin_name(ProjectOrigin origin);

}  // namespace rehook
