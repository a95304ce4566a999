#pragma once

#include "builder/build_folder.hpp"
#include "hook/interpreter.hpp"

namespace rehook {

// Calls `function(str(root))`, rehook.project_settings.describe_project, and reads its dict.
// Needs the GIL. A ConfigError raised there becomes an `invalid` Error with its text and hint,
// anything else `failed_build`; `cause` keeps the exception.
[[nodiscard]] Result<ProjectDescription> describe_in_python(PyObject* function,
                                                            const Path& root,
                                                            SavedError& cause);

}  // namespace rehook
