#include <algorithm>
#include <string>
#include <string_view>
#include <system_error>

#include "builder/header_deps.hpp"

namespace rehook {
namespace {

// Make's "\\ " and "$$" undone.
std::string unescaped(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const bool escapes = (text[i] == '\\' && i + 1 < text.size() &&
                          (text[i + 1] == ' ' || text[i + 1] == '#')) ||
                         (text[i] == '$' && i + 1 < text.size() && text[i + 1] == '$');
    if (escapes) ++i;
    out += text[i];
  }
  return out;
}

void read_rules(std::string_view text, const Path& build_dir, std::vector<MakeRule>& rules) {
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    const std::size_t colon = line.find(": ");
    if (line.empty() || line.front() == '\t' || line.front() == '#' || line.front() == '.' ||
        colon == std::string_view::npos || line.find('=') < colon) {
      continue;
    }
    const auto absolute = [&](std::string_view name) {
      const Path path = unescaped(name);
      return (path.is_absolute() ? path : build_dir / path).lexically_normal();
    };
    rules.push_back({absolute(line.substr(0, colon)), absolute(line.substr(colon + 2))});
  }
}

}  // namespace

Result<std::vector<MakeRule>> read_make_rules(FileSystem& fs, const Path& build_dir) {
  std::vector<MakeRule> rules;
  std::error_code error;
  std::filesystem::recursive_directory_iterator at(build_dir, error);
  for (const std::filesystem::recursive_directory_iterator end; !error && at != end;
       at.increment(error)) {
    if (at->path().filename() != "build.make") continue;
    auto text = fs.read(at->path());
    if (text) read_rules(*text, build_dir, rules);
  }
  return rules;
}

}  // namespace rehook
