#include "builder/ninja_memory.hpp"

#include <map>

namespace rehook {
namespace {

constexpr std::string_view k_deps_start = {"# ninjadeps\n\4\0\0\0", 16};
constexpr std::string_view k_log_start = "# ninja log v";
constexpr std::uint32_t k_is_deps = 1U << 31;
constexpr std::size_t k_longest_record = (1U << 19) - 1;

std::uint32_t number_at(std::string_view bytes, std::size_t at) {
  std::uint32_t value = 0;
  for (std::size_t i = 0; i < 4; ++i) {
    value |= std::uint32_t{static_cast<unsigned char>(bytes[at + i])} << (8 * i);
  }
  return value;
}

void add_number(std::string& bytes, std::uint32_t value) {
  for (int i = 0; i < 4; ++i) bytes += static_cast<char>(value >> (8 * i) & 0xffU);
}

Error cannot_use(const Path& log) {
  return Error{ErrorCode::corrupt, log.string() +
                                       " is torn, or of a version of ninja's logs "
                                       "that rehook does not write"};
}

}  // namespace

Result<NinjaMemory> NinjaMemory::read(FileSystem& fs, const Path& build_dir) {
  NinjaMemory memory(build_dir);
  REHOOK_ASSIGN_OR_RETURN(const std::string deps, fs.read(build_dir / ".ninja_deps"));
  REHOOK_TRY(memory.read_deps(deps));
  REHOOK_ASSIGN_OR_RETURN(const std::string commands, fs.read(build_dir / ".ninja_log"));
  REHOOK_TRY(memory.read_commands(commands));
  return memory;
}

Status NinjaMemory::read_deps(std::string_view bytes) {
  const Path log = build_dir_ / ".ninja_deps";
  if (!bytes.starts_with(k_deps_start)) return cannot_use(log);
  std::vector<Path> paths;
  std::map<std::uint32_t, RememberedObject> last;
  for (std::size_t at = k_deps_start.size(); at < bytes.size();) {
    if (bytes.size() - at < 4) return cannot_use(log);
    const std::uint32_t head = number_at(bytes, at);
    const std::size_t size = head & ~k_is_deps;
    at += 4;
    if (size > k_longest_record || size % 4 != 0 || size < 8 || bytes.size() - at < size) {
      return cannot_use(log);
    }
    const std::string_view record = bytes.substr(at, size);
    at += size;
    if ((head & k_is_deps) == 0) {
      std::string_view name = record.substr(0, size - 4);
      if (~number_at(record, size - 4) != paths.size()) return cannot_use(log);
      for (int i = 0; i < 3 && name.ends_with('\0'); ++i) name.remove_suffix(1);
      paths.push_back(build_dir_ / Path(name));
      continue;
    }
    if (size < 12) return cannot_use(log);
    RememberedObject object;
    const std::uint32_t output = number_at(record, 0);
    object.mtime_ns = static_cast<std::int64_t>(number_at(record, 4) |
                                                std::uint64_t{number_at(record, 8)} << 32U);
    if (output >= paths.size()) return cannot_use(log);
    object.object = paths[output];
    for (std::size_t i = 12; i < size; i += 4) {
      const std::uint32_t input = number_at(record, i);
      if (input >= paths.size()) return cannot_use(log);
      object.inputs.push_back(paths[input]);
    }
    last[output] = std::move(object);
  }
  for (const Path& path : paths) numbers_.try_emplace(path.native(), path_count_++);
  for (auto& [number, object] : last) objects_.push_back(std::move(object));
  return ok_status();
}

Status NinjaMemory::read_commands(std::string_view bytes) {
  const Path log = build_dir_ / ".ninja_log";
  if (!bytes.starts_with(k_log_start) || !bytes.ends_with('\n')) return cannot_use(log);
  bytes.remove_prefix(k_log_start.size());
  if (bytes.size() < 2 || bytes[0] < '5' || bytes[0] > '7' || bytes[1] != '\n') {
    return cannot_use(log);
  }
  bytes.remove_prefix(2);
  while (!bytes.empty()) {
    std::string_view line = bytes.substr(0, bytes.find('\n'));
    bytes.remove_prefix(line.size() + 1);
    // start, end, mtime, output, hash of the command
    std::size_t tabs[4];
    std::size_t from = 0;
    bool whole = true;
    for (std::size_t& tab : tabs) {
      tab = whole ? line.find('\t', from) : std::string_view::npos;
      whole = tab != std::string_view::npos;
      from = tab + 1;
    }
    if (!whole) return cannot_use(log);
    commands_[std::string(line.substr(tabs[2] + 1, tabs[3] - tabs[2] - 1))] = {
        std::string(line.substr(0, tabs[1])), std::string(line.substr(tabs[3] + 1))};
  }
  return ok_status();
}

// As ninja names it: relative to the build folder when it is inside.
std::string NinjaMemory::name_of(const Path& path) const {
  const std::string prefix = build_dir_.native() + "/";
  const std::string& text = path.native();
  return text.starts_with(prefix) ? text.substr(prefix.size()) : text;
}

std::string NinjaMemory::command_of(const Path& object) const {
  const auto found = commands_.find(name_of(object));
  return found == commands_.end() ? std::string() : found->second.hash;
}

std::uint32_t NinjaMemory::number_of(const Path& path) {
  const auto [at, is_new] = numbers_.try_emplace(path.native(), path_count_);
  if (is_new) {
    ++path_count_;
    std::string name = name_of(path);
    name.resize((name.size() + 3) / 4 * 4, '\0');
    add_number(new_deps_, static_cast<std::uint32_t>(name.size() + 4));
    new_deps_ += name;
    add_number(new_deps_, ~at->second);
  }
  return at->second;
}

void NinjaMemory::remember(const RememberedObject& object) {
  const auto command = commands_.find(name_of(object.object));
  if (command == commands_.end()) return;
  std::vector<std::uint32_t> numbers = {number_of(object.object)};
  for (const Path& input : object.inputs) numbers.push_back(number_of(input));
  const auto stamp = static_cast<std::uint64_t>(object.mtime_ns);
  add_number(new_deps_, static_cast<std::uint32_t>(4 * (numbers.size() + 2)) | k_is_deps);
  add_number(new_deps_, numbers[0]);
  add_number(new_deps_, static_cast<std::uint32_t>(stamp));
  add_number(new_deps_, static_cast<std::uint32_t>(stamp >> 32U));
  for (std::size_t i = 1; i < numbers.size(); ++i) add_number(new_deps_, numbers[i]);
  new_commands_ += command->second.times + "\t" + std::to_string(object.mtime_ns) + "\t" +
                   command->first + "\t" + command->second.hash + "\n";
}

Status NinjaMemory::write(FileSystem& fs) {
  if (new_deps_.empty()) return ok_status();
  REHOOK_TRY(fs.append(build_dir_ / ".ninja_deps", new_deps_));
  REHOOK_TRY(fs.append(build_dir_ / ".ninja_log", new_commands_));
  new_deps_.clear();
  new_commands_.clear();
  return ok_status();
}

}  // namespace rehook
