#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "hook/generation.hpp"

namespace rehook {

// Old builds are never unloaded: their code may be on a stack, in a thread, behind a pointer.
// So a process has room for so many reloads. This counts what they take, when somebody asks or
// reloads, and never while something is imported.

// What one loaded build takes, its own libraries included.
struct GenerationCost {
  std::uint64_t mapped = 0;         // bytes of address space
  std::uint64_t private_bytes = 0;  // of these, memory that no other process shares
  std::size_t mappings = 0;
};

// A library that several generations run counts for the first of them.
class GenerationCosts final {
 public:
  GenerationCosts();  // looks at what is loaded now
  [[nodiscard]] GenerationCost of(const Generation& generation);

 private:
  std::map<std::string, LoadedLibrary> loaded_;
};

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

// Mappings of the process, memory of all generations against what is left of the machine's, the
// control group's or the process's own, and static thread-local storage.
[[nodiscard]] std::vector<Budget> measure_budgets(
    FileSystem& fs, const std::map<std::string, LoadedExtension>& extensions);

// Bytes of static thread-local storage that libraries loaded late can have in all, about.
[[nodiscard]] std::uint64_t static_tls_room();

// unsafe: one is used up; the message says which, how much and what old builds have of it.
[[nodiscard]] Status check_budgets(const std::vector<Budget>& budgets, std::size_t generations);

}  // namespace rehook
