#pragma once

#include <string_view>

#include "shadow_store/base/file_system.hpp"

namespace rehook {

// What the operating system refused, as a value: "cannot <what> <path>: <its own words>", with
// the next step as hint where there is one. not_found for ENOENT and ENOTDIR, else io. `error`
// is errno.
[[nodiscard]] Error os_error(int error, std::string_view what, const Path& path);

}  // namespace rehook
