#pragma once

#include "shadow_store/base/file_system.hpp"

namespace rehook {

// Tells the garbage collector that this process maps a stored object itself, as it does with
// the first build of a module; reloads map copies (session_folders.hpp). A shared kernel lock
// on the object, held until the process and all it forked are gone: what is mapped is never
// unmapped, so there is no giving back. Best effort, for a mapped file outlives its name
// anyway: false where the file system has no locks.
bool lease_object(const Path& object);

// Whether some process holds a lease. Those who take one meanwhile wait for a moment.
[[nodiscard]] bool is_leased(const Path& object);

}  // namespace rehook
