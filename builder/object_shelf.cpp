#include "builder/object_shelf.hpp"

#include <algorithm>
#include <string_view>
#include <tuple>
#include <utility>

#include "shadow_store/base/timestamp.hpp"

namespace rehook {
namespace {

// Above this the objects that were put aside first are removed.
constexpr std::uint64_t k_max_bytes = 256ULL << 20U;
constexpr std::size_t k_max_objects = 512;
constexpr std::string_view k_list = ".inputs";
constexpr std::size_t k_digits = 32;

std::string normal(const Path& path) {
  return path.lexically_normal().native();
}

// "<digest> <file>\n" of each input.
struct Listed {
  Digest content;
  std::string file;
};

std::optional<std::vector<Listed>> parse_inputs(std::string_view text) {
  std::vector<Listed> inputs;
  while (!text.empty()) {
    const std::size_t end = text.find('\n');
    if (end == std::string_view::npos || end < k_digits + 2 || text[k_digits] != ' ') return {};
    const auto content = Digest::from_hex(text.substr(0, k_digits));
    if (!content) return {};
    inputs.push_back({*content, std::string(text.substr(k_digits + 1, end - k_digits - 1))});
    text.remove_prefix(end + 1);
  }
  return inputs;
}

}  // namespace

std::string ObjectShelf::stem_of(const Path& object) const {
  return digest_of(object.native() + "\n" + toolchain_).hex() + "-";
}

bool ObjectShelf::is_in_build(const Path& path) const {
  return path.native().starts_with(build_dir_.native() + "/");
}

// Its rule: "build <object>: <rule> <source> || <order>", and no "| <inputs>".
bool ObjectShelf::is_made_of_source_alone(const Path& object) const {
  if (!is_in_build(object)) return false;
  const std::string name = object.native().substr(build_dir_.native().size() + 1);
  const std::size_t at = manifest_.find("\nbuild " + name + ": ");
  if (at == std::string::npos) return false;
  const std::string_view rule =
      std::string_view(manifest_).substr(at + 1, manifest_.find('\n', at + 1) - at - 1);
  return rule.find(" | ") == std::string_view::npos && !rule.ends_with('$');
}

std::optional<Digest> ObjectShelf::content_of(const Path& input, const Contents& contents) {
  const std::string name = normal(input);
  if (!is_in_build(name)) {
    const auto known = contents.find(name);
    if (known == contents.end() || known->second == Digest{}) return std::nullopt;
    return known->second;
  }
  // Made by the build itself, so no input of ours: as it is now. Should it be made anew, it
  // will be newer than the object.
  const auto [at, is_new] = made_.try_emplace(name);
  if (is_new) {
    if (auto digest = fs_->digest(name)) at->second = *digest;
  }
  return at->second == Digest{} ? std::nullopt : std::optional(at->second);
}

std::optional<std::string> ObjectShelf::list_inputs(const RememberedObject& object,
                                                    const Contents& contents) {
  std::string text;
  for (const Path& input : object.inputs) {
    const auto content = content_of(input, contents);
    if (!content || input.native().find('\n') != std::string::npos) return std::nullopt;
    text += content->hex() + " " + input.native() + "\n";
  }
  return text;
}

std::set<Path> ObjectShelf::exchange(const Contents& was, const Contents& now) {
  std::set<Path> back;
  auto memory = NinjaMemory::read(*fs_, build_dir_);
  auto manifest = fs_->read(build_dir_ / "build.ninja");
  if (!memory || !manifest) return back;
  memory_.emplace(std::move(*memory));
  manifest_ = std::move(*manifest);
  bool aside = false;
  for (RememberedObject object : memory_->objects()) {
    if (!is_made_of_source_alone(object.object)) continue;
    FileStat stat;
    const Newer newer = newer_than(object);
    const bool valid = fs_->lookup(object.object.c_str(), stat) &&
                       stat.mtime_ns == object.mtime_ns && newer != Newer::made_by_build;
    const auto before = list_inputs(object, was);
    const auto present = list_inputs(object, now);
    if (valid && before && before == present) {
      if (newer == Newer::nothing) continue;
      object.mtime_ns = now_ns();
      if (fs_->set_mtime(object.object, object.mtime_ns).ok()) memory_->remember(object);
      continue;
    }
    if (valid && before) {
      put_aside(object, *before);
      aside = true;
    }
    if (put_back(object, now)) {
      memory_->remember(object);
      back.insert(object.object);
    }
  }
  if (!memory_->write(*fs_)) back.clear();
  if (aside) keep_small();
  return back;
}

void ObjectShelf::put_aside(const RememberedObject& object, const std::string& inputs) {
  const std::string command = memory_->command_of(object.object);
  const auto content = fs_->digest(object.object);
  if (command.empty() || !content || !fs_->make_directories(shelf_).ok()) return;
  const std::string key = digest_of(command + "\n" + inputs).hex();
  const Path file = shelf_ / (stem_of(object.object) + key);
  const Path list = file.native() + std::string(k_list);
  std::ignore = fs_->remove(list, MissingOk::yes);  // what a killed process left half done
  if (!fs_->rename(object.object, file).ok()) return;
  std::string text = inputs + content->hex() + " \n";
  text += digest_of(text).hex() + "\n";
  std::ignore = fs_->append(list, text);
}

bool ObjectShelf::put_back(RememberedObject& object, const Contents& now) {
  const std::string command = memory_->command_of(object.object);
  const auto names = fs_->list(shelf_);
  if (command.empty() || !names) return false;
  const std::string stem = stem_of(object.object);
  for (const std::string& name : *names) {
    if (!name.starts_with(stem) || !name.ends_with(k_list)) continue;
    const auto text = fs_->read(shelf_ / name);
    constexpr std::size_t k_own = k_digits + 1, k_object = k_digits + 2;
    if (!text || text->size() < k_own + k_object || text->back() != '\n') continue;
    const std::string_view whole = *text;
    const std::string_view signed_part = whole.substr(0, whole.size() - k_own);
    if (whole.substr(signed_part.size(), k_digits) != digest_of(signed_part).hex()) continue;
    const std::string inputs(signed_part.substr(0, signed_part.size() - k_object));
    const auto listed = parse_inputs(inputs);
    if (!listed || listed->empty()) continue;
    const std::string file = name.substr(0, name.size() - k_list.size());
    if (file != stem + digest_of(command + "\n" + inputs).hex()) continue;
    const bool same = std::all_of(listed->begin(), listed->end(), [&](const Listed& input) {
      const auto content = content_of(input.file, now);
      return content && *content == input.content;
    });
    const auto content = Digest::from_hex(signed_part.substr(inputs.size(), k_digits));
    const auto found = fs_->digest(shelf_ / file);
    if (!same || !content || !found || *found != *content) continue;
    object.mtime_ns = now_ns();
    if (!fs_->set_mtime(shelf_ / file, object.mtime_ns).ok() ||
        !fs_->rename(shelf_ / file, object.object).ok()) {
      return false;
    }
    std::ignore = fs_->remove(shelf_ / name, MissingOk::yes);
    object.inputs.clear();
    for (const Listed& input : *listed) object.inputs.emplace_back(input.file);
    return true;
  }
  return false;
}

ObjectShelf::Newer ObjectShelf::newer_than(const RememberedObject& object) {
  Newer newer = Newer::nothing;
  for (const Path& input : object.inputs) {
    FileStat stat;
    if (fs_->lookup(input.c_str(), stat) && stat.mtime_ns <= object.mtime_ns) continue;
    if (is_in_build(normal(input))) return Newer::made_by_build;
    newer = Newer::inputs;
  }
  return newer;
}

void ObjectShelf::keep_small() {
  const auto names = fs_->list(shelf_);
  if (!names) return;
  std::vector<std::tuple<std::int64_t, std::uint64_t, std::string>> newest_first;
  for (const std::string& name : *names) {
    FileStat stat;
    if (name.ends_with(k_list) || !fs_->lookup((shelf_ / name).c_str(), stat)) continue;
    newest_first.emplace_back(-stat.ctime_ns, stat.size, name);
  }
  std::sort(newest_first.begin(), newest_first.end());
  std::uint64_t bytes = 0;
  std::size_t count = 0;
  for (const auto& [age, size, name] : newest_first) {
    bytes += size;
    if (++count <= k_max_objects && bytes <= k_max_bytes) continue;
    std::ignore = fs_->remove(shelf_ / (name + std::string(k_list)), MissingOk::yes);
    std::ignore = fs_->remove(shelf_ / name, MissingOk::yes);
  }
}

}  // namespace rehook
