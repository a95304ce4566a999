#pragma once

#include <map>
#include <string>
#include <vector>

#include "shadow_store/elf_image.hpp"

namespace rehook {

// What is written into a private copy so that the dynamic linker takes it for a library of its
// own, and finds the copies it needs. All pure; the strings stay where they are and never get
// longer, so nothing in the file moves.

using LibraryNames = std::map<std::string, std::string, std::less<>>;  // old -> new

// How many bytes at the end of `name`, a mention of a library, cannot be changed, because the
// linker keeps another name there (tail merging). unsupported: none can.
[[nodiscard]] Result<std::size_t> fixed_tail(const ElfImage& image, std::string_view name);

// Renames every mention of these libraries: DT_SONAME, DT_NEEDED and the tables of symbol
// versions, which the dynamic linker compares. A new name is at most as long as the old one and
// keeps its fixed tail.
[[nodiscard]] Result<std::vector<FilePatch>> plan_library_names(const ElfImage& image,
                                                                const LibraryNames& names);

// Gives a name to a library that has none: without one the dynamic linker would not take the
// loaded copy for what others need. The entry goes where the linker left room in the dynamic
// section, the text into padding between two segments or over the build id, which is only a
// label. unsupported: there is no room.
[[nodiscard]] Result<std::vector<FilePatch>> plan_soname(std::string_view bytes,
                                                         const ElfImage& image,
                                                         const std::string& name);

// Makes the library prefer its own definitions to those of libraries that were loaded with
// RTLD_GLOBAL before it (DF_SYMBOLIC). unsupported: the dynamic section has no room to say so.
[[nodiscard]] Result<std::vector<FilePatch>> plan_own_symbols_first(const ElfImage& image);

}  // namespace rehook
