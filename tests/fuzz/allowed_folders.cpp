// The list of folders that the user allowed.
#include "hook/allowed_folders.hpp"

#include "tests/fuzz/fuzz_targets.hpp"
#include "tests/support/memory_file_system.hpp"

namespace rehook::fuzz {
namespace {

// Whether a whole line is the folder or one above it, spelt in another way than the product's.
bool is_listed(std::string_view text, const std::string& folder) {
  for (std::string above = folder; !above.empty();) {
    std::string line = "\n" + above;
    for (const char* end : {"\n", "/\n", "//\n"}) {
      if (("\n" + std::string(text)).find(line + end) != std::string::npos) return true;
    }
    above.resize(above == "/" ? 0 : std::max<std::size_t>(above.rfind('/'), 1));
  }
  return false;
}

}  // namespace

int allowed_folders(const std::uint8_t* data, std::size_t size) {
  const std::string_view text = as_text(data, size);
  const Path list = "/home/user/.config/rehook/allowed";
  MemoryFileSystem fs;
  fs.put(list, std::string(text));
  const AllowedFolders folders(fs, list, {});
  const bool more_slashes = text.find("///") != std::string_view::npos;
  for (const char* root : {"/usr/bin", "/usr/include", "/"}) {
    std::error_code failed;
    const std::string real = std::filesystem::canonical(root, failed).native();
    const bool allowed = folders.contains(root);
    if (!more_slashes) {
      require(allowed == is_listed(text, real),
              "allowed is what a whole line of the list says");
    }
  }
  require(!folders.contains("/no/such/folder"), "what does not exist is not allowed");
  return 0;
}

}  // namespace rehook::fuzz
