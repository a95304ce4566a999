// The readers of ELF files: libraries as build tools leave them.
#include "shadow_store/elf_image.hpp"

#include "shadow_store/elf_symbols.hpp"
#include "shadow_store/loadable_digest.hpp"
#include "tests/fuzz/fuzz_targets.hpp"

namespace rehook::fuzz {
namespace {

// Whether it lies in the file; touches its ends, for the sanitizer.
void require_inside(std::string_view part, std::string_view bytes) {
  if (part.empty()) return;
  const bool inside =
      part.data() >= bytes.data() && part.size() <= bytes.size() &&
      part.data() - bytes.data() <= static_cast<std::ptrdiff_t>(bytes.size() - part.size());
  require(inside, "what is read lies in the file");
}

void look_at(const ElfImage& image, std::string_view bytes) {
  require_inside(image.string_table(), bytes);
  require_inside(image.soname(), bytes);
  require_inside(image.runpath(), bytes);
  require_inside(image.build_id(), bytes);
  for (const auto* names : {&image.needed(), &image.library_names(), &image.other_names()}) {
    for (const std::string_view name : *names) require_inside(name, image.string_table());
  }
  const std::size_t names = image.library_names().size() + image.other_names().size();
  require(names <= bytes.size(), "there are no more names than the file has room for");
  for (const ElfImage::DynamicEntry& entry : image.dynamic_entries()) {
    require(entry.offset < bytes.size(), "the dynamic section lies in the file");
  }
  for (const ElfImage::Segment& segment : image.segments()) {
    require(segment.offset <= bytes.size() && segment.file_size <= bytes.size() &&
                segment.offset + segment.file_size <= bytes.size(),
            "a segment lies in the file");
  }
  for (const ElfImage::DynamicSymbol& symbol : image.symbols()) {
    require_inside(symbol.name, image.string_table());
    require(symbol.info_offset < bytes.size() &&
                static_cast<std::uint8_t>(bytes[symbol.info_offset]) == symbol.info,
            "st_info is where it says");
  }
  std::ignore = image.defines("PyInit__core");
  std::ignore = image.python_inits();
}

}  // namespace

int elf_image(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes = as_text(data, size);
  const Result<ElfImage> image = ElfImage::parse(bytes);
  if (image) look_at(*image, bytes);
  require(image.ok() || image.error().code == ErrorCode::corrupt, "a refusal is `corrupt`");
  require(loadable_digest(bytes).ok() == image.ok(), "what can be read can be compared");
  for (const char* prefix : {"", "_ZTV"}) {
    const Result<ElfSymbols> symbols = read_elf_symbols(bytes, prefix);
    if (!symbols) continue;
    for (const ElfSymbol& symbol : symbols->list) {
      require_inside(symbol.name, bytes);
      require(symbol.name.starts_with(prefix), "names have the prefix");
    }
  }
  return 0;
}

}  // namespace rehook::fuzz
