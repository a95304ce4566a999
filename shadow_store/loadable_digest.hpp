#pragma once

#include <string_view>

#include "shadow_store/base/digest.hpp"
#include "shadow_store/base/result.hpp"

namespace rehook {

// Digest of what the loader maps of a shared library: the contents of its PT_LOAD segments,
// without the ELF header (which counts the sections) and the build id (a hash over everything).
// Two builds with the same loadable digest run the same code, even if their debug information
// differs, as it does after an edit of a comment. corrupt as for ElfImage::parse.
[[nodiscard]] Result<Digest> loadable_digest(std::string_view library);

// Whether what the loader maps of a shared library holds `text`; also when it is none.
[[nodiscard]] bool is_loaded_with(std::string_view library, std::string_view text);

}  // namespace rehook
