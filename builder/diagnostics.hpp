#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace rehook {

struct Diagnostic {
  std::string file;
  int line = 0;          // 1-based; 0 when unknown
  int column = 0;        // 1-based; 0 when unknown
  std::string severity;  // "error", "warning" or "note"
  std::string text;      // one line
  std::string excerpt;   // source line and caret as the compiler printed them, may be empty
};

// Reads what gcc, clang, the linkers (undefined reference, multiple definition), ninja and
// CMake ("CMake Error at file:line (command):") print; colour codes are ignored. Errors first,
// then warnings, then notes, each group in the order printed; repeats dropped. Never fails:
// text it does not understand is left out.
[[nodiscard]] std::vector<Diagnostic> parse_diagnostics(std::string_view output);

// The line that says that somebody killed a program of the build, the kernel for want of
// memory, say; empty when there is none. Such a failure is not one of the sources: the same
// build may succeed next time. A program that crashed by itself is not meant.
[[nodiscard]] std::string killed_program(std::string_view output);

// "[3/7] Building CXX object CMakeFiles/_core.dir/src/algo.cpp.o" -> {3, 7, "algo.cpp"}.
struct NinjaProgress {
  int done = 0;
  int total = 0;
  std::string what;
};
[[nodiscard]] bool parse_ninja_progress(std::string_view line, NinjaProgress& progress);

}  // namespace rehook
