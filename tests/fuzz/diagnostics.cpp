// What compilers, linkers, ninja and CMake print.
#include "builder/diagnostics.hpp"

#include "builder/tool_text.hpp"
#include "tests/fuzz/fuzz_targets.hpp"

namespace rehook::fuzz {

int diagnostics(const std::uint8_t* data, std::size_t size) {
  const std::string_view text = as_text(data, size);
  for (const Diagnostic& one : parse_diagnostics(text)) {
    require(one.line >= 0 && one.column >= 0, "places are counted from 1");
    require(one.severity == "error" || one.severity == "warning" || one.severity == "note",
            "there are three severities");
    require(one.text.find('\n') == std::string::npos, "a text is one line");
  }
  for (const std::string_view line : split_lines(text)) {
    NinjaProgress progress;
    if (parse_ninja_progress(line, progress)) {
      require(progress.done >= 0 && progress.total >= 0, "steps are counted");
    }
  }
  return 0;
}

}  // namespace rehook::fuzz
