#pragma once

#include <optional>
#include <string>

#include "shadow_store/base/digest.hpp"
#include "shadow_store/base/result.hpp"

namespace rehook {

// The last failure of a project, kept in its folder until a build succeeds, so that another
// process can show it.
struct BuildFailure {
  Error error;
  std::string when;       // UTC, ISO 8601
  Digest fingerprint;     // of the inputs that failed; zero when trying again may help
  bool told = false;      // this process has returned it to a caller
  bool repeated = false;  // the last update() returned it again without building
};

// "rehook failure 1", time, fingerprint, then message, hint and detail, each after its length.
[[nodiscard]] std::string serialize(const BuildFailure& failure);
// Nothing when the text is torn or of another format.
[[nodiscard]] std::optional<BuildFailure> parse_failure(const std::string& text);

}  // namespace rehook
