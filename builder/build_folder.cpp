#include "builder/build_folder.hpp"

#include <algorithm>
#include <map>
#include <set>
#include <string_view>
#include <unordered_map>

#include "builder/diagnostics.hpp"
#include "shadow_store/base/timestamp.hpp"

namespace rehook {
namespace {

constexpr std::string_view k_default_generator = "Ninja";

std::string generator_of(const ProjectDescription& project) {
  const auto& args = project.cmake_args;
  for (std::size_t i = 0; i < args.size(); ++i) {
    if (args[i] == "-G" && i + 1 < args.size()) return args[i + 1];
    if (args[i].starts_with("-G") && args[i].size() > 2) return args[i].substr(2);
  }
  return project.generator.empty() ? std::string(k_default_generator) : project.generator;
}

std::string replace_all(std::string text, std::string_view from, const std::string& to) {
  for (std::size_t at = text.find(from); at != std::string::npos;
       at = text.find(from, at + to.size())) {
    text.replace(at, from.size(), to);
  }
  return text;
}

std::string first_error(const std::string& output) {
  for (const Diagnostic& diagnostic : parse_diagnostics(output)) {
    if (diagnostic.severity != "error") continue;
    if (diagnostic.file.empty()) return diagnostic.text;
    return diagnostic.file + ":" + std::to_string(diagnostic.line) + ": " + diagnostic.text;
  }
  return "the output has no message that rehook understands";
}

std::string join(const std::vector<std::string>& items, std::string_view separator) {
  std::string out;
  for (const std::string& item : items) {
    if (!out.empty()) out += separator;
    out += item;
  }
  return out;
}

Error configure_error(const ProjectDescription& project, std::string output) {
  Error error{ErrorCode::failed_build, "", "", std::move(output)};
  if (error.detail.find("No CMAKE_CXX_COMPILER could be found") != std::string::npos ||
      error.detail.find("No CMAKE_C_COMPILER could be found") != std::string::npos ||
      error.detail.find("Could not find compiler set in environment variable") !=
          std::string::npos ||
      error.detail.find("is not a full path and was not found in the PATH") !=
          std::string::npos) {
    error.message = "no C++ compiler was found for " + project.root.string() + ": " +
                    first_error(error.detail);
    error.hint =
        "install one (apt-get install g++, or dnf install gcc-c++), or set CXX to yours";
    return error;
  }
  if (error.detail.find(
          "CMake was unable to find a build program corresponding to \"Ninja\"") !=
      std::string::npos) {
    error.message = "ninja was not found";
    error.hint =
        "install it: apt-get install ninja-build, dnf install ninja-build, or pip install "
        "ninja";
    return error;
  }
  error.message =
      "CMake could not configure " + project.root.string() + ": " + first_error(error.detail);
  if (!project.missing_requirements.empty()) {
    error.hint = "the project's build requirements are not installed here; run: pip install '" +
                 join(project.missing_requirements, "' '") + "'";
  } else {
    error.hint = "fix what CMake reports; nothing was changed";
  }
  return error;
}

Error explain_missing_tool(Error error) {
  if (error.code != ErrorCode::not_found) return error;
  if (error.message.find("cmake") != std::string::npos) {
    error.message = "cmake was not found on PATH";
    error.hint = "install it: apt-get install cmake, dnf install cmake, or pip install cmake";
  } else if (error.message.find("ninja") != std::string::npos) {
    error.message = "ninja was not found on PATH";
    error.hint =
        "install it: apt-get install ninja-build, dnf install ninja-build, or pip install "
        "ninja";
  }
  return error;
}

// What "build <outputs>: RERUN_CMAKE | <inputs>" makes, in the words of build.ninja.
std::vector<std::string> outputs_of_cmake(std::string_view manifest) {
  constexpr std::string_view k_build = "\nbuild ";
  std::vector<std::string> outputs;
  const std::size_t rule = manifest.find(": RERUN_CMAKE");
  const std::size_t start = manifest.rfind(k_build, rule);
  if (rule == std::string_view::npos || start == std::string_view::npos) return outputs;
  std::string word;
  for (std::size_t i = start + k_build.size(); i <= rule; ++i) {
    if (i < rule && manifest[i] == '$' && i + 1 < rule) {
      word += manifest[++i];  // "$ ", "$:", "$$"
    } else if (i < rule && manifest[i] != ' ') {
      word += manifest[i];
    } else if (!word.empty()) {
      if (word != "|") outputs.push_back(word);
      word.clear();
    }
  }
  return outputs;
}

// All that the tool said, and how it ended if it could not say so itself.
std::string output_of(ProcessResult result) {
  constexpr int k_signalled = 128;
  if (result.exit_code > k_signalled) {
    result.output += "rehook: the build tool was ended by signal " +
                     std::to_string(result.exit_code - k_signalled) + "\n";
  }
  return std::move(result.output);
}

// Nothing is wrong with the project then.
Error explain_killed_tool(Error error) {
  const std::string told = killed_program(error.detail);
  if (told.empty()) return error;
  error.message = "a program of the build was killed: " + told;
  error.hint = "import or reload again to build again; did the machine run out of memory?";
  return error;
}

}  // namespace

std::vector<std::pair<std::string, std::optional<std::string>>> tool_environment(
    const ProjectDescription& project) {
  std::vector<std::pair<std::string, std::optional<std::string>>> environment = {
      {"LC_ALL", "C"},
      {"NINJA_STATUS", "[%f/%t] "},
      {"CLICOLOR_FORCE", std::nullopt},
      {"FORCE_COLOR", std::nullopt},
      {"GCC_COLORS", std::nullopt},
      {"REHOOK_BUILDING", "1"}};
  environment.insert(environment.end(), project.environment.begin(), project.environment.end());
  return environment;
}

bool BuildFolder::is_inside(const Path& path) const {
  const std::string& text = path.native();
  const std::string prefix = dir_.native() + "/";
  return text.starts_with(prefix);
}

bool BuildFolder::is_configured() {
  FileStat stat;
  return fs_->lookup((dir_ / "CMakeCache.txt").c_str(), stat) &&
         (fs_->lookup((dir_ / "build.ninja").c_str(), stat) ||
          fs_->lookup((dir_ / "Makefile").c_str(), stat));
}

Status BuildFolder::configure(const ProjectDescription& project, Fresh fresh,
                              const BuildEvents& events) {
  FileStat stat;
  if (!fs_->lookup((project.source_dir / "CMakeLists.txt").c_str(), stat)) {
    return Error{ErrorCode::not_found,
                 "there is no CMakeLists.txt in " + project.source_dir.string(),
                 "name the folder that holds it with projects=[…]"};
  }
  REHOOK_TRY(fs_->make_directories(dir_));
  if (fresh == Fresh::yes) {
    REHOOK_TRY(fs_->remove(dir_ / "CMakeCache.txt", MissingOk::yes));
    REHOOK_TRY(fs_->remove_tree(dir_ / "CMakeFiles"));
  }
  REHOOK_TRY(write_file_api_query(*fs_, dir_));
  for (const GeneratedFile& file : project.generated) {
    const Path path = dir_ / file.path;
    if (const auto known = fs_->read(path); known && *known == file.text) {
      continue;  // keeps its time
    }
    REHOOK_TRY(fs_->make_directories(path.parent_path()));
    REHOOK_TRY(fs_->write_atomic(path, file.text));
  }

  Command command;
  command.argv = {"cmake", "-S", project.source_dir.string(), "-B", dir_.string()};
  const bool names_generator =
      std::any_of(project.cmake_args.begin(), project.cmake_args.end(),
                  [](const std::string& arg) { return arg.starts_with("-G"); });
  if (!names_generator) {
    command.argv.emplace_back("-G");
    command.argv.push_back(generator_of(project));
  }
  for (const std::string& arg : project.cmake_args) {
    command.argv.push_back(replace_all(arg, "@BUILD@", dir_.string()));
  }
  command.directory = project.root;
  command.environment = tool_environment(project);

  if (events.on_progress) {
    events.on_progress({"configure", 0, 0, "configuring " + project.root.filename().string()});
  }
  auto result = runner_->run(command, {}, events.cancel);
  if (!result) return explain_missing_tool(std::move(result).error());
  if (result->exit_code != 0) {
    return explain_killed_tool(configure_error(project, output_of(std::move(*result))));
  }
  return ok_status();
}

Result<CodeModel> BuildFolder::model(const ProjectDescription& project) {
  return read_file_api_reply(*fs_, dir_, project.build_type);
}

// A CMake file whose time stamp lies in the future is newer than whatever CMake writes: ninja
// would run CMake a hundred times and give up ("manifest still dirty").
// What CMake wrote last becomes as new as that file; whether CMake must run is our decision.
Status BuildFolder::outdate_future_inputs(const CodeModel& model,
                                          const ProjectDescription& project) {
  const Path manifest = dir_ / "build.ninja";
  FileStat stat;
  if (!fs_->lookup(manifest.c_str(), stat)) return ok_status();
  const std::int64_t written = stat.mtime_ns;
  std::int64_t newest = 0;
  for (const Path& input : model.cmake_inputs) {
    if (fs_->lookup(input.c_str(), stat)) newest = std::max(newest, stat.mtime_ns);
  }
  if (newest <= written || newest <= now_ns()) return ok_status();
  REHOOK_ASSIGN_OR_RETURN(const std::string text, fs_->read(manifest));
  Command command;
  command.argv = {"ninja", "-C", dir_.string(), "-t", "restat"};
  for (const std::string& output : outputs_of_cmake(text)) {
    REHOOK_TRY(fs_->set_mtime(dir_ / output, newest));
    command.argv.push_back(output);
  }
  command.directory = project.root;
  command.environment = tool_environment(project);
  auto result = runner_->run(command, {}, {});
  if (!result) return explain_missing_tool(std::move(result).error());
  return ok_status();  // an older ninja has no such tool: then it tells what is wrong
}

Status BuildFolder::build(const CodeModel& model, const ProjectDescription& project,
                          const std::vector<std::string>& targets, const BuildEvents& events) {
  if (model.generator == "Ninja") REHOOK_TRY(outdate_future_inputs(model, project));
  Command command;
  if (model.generator.starts_with("Ninja")) {
    command.argv = {"ninja", "-C", dir_.string()};
    if (model.generator == "Ninja Multi-Config") {
      command.argv.emplace_back("-f");
      command.argv.push_back("build-" + model.configuration + ".ninja");
    }
    command.argv.insert(command.argv.end(), targets.begin(), targets.end());
  } else {
    command.argv = {"cmake", "--build", dir_.string(), "--parallel", "--target"};
    command.argv.insert(command.argv.end(), targets.begin(), targets.end());
  }
  command.directory = project.root;
  command.environment = tool_environment(project);

  const LineSink on_line = [&](std::string_view line) {
    NinjaProgress progress;
    if (events.on_progress && parse_ninja_progress(line, progress)) {
      events.on_progress({"build", progress.done, progress.total, progress.what});
    }
  };
  auto result = runner_->run(command, on_line, events.cancel);
  if (!result) return explain_missing_tool(std::move(result).error());
  if (result->exit_code != 0) {
    Error error{ErrorCode::failed_build,
                first_error(result->output),
                "fix it and import or reload again; the previous build is untouched",
                {}};
    error.detail = output_of(std::move(*result));
    return explain_killed_tool(std::move(error));
  }
  return ok_status();
}

Result<std::vector<ObjectDeps>> BuildFolder::object_deps() {
  FileStat stat;
  if (fs_->lookup((dir_ / ".ninja_deps").c_str(), stat)) return read_ninja_deps(*fs_, dir_);
  return read_depfiles(*fs_, dir_);
}

std::vector<Path> BuildFolder::rule_inputs(const std::vector<ExtensionTarget>& modules) {
  FileStat stat;
  if (!fs_->lookup((dir_ / "build.ninja").c_str(), stat)) {
    std::vector<Path> inputs;
    if (auto rules = read_make_rules(*fs_, dir_)) {
      for (MakeRule& rule : *rules) inputs.push_back(std::move(rule.input));
    }
    return inputs;
  }
  Command command;
  command.argv = {"ninja", "-C", dir_.string(), "-t", "inputs"};
  for (const ExtensionTarget& module : modules) command.argv.push_back(module.target_name);
  std::vector<Path> inputs;
  auto result = runner_->run(command, {}, {});
  if (!result || result->exit_code != 0) {
    return inputs;  // before ninja 1.11: the File API's list must do
  }
  std::string_view rest = result->output;
  while (!rest.empty()) {
    const std::size_t end = std::min(rest.find('\n'), rest.size());
    std::string_view line = rest.substr(0, end);
    rest.remove_prefix(std::min(end + 1, rest.size()));
    if (line.starts_with("ninja: ") || line.empty()) continue;
    const Path path(line);
    inputs.push_back((path.is_absolute() ? path : dir_ / path).lexically_normal());
  }
  return inputs;
}

namespace {

constexpr std::uint64_t k_every_module = ~0ULL;

// Inputs by name; what is found twice gets the stronger role and the modules of both.
class InputSet {
 public:
  void add(const std::string& name, InputKind kind, InputRole role, std::uint64_t modules) {
    const auto [at, is_new] = found_.try_emplace(name);
    Input& input = at->second;
    if (is_new) input = {name, kind, role, {}, {}, {}, 0, modules};
    input.role = std::max(input.role, role);
    input.modules |= modules;
  }
  [[nodiscard]] bool contains(const std::string& name) const { return found_.contains(name); }
  std::vector<Input> take() {
    std::vector<Input> inputs;
    inputs.reserve(found_.size());
    for (auto& [name, input] : found_) inputs.push_back(std::move(input));
    return inputs;
  }

 private:
  std::unordered_map<std::string, Input> found_;
};

// <build>/sub/CMakeFiles/<target>.dir/src/algo.cpp.o -> the modules that <target> is part of.
std::uint64_t modules_of_object(const Path& object,
                                const std::map<std::string, std::uint64_t>& modules_of_target) {
  for (const Path& part : object) {
    const std::string& name = part.native();
    if (!name.ends_with(".dir")) continue;
    const auto owner = modules_of_target.find(name.substr(0, name.size() - 4));
    return owner == modules_of_target.end() ? 0 : owner->second;
  }
  return k_every_module;
}

}  // namespace

Result<std::vector<Input>> BuildFolder::collect_inputs(
    const CodeModel& model, const ProjectDescription& project,
    const std::vector<ExtensionTarget>& modules) {
  InputSet found;
  const auto add = [&](const Path& path, InputKind kind, InputRole role, std::uint64_t mask) {
    if (!is_inside(path) && path != dir_) found.add(path.native(), kind, role, mask);
  };
  std::map<std::string, std::uint64_t> modules_of_target;
  const std::string below_root = project.root.native() + "/";
  for (std::size_t i = 0; i < modules.size(); ++i) {
    const std::uint64_t mask = 1ULL << std::min<std::size_t>(i, 63);
    for (const Target* target : dependency_closure(model, modules[i].target_id)) {
      modules_of_target[target->name] |= mask;
      for (const TargetSource& source : target->sources) {
        if (source.generated) continue;
        add(source.path, InputKind::file, InputRole::compile, mask);
        if (source.compiled && source.path.native().starts_with(below_root)) {
          add(source.path.parent_path(), InputKind::directory, InputRole::configure,
              k_every_module);
        }
      }
    }
  }
  REHOOK_ASSIGN_OR_RETURN(const std::vector<ObjectDeps> deps, object_deps());
  for (const ObjectDeps& object : deps) {
    const std::uint64_t mask = modules_of_object(object.object, modules_of_target);
    if (mask == 0) continue;  // another target's object
    for (const Path& input : object.inputs) {
      add(input.lexically_normal(), InputKind::file, InputRole::compile, mask);
    }
  }
  for (const Path& input : rule_inputs(modules)) {
    FileStat stat;
    if (!fs_->lookup(input.c_str(), stat) || !stat.is_regular()) continue;
    // Which modules are made from it is known, unless only a custom command reads it.
    if (!found.contains(input.native())) {
      add(input, InputKind::file, InputRole::compile, k_every_module);
    }
  }
  for (const Path& input : model.cmake_inputs) {
    add(input, InputKind::file, InputRole::configure, k_every_module);
  }
  // What CMake's cache keeps of these would outlive an edit: the *_INIT variables of a
  // toolchain file, a definition that is gone from a preset or from pyproject.toml.
  for (const Path& input : project.inputs) {
    add(input, InputKind::file, InputRole::toolchain, k_every_module);
  }
  if (const auto file = model.cache.find("CMAKE_TOOLCHAIN_FILE");
      file != model.cache.end() && !file->second.empty()) {
    add((project.source_dir / file->second).lexically_normal(), InputKind::file,
        InputRole::toolchain, k_every_module);
  }
  for (const Path& dir : model.glob_dirs) {
    add(dir, InputKind::directory, InputRole::configure, k_every_module);
  }
  return found.take();
}

namespace {

// The files named under "outputs:" by `ninja -t query`.
std::vector<Path> queried_outputs(const std::string& answer) {
  constexpr std::string_view k_heading = "  outputs:\n";
  std::vector<Path> outputs;
  const std::size_t at = answer.find(k_heading);
  if (at == std::string::npos) return outputs;
  std::string_view rest = std::string_view(answer).substr(at + k_heading.size());
  while (rest.starts_with("    ")) {
    const std::size_t end = std::min(rest.find('\n'), rest.size());
    outputs.emplace_back(rest.substr(4, end - 4));
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  return outputs;
}

}  // namespace

Status BuildFolder::forget_outputs_of(const std::vector<std::string>& files,
                                      const std::set<Path>& keep) {
  if (files.empty()) return ok_status();
  const std::set<std::string> wanted(files.begin(), files.end());
  std::set<std::string> missing = wanted;
  if (auto deps = object_deps()) {
    for (const ObjectDeps& object : *deps) {
      bool made_from_it = false;
      for (const Path& input : object.inputs) {
        const std::string name = input.lexically_normal().native();
        if (!wanted.contains(name)) continue;
        made_from_it = true;
        // A header may be read by a custom command, too; the source of an object rarely is.
        if (&input == &object.inputs.front()) missing.erase(name);
      }
      if (made_from_it && !keep.contains(object.object)) {
        REHOOK_TRY(fs_->remove(object.object, MissingOk::yes));
      }
    }
  }
  for (const std::string& file : missing) REHOOK_TRY(forget_rule_outputs(file));
  return ok_status();
}

// Inputs of custom commands are not in the deps log; the build tool's rules know what they
// make.
Status BuildFolder::forget_rule_outputs(const std::string& file) {
  FileStat stat;
  if (!fs_->lookup((dir_ / "build.ninja").c_str(), stat)) {
    REHOOK_ASSIGN_OR_RETURN(const std::vector<MakeRule> rules, read_make_rules(*fs_, dir_));
    for (const MakeRule& rule : rules) {
      const bool is_file = fs_->lookup(rule.output.c_str(), stat) && stat.is_regular();
      if (rule.input == file && is_file && is_inside(rule.output)) {
        REHOOK_TRY(fs_->remove(rule.output, MissingOk::yes));
      }
    }
    return ok_status();
  }
  Command command;
  command.argv = {"ninja", "-C", dir_.string(), "-t", "query", file};
  auto result = runner_->run(command, {}, {});
  if (!result || result->exit_code != 0) return ok_status();  // no build rule reads it
  for (const Path& output : queried_outputs(result->output)) {
    const Path path = output.is_absolute() ? output : dir_ / output;
    // build.ninja and the cache are CMake's own business: the caller configures again.
    if (path.filename() == "build.ninja" || path.filename() == "CMakeCache.txt") continue;
    if (is_inside(path) && fs_->lookup(path.c_str(), stat) && stat.is_regular()) {
      REHOOK_TRY(fs_->remove(path, MissingOk::yes));
    }
  }
  return ok_status();
}

}  // namespace rehook
