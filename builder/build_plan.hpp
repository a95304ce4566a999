#pragma once

#include <optional>
#include <string>
#include <variant>

#include "builder/project_state.hpp"

namespace rehook {

struct UpToDate {};

struct Rebuild {
  std::string reason;  // "src/algo.cpp changed", "never built", …
  InputRole role = InputRole::compile;
};

using Freshness = std::variant<UpToDate, Rebuild>;

// Whether a project has to be built again, and why. Pure: `scan` is the look that was taken at
// the inputs of `known`.
[[nodiscard]] Freshness decide(const std::optional<ProjectState>& known, const InputScan& scan);

// "src/algo.cpp changed", "/usr/include/x.h is gone", "environment: CXXFLAGS changed from '' to
// '-O0'".
[[nodiscard]] std::string describe_change(const Path& root, const Input& now,
                                          const InputChange& change);

}  // namespace rehook
