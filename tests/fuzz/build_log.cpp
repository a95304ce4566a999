// A project's log of builds, and its last failure.
#include "hook/build_log.hpp"

#include "hook/build_failure.hpp"
#include "tests/fuzz/fuzz_targets.hpp"
#include "tests/support/memory_file_system.hpp"

namespace rehook::fuzz {
namespace {

// A log that has grown long with this text.
void require_shortened(std::string_view text) {
  MemoryFileSystem fs;
  std::string log;
  while (log.size() <= 512 * 1024) log.append(64, '\n').append(text);
  const std::size_t before = log.size();
  fs.put("/project/log", std::move(log));
  shorten_build_log(fs, "/project/log");
  require(fs.read("/project/log")->size() < before, "a long log is made shorter");
}

}  // namespace

int build_log(const std::uint8_t* data, std::size_t size) {
  const std::string_view text = as_text(data, size);
  for (const LoggedBuild& build : parse_build_log(text)) {
    require(build.kind == "built" || build.kind == "reused", "a build has a kind");
    require(build.reason.find('\n') == std::string::npos, "a build is a line");
    require(parse_build_log(log_line(build)).size() == 1, "what was read can be written");
  }
  const std::optional<BuildFailure> failure = parse_failure(std::string(text));
  if (failure) {
    const std::string written = serialize(*failure);
    const std::optional<BuildFailure> again = parse_failure(written);
    require(again && serialize(*again) == written, "a failure that was read can be written");
  }
  if (size % 64 == 1) require_shortened(text);  // which takes longer than all of the above
  return 0;
}

}  // namespace rehook::fuzz
