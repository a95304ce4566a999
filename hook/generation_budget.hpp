#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "hook/generation.hpp"

namespace rehook {

// Old builds are never unloaded: their code may be on a stack, in a thread, behind a pointer.
// So a process has room for so many reloads. This counts what they take, when somebody asks or
// reloads, and never while something is imported.

enum class WhenFull { refuse, warn };

struct Budget {
  std::string name;  // "memory mappings"
  std::uint64_t used = 0, limit = 0;
  WhenFull when_full = WhenFull::refuse;
  std::string hint;  // the way to more of it

  [[nodiscard]] bool is_half_used() const { return limit > 0 && used >= limit / 2; }
  // Beyond 80 %.
  [[nodiscard]] bool is_used_up() const {
    return limit > 0 && when_full == WhenFull::refuse && used / 4 >= limit / 5;
  }
};

// What the loaded generations take of what the process has. A generation is looked at once,
// when it is news, so that counting costs the same after 1,000 of them.
class GenerationBudgets final {
 public:
  explicit GenerationBudgets(FileSystem& fs) : fs_(&fs) {}

  // Fills in the cost of each generation. A library that several run counts for the first.
  void count(std::map<std::string, LoadedExtension>& extensions);

  enum class Mappings { counted, estimated };
  // Mappings of the process, memory of all generations against what is left of the machine's,
  // the control group's or the process's own, and static thread-local storage. The kernel's
  // list of mappings gets longer with every build. An estimate adds those of the generations
  // that came since to the last count; it reads the list only as often as makes k_lines_each of
  // them for each time it is asked, and always when half of the mappings are used.
  [[nodiscard]] std::vector<Budget> measure(
      const std::map<std::string, LoadedExtension>& extensions, Mappings mappings);

  static constexpr std::uint64_t k_lines_each = 1024;

 private:
  FileSystem* fs_;
  std::set<std::string> libraries_;  // counted, by file
  std::uint64_t last_mappings_ = 0;  // of the process, when the list was read
  std::uint64_t last_own_ = 0;       // of the generations, at that time
  std::uint64_t estimates_ = 0;      // since then
};

// Bytes of static thread-local storage that libraries loaded late can have in all, about.
[[nodiscard]] std::uint64_t static_tls_room();

// unsafe: one is used up; the message says which, how much and what old builds have of it.
[[nodiscard]] Status check_budgets(const std::vector<Budget>& budgets, std::size_t generations);

}  // namespace rehook
