#include "shadow_store/loadable_digest.hpp"

#include <cstdint>
#include <cstring>
#include <string>

#include "shadow_store/elf_image.hpp"

namespace rehook {
namespace {

// ELF-64 object file format: offsets in the file header and in a program header.
constexpr std::size_t k_header_size = 64, k_phoff = 32, k_phentsize = 54, k_phnum = 56;
constexpr std::size_t k_type = 0, k_offset = 8, k_filesz = 32, k_program_header_size = 56;
constexpr std::uint32_t k_load = 1;

template <typename T>
T load(std::string_view bytes, std::size_t at) {
  T value{};
  if (at <= bytes.size() && bytes.size() - at >= sizeof value) {
    std::memcpy(&value, bytes.data() + at, sizeof value);
  }
  return value;
}

// Adds [begin, end) without the part that lies in [skip, skip_end).
void add_without(Hasher& hasher, std::string_view bytes, std::size_t begin, std::size_t end,
                 std::size_t skip, std::size_t skip_end) {
  if (skip >= skip_end || skip_end <= begin || skip >= end) {
    hasher.add(bytes.substr(begin, end - begin));
    return;
  }
  if (skip > begin) hasher.add(bytes.substr(begin, skip - begin));
  if (skip_end < end) hasher.add(bytes.substr(skip_end, end - skip_end));
}

// Calls `take(number, begin, end)` for what is loaded of a library: the parts of the file.
template <typename Take>
void for_each_loaded(std::string_view library, Take take) {
  const auto table = static_cast<std::size_t>(load<std::uint64_t>(library, k_phoff));
  const std::size_t stride = load<std::uint16_t>(library, k_phentsize);
  const std::size_t count = load<std::uint16_t>(library, k_phnum);
  for (std::size_t i = 0; i < count && stride >= k_program_header_size; ++i) {
    const std::size_t entry = table + i * stride;
    if (load<std::uint32_t>(library, entry + k_type) != k_load) continue;
    const auto begin = static_cast<std::size_t>(load<std::uint64_t>(library, entry + k_offset));
    const std::size_t end =
        begin + static_cast<std::size_t>(load<std::uint64_t>(library, entry + k_filesz));
    if (end <= library.size() && end >= begin) take(i, begin, end);
  }
}

}  // namespace

Result<Digest> loadable_digest(std::string_view library) {
  REHOOK_ASSIGN_OR_RETURN(const ElfImage image,
                          ElfImage::parse(library));  // every range below is inside
  const std::string_view id = image.build_id();
  const std::size_t id_begin = id.empty() ? 0 : image.file_offset(id);
  Hasher hasher;
  hasher.add_field("loadable");
  for_each_loaded(library, [&](std::size_t number, std::size_t begin, std::size_t end) {
    hasher.add_field(std::to_string(number));
    if (begin < k_header_size) begin = k_header_size;
    if (begin < end) add_without(hasher, library, begin, end, id_begin, id_begin + id.size());
  });
  return hasher.finish();
}

bool is_loaded_with(std::string_view library, std::string_view text) {
  if (!ElfImage::parse(library)) return true;
  bool found = false;
  for_each_loaded(library, [&](std::size_t, std::size_t begin, std::size_t end) {
    const std::string_view part = library.substr(begin, end - begin);
    found = found || part.find(text) != std::string_view::npos;
  });
  return found;
}

}  // namespace rehook
