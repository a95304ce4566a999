#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace rehook {

// What tools print, in a form that can be read.

[[nodiscard]] std::string_view trim(std::string_view text);
// Without colours (ESC [ … letter) and links (ESC ] … BEL or ESC \).
[[nodiscard]] std::string strip_escapes(std::string_view text);
// Lines of `text` without their ends.
[[nodiscard]] std::vector<std::string_view> split_lines(std::string_view text);

}  // namespace rehook
