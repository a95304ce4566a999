#include "builder/fingerprint.hpp"

#include <algorithm>
#include <array>
#include <string_view>
#include <tuple>

#include "shadow_store/base/timestamp.hpp"

namespace rehook {
namespace {

// File systems stamp with a coarse clock; an entry younger than this when it was hashed may
// hide a second write with the same stamp. Stamps without a fraction come from file systems
// with seconds.
constexpr std::int64_t k_racy_ns = 20'000'000;
constexpr std::int64_t k_racy_coarse_ns = 2'000'000'000;
constexpr std::int64_t k_second_ns = 1'000'000'000;

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
  input.hashed_at_ns = now_ns();
  if (!fs.lookup(input.name.c_str(), input.stat)) {
    input.stat = {};
    input.digest = {};
    return;
  }
  if (input.kind == InputKind::directory) {
    input.digest = directory_digest(fs, input.name);
    return;
  }
  auto digest = fs.digest(input.name);
  // Unreadable is not unchanged: the zero digest makes it differ from any content.
  input.digest = digest ? *digest : Digest{};
}

InputScan scan_inputs(FileSystem& fs, std::vector<Input>& inputs, const ValueMap& values) {
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
    FileStat stat;
    ++scan.stats;
    const bool exists = fs.lookup(input.name.c_str(), stat);
    if (!exists) stat = {};
    const bool is_known =
        exists ? stat == input.stat && is_trustworthy(input) : input.digest == Digest{};
    if (is_known) continue;
    const Digest before = input.digest;
    ++scan.hashed;
    measure_input(fs, input);
    if (input.digest == before) {
      scan.touched = true;
    } else {
      scan.changes.push_back({i, before, {}});
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
