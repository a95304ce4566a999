// Names of C++ types, mangled and not.
#include "shadow_store/type_name.hpp"

#include <algorithm>

#include "shadow_store/elf_editor.hpp"
#include "tests/fuzz/fuzz_targets.hpp"

namespace rehook::fuzz {

int type_name(const std::uint8_t* data, std::size_t size) {
  const std::string_view text = as_text(data, size);
  const std::string canonical = canonical_type_name(text);
  require(canonical.size() <= 8 * size + 8, "a canonical name is about as long");
  std::ignore = is_standard_library_only(text);
  // Not of a file, but of a class that runs; a hundred letters that refer back to each other
  // can stand for a name that fills the memory, and no compiler makes such a class.
  if (std::count(text.begin(), text.end(), '_') < 12) {
    std::ignore = canonical_name_of_mangled(text);
  }
  return 0;
}

}  // namespace rehook::fuzz
