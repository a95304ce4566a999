#include <charconv>

#include "builder/diagnostics.hpp"
#include "builder/tool_text.hpp"

namespace rehook {

bool parse_ninja_progress(std::string_view line, NinjaProgress& progress) {
  const std::string plain = strip_escapes(line);
  const std::string_view text = plain;
  const std::size_t slash = text.find('/');
  const std::size_t end = text.find("] ");
  if (!text.starts_with('[') || slash == std::string_view::npos ||
      end == std::string_view::npos || slash > end) {
    return false;
  }
  NinjaProgress found;
  const auto number = [](std::string_view digits, int& value) {
    const char* last = digits.data() + digits.size();
    return !digits.empty() && digits.front() != '-' &&
           std::from_chars(digits.data(), last, value) == std::from_chars_result{last, {}};
  };
  if (!number(text.substr(1, slash - 1), found.done) ||
      !number(text.substr(slash + 1, end - slash - 1), found.total)) {
    return false;
  }
  std::string_view what = trim(text.substr(end + 2));
  const bool builds = what.starts_with("Building ");
  if (builds || what.starts_with("Linking ") || what.starts_with("Generating ")) {
    const std::size_t cut =
        what.find_last_of(what.find('/') == std::string_view::npos ? " " : "/");
    what.remove_prefix(cut + 1);
    if (builds && what.ends_with(".o")) what.remove_suffix(2);
  }
  found.what = what;
  progress = std::move(found);
  return true;
}

}  // namespace rehook
