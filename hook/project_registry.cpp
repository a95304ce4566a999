#include "hook/project_registry.hpp"

#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <string_view>

#include "hook/search_path.hpp"

namespace rehook {
namespace {

constexpr int k_max_levels_up = 4;

bool is_site_folder(const Path& path) {
  const std::string name = path.filename().string();
  return name == "site-packages" || name == "dist-packages" || name == "lib-dynload" ||
         name.starts_with("python3") || name.ends_with(".zip");
}

std::string percent_decoded(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '%' && i + 2 < text.size() &&
        std::isxdigit(static_cast<unsigned char>(text[i + 1])) != 0 &&
        std::isxdigit(static_cast<unsigned char>(text[i + 2])) != 0) {
      out += static_cast<char>(std::stoi(std::string(text.substr(i + 1, 2)), nullptr, 16));
      i += 2;
    } else {
      out += text[i];
    }
  }
  return out;
}

// The folder behind {"dir_info": {"editable": true}, "url": "file:///…"} (PEP 610), or empty.
Path editable_root(const std::string& direct_url) {
  if (direct_url.find("\"editable\"") == std::string::npos) return {};
  const std::size_t flag = direct_url.find("true", direct_url.find("\"editable\""));
  const std::size_t url = direct_url.find("\"file://");
  if (flag == std::string::npos || url == std::string::npos) return {};
  const std::size_t start = url + 8;
  const std::size_t end = direct_url.find('"', start);
  if (end == std::string::npos) return {};
  return percent_decoded(std::string_view(direct_url).substr(start, end - start));
}

bool is_word(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_';
}

bool has_word(const std::string& text, const std::string& word) {
  for (std::size_t at = text.find(word); at != std::string::npos;
       at = text.find(word, at + 1)) {
    const bool starts = at == 0 || !is_word(text[at - 1]);
    const std::size_t end = at + word.size();
    if (starts && (end == text.size() || !is_word(text[end]))) return true;
  }
  return false;
}

// Whether CMake code makes a target of that name: `…add_module(name`, `…add_library(name`, or
// names its output so: `OUTPUT_NAME name`.
bool makes_target(const std::string& cmake, const std::string& name) {
  for (std::size_t at = cmake.find(name); at != std::string::npos;
       at = cmake.find(name, at + 1)) {
    const std::size_t end = at + name.size();
    if ((at > 0 && is_word(cmake[at - 1])) || (end < cmake.size() && is_word(cmake[end]))) {
      continue;
    }
    std::string before = cmake.substr(at < 200 ? 0 : at - 200, at < 200 ? at : 200);
    while (!before.empty() && (std::isspace(static_cast<unsigned char>(before.back())) != 0 ||
                               before.back() == '"')) {
      before.pop_back();
    }
    if (before.ends_with("OUTPUT_NAME")) return true;
    if (!before.ends_with('(')) continue;
    before.pop_back();
    while (!before.empty() && before.back() == ' ') before.pop_back();
    for (char& c : before) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    if (before.ends_with("add_module") || before.ends_with("add_library")) return true;
  }
  return false;
}

// Whether CMake code makes any extension module: `pybind11_add_module(`, `python_add_library(`,
// `add_library(name MODULE`.
bool makes_extension(const std::string& cmake) {
  std::string text = cmake;
  for (char& c : text) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  if (text.find("add_module(") != std::string::npos ||
      text.find("add_module (") != std::string::npos) {
    return true;
  }
  return text.find("add_library") != std::string::npos && has_word(cmake, "MODULE");
}

// Whether `accepts` says yes to the CMakeLists.txt of a folder or of one directly below it.
template <typename Accepts>
bool any_cmake_file(FileSystem& fs, const Path& root, Accepts accepts) {
  auto text = fs.read(root / "CMakeLists.txt");
  if (text && accepts(*text)) return true;
  auto entries = fs.list(root);
  if (!text || !entries) return false;
  return std::any_of(entries->begin(), entries->end(), [&](const std::string& entry) {
    FileStat stat;
    const Path file = root / entry / "CMakeLists.txt";
    if (!fs.lookup(file.c_str(), stat)) return false;
    auto nested = fs.read(file);
    return nested && accepts(*nested);
  });
}

// Whether the folder is the user's own, with its CMakeLists.txt, and not open to everybody: in
// one like /tmp, what is found is anyone's.
bool is_users_own(FileSystem& fs, const Path& root) {
  constexpr std::uint32_t k_writable_by_all = 02;
  FileStat folder;
  FileStat file;
  return fs.lookup(root.c_str(), folder) &&
         fs.lookup((root / "CMakeLists.txt").c_str(), file) && folder.uid == ::geteuid() &&
         file.uid == ::geteuid() && ((folder.mode | file.mode) & k_writable_by_all) == 0;
}

}  // namespace

const char* origin_name(ProjectOrigin origin) {
  switch (origin) {
    case ProjectOrigin::named:
      return "explicit";
    case ProjectOrigin::editable:
      return "editable";
    case ProjectOrigin::search_path:
      return "sys.path";
  }
  return "";
}

ProjectRegistry::ProjectRegistry(BuildContext context, std::vector<Path> named,
                                 AllowedFolders allowed)
    : context_(std::move(context)), allowed_(std::move(allowed)), named_(std::move(named)) {
  for (const Path& root : named_) std::ignore = add(root, ProjectOrigin::named);
}

Project& ProjectRegistry::add(const Path& root, ProjectOrigin origin) {
  Path normal = root.lexically_normal();
  if (!normal.has_filename()) normal = normal.parent_path();
  const auto [at, is_new] = projects_.try_emplace(normal.native());
  if (is_new) {
    at->second.root = normal;
    at->second.origin = origin;
    at->second.update = std::make_unique<ProjectUpdate>(context_, normal);
    order_.push_back(normal.native());
  }
  return at->second;
}

std::vector<Project*> ProjectRegistry::all() {
  std::vector<Project*> projects;
  for (const std::string& root : order_) projects.push_back(&projects_.at(root));
  return projects;
}

void ProjectRegistry::invalidate() {
  known_.clear();
  looked_into_.clear();
  above_.clear();
  refused_.clear();
  for (auto& [root, project] : projects_) project.decided_for = nullptr;
}

Result<const ProjectDescription*> ProjectRegistry::description(Project& project) {
  if (!project.description) {
    auto described = context_.describe(project.root);
    if (!described) return std::move(described).error();
    project.description = std::move(*described);
  }
  return &*project.description;
}

Path ProjectRegistry::package_folder(Project& project, const std::string& top_level) {
  const std::map<std::string, Path>* packages = nullptr;
  const auto products = project.update->products();
  if (products) {
    packages = &products->packages;
  } else if (auto described = description(project)) {
    packages = &(*described)->naming.packages;
  }
  if (packages == nullptr) return {};
  const auto found = packages->find(top_level);
  return found == packages->end() ? Path() : found->second;
}

bool ProjectRegistry::mentions(const Path& root, const std::string& name) {
  FileStat stat;
  for (const char* folder : {"", "src", "python", "lib"}) {
    const Path candidate = root / folder / name;
    if (context_.fs->lookup(candidate.c_str(), stat) && stat.is_directory()) return true;
  }
  for (const char* file : {"CMakeLists.txt", "pyproject.toml", "setup.py", "setup.cfg"}) {
    auto text = context_.fs->read(root / file);
    if (text && has_word(*text, name)) return true;
  }
  return false;
}

bool ProjectRegistry::provides(Project& project, const std::string& top_level) {
  if (const auto state = project.update->products()) {
    if (state->packages.contains(top_level)) return true;
    const std::string prefix = top_level + ".";
    return std::any_of(state->modules.begin(), state->modules.end(),
                       [&](const BuiltModule& module) {
                         return module.module == top_level || module.module.starts_with(prefix);
                       });
  }
  if (!mentions(project.root, top_level)) return false;
  auto described = description(project);
  if (!described) {
    return project.origin == ProjectOrigin::named;  // the import tells what is wrong
  }
  const ModuleNaming& naming = (*described)->naming;
  if (naming.packages.contains(top_level) || naming.installed.contains(top_level)) return true;
  // A top-level extension module: only CMake knows for sure. Where somebody named or installed
  // the project and it has no package at all, finding out is worth a configuration.
  if (project.origin != ProjectOrigin::search_path && naming.packages.empty()) return true;
  return makes_module(project.root, top_level);
}

bool ProjectRegistry::makes_module(const Path& root, const std::string& name) {
  return any_cmake_file(*context_.fs, root,
                        [&](const std::string& text) { return makes_target(text, name); });
}

bool ProjectRegistry::makes_extensions(const Path& root) {
  return any_cmake_file(*context_.fs, root, &makes_extension);
}

Path ProjectRegistry::refused(const std::string& top_level) const {
  const auto found = refused_.find(top_level);
  return found == refused_.end() ? Path() : found->second;
}

void ProjectRegistry::find_editable_installs() {
  for (const Path& entry : search_path()) {
    if (!looked_into_.insert(entry.native()).second) continue;
    if (!is_own_site_folder(entry)) continue;
    auto names = context_.fs->list(entry);
    if (!names) continue;
    for (const std::string& name : *names) {
      if (!name.ends_with(".dist-info")) continue;
      const Path file = entry / name / "direct_url.json";
      FileStat stat;
      if (!context_.fs->lookup(file.c_str(), stat)) continue;
      auto text = context_.fs->read(file);
      const Path root = text ? editable_root(*text) : Path();
      if (root.empty() || !context_.fs->lookup((root / "CMakeLists.txt").c_str(), stat)) {
        continue;
      }
      std::ignore = add(root, ProjectOrigin::editable);
    }
  }
}

// The nearest folder with a CMakeLists.txt, from a sys.path entry upwards, not beyond a
// repository's top.
Path ProjectRegistry::project_above(const Path& entry) {
  const auto [known, is_new] = above_.try_emplace(entry.native());
  if (!is_new) return known->second;
  FileStat stat;
  Path folder = entry.lexically_normal();
  if (!folder.has_filename()) folder = folder.parent_path();
  for (int level = 0; level < k_max_levels_up && folder.has_relative_path(); ++level) {
    if (context_.fs->lookup((folder / "CMakeLists.txt").c_str(), stat)) {
      return known->second = folder;
    }
    if (context_.fs->lookup((folder / ".git").c_str(), stat)) break;
    folder = folder.parent_path();
  }
  return {};
}

bool ProjectRegistry::is_chosen(const Path& root) {
  if (!is_users_own(*context_.fs, root)) return false;
  const std::vector<Path> entries = chosen_search_path();
  return std::any_of(entries.begin(), entries.end(), [&](const Path& entry) {
    return !is_site_folder(entry) && project_above(entry) == root;
  });
}

Project* ProjectRegistry::find(const std::string& top_level) {
  if (const auto known = known_.find(top_level); known != known_.end()) return known->second;
  if (PyObject* standard = PySys_GetObject("stdlib_module_names"); standard != nullptr) {
    const Ref name = from_string(top_level);
    if (PySet_Contains(standard, name.get()) == 1) return nullptr;
    PyErr_Clear();
  }
  find_editable_installs();
  for (Project* project : all()) {
    if (project->origin == ProjectOrigin::search_path) continue;
    if (provides(*project, top_level)) return known_[top_level] = project;
  }
  for (const Path& entry : search_path()) {
    if (is_site_folder(entry)) continue;
    const Path root = project_above(entry);
    if (root.empty()) continue;
    FileStat stat;
    bool has_package =
        context_.fs->lookup((entry / top_level).c_str(), stat) && stat.is_directory();
    for (const char* folder : {"src", "python", "lib"}) {  // the working directory is a project
      const Path package = root / folder / top_level;
      has_package |=
          entry == root && context_.fs->lookup(package.c_str(), stat) && stat.is_directory();
    }
    if (!has_package && !makes_module(root, top_level)) continue;
    if (!is_chosen(root) && !allowed_.contains(root)) {
      if (makes_extensions(root)) refused_[top_level] = root;
      break;
    }
    Project& project = add(root, ProjectOrigin::search_path);
    if (provides(project, top_level)) return known_[top_level] = &project;
    break;
  }
  return known_[top_level] = nullptr;
}

}  // namespace rehook
