#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace rehook::fuzz {

// One per file beside this one: gives bytes to a reader, and looks at everything it answers.
// Returns 0. What the reader may never do ends the process: a sanitizer's report, or require().
using Run = int(const std::uint8_t* data, std::size_t size);

Run allowed_folders, build_log, class_layout_reader, class_layout_set, class_layouts,
    cmake_reply, depfile, diagnostics, elf_edits, elf_image, make_rules, ninja_deps,
    private_libraries, project_state, store_names, type_name;

// For formats that end in a digest: all that the reader took from the bytes, as text; nothing
// when it refused them.
using Meaning = std::optional<std::string>(std::string_view bytes);

Meaning class_layouts_meaning, project_state_meaning;

// Ends the process unless `holds`.
void require(bool holds, const char* what);

[[nodiscard]] inline std::string_view as_text(const std::uint8_t* data, std::size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

// The bytes with the digest that a writer would have put behind them: random bytes do not find
// it.
[[nodiscard]] std::string sealed(std::string_view body);

}  // namespace rehook::fuzz
