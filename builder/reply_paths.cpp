#include "builder/reply_paths.hpp"

#include <optional>
#include <utility>

namespace rehook {
namespace {

constexpr std::string_view k_replacement = "\xEF\xBF\xBD";

// What follows `top` in `text`, when `text` is inside of it.
std::optional<std::string_view> below(std::string_view text, std::string_view top) {
  if (top.empty() || !text.starts_with(top)) return std::nullopt;
  text.remove_prefix(top.size());
  if (text.empty()) return text;
  if (text.front() != '/') return std::nullopt;
  return text.substr(1);
}

// CMakeCache.txt is no JSON and keeps the bytes.
std::optional<Path> cached_source_dir(FileSystem& fs, const Path& build_dir) {
  constexpr std::string_view k_key = "\nCMAKE_HOME_DIRECTORY:INTERNAL=";
  const Result<std::string> cache = fs.read(build_dir / "CMakeCache.txt");
  const std::size_t begin = cache ? cache->find(k_key) : std::string::npos;
  if (begin == std::string::npos) return std::nullopt;
  const std::size_t value = begin + k_key.size();
  return Path(cache->substr(value, cache->find('\n', value) - value));
}

// The length of the valid UTF-8 sequence at the front of `text`, or 0.
std::size_t sequence_length(std::string_view text) {
  const auto byte = [&](std::size_t i) {
    return i < text.size() ? static_cast<unsigned char>(text[i]) : 0U;
  };
  const auto follows = [&](std::size_t i) { return (byte(i) & 0xC0U) == 0x80U; };
  const unsigned first = byte(0), second = byte(1);
  if (first < 0x80U) return 1;
  if (first >= 0xC2U && first <= 0xDFU) return follows(1) ? 2 : 0;
  if (first >= 0xE0U && first <= 0xEFU) {
    const bool overlong = first == 0xE0U && second < 0xA0U;
    const bool surrogate = first == 0xEDU && second > 0x9FU;
    return follows(1) && follows(2) && !overlong && !surrogate ? 3 : 0;
  }
  if (first >= 0xF0U && first <= 0xF4U) {
    const bool out_of_range =
        (first == 0xF0U && second < 0x90U) || (first == 0xF4U && second > 0x8FU);
    return follows(1) && follows(2) && follows(3) && !out_of_range ? 4 : 0;
  }
  return 0;
}

}  // namespace

ReplyPaths::ReplyPaths(FileSystem& fs, std::string source, std::string build, Path build_dir)
    : reply_source_(std::move(source)),
      reply_build_(std::move(build)),
      source_dir_(reply_source_),
      build_dir_(std::move(build_dir)) {
  if (!build_dir_.has_filename()) build_dir_ = build_dir_.parent_path();  // "build/"
  if (reply_source_.find(k_replacement) == std::string::npos) return;
  if (std::optional<Path> real = cached_source_dir(fs, build_dir_)) source_dir_ = *real;
}

Path ReplyPaths::in_source(const std::string& text) const {
  return resolve(text, source_dir_);
}
Path ReplyPaths::in_build(const std::string& text) const {
  return resolve(text, build_dir_);
}

Path ReplyPaths::resolve(const std::string& text, const Path& top) const {
  std::string_view rest = text;
  while (rest.ends_with("/.")) rest.remove_suffix(2);
  if (rest.empty() || rest == ".") return top;
  if (!rest.starts_with('/')) return top / Path(rest);
  const auto in_build = below(rest, reply_build_);
  const auto in_source = below(rest, reply_source_);
  // One folder may be inside the other: then the longer name decides.
  if (in_build && !(in_source && reply_source_.size() > reply_build_.size())) {
    return in_build->empty() ? build_dir_ : build_dir_ / Path(*in_build);
  }
  if (in_source) return in_source->empty() ? source_dir_ : source_dir_ / Path(*in_source);
  return rest;
}

bool ReplyPaths::is_generated(const Path& path, bool cmake_says_so) const {
  const std::string build = build_dir_.string();
  const auto inside = below(path.native(), build);
  if (!inside) return cmake_says_so;
  if (inside->starts_with("_deps/")) {
    const std::string_view name = inside->substr(6, inside->find('/', 6) - 6);
    if (name.ends_with("-src")) return false;
  }
  // A build in its own source folder: only CMake knows.
  const bool source_in_build = below(source_dir_.native(), build).has_value();
  if (source_in_build && below(path.native(), source_dir_.native())) {
    return cmake_says_so || inside->starts_with("CMakeFiles/");
  }
  return true;
}

std::string replace_invalid_utf8(std::string_view bytes) {
  std::string result;
  result.reserve(bytes.size());
  while (!bytes.empty()) {
    const std::size_t length = sequence_length(bytes);
    result += length == 0 ? k_replacement : bytes.substr(0, length);
    bytes.remove_prefix(length == 0 ? 1 : length);
  }
  return result;
}

}  // namespace rehook
