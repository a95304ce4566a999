#include "hook/build_log.hpp"

#include <array>
#include <charconv>
#include <sstream>
#include <tuple>

namespace rehook {
namespace {

constexpr std::size_t k_fields = 8;
constexpr std::uint64_t k_long = 512 * 1024;  // bytes; about 3,000 builds

// A path may hold anything but what separates fields and lines.
std::string in_one_field(std::string text) {
  for (char& c : text) {
    if (static_cast<unsigned char>(c) < 0x20) c = ' ';
  }
  return text;
}

}  // namespace

std::string log_line(const LoggedBuild& build) {
  std::ostringstream line;
  line << build.time << '\t' << build.kind << '\t' << build.fingerprint << '\t' << build.commit
       << '\t' << in_one_field(build.branch) << '\t' << (build.dirty ? "dirty" : "clean")
       << '\t' << build.seconds << '\t' << in_one_field(build.reason) << '\n';
  return line.str();
}

std::vector<LoggedBuild> parse_build_log(std::string_view text) {
  std::vector<LoggedBuild> builds;
  while (!text.empty()) {
    const std::size_t end = text.find('\n');
    if (end == std::string_view::npos) break;  // torn
    std::string_view line = text.substr(0, end);
    text.remove_prefix(end + 1);
    std::array<std::string_view, k_fields> fields;
    std::size_t count = 0;
    for (; count + 1 < k_fields; ++count) {
      const std::size_t tab = line.find('\t');
      if (tab == std::string_view::npos) break;
      fields[count] = line.substr(0, tab);
      line.remove_prefix(tab + 1);
    }
    if (count + 1 != k_fields) continue;
    LoggedBuild build;
    build.time = fields[0];
    build.kind = fields[1];
    build.fingerprint = fields[2];
    build.commit = fields[3];
    build.branch = fields[4];
    build.dirty = fields[5] == "dirty";
    const std::string_view seconds = fields[6];
    const auto parsed =
        std::from_chars(seconds.data(), seconds.data() + seconds.size(), build.seconds);
    if (parsed.ec != std::errc{} || (build.kind != "built" && build.kind != "reused")) continue;
    build.reason = line;
    builds.push_back(std::move(build));
  }
  return builds;
}

void shorten_build_log(FileSystem& fs, const Path& file) {
  FileStat stat;
  if (!fs.lookup(file.c_str(), stat) || stat.size <= k_long) return;
  const auto text = fs.read(file);
  if (!text) return;
  const std::size_t start = text->find('\n', text->size() / 2);
  // Best effort: a long log is no harm.
  if (start != std::string::npos) std::ignore = fs.write_atomic(file, text->substr(start + 1));
}

}  // namespace rehook
