#pragma once

#include "shadow_store/base/file_system.hpp"

namespace rehook {

// Code is loaded from the store, so whoever can put a file there, or swap the folder for
// another, runs code as us. Creates `path` (0700) when missing and returns it without symbolic
// links or "..", after checking, from "/" downwards and each time on the opened directory,
// never on a name:
//   - every folder above it is owned by root or by us, and not writable by others unless sticky
//   - the folder itself is owned by us, not writable by others, and not reached by a symbolic
//   link
// So each name that was checked stays what it was when the next one is opened.
// unsafe: one of these does not hold; the message names the directory and the reason.
[[nodiscard]] Result<Path> make_private_directory(const Path& path);

}  // namespace rehook
