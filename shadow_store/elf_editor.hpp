#pragma once

#include <string_view>
#include <vector>

#include "shadow_store/elf_image.hpp"

namespace rehook {

struct EditReport {
  std::size_t isolated = 0;  // symbols that were STB_GNU_UNIQUE and are now weak
  std::size_t kept = 0;      // symbols left STB_GNU_UNIQUE: the standard library's own
};

// Makes a new generation run its own inline variables, static members and function-local
// statics. g++ gives these STB_GNU_UNIQUE, and then the dynamic linker binds every generation
// to the first one's: stale values, and memory written past its end when the type has grown.
// Weak definitions are looked up in the library itself, which is also what compilers without
// the extension emit. Limit: two libraries of one generation that are not each other's
// dependency stop sharing them; for these see unique_names.hpp. Pure.
[[nodiscard]] std::vector<FilePatch> plan_unique_isolation(const ElfImage& image,
                                                           EditReport& report);

// Whether a mangled name and all its template arguments belong to the standard library. Such
// objects are the same in all generations. Not so the table of functions that std::visit keeps
// for a visitor of the user: its name begins with std too, but it leads into the user's code.
[[nodiscard]] bool is_standard_library_only(std::string_view mangled);

}  // namespace rehook
