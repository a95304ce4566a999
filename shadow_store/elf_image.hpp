#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "shadow_store/base/file_system.hpp"

namespace rehook {

// The binding in the upper half of a symbol's st_info; see the generic ABI, chapter "Symbol
// Table". gnu_unique, an extension for the platform: one definition per process, even across
// RTLD_LOCAL.
enum class SymbolBinding : std::uint8_t { local = 0, global = 1, weak = 2, gnu_unique = 10 };

// A bounds-checked look at an ELF shared library held in memory. Never a cast of file bytes:
// every read is checked. Accepts what the linkers bfd, gold, lld and mold write, stripped or
// not.
class ElfImage final {
 public:
  // `bytes` must outlive the image. corrupt: not ELF, wrong class, machine or type, or any
  // PT_LOAD, dynamic section or section header table that reaches past the end (a torn build
  // output).
  static Result<ElfImage> parse(std::string_view bytes);

  // One entry of the dynamic section, and where it is in the file.
  struct DynamicEntry {
    std::int64_t tag = 0;
    std::uint64_t value = 0;
    std::size_t offset = 0;
  };
  // A part of the file that the loader maps.
  struct Segment {
    std::uint64_t address = 0, memory_size = 0;
    std::size_t offset = 0, file_size = 0;
    bool writable = false;
  };

  struct DynamicSymbol {
    std::string_view name;
    std::size_t info_offset = 0;  // file offset of st_info, for the editor
    std::uint8_t info = 0;
    bool defined = false;

    [[nodiscard]] SymbolBinding binding() const { return SymbolBinding(info >> 4U); }
    // st_info with another binding and the same type.
    [[nodiscard]] std::uint8_t info_with(SymbolBinding binding) const {
      return static_cast<std::uint8_t>(static_cast<unsigned>(binding) << 4U | (info & 15U));
    }
  };

  [[nodiscard]] const std::vector<std::string_view>& needed() const { return needed_; }
  [[nodiscard]] std::string_view soname() const { return soname_; }
  [[nodiscard]] std::string_view runpath() const {
    return runpath_;
  }  // DT_RUNPATH, else DT_RPATH
  [[nodiscard]] std::string_view build_id() const {
    return build_id_;
  }  // raw bytes, may be empty
  // In the file's order, DT_NEEDED ones too, up to the first DT_NULL; then the DT_NULL ones.
  [[nodiscard]] const std::vector<DynamicEntry>& dynamic_entries() const { return entries_; }
  [[nodiscard]] const std::vector<Segment>& segments() const { return segments_; }
  // Every mention of a library: needed, soname, and the files and the name that symbol versions
  // are of. What else the string table is used for, but for symbols: paths, names of versions.
  [[nodiscard]] const std::vector<std::string_view>& library_names() const {
    return library_names_;
  }
  [[nodiscard]] const std::vector<std::string_view>& other_names() const {
    return other_names_;
  }
  // Bytes of thread-local storage that each thread has; and whether the library wants them in
  // the block that is laid out when the process starts (DF_STATIC_TLS), of which little is
  // left.
  [[nodiscard]] std::uint64_t tls_size() const { return tls_size_; }
  [[nodiscard]] bool wants_static_tls() const { return wants_static_tls_; }
  [[nodiscard]] bool has_gnu_hash() const { return has_gnu_hash_; }
  [[nodiscard]] std::uint64_t string_table_address() const { return strings_address_; }
  // The dynamic symbols. With only DT_GNU_HASH, a library that defines none counts none.
  [[nodiscard]] const std::vector<DynamicSymbol>& symbols() const { return symbols_; }
  [[nodiscard]] bool defines(std::string_view symbol) const;
  // Names behind PyInit_ among the defined dynamic symbols.
  [[nodiscard]] std::vector<std::string> python_inits() const;

  // The bytes of .dynstr, and where any text above begins in the file: what an editor renames.
  [[nodiscard]] std::string_view string_table() const { return strings_; }
  [[nodiscard]] std::size_t file_offset(std::string_view text) const {
    return static_cast<std::size_t>(text.data() - bytes_.data());
  }

 private:
  friend class ElfParser;
  std::string_view bytes_, strings_;
  std::vector<std::string_view> needed_;
  std::string_view soname_, runpath_, build_id_;
  std::vector<DynamicSymbol> symbols_;
  std::vector<DynamicEntry> entries_;
  std::vector<Segment> segments_;
  std::vector<std::string_view> library_names_, other_names_;
  std::uint64_t tls_size_ = 0, strings_address_ = 0;
  bool wants_static_tls_ = false, has_gnu_hash_ = false;
};

}  // namespace rehook
