#include "hook/project_update.hpp"

#include <algorithm>
#include <set>
#include <system_error>
#include <unordered_map>

#include "builder/diagnostics.hpp"
#include "builder/git_state.hpp"
#include "hook/build_log.hpp"
#include "hook/project_folders.hpp"
#include "hook/sibling_projects.hpp"
#include "shadow_store/base/timestamp.hpp"
#include "shadow_store/base/trace.hpp"

namespace rehook {
namespace {

// How many earlier builds are compared when the inputs' names differ too.
constexpr std::size_t k_max_records_compared = 64;

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// A project that is in use is touched so often, for the garbage collector to see.
constexpr std::int64_t k_touch_every_ns = 24LL * 3600 * 1'000'000'000;

}  // namespace

ProjectUpdate::ProjectUpdate(const BuildContext& context, Path root)
    : context_(context), root_(std::move(root)) {
  folder_ = folder_of(root_);
  build_dir_ = folder_ / "build";
  if (!context_.build_dir.empty()) {
    build_dir_ =
        (context_.build_dir.is_absolute() ? context_.build_dir : root_ / context_.build_dir)
            .lexically_normal();
  }
  if (auto text = context_.fs->read(folder_ / "failure")) failure_ = parse_failure(*text);
  shown_failure_ = failure_;
}

Path ProjectUpdate::folder_of(const Path& root) const {
  return context_.store->root() / "projects" / project_id(root) /
         configuration_id(context_.interpreter);
}

Path ProjectUpdate::artifact_path(const BuiltModule& module) const {
  return context_.store->object_path(module.artifact, module.output.filename().string());
}

// Whether every artifact is whole: its stat is the one known, else its digest is read again.
// What is damaged is removed, so that publishing puts it there anew.
bool ProjectUpdate::artifacts_are_whole(ProjectState& state) {
  const auto is_whole = [this](const Digest& artifact, const Path& output, FileStat& known) {
    const std::string name = output.filename().string();
    const Path path = context_.store->object_path(artifact, name);
    FileStat stat;
    const bool exists = context_.fs->lookup(path.c_str(), stat);
    if (exists && stat == known) return true;
    if (exists && context_.store->verify(artifact, name)) {
      known = stat;
      artifact_checked_ = true;
      return true;
    }
    if (exists) std::ignore = context_.fs->remove_tree(path);
    return false;
  };
  bool whole = true;
  for (BuiltModule& module : state.modules) {
    whole = is_whole(module.artifact, module.output, module.stat) && whole;
    for (BuiltLibrary& library : module.libraries) {
      if (!library.is_private) continue;
      whole = is_whole(library.artifact, library.output, library.stat) && whole;
    }
  }
  return whole;
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

// Best effort: without it the next process looks again, nothing worse. False when it failed.
bool ProjectUpdate::save_state(const ProjectState& state) {
  const Path file = folder_ / "state";
  bool saved = context_.fs->write_atomic(file, serialize(state)).ok();
  if (!saved) {
    std::ignore = context_.fs->remove_tree(file);  // something that is no file stands there
    saved = context_.fs->write_atomic(file, serialize(state)).ok();
  }
  if (!context_.fs->lookup(file.c_str(), state_stat_)) state_stat_ = {};
  publish_products();
  return saved;
}

void ProjectUpdate::save_record(const ProjectState& state) {
  const Path records = folder_ / "records";
  if (!context_.fs->make_directories(records).ok()) return;
  std::ignore = context_.fs->write_atomic(records / state.fingerprint.hex(), serialize(state));
}

ValueMap ProjectUpdate::values(const std::map<std::string, Path>& compilers) const {
  ValueMap values = build_values(*context_.fs, compilers);
  values.insert(context_.interpreter.begin(), context_.interpreter.end());
  return values;
}

ValueMap ProjectUpdate::values() const {
  return values(state_ ? state_->compilers : std::map<std::string, Path>());
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
  if (std::holds_alternative<UpToDate>(look.freshness)) return look;
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
        artifacts_are_whole(*state_)) {
      if (failure_) forget_failure();
      if (now.scan.touched || std::exchange(artifact_checked_, false)) {
        // Somebody else holding the lock will save a newer one.
        auto lock = FileLock::try_acquire(folder_ / "lock", LockKind::exclusive);
        if (lock) std::ignore = save_state(*state_);
      }
      tell_use();
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
  // Somebody may have removed the store under us.
  if (auto opened = ArtifactStore::open(*context_.fs, context_.store->root()); !opened) {
    return std::move(opened).error();
  }
  const auto on_wait = [&](std::chrono::milliseconds waited) {
    outcome.waited = true;
    if (events.on_progress) {
      events.on_progress({"wait", 0, 0,
                          "another process builds " + root_.filename().string() + " (" +
                              std::to_string(waited.count() / 1000) + " s)"});
    }
    return !events.cancel || !events.cancel();
  };
  const auto acquire = [&]() -> Result<FileLock> {
    REHOOK_TRY(context_.fs->make_directories(folder_));
    return FileLock::acquire(folder_ / "lock", LockKind::exclusive, context_.lock_timeout,
                             on_wait);
  };
  auto lock = acquire();
  // A collector has just removed the folder of a project that nobody had used for long.
  if (!lock && lock.error().code == ErrorCode::not_found) lock = acquire();
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
  const LetGo let_go{held_};
  load_state();  // whoever held the lock may have built for us
  Look now = look();
  outcome.stats += now.scan.stats;
  outcome.hashed += now.scan.hashed;
  if (force == Force::no && std::holds_alternative<UpToDate>(now.freshness)) {
    if (artifacts_are_whole(*state_)) return outcome;
    now.freshness = Rebuild{"an artifact is missing from the store", InputRole::compile};
  }
  if (state_ && now.current.empty()) now.current = state_->inputs;
  outcome.reason = force == Force::yes ? "forced" : std::get<Rebuild>(now.freshness).reason;

  if (state_) mark_replaced(*state_);
  if (force == Force::no) {
    const TraceStep step("look up", "project", root_.native());
    REHOOK_TRY(hold_store(events));
    std::optional<ProjectState> record = state_ ? find_earlier(now) : std::nullopt;
    const bool is_own = record.has_value();
    if (!record) record = find_in_siblings(now);
    if (record) {
      if (!state_ && build_dir_ == folder_ / "build") {
        REHOOK_TRY(context_.fs->remove_tree(build_dir_));  // nothing is known of it
      }
      serve_earlier(std::move(*record));
      if (!is_own) save_record(*state_);
      outcome.kind = UpdateOutcome::Kind::reused;
      outcome.decide_seconds += seconds_since(start);
      forget_failure();
      append_log(*state_, outcome);
      return outcome;
    }
    held_.reset();
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
  if (save_state(*state_)) mark_folder_as_recorded();
  save_record(*state_);
  forget_failure();
  append_log(*state_, outcome);
  return outcome;
}

// `known` is what was measured already, by name; more is added.
bool ProjectUpdate::matches_now(ProjectState& record,
                                std::unordered_map<std::string, Input>& known) {
  const ValueMap now = state_ ? values() : values(record.compilers);
  for (Input& input : record.inputs) {
    if (input.kind == InputKind::value && !known.contains(input.name)) {
      const auto value = now.find(input.name);
      if ((value == now.end() ? "" : value->second) != input.text) return false;
      continue;
    }
    const auto [found, is_new] = known.try_emplace(input.name, input);
    if (is_new) measure_input(*context_.fs, found->second);
    if (found->second.digest != input.digest) return false;
    input.stat = found->second.stat;
    input.hashed_at_ns = found->second.hashed_at_ns;
  }
  return true;
}

// The records below a folder: the one called `first`, then the newest.
std::vector<Path> ProjectUpdate::records_in(const Path& folder, const std::string& first) {
  const Path records = folder / "records";
  std::vector<Path> files = {records / first};
  const auto names = context_.fs->list(records);
  if (!names) return files;
  std::vector<std::pair<std::int64_t, std::string>> newest_first;
  for (const std::string& name : *names) {
    FileStat stat;
    if (name != first && context_.fs->lookup((records / name).c_str(), stat)) {
      newest_first.emplace_back(-stat.mtime_ns, name);
    }
  }
  std::sort(newest_first.begin(), newest_first.end());
  if (newest_first.size() > k_max_records_compared) newest_first.resize(k_max_records_compared);
  for (const auto& [age, name] : newest_first) files.push_back(records / name);
  return files;
}

std::optional<ProjectState> ProjectUpdate::read_record(const Path& file) {
  auto bytes = context_.fs->read(file);
  if (!bytes) return std::nullopt;
  auto record = parse_project_state(*bytes);
  if (!record || record->modules.empty()) return std::nullopt;
  return std::move(*record);
}

std::optional<ProjectState> ProjectUpdate::find_earlier(const Look& look) {
  std::unordered_map<std::string, Input> known;
  for (const Input& input : look.current) known.emplace(input.name, input);
  // The usual case: the same inputs by name, so the fingerprint names the record.
  std::vector<Input> current = look.current;
  for (const Path& file : records_in(folder_, fingerprint_digest(current).hex())) {
    auto record = read_record(file);
    if (record && record->root == root_ && artifacts_are_whole(*record) &&
        matches_now(*record, known)) {
      return record;
    }
  }
  return std::nullopt;
}

// What another working tree of the same repository has built of the same inputs.
std::optional<ProjectState> ProjectUpdate::find_in_siblings(const Look& look) {
  std::string family = known_family(*context_.fs, folder_);
  if (family.empty()) {
    // Asking git costs milliseconds: only where there is anything to be found.
    const auto projects = context_.fs->list(folder_.parent_path().parent_path());
    if (!projects || projects->size() < 2) return std::nullopt;
    if (auto git = read_git_state(root_)) family = family_of(*git, root_);
  }
  const std::optional<Path> own_tree = tree_of(root_, family);
  if (!own_tree) return std::nullopt;
  std::unordered_map<std::string, Input> known;
  for (const Input& input : look.current) known.emplace(input.name, input);
  for (const Path& folder : sibling_folders(*context_.fs, folder_, family)) {
    for (const Path& file : records_in(folder, "")) {
      auto record = read_record(file);
      if (!record || folder_of(record->root) != folder) continue;
      const std::optional<Path> tree = tree_of(record->root, family);
      if (!tree) continue;
      auto moved = moved_to(*record, *tree, root_, *own_tree, build_dir_);
      if (moved && matches_now(*moved, known) && !reads_from(*moved, *tree, *own_tree) &&
          artifacts_are_whole(*moved) &&
          !names_its_tree(*context_.fs, *context_.store, *record, *tree)) {
        return moved;
      }
    }
  }
  return std::nullopt;
}

void ProjectUpdate::serve_earlier(ProjectState record) {
  // The build folder keeps what the tools last saw; whatever differs from it must be forced
  // later.
  std::map<std::string, Digest> in_folder;
  if (state_) {
    for (const Input& input : state_->inputs) in_folder[input.name] = input.digest;
    for (const auto& [name, digest] : state_->built) in_folder[name] = digest;
  }
  record.built.clear();
  for (const Input& input : record.inputs) {
    const auto known = in_folder.find(input.name);
    const Digest digest = known == in_folder.end() ? Digest{} : known->second;
    if (digest != input.digest) record.built[input.name] = digest;
    if (known != in_folder.end()) in_folder.erase(known);
  }
  record.built.insert(in_folder.begin(), in_folder.end());
  record.fingerprint = fingerprint_digest(record.inputs);
  state_ = std::move(record);
  std::ignore = save_state(*state_);
  mark_replaced(*state_);  // used again: the collector goes by that
}

// Whoever looked a moment ago may still be about to load what this state names; the collector
// leaves alone what was used just now.
void ProjectUpdate::mark_replaced(const ProjectState& state) {
  if (state.modules.empty()) return;
  std::ignore = context_.fs->touch(folder_ / "records" / state.fingerprint.hex());
}

void ProjectUpdate::tell_use() {
  if (now_ns() - state_stat_.mtime_ns < k_touch_every_ns) return;
  const Path file = folder_ / "state";
  // Best effort: the store may be read-only for now.
  if (!context_.fs->touch(file).ok()) return;
  if (!context_.fs->lookup(file.c_str(), state_stat_)) state_stat_ = {};
}

Status ProjectUpdate::hold_store(const BuildEvents& events) {
  if (held_) return ok_status();
  REHOOK_ASSIGN_OR_RETURN(
      FileLock lock,
      context_.store->hold(context_.lock_timeout, [&](std::chrono::milliseconds) {
        return !events.cancel || !events.cancel();
      }));
  held_.emplace(std::move(lock));
  return ok_status();
}

void ProjectUpdate::remember_failure(const Error& error, const std::vector<Input>& current) {
  if (error.code == ErrorCode::canceled) return;
  BuildFailure failure{error, utc_now(), {}, true, false};
  // Only what a compiler said depends on nothing but the inputs; everything else is worth a new
  // try.
  if (error.code == ErrorCode::failed_build && !current.empty() &&
      killed_program(error.detail).empty()) {
    std::vector<Input> sorted = current;
    failure.fingerprint = fingerprint_digest(sorted);
  }
  failure_ = failure;
  publish_products();
  std::ignore = context_.fs->write_atomic(folder_ / "failure", serialize(failure));
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
  remember_family(*context_.fs, folder_, family_of(git, root_));
  const bool built = outcome.kind == UpdateOutcome::Kind::built;
  const LoggedBuild line = {
      utc_now(), built ? "built" : "reused", state.fingerprint.hex(), git.commit, git.branch,
      git.dirty, outcome.build_seconds,      outcome.reason};
  std::ignore = context_.fs->append(folder_ / "log", log_line(line));
}

}  // namespace rehook
