#pragma once

#include <cstdint>
#include <optional>

#include "shadow_store/base/file_system.hpp"

namespace rehook {

// Where a shared library that the process has loaded is mapped.
struct LoadedLibrary {
  std::uintptr_t begin = 0, end = 0;
};

// Finds it by the path it was loaded from, as given or resolved; nullopt when it is not loaded.
// Source: dl_iterate_phdr(3).
[[nodiscard]] std::optional<LoadedLibrary> find_loaded_library(const Path& path);

// Loads a library for good with RTLD_NOW | RTLD_LOCAL (never closed). failed_load carries
// dlerror(3): undefined symbols and missing libraries show here, before any Python state is
// touched.
[[nodiscard]] Result<void*> load_library(const Path& path);

}  // namespace rehook
