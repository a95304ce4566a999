#pragma once

#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "shadow_store/elf_image.hpp"
#include "shadow_store/used_names.hpp"

namespace rehook {

// Several libraries of one generation that define the same inline variable must share it, and
// must not share it with another generation. g++ marks such symbols STB_GNU_UNIQUE, which makes
// them one per process; here each generation gets a name of its own for them.
//
// The new name has the length and the GNU hash of the old one (h = 33 h + c, so two neighbours
// may become c1 - k and c2 + 33 k), so that no table of the file has to change. Pairs are
// counted from the end of the name: where the linker keeps one name in the tail of another
// ("g_x" inside "_ZGV3g_x"), both change in the same way.
using SymbolNames = std::unordered_map<std::string, std::string>;  // old -> new

// Symbols that must be isolated: unique ones that the library defines, but the standard
// library's own.
[[nodiscard]] std::vector<std::string> unique_names(const ElfImage& image);

// New names for the unique symbols of all these libraries, none of which was ever used in this
// process; they are then in `used`. A name that is too short to be changed stays as it is the
// first time. unsupported: it was used before, a name has run out of variants, or a library has
// no GNU hash table; says which.
[[nodiscard]] Result<SymbolNames> make_symbol_names(const std::vector<const ElfImage*>& members,
                                                    UsedNames& used);

// Writes the new names over the old ones, wherever the library defines or needs them.
[[nodiscard]] std::vector<FilePatch> plan_symbol_names(const ElfImage& image,
                                                       const SymbolNames& names);

// For each library the number of the group it belongs to: two are in one group when one defines
// a unique symbol that the other defines or needs. Alone in a group: the library's own number.
[[nodiscard]] std::vector<std::size_t> sharing_groups(
    const std::vector<const ElfImage*>& libraries);

}  // namespace rehook
