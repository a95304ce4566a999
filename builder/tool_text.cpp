#include "builder/tool_text.hpp"

#include <algorithm>

namespace rehook {

std::string_view trim(std::string_view text) {
  const std::size_t begin = text.find_first_not_of(" \t\r");
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(" \t\r") - begin + 1);
}

std::string strip_escapes(std::string_view text) {
  std::string result;
  result.reserve(text.size());
  for (std::size_t at = 0; at < text.size(); ++at) {
    if (text[at] != '\x1b' || at + 1 == text.size()) {
      result += text[at];
      continue;
    }
    const char kind = text[++at];
    if (kind == '[') {
      ++at;
      while (at < text.size() && (text[at] < '@' || text[at] > '~')) ++at;
    } else if (kind == ']') {
      while (at < text.size() && text[at] != '\a' && text[at] != '\x1b') ++at;
      if (at < text.size() && text[at] == '\x1b') ++at;
    }
  }
  return result;
}

std::vector<std::string_view> split_lines(std::string_view text) {
  std::vector<std::string_view> lines;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
    lines.push_back(line);
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return lines;
}

}  // namespace rehook
