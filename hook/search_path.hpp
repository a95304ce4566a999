#pragma once

#include <vector>

#include "shadow_store/base/file_system.hpp"

namespace rehook {

// The folders of sys.path, in its order; '' is the current directory. Needs the GIL.
[[nodiscard]] std::vector<Path> search_path();

// Those that somebody put there: PYTHONPATH, a .pth file, or the running program. Left out is
// what is there because of where the interpreter was started: the current directory, the
// script's folder, whatever is given relative to them, and the first entry, unless what the
// interpreter put first is seen behind it. Needs the GIL.
[[nodiscard]] std::vector<Path> chosen_search_path();

// Whether `entry` is where an installation of the user's puts packages: below the interpreter's
// prefix or the user's own base folder, or named in PYTHONPATH. What happens to be called so in
// a folder where the interpreter was started says nothing about what the user installed.
[[nodiscard]] bool is_own_site_folder(const Path& entry);

}  // namespace rehook
