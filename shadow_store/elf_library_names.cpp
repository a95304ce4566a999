#include "shadow_store/elf_library_names.hpp"

#include <elf.h>

#include <algorithm>
#include <cstring>
#include <optional>
#include <set>

namespace rehook {
namespace {

constexpr std::size_t k_page = 4096;

std::string entry_bytes(std::int64_t tag, std::uint64_t value) {
  std::string bytes(2 * sizeof value, '\0');
  std::memcpy(bytes.data(), &tag, sizeof tag);
  std::memcpy(bytes.data() + sizeof tag, &value, sizeof value);
  return bytes;
}

// Where one more entry can be written: the first of several terminators, or the count of
// relative relocations, which only saves the dynamic linker a comparison each.
std::optional<std::size_t> entry_slot(const ElfImage& image) {
  std::vector<std::size_t> ends;
  std::optional<std::size_t> count;
  for (const ElfImage::DynamicEntry& entry : image.dynamic_entries()) {
    if (entry.tag == DT_NULL) ends.push_back(entry.offset);
    if (entry.tag == DT_RELACOUNT) count = entry.offset;
  }
  if (ends.size() >= 2) return ends.front();
  return count;
}

Error no_room(const std::string& what) {
  return Error{ErrorCode::unsupported,
               "the linker left no room in the dynamic section for " + what,
               "link with another linker, for example -fuse-ld=bfd"};
}

struct Place {
  std::size_t offset = 0;
  std::uint64_t address = 0;
};

// Zero bytes between two segments that are mapped because the first one's last page is.
std::optional<Place> padding(std::string_view bytes, const ElfImage& image, std::size_t size) {
  for (const ElfImage::Segment& segment : image.segments()) {
    if (segment.memory_size != segment.file_size || segment.file_size == 0) continue;
    const std::size_t begin = segment.offset + segment.file_size;
    std::size_t next = 0;
    for (const ElfImage::Segment& other : image.segments()) {
      if (other.offset >= begin && (next == 0 || other.offset < next)) next = other.offset;
      const bool inside = other.offset < begin && begin < other.offset + other.file_size;
      if (inside) next = begin;
    }
    const std::size_t end = std::min(next, (begin + k_page - 1) / k_page * k_page);
    if (end < begin || end - begin < size || end > bytes.size()) continue;
    const std::string_view room = bytes.substr(begin, size);
    if (room.find_first_not_of('\0') != std::string_view::npos) continue;
    return Place{begin, segment.address + segment.file_size};
  }
  return std::nullopt;
}

std::optional<Place> build_id(const ElfImage& image, std::size_t size) {
  if (image.build_id().size() < size) return std::nullopt;
  const std::size_t offset = image.file_offset(image.build_id());
  for (const ElfImage::Segment& segment : image.segments()) {
    if (offset >= segment.offset && offset + size <= segment.offset + segment.file_size) {
      return Place{offset, segment.address + (offset - segment.offset)};
    }
  }
  return std::nullopt;
}

}  // namespace

Result<std::size_t> fixed_tail(const ElfImage& image, std::string_view name) {
  std::size_t fixed = 0;
  bool merged = false;
  const auto compare = [&](std::string_view mention, std::string_view other) {
    if (mention.data() + mention.size() != other.data() + other.size()) return;
    if (other.size() < mention.size()) fixed = std::max(fixed, other.size());
    merged = merged || other.size() >= mention.size();
  };
  for (const std::string_view mention : image.library_names()) {
    if (mention != name) continue;
    for (const std::string_view other : image.library_names()) {
      if (other != name) compare(mention, other);
    }
    for (const std::string_view other : image.other_names()) compare(mention, other);
    for (const ElfImage::DynamicSymbol& symbol : image.symbols()) compare(mention, symbol.name);
  }
  if (!merged) return fixed;
  return Error{ErrorCode::unsupported,
               "the name " + std::string(name) +
                   " cannot be changed: the linker keeps it inside of another name",
               "link with -Wl,-O0, which keeps names apart, or rename the library"};
}

Result<std::vector<FilePatch>> plan_library_names(const ElfImage& image,
                                                  const LibraryNames& names) {
  std::vector<FilePatch> patches;
  std::set<std::size_t> done;
  for (const std::string_view mention : image.library_names()) {
    const auto found = names.find(mention);
    if (found == names.end() || !done.insert(image.file_offset(mention)).second) continue;
    const std::string& name = found->second;
    REHOOK_ASSIGN_OR_RETURN(const std::size_t fixed, fixed_tail(image, mention));
    const bool fits =
        name.size() == mention.size()
            ? name.substr(name.size() - fixed) == mention.substr(mention.size() - fixed)
            : name.size() < mention.size() && fixed == 0;
    if (!fits) {
      return Error{ErrorCode::unsupported,
                   "the name " + std::string(mention) + " cannot be changed to " + name};
    }
    patches.push_back({image.file_offset(mention), name + '\0'});
  }
  return patches;
}

Result<std::vector<FilePatch>> plan_soname(std::string_view bytes, const ElfImage& image,
                                           const std::string& name) {
  const auto slot = entry_slot(image);
  if (!slot) return no_room("a SONAME");
  const std::string text = name + '\0';
  std::optional<Place> place = padding(bytes, image, text.size());
  if (!place) place = build_id(image, text.size());
  if (!place) {
    return Error{ErrorCode::unsupported, "the library has no SONAME, and no room for one",
                 "give it one: take NO_SONAME off its CMake target"};
  }
  // Counted from the string table, and modulo 2^64 like every address here.
  const std::uint64_t offset = place->address - image.string_table_address();
  return std::vector<FilePatch>{{*slot, entry_bytes(DT_SONAME, offset)}, {place->offset, text}};
}

Result<std::vector<FilePatch>> plan_own_symbols_first(const ElfImage& image) {
  for (const ElfImage::DynamicEntry& entry : image.dynamic_entries()) {
    if (entry.tag == DT_SYMBOLIC) return std::vector<FilePatch>{};
    if (entry.tag != DT_FLAGS) continue;
    if ((entry.value & DF_SYMBOLIC) != 0) return std::vector<FilePatch>{};
    return std::vector<FilePatch>{
        {entry.offset, entry_bytes(DT_FLAGS, entry.value | DF_SYMBOLIC)}};
  }
  const auto slot = entry_slot(image);
  if (!slot) return no_room("DF_SYMBOLIC");
  return std::vector<FilePatch>{{*slot, entry_bytes(DT_SYMBOLIC, 0)}};
}

}  // namespace rehook
