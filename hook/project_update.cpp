#include "hook/project_update.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <set>
#include <sstream>
#include <system_error>
#include <unordered_map>

#include "builder/diagnostics.hpp"
#include "builder/git_state.hpp"
#include "shadow_store/base/trace.hpp"
#include "shadow_store/elf_image.hpp"
#include "shadow_store/loadable_digest.hpp"

extern char** environ;

namespace rehook {
namespace {

// A build that keeps being overtaken by edits is given up after this many rounds.
constexpr int k_max_rounds = 3;
// How many earlier builds are compared when the inputs' names differ too.
constexpr std::size_t k_max_records_compared = 64;

// Variables that reach the compiler or change what CMake finds.
constexpr std::array<const char*, 14> k_build_variables = {
    "AR",       "CC",      "CFLAGS",       "CPATH",          "CPLUS_INCLUDE_PATH",
    "CPPFLAGS", "CUDACXX", "CXX",          "CXXFLAGS",       "C_INCLUDE_PATH",
    "LDFLAGS",  "LD",      "LIBRARY_PATH", "PKG_CONFIG_PATH"};

std::int64_t now_ns() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

std::string utc_now() {
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  gmtime_r(&now, &parts);
  std::array<char, 32> text{};
  std::strftime(text.data(), text.size(), "%Y-%m-%dT%H:%M:%SZ", &parts);
  return text.data();
}

std::string project_id(const Path& root) {
  std::error_code ignored;
  Path real = std::filesystem::canonical(root, ignored);
  if (real.empty()) real = root;
  return real.filename().string() + "-" + digest_of(real.native()).hex().substr(0, 12);
}

std::string config_id(const ValueMap& interpreter) {
  Hasher hasher;
  for (const auto& [name, value] : interpreter) {
    hasher.add_field(name);
    hasher.add_field(value);
  }
  const auto abi = interpreter.find("python abi");
  const std::string prefix = abi == interpreter.end() ? "any" : abi->second;
  return prefix + "-" + hasher.finish().hex().substr(0, 8);
}

// Variables with these beginnings all matter; one value, so that a new one is noticed too.
std::string prefixed_variables() {
  std::set<std::string> found;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view text = *entry;
    if (text.starts_with("CMAKE_") || text.starts_with("SKBUILD_")) found.emplace(text);
  }
  std::string joined;
  for (const std::string& item : found) joined += item + ";";
  return joined;
}

std::string tool_identity(FileSystem& fs, const Path& tool) {
  FileStat stat;
  if (!fs.lookup(tool.c_str(), stat)) return tool.string() + " (gone)";
  return tool.string() + " " + std::to_string(stat.size) + " bytes, mtime " +
         std::to_string(stat.mtime_ns);
}

std::string serialize_failure(const BuildFailure& failure) {
  std::ostringstream out;
  out << "rehook failure 1\n" << failure.when << '\n' << failure.fingerprint.hex() << '\n';
  for (const std::string& text :
       {failure.error.message, failure.error.hint, failure.error.detail}) {
    out << text.size() << '\n' << text << '\n';
  }
  return out.str();
}

std::optional<BuildFailure> parse_failure(const std::string& text) {
  std::istringstream in(text);
  std::string magic, digest;
  BuildFailure failure;
  std::getline(in, magic);
  std::getline(in, failure.when);
  std::getline(in, digest);
  if (magic != "rehook failure 1") return std::nullopt;
  if (auto parsed = Digest::from_hex(digest)) failure.fingerprint = *parsed;
  failure.error.code = ErrorCode::failed_build;
  for (std::string* field :
       {&failure.error.message, &failure.error.hint, &failure.error.detail}) {
    std::size_t size = 0;
    std::string line;
    if (!std::getline(in, line)) return std::nullopt;
    const auto parsed = std::from_chars(line.data(), line.data() + line.size(), size);
    if (parsed.ec != std::errc() || size > text.size()) return std::nullopt;
    field->resize(size);
    if (!in.read(field->data(), static_cast<std::streamsize>(size))) return std::nullopt;
    in.ignore(1);
  }
  return failure;
}

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

// How the C++ of the first extension that has any is compiled.
CompileGroup cxx_flags(const CodeModel& model, const std::vector<ExtensionTarget>& targets) {
  for (const ExtensionTarget& extension : targets) {
    for (const Target& target : model.targets) {
      if (target.id != extension.target_id) continue;
      for (const CompileGroup& group : target.compile_groups) {
        if (group.language == "CXX") return group;
      }
    }
  }
  return {};
}

}  // namespace

ProjectUpdate::ProjectUpdate(const BuildContext& context, Path root)
    : context_(context), root_(std::move(root)) {
  folder_ =
      context_.store->root() / "projects" / project_id(root_) / config_id(context_.interpreter);
  build_dir_ = folder_ / "build";
  if (!context_.build_dir.empty()) {
    build_dir_ =
        (context_.build_dir.is_absolute() ? context_.build_dir : root_ / context_.build_dir)
            .lexically_normal();
  }
  if (auto text = context_.fs->read(folder_ / "failure")) failure_ = parse_failure(*text);
  shown_failure_ = failure_;
}

Path ProjectUpdate::artifact_path(const BuiltModule& module) const {
  return context_.store->object_path(module.artifact, module.output.filename().string());
}

bool ProjectUpdate::artifacts_present(const ProjectState& state) const {
  FileStat stat;
  return std::all_of(
      state.modules.begin(), state.modules.end(), [&](const BuiltModule& module) {
        return context_.fs->lookup(artifact_path(module).c_str(), stat) && stat.size > 0;
      });
}

void ProjectUpdate::load_state() {
  const Path file = folder_ / "state";
  FileStat stat;
  const bool exists = context_.fs->lookup(file.c_str(), stat);
  if (exists && state_ && stat == state_stat_) return;
  state_.reset();
  state_stat_ = {};
  if (exists) {
    auto bytes = context_.fs->read(file);
    auto parsed = bytes ? parse_project_state(*bytes) : Result<ProjectState>(bytes.error());
    // A folder copied or moved along with the project's store is not this project's.
    if (parsed && parsed->root == root_) {
      state_ = std::move(*parsed);
      state_stat_ = stat;
    }
  }
  publish_products();
}

void ProjectUpdate::save_state(const ProjectState& state) {
  const Path file = folder_ / "state";
  // Best effort: without it the next process looks again, nothing worse.
  if (!context_.fs->write_atomic(file, serialize(state)).ok()) return;
  if (!context_.fs->lookup(file.c_str(), state_stat_)) state_stat_ = {};
  publish_products();
}

void ProjectUpdate::save_record(const ProjectState& state) {
  const Path records = folder_ / "records";
  if (!context_.fs->make_directories(records).ok()) return;
  std::ignore = context_.fs->write_atomic(records / state.fingerprint.hex(), serialize(state));
}

ValueMap ProjectUpdate::values() const {
  ValueMap values = context_.interpreter;
  for (const char* name : k_build_variables) {
    const char* value = std::getenv(name);
    values[std::string("environment ") + name] = value == nullptr ? "" : value;
  }
  values["environment CMAKE_*, SKBUILD_*"] = prefixed_variables();
  if (state_) {
    for (const auto& [language, compiler] : state_->compilers) {
      values["compiler " + language] = tool_identity(*context_.fs, compiler);
    }
  }
  return values;
}

ProjectUpdate::Look ProjectUpdate::look() {
  Look look;
  if (!state_) {
    look.freshness = decide(state_, {});
    return look;
  }
  look.scan = scan_inputs(*context_.fs, state_->inputs, values());
  look.freshness = decide(state_, look.scan);
  if (state_->modules.empty()) look.freshness = Rebuild{"never built", InputRole::configure};
  look.current = state_->inputs;
  // What was built stays on record; the stat is dropped so that the next look hashes again.
  for (const InputChange& change : look.scan.changes) {
    Input& input = state_->inputs[change.index];
    input.digest = change.before;
    if (input.kind == InputKind::value) input.text = change.text_before;
    input.stat = {};
  }
  return look;
}

Freshness ProjectUpdate::peek() {
  const std::lock_guard work(work_);
  load_state();
  return look().freshness;
}

std::size_t ProjectUpdate::input_count() {
  const std::lock_guard work(work_);
  load_state();
  return state_ ? state_->inputs.size() : 0;
}

std::vector<ProjectUpdate::Difference> ProjectUpdate::differences() {
  const std::lock_guard work(work_);
  load_state();
  std::vector<Difference> differences;
  if (!state_) return differences;
  const Look now = look();
  for (const InputChange& change : now.scan.changes) {
    const Input& input = now.current[change.index];
    const char* const kind = input.kind == InputKind::file        ? "file"
                             : input.kind == InputKind::directory ? "directory"
                                                                  : "value";
    const bool is_value = input.kind == InputKind::value;
    const auto shown = [](const Digest& digest) {
      return digest == Digest{} ? std::string("missing") : digest.hex();
    };
    differences.push_back({input.name, kind,
                           is_value ? change.text_before : shown(change.before),
                           is_value ? input.text : shown(input.digest)});
  }
  return differences;
}

std::vector<std::string> ProjectUpdate::modified_modules() {
  const std::lock_guard work(work_);
  load_state();
  if (!state_) return {};
  const Look now = look();
  std::uint64_t mask = 0;
  for (const InputChange& change : now.scan.changes) mask |= now.current[change.index].modules;
  std::vector<std::string> modules;
  for (std::size_t i = 0; i < state_->modules.size(); ++i) {
    const std::uint64_t bit = i < 63 ? 1ULL << i : 1ULL << 63;
    if ((mask & bit) != 0) modules.push_back(state_->modules[i].module);
  }
  return modules;
}

void ProjectUpdate::publish_products() {
  std::shared_ptr<ProjectState> products;
  if (state_ && !state_->modules.empty()) {
    std::vector<Input> inputs;
    inputs.swap(state_->inputs);
    products = std::make_shared<ProjectState>(*state_);
    inputs.swap(state_->inputs);
  }
  const std::lock_guard lock(snapshot_);
  products_ = std::move(products);
  shown_failure_ = failure_;
}

std::shared_ptr<const ProjectState> ProjectUpdate::products() {
  {
    const std::lock_guard lock(snapshot_);
    if (products_) return products_;
  }
  if (const std::unique_lock work(work_, std::try_to_lock); work.owns_lock()) load_state();
  const std::lock_guard lock(snapshot_);
  return products_;
}

std::optional<BuildFailure> ProjectUpdate::failure() {
  const std::lock_guard lock(snapshot_);
  return shown_failure_;
}

Result<UpdateOutcome> ProjectUpdate::update(Force force, Retry retry,
                                            const BuildEvents& events) {
  const std::lock_guard work(work_);
  const auto start = std::chrono::steady_clock::now();
  UpdateOutcome outcome;
  load_state();
  if (state_) {
    const TraceStep step("decide", "project", root_.native());
    Look now = look();
    outcome.stats = now.scan.stats;
    outcome.hashed = now.scan.hashed;
    outcome.decide_seconds = seconds_since(start);
    if (force == Force::no && std::holds_alternative<UpToDate>(now.freshness) &&
        artifacts_present(*state_)) {
      if (failure_) forget_failure();
      if (now.scan.touched) {
        // Somebody else holding the lock will save a newer one.
        auto lock = FileLock::try_acquire(folder_ / "lock", LockKind::exclusive);
        if (lock) save_state(*state_);
      }
      return outcome;
    }
    if (force == Force::no && retry == Retry::when_changed && failure_ &&
        failure_->fingerprint == fingerprint_digest(now.current)) {
      failure_->repeated = failure_->told;
      failure_->told = true;
      publish_products();
      return failure_->error;
    }
  }
  REHOOK_TRY(context_.fs->make_directories(folder_));
  const auto on_wait = [&](std::chrono::milliseconds waited) {
    outcome.waited = true;
    if (events.on_progress) {
      events.on_progress({"wait", 0, 0,
                          "another process builds " + root_.filename().string() + " (" +
                              std::to_string(waited.count() / 1000) + " s)"});
    }
    return !events.cancel || !events.cancel();
  };
  auto lock =
      FileLock::acquire(folder_ / "lock", LockKind::exclusive, context_.lock_timeout, on_wait);
  if (!lock) {
    if (lock.error().code == ErrorCode::busy) {
      return Error{ErrorCode::busy,
                   "another process has been building " + root_.string() + " for more than " +
                       std::to_string(context_.lock_timeout.count() / 1000) + " s",
                   "wait for it, or raise lock-timeout"};
    }
    return std::move(lock).error();
  }
  return update_locked(force, retry, events, std::move(outcome));
}

Result<UpdateOutcome> ProjectUpdate::update_locked(Force force, Retry retry,
                                                   const BuildEvents& events,
                                                   UpdateOutcome outcome) {
  const auto start = std::chrono::steady_clock::now();
  load_state();  // whoever held the lock may have built for us
  Look now = look();
  outcome.stats += now.scan.stats;
  outcome.hashed += now.scan.hashed;
  if (force == Force::no && std::holds_alternative<UpToDate>(now.freshness)) {
    if (artifacts_present(*state_)) return outcome;
    now.freshness = Rebuild{"an artifact is missing from the store", InputRole::compile};
  }
  outcome.reason = force == Force::yes ? "forced" : std::get<Rebuild>(now.freshness).reason;

  if (force == Force::no && state_) {
    const TraceStep step("look up", "project", root_.native());
    if (auto record = find_earlier(now)) {
      serve_earlier(std::move(*record), now.current);
      outcome.kind = UpdateOutcome::Kind::reused;
      outcome.decide_seconds += seconds_since(start);
      forget_failure();
      append_log(*state_, outcome);
      return outcome;
    }
  }
  std::ignore = retry;
  outcome.decide_seconds += seconds_since(start);

  const auto build_start = std::chrono::steady_clock::now();
  const TraceStep step("build", "project", root_.native());
  Status status = build(now, force, events, outcome);
  outcome.build_seconds = seconds_since(build_start);
  if (!status) return std::move(status).error();
  outcome.kind = UpdateOutcome::Kind::built;
  state_->build_seconds = outcome.build_seconds;
  save_state(*state_);
  save_record(*state_);
  forget_failure();
  append_log(*state_, outcome);
  return outcome;
}

bool ProjectUpdate::matches_now(ProjectState& record, const std::vector<Input>& current) {
  std::unordered_map<std::string_view, const Input*> known;
  for (const Input& input : current) known.emplace(input.name, &input);
  const ValueMap now = values();
  for (Input& input : record.inputs) {
    if (const auto found = known.find(input.name); found != known.end()) {
      if (found->second->digest != input.digest) return false;
      input.stat = found->second->stat;
      input.hashed_at_ns = found->second->hashed_at_ns;
      continue;
    }
    if (input.kind == InputKind::value) {
      const auto value = now.find(input.name);
      if ((value == now.end() ? "" : value->second) != input.text) return false;
      continue;
    }
    const Digest before = input.digest;
    measure_input(*context_.fs, input);
    if (input.digest != before) return false;
  }
  return true;
}

std::optional<ProjectState> ProjectUpdate::find_earlier(const Look& look) {
  const Path records = folder_ / "records";
  const auto load = [&](const Path& file) -> std::optional<ProjectState> {
    auto bytes = context_.fs->read(file);
    if (!bytes) return std::nullopt;
    auto record = parse_project_state(*bytes);
    if (!record || record->root != root_ || record->modules.empty()) return std::nullopt;
    if (!artifacts_present(*record) || !matches_now(*record, look.current)) return std::nullopt;
    return std::move(*record);
  };
  // The usual case: the same inputs by name, so the fingerprint names the record.
  std::vector<Input> current = look.current;
  const std::string exact = fingerprint_digest(current).hex();
  if (auto record = load(records / exact)) return record;

  auto names = context_.fs->list(records);
  if (!names) return std::nullopt;
  std::vector<std::pair<std::int64_t, std::string>> newest_first;
  for (const std::string& name : *names) {
    FileStat stat;
    if (name != exact && context_.fs->lookup((records / name).c_str(), stat)) {
      newest_first.emplace_back(-stat.mtime_ns, name);
    }
  }
  std::sort(newest_first.begin(), newest_first.end());
  if (newest_first.size() > k_max_records_compared) newest_first.resize(k_max_records_compared);
  for (const auto& [age, name] : newest_first) {
    if (auto record = load(records / name)) return record;
  }
  return std::nullopt;
}

void ProjectUpdate::serve_earlier(ProjectState record, const std::vector<Input>& /*current*/) {
  // The build folder keeps what the tool last saw; whatever differs from it must be forced
  // later.
  std::map<std::string, Digest> in_folder;
  for (const Input& input : state_->inputs) {
    if (input.kind == InputKind::file) in_folder[input.name] = input.digest;
  }
  for (const auto& [name, digest] : state_->built) in_folder[name] = digest;
  record.built.clear();
  std::set<std::string> names;
  for (const Input& input : record.inputs) {
    if (input.kind != InputKind::file) continue;
    names.insert(input.name);
    const auto known = in_folder.find(input.name);
    const Digest digest = known == in_folder.end() ? Digest{} : known->second;
    if (digest != input.digest) record.built[input.name] = digest;
  }
  for (const auto& [name, digest] : in_folder) {
    if (!names.contains(name)) record.built[name] = digest;
  }
  record.fingerprint = fingerprint_digest(record.inputs);
  state_ = std::move(record);
  save_state(*state_);
}

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

// Files whose content differs from what the build tool last compiled: their time stamps need
// not tell.
std::vector<std::string> ProjectUpdate::unseen_by_build_tool(const Look& look) const {
  std::vector<std::string> files;
  for (std::size_t i = 0; i < look.current.size(); ++i) {
    const Input& input = look.current[i];
    if (input.kind != InputKind::file) continue;
    const auto built = state_->built.find(input.name);
    // state_->inputs holds the content of the last good build, in the same order.
    const Digest& in_folder =
        built == state_->built.end() ? state_->inputs[i].digest : built->second;
    if (in_folder != input.digest) files.push_back(input.name);
  }
  return files;
}

void ProjectUpdate::remember_attempt(const std::vector<Input>& current) {
  if (!state_) return;
  for (const Input& input : current) {
    if (input.kind == InputKind::file) state_->built[input.name] = input.digest;
  }
  for (const Input& input : state_->inputs) {
    const auto attempted = state_->built.find(input.name);
    if (attempted != state_->built.end() && attempted->second == input.digest) {
      state_->built.erase(attempted);
    }
  }
  save_state(*state_);
}

Status ProjectUpdate::build(const Look& look, Force force, const BuildEvents& events,
                            UpdateOutcome& outcome) {
  if (state_ && !state_->build_dir.empty() && context_.build_dir.empty())
    build_dir_ = state_->build_dir;
  BuildFolder folder(*context_.fs, *context_.runner, build_dir_);
  const Rebuild* rebuild = std::get_if<Rebuild>(&look.freshness);
  const InputRole role = rebuild == nullptr ? InputRole::compile : rebuild->role;
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
    std::ignore = folder.forget_outputs_of(unseen_by_build_tool(look));
    remember_attempt(look.current);
  }

  outcome.configured = configure;
  ProjectState next;
  Status status = run_build(folder, project, configure,
                            state_ && role == InputRole::toolchain ? Fresh::yes : Fresh::no,
                            look.current, events, next);
  if (!status) {
    if (!next.inputs.empty() && (!state_ || state_->modules.empty())) {
      // A first build that failed half way: what the tool has seen must be known to the next
      // try.
      for (const Input& input : next.inputs) {
        if (input.kind == InputKind::file) next.built[input.name] = input.digest;
      }
      next.modules.clear();
      next.fingerprint = fingerprint_digest(next.inputs);
      state_ = std::move(next);
      save_state(*state_);
      remember_failure(status.error(), state_->inputs);
    } else {
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
  if (targets.empty())
    return find_extension_target(model, naming, root_.filename().string()).error();
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
  for (int round = 1;; ++round) {
    Status built = folder.build(model, project, names, events);
    if (!built && built.error().code != ErrorCode::failed_build) return built;
    if (auto newer = folder.model(project))
      model = std::move(*newer);  // ninja may re-run CMake
    auto inputs = folder.collect_inputs(model, project, targets);
    if (!inputs) return built ? Status(std::move(inputs).error()) : built;
    const std::vector<std::string> overtaken = measure_all(*inputs, before, started);
    next.inputs = std::move(*inputs);
    if (!built) {
      for (const auto& [name, text] : values()) {
        next.inputs.push_back(
            {name, InputKind::value, InputRole::toolchain, digest_of(text), text, {}, 0});
      }
      return built;
    }
    if (overtaken.empty() || round == k_max_rounds) return ok_status();
    REHOOK_TRY(folder.forget_outputs_of(overtaken));
    before = next.inputs;
  }
}

// Fills in stats and digests, from `before` where nothing moved. Gives the files that may have
// changed after the build tool had read them.
std::vector<std::string> ProjectUpdate::measure_all(std::vector<Input>& inputs,
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
  std::vector<std::string> overtaken;
  const InputScan scan = scan_inputs(*context_.fs, inputs, {});
  for (const InputChange& change : scan.changes) {
    const Input& input = inputs[change.index];
    const bool is_young = std::max(input.stat.mtime_ns, input.stat.ctime_ns) >= started;
    if (input.kind == InputKind::file && (known.contains(input.name) || is_young)) {
      overtaken.push_back(input.name);
    }
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
  next.bridge_flags = cxx_flags(model, targets);
  if (const auto compiler = next.compilers.find("CXX");
      configure && events.on_flags && compiler != next.compilers.end()) {
    events.on_flags(next.bridge_flags, compiler->second);
  }
  REHOOK_TRY(build_until_stable(folder, project, model, targets, before, events, next));

  for (const ExtensionTarget& target : targets) {
    next.modules.push_back(
        {target.module, target.target_name, target.artifact, target.defined_in, {}, {}, false});
  }
  for (const InstalledFile& file : model.installed_files) {
    const std::string module = python_module_of(file, model, project.naming.install_dir);
    if (!module.empty()) next.python_files[module] = file.from;
  }
  if (!configure && state_) {
    next.python_files.insert(state_->python_files.begin(), state_->python_files.end());
  }
  return publish(folder, model, project, events, next);
}

Status ProjectUpdate::publish(BuildFolder& folder, const CodeModel& model,
                              const ProjectDescription& project, const BuildEvents& events,
                              ProjectState& next) {
  const TraceStep step("publish", "project", root_.native());
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
    REHOOK_ASSIGN_OR_RETURN(const std::string bytes, context_.fs->read(artifact_path(module)));
    REHOOK_ASSIGN_OR_RETURN(module.code, loadable_digest(bytes));
    if (auto image = ElfImage::parse(bytes)) {
      // DEBUG_POSTFIX and the like change the file's name, not the module's.
      const std::size_t dot = module.module.rfind('.') + 1;
      std::vector<std::string> symbols;
      for (const std::string& name : image->python_inits()) symbols.push_back("PyInit_" + name);
      module.module.replace(dot, std::string::npos,
                            match_init(module.module.substr(dot), symbols));
    }
    module.uses_pybind11 = bytes.find("__pybind11_internals_v") != std::string::npos;
  }
  // The compilers are known only now.
  const auto previous = std::move(state_);
  state_.emplace();
  state_->compilers = next.compilers;
  const ValueMap now = values();
  state_ = previous;
  for (const auto& [name, text] : now) {
    next.inputs.push_back(
        {name, InputKind::value, InputRole::toolchain, digest_of(text), text, {}, 0});
  }
  next.fingerprint = fingerprint_digest(next.inputs);
  next.built_at_ns = now_ns();
  return ok_status();
}

void ProjectUpdate::remember_failure(const Error& error, const std::vector<Input>& current) {
  if (error.code == ErrorCode::canceled) return;
  BuildFailure failure{error, utc_now(), {}, true, false};
  // Only what a compiler said depends on nothing but the inputs; everything else is worth a new
  // try.
  if (error.code == ErrorCode::failed_build && !current.empty()) {
    std::vector<Input> sorted = current;
    failure.fingerprint = fingerprint_digest(sorted);
  }
  failure_ = failure;
  publish_products();
  std::ignore = context_.fs->write_atomic(folder_ / "failure", serialize_failure(failure));
}

void ProjectUpdate::forget_failure() {
  if (!failure_) return;
  failure_.reset();
  publish_products();
  std::ignore = context_.fs->remove(folder_ / "failure", MissingOk::yes);
}

void ProjectUpdate::append_log(const ProjectState& state, const UpdateOutcome& outcome) {
  GitState git;
  if (auto known = read_git_state(root_)) git = *known;
  std::ostringstream line;
  line << utc_now() << '\t' << (outcome.kind == UpdateOutcome::Kind::built ? "built" : "reused")
       << '\t' << state.fingerprint.hex() << '\t' << git.commit << '\t' << git.branch << '\t'
       << (git.dirty ? "dirty" : "clean") << '\t' << outcome.build_seconds << '\t'
       << outcome.reason << '\n';
  std::ignore = context_.fs->append(folder_ / "log", line.str());
}

}  // namespace rehook
