// What is read from the store besides files with a digest: the line that names its format, and
// the names of files.
#include "shadow_store/artifact_store.hpp"
#include "shadow_store/base/temporary_name.hpp"
#include "shadow_store/file_name.hpp"
#include "shadow_store/safe_directory.hpp"
#include "shadow_store/session_folders.hpp"
#include "tests/fuzz/fuzz_targets.hpp"
#include "tests/fuzz/scratch_folder.hpp"
#include "tests/support/memory_file_system.hpp"

namespace rehook::fuzz {
namespace {

void look_at_names(std::string_view text) {
  const std::optional<long> owner = temporary_owner(text);
  require(!owner || *owner > 0, "a process has a positive number");
  std::ignore = is_orphan(text);
  std::ignore = artifact_of_shadow_copy(text);
  if (const Result<Digest> digest = Digest::from_hex(text)) {
    require(digest->hex() == text, "a digest has one spelling");
  }
  for (const std::size_t room : {std::size_t{1}, std::size_t{40}, k_longest_file_name}) {
    const std::string name = plain_file_name(text, room);
    require(name.size() <= room && name.find('/') == std::string::npos &&
                name.find('\0') == std::string::npos,
            "a plain name is a name");
  }
}

}  // namespace

int store_names(const std::uint8_t* data, std::size_t size) {
  const std::string_view text = as_text(data, size);
  look_at_names(text);
  static const ScratchFolder folder;
  static const Path root = *make_private_directory(folder.path() / "store");
  MemoryFileSystem fs;
  fs.put(root / "format", std::string(text));
  const Result<ArtifactStore> store = ArtifactStore::open(fs, root);
  require(store.ok() == (text == "rehook store 1 xxh3-128\n"), "one line is this format's");
  require(*fs.read(root / "format") == text, "another format's store is not touched");
  return 0;
}

}  // namespace rehook::fuzz
