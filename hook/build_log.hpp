#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "shadow_store/base/file_system.hpp"

namespace rehook {

// One line of a project's log: a build that was made, or served from the store.
struct LoggedBuild {
  std::string time;         // UTC, ISO 8601
  std::string kind;         // "built" or "reused"
  std::string fingerprint;  // names its record
  std::string commit, branch;
  bool dirty = false;
  double seconds = 0;  // of the build
  std::string reason;
};

// Fields are separated by tabs, the last one is the reason; one write(2) per line, so several
// processes may append. Rejected: JSON lines (must not be torn either, and are no shorter).
[[nodiscard]] std::string log_line(const LoggedBuild& build);
// The lines of a log; what is torn or no such line is left out.
[[nodiscard]] std::vector<LoggedBuild> parse_build_log(std::string_view text);

// Cuts a log that has grown long to its newest lines; the project is locked.
void shorten_build_log(FileSystem& fs, const Path& file);

}  // namespace rehook
