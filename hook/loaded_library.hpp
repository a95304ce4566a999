#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "shadow_store/base/file_system.hpp"

namespace rehook {

// Where a shared library that the process has loaded is mapped.
struct LoadedLibrary {
  std::uintptr_t begin = 0, end = 0;
  std::size_t mappings = 0;       // about: one per segment, and what relocation splits off
  std::size_t private_bytes = 0;  // of the writable segments, which no other process shares
  [[nodiscard]] std::size_t size() const { return end - begin; }
};

// Finds it by the path it was loaded from, as given or resolved; nullopt when it is not loaded.
// Source: dl_iterate_phdr(3).
[[nodiscard]] std::optional<LoadedLibrary> find_loaded_library(const Path& path);

// Whether something loaded has this file name; the dynamic linker might take one for the other.
[[nodiscard]] bool is_library_name_taken(const std::string& name);

// Whether the library in this range lends its symbols to everybody (it was loaded with
// RTLD_GLOBAL): `symbol`, which it defines, is then found without naming the library.
[[nodiscard]] bool is_loaded_globally(const LoadedLibrary& library, const std::string& symbol);

// Whether the process has an older file mapped than the one that is at this path now.
[[nodiscard]] bool is_mapping_of_replaced_file(FileSystem& fs, const Path& path);

// The loaded libraries whose files were removed or replaced since, by the paths they had.
// Those in the folder `but_in` are not looked at. The kernel is asked about each library by
// itself: a list of all mappings gets longer with every build that was ever loaded.
[[nodiscard]] std::vector<std::string> replaced_libraries(FileSystem& fs, const Path& but_in);

// Loads a library for good with RTLD_NOW | RTLD_LOCAL (never closed). failed_load carries
// dlerror(3): undefined symbols and missing libraries show here, before any Python state is
// touched.
[[nodiscard]] Result<void*> load_library(const Path& path);

}  // namespace rehook
