#pragma once

#include <map>
#include <string>

#include "shadow_store/base/file_system.hpp"

namespace rehook {

// Names of the folders below <store>/projects: of a project, by where it really is, and of one
// configuration of it, by what a build depends on besides the project's files.
[[nodiscard]] std::string project_id(const Path& root);
[[nodiscard]] std::string configuration_id(
    const std::map<std::string, std::string>& interpreter);

}  // namespace rehook
