#include "hook/thread_stacks.hpp"

#include <link.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <system_error>

namespace rehook {
namespace {

constexpr std::size_t k_deepest = 1U << 20;  // bytes of a stack that are looked at

// Where the stack of a waiting thread ends; 0 when it runs. The line is "number arguments… sp
// pc", or "running".
std::uintptr_t stack_pointer(const std::filesystem::path& task) {
  std::ifstream file(task / "syscall");
  std::vector<std::string> words;
  for (std::string word; file >> word;) words.push_back(word);
  if (words.size() < 3) return 0;
  const std::string& text = words[words.size() - 2];
  std::uintptr_t value = 0;
  for (const char c : text.substr(std::min<std::size_t>(2, text.size()))) {
    const char* const digits = "0123456789abcdef";
    const auto* const digit = std::find(digits, digits + 16, c);
    if (digit == digits + 16) return 0;
    value = value * 16 + static_cast<std::uintptr_t>(digit - digits);
  }
  return value;
}

// The executable part: there are pointers to data on many stacks.
struct Code {
  LoadedLibrary library;
  std::uintptr_t begin = 0, end = 0;
};

int find_code(dl_phdr_info* info, std::size_t /*size*/, void* data) {
  auto& code = *static_cast<Code*>(data);
  bool here = false;
  std::uintptr_t begin = 0, end = 0;
  for (int i = 0; i < info->dlpi_phnum; ++i) {
    const auto& header = info->dlpi_phdr[i];
    if (header.p_type != PT_LOAD) continue;
    const std::uintptr_t start = info->dlpi_addr + header.p_vaddr;
    here |= start == code.library.begin;
    if ((header.p_flags & PF_X) == 0) continue;
    begin = begin == 0 ? start : std::min(begin, start);
    end = std::max(end, start + header.p_memsz);
  }
  if (here) code = {code.library, begin, end};
  return here ? 1 : 0;
}

// Through the kernel, since the thread may end, and its stack be unmapped, meanwhile.
bool has_return_into(std::uintptr_t stack, const std::vector<Code>& libraries) {
  constexpr std::uintptr_t k_page = 4096;  // reads end with it: one that crosses the end fails
  std::array<std::uintptr_t, k_page / sizeof(std::uintptr_t)> words{};
  stack &= ~(sizeof(std::uintptr_t) - 1);
  for (const std::uintptr_t end = stack + k_deepest; stack < end;) {
    const std::size_t size = k_page - stack % k_page;
    iovec here{words.data(), size};
    // NOLINTNEXTLINE(performance-no-int-to-ptr): an address from the kernel
    iovec there{reinterpret_cast<void*>(stack), size};
    if (process_vm_readv(getpid(), &here, 1, &there, 1, 0) != static_cast<ssize_t>(size)) {
      return false;  // past the end
    }
    for (std::size_t i = 0; i < size / sizeof words[0]; ++i) {
      const bool inside =
          std::any_of(libraries.begin(), libraries.end(), [&](const Code& library) {
            return words[i] >= library.begin && words[i] < library.end;
          });
      if (inside) return true;
    }
    stack += size;
  }
  return false;
}

}  // namespace

std::size_t count_threads_inside(const std::vector<LoadedLibrary>& libraries) {
  std::vector<Code> code;
  for (const LoadedLibrary& library : libraries) {
    code.push_back({library});
    dl_iterate_phdr(&find_code, &code.back());
  }
  std::size_t count = 0;
  std::error_code ignored;
  const std::string self = std::to_string(gettid());
  for (const auto& task : std::filesystem::directory_iterator("/proc/self/task", ignored)) {
    if (task.path().filename() == self) continue;
    const std::uintptr_t stack = stack_pointer(task.path());
    if (stack != 0 && has_return_into(stack, code)) ++count;
  }
  return count;
}

}  // namespace rehook
