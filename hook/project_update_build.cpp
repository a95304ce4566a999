// The building half of ProjectUpdate: configure, build until nothing moved, publish.
#include <algorithm>
#include <chrono>
#include <set>
#include <unordered_map>

#include "builder/object_shelf.hpp"
#include "hook/project_libraries.hpp"
#include "hook/project_update.hpp"
#include "hook/stored_layouts.hpp"
#include "shadow_store/base/platform.hpp"
#include "shadow_store/base/timestamp.hpp"
#include "shadow_store/base/trace.hpp"
#include "shadow_store/elf_image.hpp"
#include "shadow_store/loadable_digest.hpp"

namespace rehook {
namespace {

// A build that keeps being overtaken by edits is given up after this many rounds.
constexpr int k_max_rounds = 3;

constexpr const char* k_changing = "changing";

// Module name of an installed Python file: "<site>/pkg/_version.py" -> "pkg._version".
std::string python_module_of(const InstalledFile& file, const CodeModel& model,
                             const std::string& install_dir) {
  if (file.from.extension() != ".py") return "";
  Path destination = file.destination;
  if (destination.is_absolute()) {
    for (const char* variable : {"SKBUILD_PLATLIB_DIR", "CMAKE_INSTALL_PREFIX"}) {
      const auto base = model.cache.find(variable);
      if (base == model.cache.end() || base->second.empty()) continue;
      const Path relative = destination.lexically_relative(base->second);
      if (relative.empty() || relative.native().starts_with("..")) continue;
      destination = relative;
      break;
    }
    if (destination.is_absolute()) return "";
  } else if (!install_dir.empty()) {
    destination = Path(install_dir) / destination;
  }
  const std::string name = file.to.empty() ? file.from.filename().string() : file.to;
  Path path = (destination / name).lexically_normal();
  path.replace_extension();
  if (path.filename() == "__init__") path = path.parent_path();
  std::string module = path.native();
  std::replace(module.begin(), module.end(), '/', '.');
  return module.starts_with(".") ? "" : module;
}

// Tools rarely say that a disk is full, and then each in its own way.
Status explain_full_disk(Status status, const Path& folder) {
  constexpr std::uint64_t k_next_to_nothing = 256 * 1024;
  if (status || mount_facts(folder).free_bytes >= k_next_to_nothing) return status;
  Error error = std::move(status).error();
  error.code = ErrorCode::io;  // tried again without an edit
  error.message = "no space left on the disk of " + folder.string() + ": " + error.message;
  error.hint = "make room (rehook store gc), or choose another disk: the setting store-dir";
  return error;
}

// Which shared libraries are the project's own.
LibrarySearch library_search(const CodeModel& model, const Path& root,
                             const ValueMap& interpreter) {
  LibrarySearch search;
  search.own = {root, model.source_dir, model.build_dir};
  if (const auto prefix = interpreter.find("python prefix"); prefix != interpreter.end()) {
    search.others.emplace_back(prefix->second);
  }
  for (const Target& target : model.targets) {
    if (target.type != "SHARED_LIBRARY") continue;
    search.artifacts.insert(search.artifacts.end(), target.artifacts.begin(),
                            target.artifacts.end());
  }
  return search;
}

// How the C++ of an extension is compiled; empty when it has none.
CompileGroup cxx_flags(const CodeModel& model, const ExtensionTarget& extension) {
  for (const Target& target : model.targets) {
    if (target.id != extension.target_id) continue;
    for (const CompileGroup& group : target.compile_groups) {
      if (group.language == "CXX") return group;
    }
  }
  return {};
}

// The number of the group in `groups`, to which it is added unless it is there.
std::uint32_t index_of(const CompileGroup& group, std::vector<CompileGroup>& groups) {
  const auto same = [&](const CompileGroup& other) {
    return other.standard == group.standard && other.flags == group.flags &&
           other.defines == group.defines && other.includes == group.includes;
  };
  const auto found = std::find_if(groups.begin(), groups.end(), same);
  const auto index = static_cast<std::uint32_t>(found - groups.begin());
  if (found == groups.end()) groups.push_back(group);
  return index;
}

}  // namespace

ProjectDescription ProjectUpdate::description_from(const ProjectState& state) const {
  ProjectDescription project;
  project.root = root_;
  project.source_dir = state.source_dir;
  project.build_type = state.build_type;
  project.environment = state.environment;
  project.inputs = state.description_inputs;
  project.exclude = state.exclude;
  project.naming.packages = state.packages;
  project.naming.extension_suffixes = context_.extension_suffixes;
  return project;
}

// Inputs that differ from what the build folder was last configured and built with: their time
// stamps need not tell, and a build served from the store left the folder as it was.
ProjectUpdate::Unseen ProjectUpdate::unseen_by_build_tool(const Look& look) const {
  Unseen unseen;
  for (std::size_t i = 0; i < look.current.size(); ++i) {
    const Input& input = look.current[i];
    const auto built = state_->built.find(input.name);
    // state_->inputs holds the content of the last good build, in the same order.
    const Digest& in_folder =
        built == state_->built.end() ? state_->inputs[i].digest : built->second;
    if (in_folder == input.digest) continue;
    unseen.role = std::max(unseen.role, input.role);
    if (input.kind == InputKind::file) unseen.files.push_back(input.name);
  }
  return unseen;
}

// Between the first change of a build folder and the state that tells what became of it, a file
// says so. Found by the next build, it means that this one was killed, canceled, or could not
// be recorded: whatever the objects were made from, it may not be what the state says.
bool ProjectUpdate::folder_is_as_recorded() {
  FileStat stat;
  return !context_.fs->lookup((folder_ / k_changing).c_str(), stat);
}

bool ProjectUpdate::mark_folder_as_changing() {
  return context_.fs->append(folder_ / k_changing, "").ok();
}

void ProjectUpdate::mark_folder_as_recorded() {
  std::ignore = context_.fs->remove(folder_ / k_changing, MissingOk::yes);
}

// Objects of an earlier state of the sources come back, those of the present one go aside.
std::set<Path> ProjectUpdate::exchange_objects(const Look& look) {
  Contents was, now;
  std::string toolchain;
  for (const Input& input : state_->inputs) was[input.name] = input.digest;
  for (const auto& [name, digest] : state_->built) was[name] = digest;
  for (const Input& input : look.current) {
    now[input.name] = input.digest;
    if (input.kind == InputKind::value) toolchain += input.name + "=" + input.text + "\n";
  }
  ObjectShelf shelf(*context_.fs, build_dir_, folder_ / "shelf", std::move(toolchain));
  return shelf.exchange(was, now);
}

void ProjectUpdate::remember_attempt(const std::vector<Input>& current) {
  for (const Input& input : current) state_->built[input.name] = input.digest;
  for (const Input& input : state_->inputs) {
    const auto attempted = state_->built.find(input.name);
    if (attempted != state_->built.end() && attempted->second == input.digest) {
      state_->built.erase(attempted);
    }
  }
  std::ignore = save_state(*state_);
}

Status ProjectUpdate::build(const Look& look, Force force, const BuildEvents& events,
                            UpdateOutcome& outcome) {
  if (state_ && !state_->build_dir.empty() && context_.build_dir.empty()) {
    build_dir_ = state_->build_dir;
  }
  BuildFolder folder(*context_.fs, *context_.runner, build_dir_);
  if (!state_ && build_dir_ == folder_ / "build") {
    // Nothing is known of what is in our folder: believing its objects could revive an older
    // source.
    REHOOK_TRY(context_.fs->remove_tree(build_dir_));
  }
  const Unseen unseen = state_ ? unseen_by_build_tool(look) : Unseen{};
  const Rebuild* rebuild = std::get_if<Rebuild>(&look.freshness);
  const InputRole role =
      std::max(rebuild == nullptr ? InputRole::compile : rebuild->role, unseen.role);
  const bool configure = !state_ || state_->modules.empty() || role >= InputRole::configure ||
                         force == Force::yes || !folder.is_configured();
  ProjectDescription project;
  if (configure) {
    auto described = context_.describe(root_);
    if (!described) return std::move(described).error();
    project = std::move(*described);
    if (context_.build_dir.empty()) {
      build_dir_ = project.build_dir.empty() ? folder_ / "build"
                                             : (root_ / project.build_dir).lexically_normal();
      folder = BuildFolder(*context_.fs, *context_.runner, build_dir_);
    }
  } else {
    project = description_from(*state_);
  }

  if (state_) {
    std::set<Path> kept;
    const bool is_as_recorded = folder_is_as_recorded();
    if (mark_folder_as_changing() && is_as_recorded && role < InputRole::toolchain &&
        force == Force::no && build_dir_ == folder_ / "build") {
      kept = exchange_objects(look);
    }
    std::ignore = folder.forget_outputs_of(unseen.files, kept);
    remember_attempt(look.current);
  }

  outcome.configured = configure;
  ProjectState next;
  Status status = run_build(folder, project, configure,
                            state_ && role == InputRole::toolchain ? Fresh::yes : Fresh::no,
                            look.current, events, next);
  if (!status) {
    status = explain_full_disk(std::move(status), folder.dir());
    if (!next.inputs.empty() && (!state_ || state_->modules.empty())) {
      // A first build that failed half way: what the tool has seen must be known to the next
      // try.
      for (const Input& input : next.inputs) next.built.emplace(input.name, input.digest);
      next.modules.clear();
      next.fingerprint = fingerprint_digest(next.inputs);
      state_ = std::move(next);
      if (save_state(*state_)) mark_folder_as_recorded();
      remember_failure(status.error(), state_->inputs);
    } else {
      if (state_ && !next.inputs.empty()) {  // they were measured after the build
        for (const auto& [name, unknown] : next.built) state_->built[name] = unknown;
        if (save_state(*state_)) mark_folder_as_recorded();
      }
      remember_failure(status.error(), look.current);
    }
    return status;
  }
  state_ = std::move(next);
  return ok_status();
}

// Configured if it must be, and what CMake says the project is made of.
Result<CodeModel> ProjectUpdate::ready_model(BuildFolder& folder,
                                             const ProjectDescription& project, bool configure,
                                             Fresh fresh, const BuildEvents& events) {
  if (configure) {
    const TraceStep step("configure", "project", root_.native());
    REHOOK_TRY(folder.configure(project, fresh, events));
  }
  auto model = folder.model(project);
  if (model || configure) return model;
  // The reply is gone or torn: ask again.
  const TraceStep step("configure", "project", root_.native());
  REHOOK_TRY(folder.configure(project, Fresh::no, events));
  return folder.model(project);
}

// The extension targets to build; an error when there is none, or when two make the same
// module.
Result<std::vector<ExtensionTarget>> ProjectUpdate::wanted_targets(
    const CodeModel& model, const ProjectDescription& project, bool configured) {
  ModuleNaming naming = project.naming;
  if (!configured && state_) {  // names were settled when it was configured
    for (const BuiltModule& module : state_->modules) {
      naming.installed[module.module] = module.output.filename().string();
    }
  }
  std::vector<ExtensionTarget> targets = find_extension_targets(model, naming);
  if (targets.empty()) {
    return find_extension_target(model, naming, root_.filename().string()).error();
  }
  for (const std::string& name : project.targets) {
    const bool exists = std::any_of(model.targets.begin(), model.targets.end(),
                                    [&](const Target& target) { return target.name == name; });
    if (exists) continue;
    std::string there_are;
    for (const ExtensionTarget& target : targets) {
      there_are +=
          (there_are.empty() ? "" : ", ") + target.target_name + " (" + target.defined_in + ")";
    }
    return Error{ErrorCode::invalid,
                 "the project " + root_.string() + " has no target named " + name +
                     "; its extension targets are " + there_are,
                 "correct the setting targets"};
  }
  if (!project.targets.empty()) {
    std::erase_if(targets, [&](const ExtensionTarget& target) {
      return std::find(project.targets.begin(), project.targets.end(), target.target_name) ==
             project.targets.end();
    });
  }
  for (std::size_t i = 1; i < targets.size(); ++i) {
    if (targets[i].module == targets[i - 1].module) {
      return find_extension_target(model, naming, targets[i].module).error();
    }
  }
  return targets;
}

// Builds, and builds again what was edited meanwhile; fills in next.inputs, also after a
// failure.
Status ProjectUpdate::build_until_stable(BuildFolder& folder, const ProjectDescription& project,
                                         CodeModel& model,
                                         const std::vector<ExtensionTarget>& targets,
                                         std::vector<Input> before, const BuildEvents& events,
                                         ProjectState& next) {
  std::vector<std::string> names = project.targets;
  if (names.empty()) {
    for (const ExtensionTarget& target : targets) names.push_back(target.target_name);
  }
  const std::int64_t started = now_ns();
  std::set<std::string> each_time;  // overtaken in every round: the build itself writes them
  for (int round = 1;; ++round) {
    Status built = folder.build(model, project, names, events);
    if (!built && built.error().code != ErrorCode::failed_build) return built;
    if (auto newer = folder.model(project)) {
      model = std::move(*newer);  // ninja may re-run CMake
    }
    auto inputs = folder.collect_inputs(model, project, targets);
    if (!inputs) return built ? Status(std::move(inputs).error()) : built;
    const Unseen overtaken = measure_all(*inputs, before, started);
    next.inputs = std::move(*inputs);
    // Which of their contents the compiler read is not known: they are built again, next time.
    const auto forget_overtaken = [&] {
      for (const std::string& file : overtaken.files) next.built[file] = Digest{};
    };
    if (!built) {
      forget_overtaken();
      for (const auto& [name, text] : values()) {
        next.inputs.push_back(
            {name, InputKind::value, InputRole::toolchain, digest_of(text), text, {}, 0});
      }
      return built;
    }
    if (overtaken.files.empty() && overtaken.role == InputRole::compile) return ok_status();
    const std::set<std::string> files(overtaken.files.begin(), overtaken.files.end());
    if (round == 1) each_time = files;
    std::erase_if(each_time, [&](const std::string& file) { return !files.contains(file); });
    if (round == k_max_rounds) {
      for (Input& input : next.inputs) {
        if (!files.contains(input.name) || each_time.contains(input.name)) continue;
        input.digest = {};  // differs from any content, so the next look finds a change
        input.stat = {};
      }
      return ok_status();
    }
    if (overtaken.role >= InputRole::configure) {
      const Fresh fresh = overtaken.role == InputRole::toolchain ? Fresh::yes : Fresh::no;
      REHOOK_TRY(folder.configure(project, fresh, events));
    }
    REHOOK_TRY(folder.forget_outputs_of(overtaken.files));
    before = next.inputs;
  }
}

// Fills in stats and digests, from `before` where nothing moved. Gives what may have changed
// after the build tool had read it.
ProjectUpdate::Unseen ProjectUpdate::measure_all(std::vector<Input>& inputs,
                                                 const std::vector<Input>& before,
                                                 std::int64_t started) {
  std::unordered_map<std::string_view, const Input*> known;
  for (const Input& input : before) known.emplace(input.name, &input);
  for (Input& input : inputs) {
    const auto seen = known.find(input.name);
    if (seen == known.end()) continue;
    input.stat = seen->second->stat;
    input.hashed_at_ns = seen->second->hashed_at_ns;
    input.digest = seen->second->digest;
  }
  Unseen overtaken;
  const InputScan scan = scan_inputs(*context_.fs, inputs, {});
  for (const InputChange& change : scan.changes) {
    const Input& input = inputs[change.index];
    const bool was_known = known.contains(input.name);
    const bool is_young = std::max(input.stat.mtime_ns, input.stat.ctime_ns) >= started;
    // A folder seen for the first time is young whenever the build itself writes into it.
    if (!was_known && (!is_young || input.kind != InputKind::file)) continue;
    overtaken.role = std::max(overtaken.role, input.role);
    if (input.kind == InputKind::file) overtaken.files.push_back(input.name);
  }
  return overtaken;
}

Status ProjectUpdate::run_build(BuildFolder& folder, const ProjectDescription& project,
                                bool configure, Fresh fresh, const std::vector<Input>& before,
                                const BuildEvents& events, ProjectState& next) {
  next.root = root_;
  next.build_dir = folder.dir();
  next.source_dir = project.source_dir;
  next.build_type = project.build_type;
  next.environment = project.environment;
  next.description_inputs = project.inputs;
  next.packages = project.naming.packages;
  next.exclude = project.exclude;
  REHOOK_ASSIGN_OR_RETURN(CodeModel model,
                          ready_model(folder, project, configure, fresh, events));
  REHOOK_ASSIGN_OR_RETURN(const std::vector<ExtensionTarget> targets,
                          wanted_targets(model, project, configure));
  for (const Toolchain& toolchain : model.toolchains) {
    if (!toolchain.compiler.empty()) next.compilers[toolchain.language] = toolchain.compiler;
  }
  std::vector<std::uint32_t> flags;
  for (const ExtensionTarget& target : targets) {
    flags.push_back(index_of(cxx_flags(model, target), next.compile_groups));
  }
  if (const auto compiler = next.compilers.find("CXX");
      events.on_flags && compiler != next.compilers.end()) {
    for (const CompileGroup& group : next.compile_groups) {
      events.on_flags(group, compiler->second);
    }
  }
  REHOOK_TRY(build_until_stable(folder, project, model, targets, before, events, next));

  for (std::size_t i = 0; i < targets.size(); ++i) {
    const ExtensionTarget& target = targets[i];
    next.modules.push_back({target.module,
                            target.target_name,
                            target.artifact,
                            target.defined_in,
                            {},
                            {},
                            {},
                            flags[i],
                            {}});
  }
  for (const InstalledFile& file : model.installed_files) {
    const std::string module = python_module_of(file, model, project.naming.install_dir);
    if (!module.empty()) next.python_files[module] = file.from;
  }
  for (const GeneratedFile& file : project.generated) {
    if (!file.module.empty()) next.python_files[file.module] = folder.dir() / file.path;
  }
  if (!configure && state_) {
    next.python_files.insert(state_->python_files.begin(), state_->python_files.end());
  }
  return publish(folder, model, project, events, next);
}

// Read now: split debug files are only whole until the next build.
Digest ProjectUpdate::layouts_of(const BuiltModule& module) {
  const auto same_files = [&](const BuiltModule& known) {
    return known.artifact == module.artifact &&
           std::equal(known.libraries.begin(), known.libraries.end(), module.libraries.begin(),
                      module.libraries.end(), [](const auto& one, const auto& other) {
                        return one.is_private == other.is_private &&
                               one.artifact == other.artifact;
                      });
  };
  for (const BuiltModule& known : state_ ? state_->modules : std::vector<BuiltModule>()) {
    if (known.layouts != Digest{} && same_files(known)) return known.layouts;
  }
  std::vector<Path> files = {artifact_path(module)};
  for (const BuiltLibrary& library : module.libraries) {
    if (!library.is_private) continue;
    files.push_back(
        context_.store->object_path(library.artifact, library.output.filename().native()));
  }
  return store_class_layouts(*context_.fs, *context_.store, files, folder_);
}

Status ProjectUpdate::publish(BuildFolder& folder, const CodeModel& model,
                              const ProjectDescription& project, const BuildEvents& events,
                              ProjectState& next) {
  const TraceStep step("publish", "project", root_.native());
  REHOOK_TRY(hold_store(events));
  ProjectLibraries libraries(*context_.fs, *context_.store,
                             library_search(model, root_, context_.interpreter));
  for (BuiltModule& module : next.modules) {
    auto artifact = context_.store->publish(module.output);
    if (!artifact && (artifact.error().code == ErrorCode::corrupt ||
                      artifact.error().code == ErrorCode::not_found)) {
      // Cut short or removed behind the build tool's back; it looks at time stamps only.
      REHOOK_TRY(context_.fs->remove(module.output, MissingOk::yes));
      REHOOK_TRY(folder.build(model, project, {module.target}, events));
      artifact = context_.store->publish(module.output);
    }
    if (!artifact) return std::move(artifact).error();
    module.artifact = *artifact;
    REHOOK_ASSIGN_OR_RETURN(std::string bytes, context_.fs->read(artifact_path(module)));
    REHOOK_ASSIGN_OR_RETURN(module.code, loadable_digest(bytes));
    if (auto image = ElfImage::parse(bytes)) {
      // DEBUG_POSTFIX and the like change the file's name, not the module's.
      const std::size_t dot = module.module.rfind('.') + 1;
      std::vector<std::string> symbols;
      for (const std::string& name : image->python_inits()) symbols.push_back("PyInit_" + name);
      module.module.replace(dot, std::string::npos,
                            match_init(module.module.substr(dot), symbols));
    }
    if (!context_.fs->lookup(artifact_path(module).c_str(), module.stat)) module.stat = {};
    module.bindings = binding_libraries_in(bytes);
    REHOOK_TRY(libraries.add(module, std::move(bytes)));
  }
  REHOOK_TRY(libraries.finish(next.modules));
  for (BuiltModule& module : next.modules) module.layouts = layouts_of(module);
  // The compilers are known only now.
  for (const auto& [name, text] : values(next.compilers)) {
    next.inputs.push_back(
        {name, InputKind::value, InputRole::toolchain, digest_of(text), text, {}, 0});
  }
  next.fingerprint = fingerprint_digest(next.inputs);
  next.built_at_ns = now_ns();
  return ok_status();
}

}  // namespace rehook
