#include "builder/fingerprint.hpp"

#include <algorithm>
#include <array>
#include <string_view>
#include <tuple>

#include "builder/piecework.hpp"
#include "shadow_store/base/timestamp.hpp"

namespace rehook {
namespace {

// File systems stamp with a coarse clock; an entry younger than this when it was hashed may
// hide a second write with the same stamp. Stamps without a fraction come from file systems
// with seconds.
constexpr std::int64_t k_racy_ns = 20'000'000;
constexpr std::int64_t k_racy_coarse_ns = 2'000'000'000;
constexpr std::int64_t k_second_ns = 1'000'000'000;

// Looking at so many inputs takes far longer than starting a thread.
constexpr std::size_t k_worth_a_thread = 1500;

bool is_trustworthy(const Input& input) {
  const std::int64_t stamp = std::max(input.stat.mtime_ns, input.stat.ctime_ns);
  const bool coarse =
      input.stat.mtime_ns % k_second_ns == 0 && input.stat.ctime_ns % k_second_ns == 0;
  return stamp + (coarse ? k_racy_coarse_ns : k_racy_ns) < input.hashed_at_ns;
}

Digest directory_digest(FileSystem& fs, const Path& path) {
  auto names = fs.list(path);
  if (!names) return {};
  Hasher hasher;
  hasher.add_field("directory");
  for (const std::string& name : *names) {
    if (is_build_relevant_name(name)) hasher.add_field(name);
  }
  return hasher.finish();
}

// Takes the digest of what `stat` was seen of; null: there is nothing. Whatever is written
// after the clock is read here either shows in the digest or has a stamp that is_trustworthy()
// tells from the known one.
void measure_content(FileSystem& fs, Input& input, const FileStat* stat) {
  input.hashed_at_ns = now_ns();
  if (stat == nullptr) {
    input.stat = {};
    input.digest = {};
    return;
  }
  input.stat = *stat;
  if (input.kind == InputKind::directory) {
    input.digest = directory_digest(fs, input.name);
    return;
  }
  auto digest = fs.digest(input.name);
  // Unreadable is not unchanged: the zero digest makes it differ from any content.
  input.digest = digest ? *digest : Digest{};
}

// One look at a file or directory.
struct Seen {
  bool was_hashed = false;
  Digest before;  // set when it was
};

Seen look_at(FileSystem& fs, Input& input) {
  if (input.kind == InputKind::value) return {};
  FileStat stat;
  const bool exists = fs.lookup(input.name.c_str(), stat);
  const bool is_known =
      exists ? stat == input.stat && is_trustworthy(input) : input.digest == Digest{};
  if (is_known) return {};
  const Digest before = input.digest;
  measure_content(fs, input, exists ? &stat : nullptr);
  return {true, before};
}

}  // namespace

bool is_build_relevant_name(std::string_view name) {
  static constexpr std::array<std::string_view, 18> k_endings = {
      ".c",   ".cc",   ".cpp", ".cxx", ".c++", ".cu", ".f90", ".f",  ".pyx",
      ".ixx", ".cppm", ".m",   ".mm",  ".s",   ".S",  ".asm", ".in", ".txt"};
  if (name.empty() || name.front() == '.' || name.front() == '#' || name.back() == '~') {
    return false;
  }
  return std::any_of(k_endings.begin(), k_endings.end(),
                     [&](std::string_view ending) { return name.ends_with(ending); });
}

void measure_input(FileSystem& fs, Input& input) {
  if (input.kind == InputKind::value) {
    input.digest = digest_of(input.text);
    return;
  }
  FileStat stat;
  const bool exists = fs.lookup(input.name.c_str(), stat);
  measure_content(fs, input, exists ? &stat : nullptr);
}

InputScan scan_inputs(FileSystem& fs, std::vector<Input>& inputs, const ValueMap& values) {
  std::vector<Seen> seen(inputs.size());
  for_each_number(inputs.size(), k_worth_a_thread,
                  [&](std::size_t i) { seen[i] = look_at(fs, inputs[i]); });
  InputScan scan;
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    Input& input = inputs[i];
    if (input.kind == InputKind::value) {
      auto found = values.find(input.name);
      const std::string now = found == values.end() ? std::string() : found->second;
      if (now == input.text) continue;
      scan.changes.push_back({i, input.digest, input.text});
      input.text = now;
      input.digest = digest_of(now);
      continue;
    }
    ++scan.stats;
    if (!seen[i].was_hashed) continue;
    ++scan.hashed;
    if (input.digest == seen[i].before) {
      scan.touched = true;
    } else {
      scan.changes.push_back({i, seen[i].before, {}});
    }
  }
  return scan;
}

Digest fingerprint_digest(std::vector<Input>& inputs) {
  std::sort(inputs.begin(), inputs.end(), [](const Input& a, const Input& b) {
    return std::tie(a.kind, a.name) < std::tie(b.kind, b.name);
  });
  Hasher hasher;
  hasher.add_field("rehook fingerprint 1");
  for (const Input& input : inputs) {
    const char kind = static_cast<char>('0' + static_cast<int>(input.kind));
    hasher.add(std::string_view(&kind, 1));
    hasher.add_field(input.name);
    hasher.add(std::string_view(reinterpret_cast<const char*>(input.digest.bytes.data()),
                                input.digest.bytes.size()));
  }
  return hasher.finish();
}

}  // namespace rehook
