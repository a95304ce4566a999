#pragma once

#include <dlfcn.h>
#include <fcntl.h>
#include <link.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>
#include <unordered_set>
#include <vector>

#include "bridge_abi.h"

// The process's own memory: what may be read, where a library keeps its data, and how a word in
// a write-protected page is changed. Compiled into a bridge on the user's machine; C++17, no
// Python.

namespace rehook_bridge {

// Addresses are numbers here: of mappings, words and symbols. This is where they become
// pointers.
template <typename T>
T* pointer_at(std::uintptr_t address) {
  return reinterpret_cast<T*>(address);  // NOLINT(performance-no-int-to-ptr)
}

inline bool contains(const RehookRange& range, std::uintptr_t address) {
  return address >= range.begin && address < range.end;
}

// A handful of libraries, asked for every pointer of a registry.
struct Ranges {
  std::vector<RehookRange> list;

  Ranges() = default;
  Ranges(const RehookRange* ranges, std::size_t count) : list(ranges, ranges + count) {}
  bool contains(std::uintptr_t address) const {
    for (const RehookRange& range : list) {
      if (rehook_bridge::contains(range, address)) return true;
    }
    return false;
  }
  bool contains(const void* object) const {
    return contains(reinterpret_cast<std::uintptr_t>(object));
  }
  template <typename R, typename... Args>
  bool contains(R (*function)(Args...)) const {
    return contains(reinterpret_cast<std::uintptr_t>(function));
  }
};

// Addresses of objects, of whatever type: one instantiation keeps the bridge quick to compile.
using Addresses = std::unordered_set<const void*>;

// What is mapped where. Libraries are asked for one by one, when an address in them comes up:
// /proc/self/maps gets longer with every build that was ever loaded, and is read only when an
// address is in no library. Nothing is unmapped while this lives.
class MemoryMap {
 public:
  // All of /proc/self/maps at once.
  bool read(std::string& error) {
    std::string text;
    if (read_all("/proc/self/maps", text)) parse(text);
    if (mappings_.empty()) error = "cannot read /proc/self/maps";
    return !mappings_.empty();
  }

  // "begin-end perms …" per line, sorted by address as the kernel writes them.
  void parse(const std::string& text) {
    mappings_.clear();
    complete_ = true;
    for (const char* line = text.c_str(); *line != '\0';) {
      char* rest = nullptr;
      Mapping mapping;
      mapping.begin = std::strtoull(line, &rest, 16);
      if (*rest == '-') mapping.end = std::strtoull(rest + 1, &rest, 16);
      if (rest[0] == ' ' && rest[1] != '\0' && rest[2] != '\0' && rest[3] != '\0') {
        mapping.protection = (rest[1] == 'r' ? PROT_READ : 0) |
                             (rest[2] == 'w' ? PROT_WRITE : 0) |
                             (rest[3] == 'x' ? PROT_EXEC : 0);
        mappings_.push_back(mapping);
      }
      const char* newline = std::strchr(rest, '\n');
      if (newline == nullptr) break;
      line = newline + 1;
    }
  }

  // PROT_* bits of the page at `address`; PROT_NONE when nothing is mapped there.
  int protection(std::uintptr_t address) const {
    const Mapping* mapping = find(address);
    return mapping == nullptr ? PROT_NONE : mapping->protection;
  }

  bool readable(std::uintptr_t address, std::size_t size) const {
    return readable_until(address, size) >= address + size;
  }

  // The NUL-terminated string at `address`, or null when it leaves readable memory or is
  // absurdly long.
  const char* c_string(std::uintptr_t address) const {
    const std::uintptr_t end = readable_until(address, k_longest_name);
    if (end <= address) return nullptr;
    const char* text = pointer_at<const char>(address);
    const char* limit = pointer_at<const char>(end);
    return std::find(text, limit, '\0') == limit ? nullptr : text;
  }

 private:
  static constexpr std::size_t k_longest_name = 1U << 16;
  struct Mapping {
    std::uintptr_t begin = 0, end = 0;
    int protection = PROT_NONE;
  };

  static bool read_all(const char* path, std::string& text) {
    text.resize(1U << 16);
    const int file = ::open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) return false;
    std::size_t size = 0;
    ssize_t got = 0;
    while ((got = ::read(file, &text[size], text.size() - size)) != 0) {
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) break;
      size += static_cast<std::size_t>(got);
      if (size == text.size()) {
        try {
          text.resize(2 * size);
        } catch (...) {
          got = -1;
          break;
        }
      }
    }
    ::close(file);
    text.resize(size);
    return got == 0;
  }

  const Mapping* find(std::uintptr_t address) const {
    const Mapping* found = find_known(address);
    if (found != nullptr || complete_) return found;
    if (!add_library(address)) {
      std::string text;
      MemoryMap all;
      if (read_all("/proc/self/maps", text)) all.parse(text);
      mappings_.swap(all.mappings_);
      complete_ = true;
    }
    return find_known(address);
  }

  // The segments of the library that covers `address`, as the dynamic loader protects them.
  bool add_library(std::uintptr_t address) const {
    struct Search {
      std::uintptr_t address;
      std::vector<Mapping> found;
      bool failed;
    } search{address, {}, false};
    const auto visit = [](dl_phdr_info* info, std::size_t, void* data) noexcept -> int {
      auto& wanted = *static_cast<Search*>(data);
      try {
        return add_segments(*info, wanted.address, wanted.found) ? 1 : 0;
      } catch (...) {
        wanted.failed = true;
        return 1;
      }
    };
    if (dl_iterate_phdr(visit, &search) != 1 || search.failed) return false;
    mappings_.insert(mappings_.end(), search.found.begin(), search.found.end());
    std::sort(mappings_.begin(), mappings_.end(),
              [](const Mapping& a, const Mapping& b) { return a.begin < b.begin; });
    return true;
  }
  static bool add_segments(const dl_phdr_info& info, std::uintptr_t address,
                           std::vector<Mapping>& found) {
    const std::uintptr_t page = static_cast<std::uintptr_t>(sysconf(_SC_PAGESIZE)) - 1;
    bool here = false;
    Mapping read_only;
    for (int i = 0; i < info.dlpi_phnum; ++i) {
      const auto& header = info.dlpi_phdr[i];
      const std::uintptr_t begin = info.dlpi_addr + header.p_vaddr;
      const std::uintptr_t end = begin + header.p_memsz;
      if (header.p_type == PT_GNU_RELRO) read_only = {begin & ~page, end & ~page, PROT_READ};
      if (header.p_type != PT_LOAD) continue;
      const int protection = ((header.p_flags & PF_R) != 0 ? PROT_READ : 0) |
                             ((header.p_flags & PF_W) != 0 ? PROT_WRITE : 0) |
                             ((header.p_flags & PF_X) != 0 ? PROT_EXEC : 0);
      found.push_back({begin & ~page, (end + page) & ~page, protection});
      here |= contains({begin & ~page, (end + page) & ~page}, address);
    }
    if (!here) {
      found.clear();
      return false;
    }
    for (std::size_t i = 0; i < found.size() && read_only.begin < read_only.end; ++i) {
      const Mapping whole = found[i];
      if (read_only.begin < whole.begin || read_only.end > whole.end) continue;
      found[i].end = read_only.begin;
      found.push_back(read_only);
      found.push_back({read_only.end, whole.end, whole.protection});
      break;
    }
    found.erase(std::remove_if(found.begin(), found.end(),
                               [](const Mapping& m) { return m.begin >= m.end; }),
                found.end());
    return true;
  }

  const Mapping* find_known(std::uintptr_t address) const {
    auto above = std::upper_bound(
        mappings_.begin(), mappings_.end(), address,
        [](std::uintptr_t value, const Mapping& mapping) { return value < mapping.begin; });
    if (above == mappings_.begin()) return nullptr;
    --above;
    return address < above->end ? &*above : nullptr;
  }

  // Where the readable memory that starts at `address` ends, at most `size` bytes further.
  std::uintptr_t readable_until(std::uintptr_t address, std::size_t size) const {
    std::uintptr_t end = address;
    while (end - address < size) {
      const Mapping* mapping = find(end);
      if (mapping == nullptr || (mapping->protection & PROT_READ) == 0) break;
      end = mapping->end;
    }
    return std::min(end, address + size);
  }

  mutable std::vector<Mapping> mappings_;
  mutable bool complete_ = false;
};

// One loaded library: its name as the dynamic loader knows it, and the parts of its file that
// relocations may have written to (type_info objects live there, never in .bss or code).
struct Library {
  std::string path;
  RehookRange image{0, 0};  // all of it, code too
  std::vector<RehookRange> data;
};

// Finds the library that covers `address`; false: no library does.
inline bool library_at(std::uintptr_t address, Library& found) {
  struct Search {
    std::uintptr_t address;
    Library* library;
    bool failed;
  } search{address, &found, false};
  const auto visit = [](dl_phdr_info* info, std::size_t, void* data) noexcept -> int {
    auto& wanted = *static_cast<Search*>(data);
    bool here = false;
    for (int i = 0; i < info->dlpi_phnum; ++i) {
      const auto& header = info->dlpi_phdr[i];
      const std::uintptr_t begin = info->dlpi_addr + header.p_vaddr;
      here |=
          header.p_type == PT_LOAD && contains({begin, begin + header.p_memsz}, wanted.address);
    }
    if (!here) return 0;
    try {
      wanted.library->path = info->dlpi_name == nullptr ? "" : info->dlpi_name;
      for (int i = 0; i < info->dlpi_phnum; ++i) {
        const auto& header = info->dlpi_phdr[i];
        const std::uintptr_t begin = info->dlpi_addr + header.p_vaddr;
        if (header.p_type != PT_LOAD) continue;
        RehookRange& image = wanted.library->image;
        image.begin = image.end == 0 ? begin : std::min(image.begin, begin);
        image.end = std::max(image.end, begin + header.p_memsz);
        if ((header.p_flags & PF_W) != 0) {
          wanted.library->data.push_back({begin, begin + header.p_filesz});
        }
      }
    } catch (...) {
      wanted.failed = true;
    }
    return 1;
  };
  return dl_iterate_phdr(visit, &search) == 1 && !search.failed;
}

// The libraries that a loaded library was linked to, and what they export.
class Dependencies {
 public:
  explicit Dependencies(const Library& library) {
    void* handle = dlopen(library.path.c_str(), RTLD_LAZY | RTLD_NOLOAD);
    link_map* map = nullptr;
    handles_.push_back(handle);
    if (handle == nullptr || dlinfo(handle, RTLD_DI_LINKMAP, &map) != 0) return;
    std::uintptr_t names = 0;
    for (const auto* entry = map->l_ld; entry->d_tag != DT_NULL; ++entry) {
      if (entry->d_tag == DT_STRTAB) names = entry->d_un.d_ptr;
    }
    if (names < map->l_addr) names += map->l_addr;  // some machines leave it as in the file
    for (const auto* entry = map->l_ld; entry->d_tag != DT_NULL; ++entry) {
      if (entry->d_tag != DT_NEEDED) continue;
      const char* name = pointer_at<const char>(names + entry->d_un.d_val);
      handles_.push_back(dlopen(name, RTLD_LAZY | RTLD_NOLOAD));
    }
  }
  Dependencies(const Dependencies&) = delete;
  Dependencies& operator=(const Dependencies&) = delete;
  ~Dependencies() {
    for (void* handle : handles_) {
      if (handle != nullptr) dlclose(handle);
    }
  }

  // The first definition in them or in what they were linked to; not the library's own.
  const void* find(const std::string& symbol) const {
    for (std::size_t i = 1; i < handles_.size(); ++i) {
      const void* found = handles_[i] == nullptr ? nullptr : dlsym(handles_[i], symbol.c_str());
      if (found != nullptr) return found;
    }
    return nullptr;
  }

 private:
  std::vector<void*> handles_;  // the library's own first
};

// Makes the pages around some words writable while it lives.
class WritablePages {
 public:
  WritablePages() = default;
  WritablePages(const WritablePages&) = delete;
  WritablePages& operator=(const WritablePages&) = delete;
  ~WritablePages() {
    for (const Run& run : runs_) {
      mprotect(pointer_at<void>(run.begin), run.end - run.begin, run.protection);
    }
  }

  // False with errno when the system refuses; pages opened so far are closed by the destructor.
  bool open(const MemoryMap& map, std::vector<std::uintptr_t> addresses) {
    const auto page = static_cast<std::uintptr_t>(sysconf(_SC_PAGESIZE));
    std::sort(addresses.begin(), addresses.end());
    std::vector<Run> wanted;
    for (std::uintptr_t address : addresses) {
      const std::uintptr_t begin = address & ~(page - 1);
      const int protection = map.protection(begin);
      if (!wanted.empty() && begin < wanted.back().end) continue;
      if (protection == PROT_NONE) {
        errno = EFAULT;
        return false;
      }
      if ((protection & PROT_WRITE) != 0) continue;
      if (!wanted.empty() && wanted.back().end == begin &&
          wanted.back().protection == protection) {
        wanted.back().end += page;
      } else {
        wanted.push_back({begin, begin + page, protection});
      }
    }
    runs_.reserve(wanted.size());
    for (const Run& run : wanted) {
      if (mprotect(pointer_at<void>(run.begin), run.end - run.begin,
                   run.protection | PROT_WRITE) != 0) {
        return false;
      }
      runs_.push_back(run);
    }
    return true;
  }

 private:
  struct Run {
    std::uintptr_t begin, end;
    int protection;
  };
  std::vector<Run> runs_;
};

// One word, whole: threads without the GIL may be comparing type_info names at this moment.
inline void store_word(std::uintptr_t address, std::uintptr_t value) {
  __atomic_store_n(pointer_at<std::uintptr_t>(address), value, __ATOMIC_RELEASE);
}

inline std::uintptr_t load_word(std::uintptr_t address) {
  return __atomic_load_n(pointer_at<const std::uintptr_t>(address), __ATOMIC_RELAXED);
}

}  // namespace rehook_bridge
