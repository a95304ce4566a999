#pragma once

#include <string>
#include <string_view>

namespace rehook {

// One spelling for the name of a C++ type, whoever wrote it: gcc's and clang's debug
// information, and the demangler, disagree about spaces, `const char*` or `char const*`, `long
// unsigned int` or `unsigned long`, `3ul` or `3`, and the anonymous namespace. Default template
// arguments are neither added nor removed. What cannot be read comes back without its spaces.
[[nodiscard]] std::string canonical_type_name(std::string_view text);

// The canonical name of the type behind a std::type_info::name(); "" when it is no mangled
// name.
[[nodiscard]] std::string canonical_name_of_mangled(std::string_view mangled);

}  // namespace rehook
