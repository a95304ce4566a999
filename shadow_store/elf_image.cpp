#include "shadow_store/elf_image.hpp"

#include <elf.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <map>
#include <optional>

namespace rehook {
namespace {

#if defined(__x86_64__)
constexpr std::uint16_t k_machine = EM_X86_64;
#elif defined(__aarch64__)
constexpr std::uint16_t k_machine = EM_AARCH64;
#else
#error "rehook knows the dynamic linking of x86-64 and aarch64 only"
#endif
static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "files are read in the host's order");

constexpr std::string_view k_python_init = "PyInit_";
constexpr std::size_t k_word = sizeof(std::uint32_t);

Error corrupt(std::string what) {
  return Error{ErrorCode::corrupt, std::move(what)};
}

}  // namespace

// Fills an ElfImage. All numbers come from the file and none is believed: a value is used as an
// offset only by load() and range(), which compare without overflow.
class ElfParser final {
 public:
  explicit ElfParser(std::string_view bytes) { image_.bytes_ = bytes; }

  Result<ElfImage> parse() {
    REHOOK_TRY(read_header());
    REHOOK_TRY(read_segments());
    REHOOK_TRY(check_section_table());
    REHOOK_TRY(read_dynamic());
    REHOOK_TRY(read_strings());
    REHOOK_TRY(read_symbols());
    REHOOK_TRY(read_needed_versions());
    REHOOK_TRY(read_defined_versions());
    return std::move(image_);
  }

 private:
  [[nodiscard]] Result<std::string_view> range(std::uint64_t offset, std::uint64_t size,
                                               const char* what) const {
    const std::uint64_t end = image_.bytes_.size();
    if (offset > end || end - offset < size) {
      return corrupt(std::string(what) + " reaches past the end of the file");
    }
    return image_.bytes_.substr(offset, size);
  }

  template <typename T>
  [[nodiscard]] Result<T> load(std::uint64_t offset, const char* what) const {
    REHOOK_ASSIGN_OR_RETURN(const std::string_view source, range(offset, sizeof(T), what));
    T value;
    std::memcpy(&value, source.data(), sizeof value);
    return value;
  }

  // The file offset of `size` bytes that will be mapped at `address`.
  [[nodiscard]] Result<std::uint64_t> offset_of(std::uint64_t address, std::uint64_t size,
                                                const char* what) const {
    for (const Elf64_Phdr& load : loads_) {
      if (address < load.p_vaddr) continue;
      const std::uint64_t inside = address - load.p_vaddr;
      if (inside <= load.p_filesz && load.p_filesz - inside >= size) {
        return load.p_offset + inside;  // no overflow: read_segments() found it inside the file
      }
    }
    return corrupt(std::string(what) + " is in no loaded segment");
  }

  [[nodiscard]] std::optional<std::uint64_t> dynamic(std::int64_t tag) const {
    const auto found = dynamic_.find(tag);
    if (found == dynamic_.end()) return std::nullopt;
    return found->second;
  }

  Status read_header() {
    if (image_.bytes_.substr(0, SELFMAG) != ELFMAG) return corrupt("not an ELF file");
    REHOOK_ASSIGN_OR_RETURN(header_, load<Elf64_Ehdr>(0, "the ELF header"));
    if (header_.e_ident[EI_CLASS] != ELFCLASS64 || header_.e_ident[EI_DATA] != ELFDATA2LSB ||
        header_.e_ident[EI_VERSION] != EV_CURRENT) {
      return corrupt("not a 64-bit little-endian ELF file");
    }
    if (header_.e_type != ET_DYN) return corrupt("not a shared library (ELF type ET_DYN)");
    if (header_.e_machine != k_machine) {
      return corrupt("built for another machine (ELF number " +
                     std::to_string(header_.e_machine) + ", here " + std::to_string(k_machine) +
                     ")");
    }
    return ok_status();
  }

  Status read_segments() {
    if (header_.e_phentsize != sizeof(Elf64_Phdr)) return corrupt("odd program header size");
    bool has_dynamic = false;
    for (std::uint64_t i = 0; i < header_.e_phnum; ++i) {
      const std::uint64_t offset = i * sizeof(Elf64_Phdr);  // e_phnum has 16 bits
      if (header_.e_phoff > std::numeric_limits<std::uint64_t>::max() - offset) {
        return corrupt("the program header table reaches past the end of the file");
      }
      REHOOK_ASSIGN_OR_RETURN(const auto segment, load<Elf64_Phdr>(header_.e_phoff + offset,
                                                                   "the program header table"));
      if (segment.p_type != PT_LOAD && segment.p_type != PT_DYNAMIC &&
          segment.p_type != PT_NOTE) {
        if (segment.p_type == PT_TLS) image_.tls_size_ = segment.p_memsz;
        continue;
      }
      REHOOK_ASSIGN_OR_RETURN(const std::string_view content,
                              range(segment.p_offset, segment.p_filesz, "a segment"));
      if (segment.p_type == PT_LOAD) {
        loads_.push_back(segment);
        image_.segments_.push_back({segment.p_vaddr, segment.p_memsz, segment.p_offset,
                                    segment.p_filesz, (segment.p_flags & PF_W) != 0});
      }
      if (segment.p_type == PT_NOTE) read_notes(content, segment.p_align);
      if (segment.p_type == PT_DYNAMIC) {
        dynamic_content_ = content;
        has_dynamic = true;
      }
    }
    if (loads_.empty()) return corrupt("the file has no loaded segment");
    return has_dynamic ? ok_status() : Status(corrupt("the file has no dynamic section"));
  }

  // Linkers write this table last: in a file that is still being written it is what is missing.
  Status check_section_table() const {
    if (header_.e_shoff == 0) return ok_status();
    if (header_.e_shentsize != sizeof(Elf64_Shdr)) return corrupt("odd section header size");
    std::uint64_t count = header_.e_shnum;
    if (count == 0) {  // more than fit the field: the first section header holds the number
      REHOOK_ASSIGN_OR_RETURN(const auto first,
                              load<Elf64_Shdr>(header_.e_shoff, "the section header table"));
      count = first.sh_size;
    }
    if (count > image_.bytes_.size() / sizeof(Elf64_Shdr)) {
      return corrupt("the section header table reaches past the end of the file");
    }
    REHOOK_TRY(range(header_.e_shoff, count * sizeof(Elf64_Shdr), "the section header table"));
    return ok_status();
  }

  // Keeps the build id, a label only: a note that makes no sense ends the search, nothing more.
  void read_notes(std::string_view notes, std::uint64_t alignment) {
    const std::uint64_t step = alignment == 8 ? 8 : 4;
    const auto padded = [step](std::uint64_t size) { return (size + step - 1) / step * step; };
    while (notes.size() >= sizeof(Elf64_Nhdr)) {
      Elf64_Nhdr note;
      std::memcpy(&note, notes.data(), sizeof note);
      const std::uint64_t description = sizeof note + padded(note.n_namesz);
      if (description > notes.size() || notes.size() - description < note.n_descsz) return;
      if (note.n_type == NT_GNU_BUILD_ID &&
          notes.substr(sizeof note, note.n_namesz) == std::string_view("GNU\0", 4)) {
        image_.build_id_ = notes.substr(description, note.n_descsz);
        return;
      }
      const std::uint64_t next = description + padded(note.n_descsz);
      notes.remove_prefix(std::min<std::uint64_t>(next, notes.size()));
    }
  }

  Status read_dynamic() {
    std::string_view rest = dynamic_content_;
    bool ended = false;
    while (rest.size() >= sizeof(Elf64_Dyn)) {
      Elf64_Dyn entry;
      std::memcpy(&entry, rest.data(), sizeof entry);
      const std::size_t offset = image_.file_offset(rest);
      rest.remove_prefix(sizeof entry);
      ended = ended || entry.d_tag == DT_NULL;
      if (ended && entry.d_tag != DT_NULL) break;  // not the section's any more
      image_.entries_.push_back({entry.d_tag, entry.d_un.d_val, offset});
      if (ended) continue;
      if (entry.d_tag == DT_NEEDED) {
        needed_offsets_.push_back(entry.d_un.d_val);
      } else {
        dynamic_[entry.d_tag] = entry.d_un.d_val;
      }
    }
    if (!ended) return corrupt("the dynamic section has no end");
    const std::uint64_t flags = dynamic(DT_FLAGS).value_or(0);
    image_.wants_static_tls_ = (flags & DF_STATIC_TLS) != 0;
    image_.has_gnu_hash_ = dynamic(DT_GNU_HASH).has_value();
    return ok_status();
  }

  Status read_strings() {
    const auto address = dynamic(DT_STRTAB);
    const auto size = dynamic(DT_STRSZ);
    if (!address || !size) return corrupt("the dynamic section names no string table");
    REHOOK_ASSIGN_OR_RETURN(const std::uint64_t offset,
                            offset_of(*address, *size, "the dynamic string table"));
    image_.strings_ = image_.bytes_.substr(offset, *size);
    image_.strings_address_ = *address;
    for (const std::uint64_t needed : needed_offsets_) {
      REHOOK_ASSIGN_OR_RETURN(const std::string_view name, string_at(needed));
      image_.needed_.push_back(name);
    }
    REHOOK_ASSIGN_OR_RETURN(image_.soname_, string_of(DT_SONAME));
    REHOOK_ASSIGN_OR_RETURN(image_.runpath_,
                            string_of(dynamic(DT_RUNPATH) ? DT_RUNPATH : DT_RPATH));
    image_.library_names_ = image_.needed_;
    if (dynamic(DT_SONAME)) image_.library_names_.push_back(image_.soname_);
    for (const std::int64_t tag : {std::int64_t{DT_RUNPATH}, std::int64_t{DT_RPATH},
                                   std::int64_t{DT_FILTER}, std::int64_t{DT_AUXILIARY}}) {
      if (!dynamic(tag)) continue;
      REHOOK_ASSIGN_OR_RETURN(const std::string_view text, string_of(tag));
      image_.other_names_.push_back(text);
    }
    return ok_status();
  }

  // Symbol versions that other libraries must have: a list of files, for each a list of names.
  Status read_needed_versions() {
    constexpr const char* k_what = "the table of needed versions";
    const auto address = dynamic(DT_VERNEED);
    if (!address) return ok_status();
    REHOOK_ASSIGN_OR_RETURN(std::uint64_t at,
                            offset_of(*address, sizeof(Elf64_Verneed), k_what));
    for (std::uint64_t left = dynamic(DT_VERNEEDNUM).value_or(0); left > 0; --left) {
      REHOOK_ASSIGN_OR_RETURN(const auto file, load<Elf64_Verneed>(at, k_what));
      REHOOK_ASSIGN_OR_RETURN(const std::string_view name, string_at(file.vn_file));
      image_.library_names_.push_back(name);
      std::uint64_t entry = at + file.vn_aux;
      for (unsigned i = 0; i < file.vn_cnt; ++i) {
        REHOOK_ASSIGN_OR_RETURN(const auto version, load<Elf64_Vernaux>(entry, k_what));
        REHOOK_TRY(count_version());
        REHOOK_ASSIGN_OR_RETURN(const std::string_view text, string_at(version.vna_name));
        image_.other_names_.push_back(text);
        if (version.vna_next == 0) break;
        entry += version.vna_next;
      }
      if (file.vn_next == 0) break;
      at += file.vn_next;
    }
    return ok_status();
  }

  // Symbol versions that the library has; the base one is the library's own name.
  Status read_defined_versions() {
    constexpr const char* k_what = "the table of defined versions";
    const auto address = dynamic(DT_VERDEF);
    if (!address) return ok_status();
    REHOOK_ASSIGN_OR_RETURN(std::uint64_t at,
                            offset_of(*address, sizeof(Elf64_Verdef), k_what));
    for (std::uint64_t left = dynamic(DT_VERDEFNUM).value_or(0); left > 0; --left) {
      REHOOK_ASSIGN_OR_RETURN(const auto version, load<Elf64_Verdef>(at, k_what));
      const bool is_base = (version.vd_flags & VER_FLG_BASE) != 0;
      std::uint64_t entry = at + version.vd_aux;
      for (unsigned i = 0; i < version.vd_cnt; ++i) {
        REHOOK_ASSIGN_OR_RETURN(const auto part, load<Elf64_Verdaux>(entry, k_what));
        REHOOK_TRY(count_version());
        REHOOK_ASSIGN_OR_RETURN(const std::string_view text, string_at(part.vda_name));
        (is_base ? image_.library_names_ : image_.other_names_).push_back(text);
        if (part.vda_next == 0) break;
        entry += part.vda_next;
      }
      if (version.vd_next == 0) break;
      at += version.vd_next;
    }
    return ok_status();
  }

  // Lists that share their entries could be as many as the square of the file's size.
  Status count_version() {
    if (++versions_ <= image_.bytes_.size() / sizeof(Elf64_Verdaux)) return ok_status();
    return corrupt("the tables of versions have more entries than the file has room for");
  }

  [[nodiscard]] Result<std::string_view> string_at(std::uint64_t offset) const {
    if (offset < image_.strings_.size()) {
      const std::size_t end = image_.strings_.find('\0', offset);
      if (end != std::string_view::npos) return image_.strings_.substr(offset, end - offset);
    }
    return corrupt("a name reaches past the end of the dynamic string table");
  }

  // Empty when the dynamic section has no such entry.
  [[nodiscard]] Result<std::string_view> string_of(std::int64_t tag) const {
    const auto offset = dynamic(tag);
    if (!offset) return std::string_view();
    return string_at(*offset);
  }

  Status read_symbols() {
    const auto address = dynamic(DT_SYMTAB);
    if (!address) return corrupt("the dynamic section names no symbol table");
    if (dynamic(DT_SYMENT).value_or(sizeof(Elf64_Sym)) != sizeof(Elf64_Sym)) {
      return corrupt("odd dynamic symbol size");
    }
    REHOOK_ASSIGN_OR_RETURN(const std::uint64_t count, count_symbols());
    if (count > image_.bytes_.size() / sizeof(Elf64_Sym)) {
      return corrupt("the dynamic symbol table reaches past the end of the file");
    }
    REHOOK_ASSIGN_OR_RETURN(
        const std::uint64_t table,
        offset_of(*address, count * sizeof(Elf64_Sym), "the dynamic symbol table"));
    image_.symbols_.reserve(count);
    for (std::uint64_t i = 1; i < count; ++i) {  // the first one is reserved
      const std::uint64_t offset = table + i * sizeof(Elf64_Sym);
      REHOOK_ASSIGN_OR_RETURN(const auto symbol, load<Elf64_Sym>(offset, "a dynamic symbol"));
      REHOOK_ASSIGN_OR_RETURN(const std::string_view name, string_at(symbol.st_name));
      image_.symbols_.push_back({name, offset + offsetof(Elf64_Sym, st_info), symbol.st_info,
                                 symbol.st_shndx != SHN_UNDEF});
    }
    return ok_status();
  }

  // Nothing in the file says how many symbols there are, except the tables to find them by
  // name.
  [[nodiscard]] Result<std::uint64_t> count_symbols() const {
    if (const auto address = dynamic(DT_HASH)) {
      REHOOK_ASSIGN_OR_RETURN(const std::uint64_t offset,
                              offset_of(*address, 2 * k_word, "the symbol hash table"));
      REHOOK_ASSIGN_OR_RETURN(const auto chains,
                              load<std::uint32_t>(offset + k_word, "the symbol hash table"));
      return std::uint64_t{chains};
    }
    if (const auto address = dynamic(DT_GNU_HASH)) return count_gnu_hashed(*address);
    return corrupt("the dynamic section names no symbol hash table");
  }

  // The chains are in the order of the symbols; the last one of the last chain has its lowest
  // bit set.
  [[nodiscard]] Result<std::uint64_t> count_gnu_hashed(std::uint64_t address) const {
    constexpr const char* k_what = "the GNU symbol hash table";
    struct Header {
      std::uint32_t buckets, first_hashed, bloom_words, bloom_shift;
    };
    REHOOK_ASSIGN_OR_RETURN(const std::uint64_t offset,
                            offset_of(address, sizeof(Header), k_what));
    REHOOK_ASSIGN_OR_RETURN(const auto header, load<Header>(offset, k_what));
    const std::uint64_t buckets =
        offset + sizeof header + std::uint64_t{header.bloom_words} * sizeof(std::uint64_t);
    const std::uint64_t chains = buckets + std::uint64_t{header.buckets} * k_word;
    REHOOK_TRY(range(buckets, std::uint64_t{header.buckets} * k_word, k_what));
    std::uint64_t last = 0;
    for (std::uint64_t i = 0; i < header.buckets; ++i) {
      REHOOK_ASSIGN_OR_RETURN(const auto first,
                              load<std::uint32_t>(buckets + i * k_word, k_what));
      last = std::max<std::uint64_t>(last, first);
    }
    if (last == 0) return std::uint64_t{0};  // no symbol is defined
    if (last < header.first_hashed)
      return corrupt("the GNU symbol hash table contradicts itself");
    while (true) {
      REHOOK_ASSIGN_OR_RETURN(
          const auto hash,
          load<std::uint32_t>(chains + (last - header.first_hashed) * k_word, k_what));
      ++last;
      if ((hash & 1U) != 0) return last;
    }
  }

  ElfImage image_;
  Elf64_Ehdr header_{};
  std::vector<Elf64_Phdr> loads_;
  std::string_view dynamic_content_;
  std::map<std::int64_t, std::uint64_t> dynamic_;
  std::vector<std::uint64_t> needed_offsets_;
  std::size_t versions_ = 0;
};

Result<ElfImage> ElfImage::parse(std::string_view bytes) {
  return ElfParser(bytes).parse();
}

bool ElfImage::defines(std::string_view symbol) const {
  return std::any_of(symbols_.begin(), symbols_.end(), [&](const DynamicSymbol& candidate) {
    return candidate.defined && candidate.name == symbol;
  });
}

std::vector<std::string> ElfImage::python_inits() const {
  std::vector<std::string> names;
  for (const DynamicSymbol& symbol : symbols_) {
    if (!symbol.defined || symbol.name.substr(0, k_python_init.size()) != k_python_init)
      continue;
    names.emplace_back(symbol.name.substr(k_python_init.size()));
  }
  return names;
}

}  // namespace rehook
