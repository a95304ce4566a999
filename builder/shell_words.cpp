#include "builder/shell_words.hpp"

namespace rehook {

std::vector<std::string> split_shell_words(std::string_view text) {
  std::vector<std::string> words;
  std::string word;
  bool inside = false;  // of a word, which may be empty: ''
  char quote = '\0';
  for (std::size_t at = 0; at < text.size(); ++at) {
    const char c = text[at];
    const char after = at + 1 < text.size() ? text[at + 1] : '\0';
    if (quote != '\0' && c == quote) {
      quote = '\0';
    } else if (quote == '\'') {
      word += c;
    } else if (c == '\\' && after != '\0' &&
               (quote == '\0' ||
                std::string_view("\"\\$`").find(after) != std::string_view::npos)) {
      word += after;
      inside = true;
      ++at;
    } else if (quote == '\0' && (c == '\'' || c == '"')) {
      quote = c;
      inside = true;
    } else if (quote == '\0' && (c == ' ' || c == '\t' || c == '\n')) {
      if (inside) words.push_back(std::move(word));
      word.clear();
      inside = false;
    } else {
      word += c;
      inside = true;
    }
  }
  if (inside) words.push_back(std::move(word));
  return words;
}

}  // namespace rehook
