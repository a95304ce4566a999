#pragma once

#include <vector>

#include "shadow_store/base/file_system.hpp"
#include "shadow_store/class_layout.hpp"

namespace rehook {

// Reads the debug information of one build: a module, and the project's libraries it loads.
// Never fails for what is in the files: what cannot be looked at is ClassLayouts::gap, so that
// nothing is taken for unchanged. A `.dwo` is looked for where the compiler left it, so read
// before the build folder changes. unsupported: libdw is not installed. Thread-safe.
//
// Code without debug information is noticed by the functions in the symbol table that no
// compilation unit covers. Not seen: code of a file that has no function with a name that C or
// C++ source can have, and of one that a linker has removed all symbols of. Each gap only
// weakens what is said about classes that are declared, not defined, in the rest.
[[nodiscard]] Result<ClassLayouts> read_class_layouts(const std::vector<Path>& files);

// Instead of rehook_layouts.so beside this code; for tests.
void set_class_layout_plugin(Path path);

}  // namespace rehook
