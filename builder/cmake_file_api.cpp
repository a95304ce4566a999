#include "builder/cmake_file_api.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "builder/glob_folders.hpp"
#include "builder/reply_paths.hpp"
#include "builder/shell_words.hpp"

namespace rehook {
namespace {

// Parsed without exceptions; what is missing or of another type reads as null, "", 0 or false.
using Json = nlohmann::json;

constexpr int k_tries = 3;

const Json& get(const Json& object, const std::string& key) {
  static const Json null;
  if (!object.is_object()) return null;
  const auto found = object.find(key);
  return found == object.end() ? null : *found;
}

const Json& array(const Json& object, const std::string& key) {
  static const Json empty = Json::array();
  const Json& value = get(object, key);
  return value.is_array() ? value : empty;
}

std::string as_text(const Json& value) {
  return value.is_string() ? value.get<std::string>() : std::string();
}
std::string text(const Json& object, const std::string& key) {
  return as_text(get(object, key));
}

bool flag(const Json& object, const std::string& key) {
  const Json& value = get(object, key);
  return value.is_boolean() && value.get<bool>();
}

int number(const Json& object, const std::string& key, int otherwise) {
  const Json& value = get(object, key);
  return value.is_number_integer() ? value.get<int>() : otherwise;
}

const Json& element(const Json& list, int index) {
  static const Json null;
  const bool there =
      list.is_array() && index >= 0 && static_cast<std::size_t>(index) < list.size();
  return there ? list[static_cast<std::size_t>(index)] : null;
}

std::string query() {
  Json requests = Json::array();
  const auto ask = [&](const char* kind, int version) {
    requests.push_back({{"kind", kind}, {"version", version}});
  };
  ask("codemodel", 2);
  ask("cmakeFiles", 1);
  ask("toolchains", 1);
  ask("cache", 2);
  return Json{{"client", {{"tool", "rehook"}}}, {"requests", requests}}.dump() + "\n";
}

// CMake writes names in no known encoding as they are, or with U+FFFD for each odd byte.
Json parse(const std::string& bytes) {
  Json value = Json::parse(bytes, nullptr, false);
  if (value.is_discarded()) value = Json::parse(replace_invalid_utf8(bytes), nullptr, false);
  return value;
}

class ReplyReader final {
 public:
  ReplyReader(FileSystem& fs, const Path& build_dir)
      : fs_(fs), build_dir_(build_dir), folder_(build_dir / ".cmake/api/v1/reply") {}

  Result<CodeModel> read(const std::string& configuration) {
    for (int left = k_tries; left > 0; --left) {
      REHOOK_ASSIGN_OR_RETURN(const std::string index, newest_index());
      Result<CodeModel> model = read_from(index, configuration);
      if (model || model.error().code != ErrorCode::not_found) return model;
    }
    return Error{ErrorCode::busy,
                 "the files in " + folder_.string() + " vanish while they are read",
                 "wait until CMake has finished"};
  }

 private:
  Result<std::string> newest_index() {
    std::string newest;
    const Result<std::vector<std::string>> names = fs_.list(folder_);
    if (!names && names.error().code != ErrorCode::not_found) return names.error();
    for (const std::string& name : names ? *names : std::vector<std::string>()) {
      const bool is_index = name.starts_with("index-") && name.ends_with(".json");
      if (is_index) newest = std::max(newest, name);
    }
    if (!newest.empty()) return newest;
    return Error{ErrorCode::not_found,
                 "CMake has not described " + build_dir_.string() + " (no index in " +
                     folder_.string() + ")",
                 "configure it again"};
  }

  Result<Json> load(const std::string& name) {
    const Path file = folder_ / name;
    if (name.empty() || name.find('/') != std::string::npos) {
      return Error{ErrorCode::corrupt,
                   "the reply in " + folder_.string() + " lacks a file name",
                   "configure the build folder again"};
    }
    REHOOK_ASSIGN_OR_RETURN(const std::string bytes, fs_.read(file));
    Json value = parse(bytes);
    if (value.is_object()) return value;
    return Error{ErrorCode::corrupt, file.string() + " holds no JSON object",
                 "configure the build folder again"};
  }

  // What was answered to our query, else to anybody's. Null when it is not there.
  Result<Json> object(const Json& index, const std::string& kind, int major) {
    const Json& ours = get(get(get(index, "reply"), "client-rehook"), "query.json");
    for (const Json* list : {&array(ours, "responses"), &array(index, "objects")}) {
      for (const Json& answer : *list) {
        const std::string file = text(answer, "jsonFile");
        const bool wanted =
            text(answer, "kind") == kind && number(get(answer, "version"), "major", 0) == major;
        if (wanted && !file.empty()) return load(file);
      }
    }
    return Json();
  }

  Result<CodeModel> read_from(const std::string& index_name, const std::string& configuration) {
    REHOOK_ASSIGN_OR_RETURN(const Json index, load(index_name));
    REHOOK_ASSIGN_OR_RETURN(const Json codemodel, object(index, "codemodel", 2));
    if (codemodel.is_null()) {
      return Error{ErrorCode::corrupt, (folder_ / index_name).string() + " names no code model",
                   "configure the build folder again"};
    }
    CodeModel model;
    model.cmake_version = text(get(get(index, "cmake"), "version"), "string");
    model.generator = text(get(get(index, "cmake"), "generator"), "name");
    const Json& paths = get(codemodel, "paths");
    paths_ = ReplyPaths(fs_, text(paths, "source"), text(paths, "build"), build_dir_);
    model.source_dir = paths_.source_dir();
    model.build_dir = paths_.in_build("");
    REHOOK_ASSIGN_OR_RETURN(const Json* chosen, choose(codemodel, configuration));
    model.configuration = text(*chosen, "name");
    for (const Json& entry : array(*chosen, "targets")) {
      REHOOK_ASSIGN_OR_RETURN(const Json target, load(text(entry, "jsonFile")));
      model.targets.push_back(read_target(target));
    }
    for (const Json& entry : array(*chosen, "directories")) {
      if (text(entry, "jsonFile").empty()) continue;  // before CMake 3.21
      REHOOK_ASSIGN_OR_RETURN(const Json directory, load(text(entry, "jsonFile")));
      read_installers(directory, model);
    }
    REHOOK_TRY(read_the_rest(index, model));
    return model;
  }

  static Result<const Json*> choose(const Json& codemodel, const std::string& configuration) {
    const Json& all = array(codemodel, "configurations");
    std::string names;
    for (const Json& entry : all) {
      if (all.size() == 1 || text(entry, "name") == configuration) return &entry;
      names += (names.empty() ? "" : ", ") + text(entry, "name");
    }
    if (!all.empty() && configuration.empty()) return &all.front();
    return Error{ErrorCode::invalid,
                 "there is no configuration '" + configuration + "'; there is " +
                     (names.empty() ? "none" : names),
                 "choose another build type"};
  }

  Target read_target(const Json& json) const {
    Target target;
    target.id = text(json, "id");
    target.name = text(json, "name");
    target.type = text(json, "type");
    target.name_on_disk = text(json, "nameOnDisk");
    for (const Json& artifact : array(json, "artifacts")) {
      target.artifacts.push_back(paths_.in_build(text(artifact, "path")));
    }
    for (const Json& destination : array(get(json, "install"), "destinations")) {
      target.install_destinations.push_back(text(destination, "path"));
    }
    for (const Json& dependency : array(json, "dependencies")) {
      target.dependencies.push_back(text(dependency, "id"));
    }
    for (const Json& source : array(json, "sources")) read_source(source, target);
    for (const Json& group : array(json, "compileGroups")) {
      target.compile_groups.push_back(read_group(group));
    }
    target.defined_in = defined_in(json);
    target.lto = flag(get(json, "link"), "lto") || flag(get(json, "archive"), "lto");
    return target;
  }

  void read_source(const Json& json, Target& target) const {
    const std::string path = text(json, "path");
    if (path.empty() || path.ends_with(".rule")) return;  // stands for a custom command
    TargetSource source;
    source.path = paths_.in_source(path);
    source.generated = paths_.is_generated(source.path, flag(json, "isGenerated"));
    source.compiled = number(json, "compileGroupIndex", -1) >= 0;
    target.sources.push_back(std::move(source));
  }

  CompileGroup read_group(const Json& json) const {
    CompileGroup group;
    group.language = text(json, "language");
    group.standard = text(get(json, "languageStandard"), "standard");
    for (const Json& fragment : array(json, "compileCommandFragments")) {
      for (std::string& word : split_shell_words(text(fragment, "fragment"))) {
        group.flags.push_back(std::move(word));
      }
    }
    for (const Json& define : array(json, "defines")) {
      group.defines.push_back(text(define, "define"));
    }
    for (const Json& include : array(json, "includes")) {
      group.includes.push_back(paths_.in_source(text(include, "path")));
      if (flag(include, "isSystem")) group.system_includes.push_back(group.includes.back());
    }
    return group;
  }

  // The outermost call, which is in the user's own file even when a function of pybind11 or
  // nanobind makes the target.
  static std::string defined_in(const Json& target) {
    const Json& graph = get(target, "backtraceGraph");
    const Json& nodes = array(graph, "nodes");
    std::string result;
    int index = number(target, "backtrace", -1);
    for (std::size_t steps = 0; steps <= nodes.size() && index >= 0; ++steps) {
      const Json& node = element(nodes, index);
      const int line = number(node, "line", 0);
      if (line > 0) {
        const Json& file = element(array(graph, "files"), number(node, "file", -1));
        result = as_text(file) + ":" + std::to_string(line);
      }
      index = number(node, "parent", -1);
    }
    return result;
  }

  void read_installers(const Json& directory, CodeModel& model) const {
    for (const Json& installer : array(directory, "installers")) {
      const std::string type = text(installer, "type");
      if (type != "file" && type != "directory") continue;
      if (flag(installer, "isExcludeFromAll")) continue;
      for (const Json& path : array(installer, "paths")) {
        const std::string from = path.is_string() ? as_text(path) : text(path, "from");
        if (from.empty()) continue;
        InstalledFile file;
        file.from = paths_.in_source(from);
        file.destination = text(installer, "destination");
        file.to = path.is_string() ? file.from.filename().string() : text(path, "to");
        model.installed_files.push_back(std::move(file));
      }
    }
  }

  Status read_the_rest(const Json& index, CodeModel& model) {
    REHOOK_ASSIGN_OR_RETURN(const Json files, object(index, "cmakeFiles", 1));
    read_inputs(files, model);
    read_globs(files, model);
    REHOOK_ASSIGN_OR_RETURN(const Json toolchains, object(index, "toolchains", 1));
    for (const Json& entry : array(toolchains, "toolchains")) {
      const Json& compiler = get(entry, "compiler");
      model.toolchains.push_back({text(entry, "language"), text(compiler, "id"),
                                  text(compiler, "version"), Path(text(compiler, "path"))});
    }
    REHOOK_ASSIGN_OR_RETURN(const Json cache, object(index, "cache", 2));
    for (const Json& entry : array(cache, "entries")) {
      model.cache[text(entry, "name")] = text(entry, "value");
    }
    return ok_status();
  }

  // `isGenerated` only says that a file is in the build folder, so fetched projects have it
  // too.
  void read_inputs(const Json& files, CodeModel& model) const {
    std::set<Path> known;
    for (const Json& input : array(files, "inputs")) {
      if (flag(input, "isCMake") || text(input, "path").empty()) continue;
      Path path = paths_.in_source(text(input, "path"));
      if (paths_.is_generated(path, flag(input, "isGenerated"))) continue;
      if (known.insert(path).second) model.cmake_inputs.push_back(std::move(path));
    }
  }

  void read_globs(const Json& files, CodeModel& model) {
    std::vector<CmakeGlob> globs;
    if (get(files, "globsDependent").is_array()) {
      for (const Json& glob : array(files, "globsDependent")) {
        const Path pattern = paths_.in_source(text(glob, "expression"));
        globs.push_back({pattern.string(), flag(glob, "recurse")});
      }
    } else if (const auto script = fs_.read(build_dir_ / "CMakeFiles/VerifyGlobs.cmake")) {
      globs = parse_verify_globs(*script);
    }
    model.glob_dirs = glob_folders(fs_, globs, build_dir_);
  }

  FileSystem& fs_;
  const Path& build_dir_;
  Path folder_;
  ReplyPaths paths_;
};

}  // namespace

Status write_file_api_query(FileSystem& fs, const Path& build_dir) {
  const Path folder = build_dir / ".cmake/api/v1/query/client-rehook";
  const std::string wanted = query();
  const Result<std::string> present = fs.read(folder / "query.json");
  if (present && *present == wanted) return ok_status();
  REHOOK_TRY(fs.make_directories(folder));
  return fs.write_atomic(folder / "query.json", wanted);
}

Result<CodeModel> read_file_api_reply(FileSystem& fs, const Path& build_dir,
                                      const std::string& configuration) {
  return ReplyReader(fs, build_dir).read(configuration);
}

}  // namespace rehook
