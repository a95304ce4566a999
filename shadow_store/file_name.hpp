#pragma once

#include <string>
#include <string_view>

namespace rehook {

// NAME_MAX of every file system in use.
inline constexpr std::size_t k_longest_file_name = 255;

// `text` as (part of) a single name in a folder: no '/', no control characters, and no longer
// than `room`. What is cut off is the front, since the end says what kind of file it is.
[[nodiscard]] std::string plain_file_name(std::string_view text,
                                          std::size_t room = k_longest_file_name);

}  // namespace rehook
