#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace rehook {

// The name of a file that is still being written: ".tmp-<pid>-<16 hexadecimal digits>",
// different at each call. Only the process that made it touches such a file while it lives.
[[nodiscard]] std::string temporary_name();

// The process that made a temporary file; nothing when `name` is not of that form.
[[nodiscard]] std::optional<long> temporary_owner(std::string_view name);

// Whether a temporary file of this name was left behind by a process that is gone.
[[nodiscard]] bool is_orphan(std::string_view name);

}  // namespace rehook
