#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "builder/extension_targets.hpp"

namespace rehook {

// The pieces that find_extension_targets() puts together; pure.

[[nodiscard]] bool is_identifier(std::string_view text);

// "_core" of "_core.cpython-311-x86_64-linux-gnu.so": without the longest suffix that fits.
// Nothing when none does.
[[nodiscard]] std::optional<std::string> module_stem(const std::string& file_name,
                                                     const std::vector<std::string>& suffixes);

// The package ("pkg.sub", "" for top-level) that an install destination stands for. Nothing
// when it tells none: a bare "lib", a folder that could not be a package, a place that is not
// Python's.
[[nodiscard]] std::optional<std::string> package_of_destination(const std::string& destination,
                                                                const CodeModel& model,
                                                                const ModuleNaming& naming);

// The package that an artifact's folder belongs to: inside a package's source folder, or below
// a folder with a package's name.
[[nodiscard]] std::optional<std::string> package_of_folder(const Path& folder,
                                                           const CodeModel& model,
                                                           const ModuleNaming& naming);

[[nodiscard]] std::string join_module(std::string_view package, std::string_view name);
// The last part of a dotted name.
[[nodiscard]] std::string_view last_part(std::string_view module);

}  // namespace rehook
