#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace rehook {

// Splits as a POSIX shell splits words: blanks, 'single' and "double" quotes, backslashes.
// Nothing is expanded, and what is not closed ends with the text.
[[nodiscard]] std::vector<std::string> split_shell_words(std::string_view text);

}  // namespace rehook
