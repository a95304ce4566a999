// The editor of private copies. The input is the library; how it is edited follows from its
// last byte.
#include <algorithm>

#include "shadow_store/copy_edits.hpp"
#include "shadow_store/elf_editor.hpp"
#include "tests/fuzz/fuzz_targets.hpp"
#include "tests/support/memory_file_system.hpp"

namespace rehook::fuzz {
namespace {

// A name of the same length that differs as far to the end as it may.
std::string renamed(std::string_view name, std::size_t fixed) {
  std::string text(name);
  const std::size_t end = text.size() - std::min(text.size(), fixed);
  for (std::size_t i = end - std::min<std::size_t>(end, 10); i < end; ++i) text[i] = 'Q';
  return text;
}

CopyEdits edits_for(const ElfImage& image, unsigned choice) {
  CopyEdits edits;
  edits.own_symbols_first = (choice & 1U) != 0;
  for (const std::string_view name : image.library_names()) {
    const Result<std::size_t> fixed = fixed_tail(image, name);
    require(!fixed || *fixed < std::max<std::size_t>(name.size(), 1),
            "something of a name can be changed, or nothing");
    if ((choice & 2U) != 0 && fixed) edits.libraries[std::string(name)] = renamed(name, *fixed);
  }
  if ((choice & 4U) != 0 && image.soname().empty()) edits.soname = "0123456789";
  if ((choice & 8U) != 0) {
    UsedNames used;
    Result<SymbolNames> names = make_symbol_names({&image, &image}, used);
    if (names) edits.symbols = std::make_shared<const SymbolNames>(std::move(*names));
  }
  return edits;
}

void require_same_length(const SymbolNames& names) {
  for (const auto& [old_name, name] : names) {
    require(old_name.size() == name.size() && name.find('\0') == std::string::npos,
            "a symbol's new name has the length of the old one");
  }
}

}  // namespace

int elf_edits(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes = as_text(data, size);
  const Result<ElfImage> image = ElfImage::parse(bytes);
  if (!image) return 0;
  const std::vector<std::size_t> groups = sharing_groups({&*image, &*image});
  require(groups.size() == 2 && (groups[1] == groups[0] || unique_names(*image).empty()),
          "two copies share what they define");
  const CopyEdits edits = edits_for(*image, data[size - 1]);
  if (edits.symbols) require_same_length(*edits.symbols);

  MemoryFileSystem fs;
  const Path file = "/store/copy.so";
  fs.put(file, std::string(bytes));
  const Status done = apply_edits(fs, file, edits);
  require(done.ok() || done.error().code == ErrorCode::corrupt ||
              done.error().code == ErrorCode::unsupported,
          "a library that cannot be edited is refused, and no edit is outside of it");
  const Result<std::string> after = fs.read(file);
  require(after.ok() && after->size() == size, "an edit never changes the length");
  return 0;
}

}  // namespace rehook::fuzz
