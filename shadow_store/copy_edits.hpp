#pragma once

#include <memory>
#include <string>

#include "shadow_store/elf_library_names.hpp"
#include "shadow_store/unique_names.hpp"

namespace rehook {

// Everything a private copy is edited for before anybody maps it.
struct CopyEdits {
  LibraryNames libraries;  // of the project, which have private copies of their own
  std::string soname;      // for a library that has none
  // Names for the C++ variables that it shares with others of its generation; null: it shares
  // none, so its unique symbols become weak ones.
  std::shared_ptr<const SymbolNames> symbols;
  bool own_symbols_first = false;
};

// Edits the file, and reads it back. corrupt: it is no shared library, before or after;
// unsupported: it has no room for an edit. Both messages name the file.
[[nodiscard]] Status apply_edits(FileSystem& fs, const Path& file, const CopyEdits& edits);

}  // namespace rehook
