// What a reload takes along: changed extensions, and those that rely on them.
#include <algorithm>

#include "hook/extension_needs.hpp"
#include "hook/project_libraries.hpp"
#include "hook/session.hpp"
#include "shadow_store/loadable_digest.hpp"

namespace rehook {

// Who runs now (or what was loaded before rehook looked); null when the module is not in
// sys.modules.
LoadedExtension* Session::loaded_extension(Project& project, const BuiltModule& built) {
  if (const auto known = extensions_.find(built.module); known != extensions_.end()) {
    return &known->second;
  }
  const Ref module = loaded_module(built.module);
  if (!module || !PyModule_Check(module.get())) return nullptr;
  const Ref spec = optional_attribute(module.get(), "__spec__");
  LoadedExtension extension;
  extension.name = built.module;
  extension.project = project.root;
  extension.module = module;
  extension.current.file = string_attribute(spec.get(), "origin");
  if (extension.current.file.empty()) {
    extension.current.file = string_attribute(module.get(), "__file__");
  }
  // The build tool may have replaced the file that is mapped: then what runs is not known.
  auto bytes = is_mapping_of_replaced_file(*fs_, extension.current.file)
                   ? Result<std::string>(Error{})
                   : fs_->read(extension.current.file);
  if (bytes) {
    if (auto code = loadable_digest(*bytes)) extension.current.code = *code;
  }
  return &(extensions_[built.module] = std::move(extension));
}

// Whether a module is one of those asked for, or below one; nothing asked for means all.
bool Session::is_wanted(const std::string& module, const Wanted& wanted) {
  return wanted.empty() ||
         std::any_of(wanted.begin(), wanted.end(), [&](const std::string& name) {
           return module == name || module.starts_with(name + ".");
         });
}

void Session::add_extension(Project& project, const BuiltModule& built,
                            LoadedExtension& extension, const std::string& why, Plan& plan) {
  const auto products = project.update->products();
  const auto compiler = products->compilers.find("CXX");
  Reloadable item;
  item.extension = &extension;
  item.artifact = project.update->artifact_path(built);
  item.digest = built.artifact;
  item.libraries = library_request(*store_, *products, built);
  item.groups = groups_of(built);
  item.static_tls = built.static_tls;
  item.build_dir = products->build_dir;
  item.code = built.code;
  item.bindings = built.bindings;
  item.flags = products->compile_groups[built.flags];
  item.layouts = built.layouts;
  if (compiler != products->compilers.end()) item.compiler = compiler->second;
  item.next_number = extension.current.number + 1;
  plan.modules.push_back(std::move(item));
  plan.reasons.push_back(why);
}

void Session::plan(Project& project, const Wanted& wanted, const std::string& reason,
                   Plan& plan, ReloadSummary& summary) {
  const auto products = project.update->products();
  if (!products) return;
  Unchanged same;
  for (const BuiltModule& built : products->modules) {
    if (is_excluded(built.module)) continue;
    LoadedExtension* extension = loaded_extension(project, built);
    if (extension == nullptr) continue;
    if (extension->current.code == built.code || !is_wanted(built.module, wanted)) {
      same.emplace_back(&built, extension);
      continue;
    }
    add_extension(project, built, *extension,
                  reason.empty() ? "a newer build is in the store" : reason, plan);
  }
  std::vector<std::string> made;
  for (const BuiltModule& built : products->modules) made.push_back(built.module);
  ExtensionNeeds needs(*fs_, std::move(made));
  plan_dependants(project, needs, same, plan);
  order_extensions(needs, plan);
  for (const auto& [built, extension] : same) {
    if (!is_wanted(built->module, wanted)) continue;
    summary.unchanged.push_back(built->module);
    forget_failure_of(built->module);
  }
}

// What imports a reloaded extension by name keeps its classes (Cython's cimport does), and what
// derives from its classes keeps their records: it goes along.
void Session::plan_dependants(Project& project, ExtensionNeeds& needs, Unchanged& same,
                              Plan& plan) {
  for (std::size_t i = 0; i < plan.modules.size(); ++i) {
    const std::string name = plan.modules[i].extension->name;
    if (plan.modules[i].extension->project != project.root) continue;
    std::erase_if(same, [&](const auto& other) {
      const auto& [built, extension] = other;
      std::string why =
          needs.why(project.update->artifact_path(*built), extension->module.get(), name);
      const std::set<Digest> groups = groups_of(*built);
      const bool shares = extension->current.code != built->code &&
                          std::any_of(groups.begin(), groups.end(), [&](const Digest& group) {
                            return plan.modules[i].groups.contains(group);
                          });
      if (why.empty() && shares) why = "it shares C++ variables with " + name;
      if (!why.empty()) add_extension(project, *built, *extension, why, plan);
      return !why.empty();
    });
  }
}

// Dependencies first: an import of one that is still to come would find the old build. Modules
// that name each other in a ring have no order; the bound ends the search for one.
void Session::order_extensions(ExtensionNeeds& needs, Plan& plan) {
  const auto comes_after = [&](const Reloadable& user, const Reloadable& provider) {
    return !needs.why(user.artifact, user.extension->module.get(), provider.extension->name)
                .empty();
  };
  std::size_t swaps = plan.modules.size() * plan.modules.size();
  for (std::size_t i = 0; i < plan.modules.size(); ++i) {
    for (std::size_t j = i + 1; j < plan.modules.size() && swaps > 0; ++j) {
      if (!comes_after(plan.modules[i], plan.modules[j]) ||
          comes_after(plan.modules[j], plan.modules[i])) {
        continue;
      }
      std::swap(plan.modules[i], plan.modules[j]);
      std::swap(plan.reasons[i], plan.reasons[j]);
      --swaps;
      j = i;  // look again for the one now at i
    }
  }
}

}  // namespace rehook
