#include "builder/extension_targets.hpp"

#include <algorithm>
#include <optional>
#include <set>
#include <utility>

#include "builder/module_names.hpp"

namespace rehook {
namespace {

std::string file_name_of(const Target& target) {
  if (!target.name_on_disk.empty() || target.artifacts.empty()) return target.name_on_disk;
  return target.artifacts.front().filename().string();
}

// The name without an extension suffix. A "libfoo.so" is a library that others link against.
std::optional<std::string> stem_of(const Target& target, const ModuleNaming& naming) {
  const bool shared = target.type == "SHARED_LIBRARY";
  if (!shared && target.type != "MODULE_LIBRARY") return std::nullopt;
  const std::string name = file_name_of(target);
  std::optional<std::string> stem = module_stem(name, naming.extension_suffixes);
  if (stem && shared && name.starts_with("lib") && name == *stem + ".so") return std::nullopt;
  return stem;
}

bool is_installed_name(const std::string& stem, const ModuleNaming& naming) {
  return std::any_of(naming.installed.begin(), naming.installed.end(),
                     [&](const auto& entry) { return last_part(entry.first) == stem; });
}

// The value of CMAKE_<CONFIG>_POSTFIX, with which CMake initializes DEBUG_POSTFIX.
std::string cached_postfix(const CodeModel& model) {
  std::string name = "CMAKE_";
  for (const char c : model.configuration) {
    name += c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
  }
  const auto found = model.cache.find(name + "_POSTFIX");
  return found == model.cache.end() ? std::string() : found->second;
}

// "_core_d" -> "_core", when something tells that "_d" was added.
std::string without_postfix(const std::string& stem, const CodeModel& model,
                            const ModuleNaming& naming, const std::set<std::string>& stems) {
  if (is_installed_name(stem, naming)) return stem;
  const std::string postfix = cached_postfix(model);
  if (!postfix.empty() && stem.size() > postfix.size() && stem.ends_with(postfix)) {
    return stem.substr(0, stem.size() - postfix.size());
  }
  for (const auto& entry : naming.installed) {
    std::string known(last_part(entry.first));
    if (!stem.starts_with(known) || stems.contains(known)) continue;
    const std::string rest = stem.substr(known.size());
    const bool separated = rest.size() <= 8 && (rest.front() == '_' || rest.front() == '-');
    if (separated || rest == "d") return known;
  }
  return stem;
}

using Modules = std::set<std::string>;

Modules by_destination(const Target& target, const std::string& stem, const CodeModel& model,
                       const ModuleNaming& naming) {
  Modules all, installed;
  for (const std::string& destination : target.install_destinations) {
    const auto package = package_of_destination(destination, model, naming);
    if (!package) continue;
    const std::string module = join_module(*package, stem);
    all.insert(module);
    if (naming.installed.contains(module)) installed.insert(module);
  }
  return installed.empty() ? all : installed;
}

Modules by_installed_file(const Target& target, const std::string& stem,
                          const ModuleNaming& naming) {
  Modules same_file, same_name;
  for (const auto& [module, file] : naming.installed) {
    if (last_part(module) != stem) continue;
    same_name.insert(module);
    if (Path(file).filename() == file_name_of(target)) same_file.insert(module);
  }
  return same_file.empty() ? same_name : same_file;
}

std::optional<std::string> by_artifact(const Target& target, const std::string& stem,
                                       const CodeModel& model, const ModuleNaming& naming) {
  for (const Path& artifact : target.artifacts) {
    const auto package = package_of_folder(artifact.parent_path(), model, naming);
    if (package) return join_module(*package, stem);
  }
  return std::nullopt;
}

// Usually one; more when the target is installed more than once or nothing decides.
Modules modules_of(const Target& target, const std::string& stem, const CodeModel& model,
                   const ModuleNaming& naming) {
  Modules modules = by_destination(target, stem, model, naming);
  if (!modules.empty()) return modules;
  const std::optional<std::string> artifact = by_artifact(target, stem, model, naming);
  modules = by_installed_file(target, stem, naming);
  if (modules.size() > 1 && artifact && modules.contains(*artifact)) return {*artifact};
  if (!modules.empty()) return modules;
  if (artifact) return {*artifact};
  // A package's folder hides a top-level module of the same name, so this is the better guess.
  if (naming.packages.size() == 1) return {join_module(naming.packages.begin()->first, stem)};
  return {stem};
}

std::string in_words(const ExtensionTarget& target) {
  return target.module + " (target " + target.target_name +
         (target.defined_in.empty() ? "" : ", " + target.defined_in) + ")";
}

// An installed module whose place the CMake files do not tell: the one target with that base
// name whose own name nobody installed.
std::optional<ExtensionTarget> by_installed_base_name(const std::vector<ExtensionTarget>& all,
                                                      const ModuleNaming& naming,
                                                      const std::string& module) {
  std::optional<ExtensionTarget> found;
  if (!naming.installed.contains(module)) return found;
  for (const ExtensionTarget& target : all) {
    if (last_part(target.module) != last_part(module)) continue;
    if (found || naming.installed.contains(target.module)) return std::nullopt;
    found = target;
    found->module = module;
  }
  return found;
}

Error nothing_makes(const std::string& module, const CodeModel& model,
                    const std::vector<ExtensionTarget>& all) {
  const std::string top = (model.source_dir / "CMakeLists.txt").string();
  if (all.empty()) {
    return Error{
        ErrorCode::not_found, "no target of " + top + " makes a Python extension module",
        "make one with pybind11_add_module, nanobind_add_module or Python_add_library"};
  }
  std::string names;
  for (const ExtensionTarget& target : all) {
    names += (names.empty() ? "" : ", ") + in_words(target);
  }
  return Error{
      ErrorCode::not_found, "no target of " + top + " makes " + module + "; it has " + names,
      "if one of them is meant, say so: targets = {\"" + module + "\" = \"<target>\"}"};
}

}  // namespace

std::vector<ExtensionTarget> find_extension_targets(const CodeModel& model,
                                                    const ModuleNaming& naming) {
  std::set<std::string> stems;
  for (const Target& target : model.targets) {
    if (auto stem = stem_of(target, naming)) stems.insert(*stem);
  }
  std::vector<ExtensionTarget> result;
  for (const Target& target : model.targets) {
    const std::optional<std::string> stem = stem_of(target, naming);
    if (!stem) continue;
    const std::string name = without_postfix(*stem, model, naming, stems);
    if (!is_identifier(name)) continue;  // for another Python: "_core.cpython-310-…"
    const Path artifact = target.artifacts.empty() ? model.build_dir / file_name_of(target)
                                                   : target.artifacts.front();
    for (const std::string& module : modules_of(target, name, model, naming)) {
      result.push_back({module, target.id, target.name, artifact, target.defined_in});
    }
  }
  std::stable_sort(result.begin(), result.end(), [](const auto& left, const auto& right) {
    return left.module < right.module;
  });
  return result;
}

Result<ExtensionTarget> find_extension_target(const CodeModel& model,
                                              const ModuleNaming& naming,
                                              const std::string& module) {
  const std::vector<ExtensionTarget> all = find_extension_targets(model, naming);
  std::vector<ExtensionTarget> matches;
  std::copy_if(all.begin(), all.end(), std::back_inserter(matches),
               [&](const ExtensionTarget& target) { return target.module == module; });
  if (matches.size() == 1) return matches.front();
  if (matches.empty()) {
    if (auto found = by_installed_base_name(all, naming, module)) return *found;
    return nothing_makes(module, model, all);
  }
  return Error{
      ErrorCode::invalid,
      "two targets make " + module + ": " + in_words(matches[0]) + " and " +
          in_words(matches[1]),
      "choose one: targets = {\"" + module + "\" = \"" + matches[0].target_name + "\"}"};
}

std::string match_init(const std::string& stem, const std::vector<std::string>& symbols) {
  constexpr std::string_view k_prefix = "PyInit_";
  std::string best;
  for (const std::string& symbol : symbols) {
    if (!symbol.starts_with(k_prefix)) continue;
    std::string name = symbol.substr(k_prefix.size());
    if (stem.starts_with(name) && name.size() > best.size()) best = std::move(name);
  }
  return best.empty() ? stem : best;
}

std::vector<const Target*> dependency_closure(const CodeModel& model,
                                              const std::string& target_id) {
  std::map<std::string, const Target*> by_id;
  for (const Target& target : model.targets) by_id.emplace(target.id, &target);
  std::vector<const Target*> closure;
  std::set<std::string> seen;
  std::vector<std::string> open = {target_id};
  for (std::size_t next = 0; next < open.size(); ++next) {
    const auto found = by_id.find(open[next]);
    if (found == by_id.end() || !seen.insert(found->first).second) continue;
    closure.push_back(found->second);
    const std::vector<std::string> dependencies = found->second->dependencies;
    open.insert(open.end(), dependencies.begin(), dependencies.end());
  }
  return closure;
}

}  // namespace rehook
