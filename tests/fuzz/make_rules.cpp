// The rules of CMake's Makefile generators: build.make.
#include "builder/header_deps.hpp"
#include "tests/fuzz/fuzz_targets.hpp"
#include "tests/fuzz/scratch_folder.hpp"
#include "tests/support/memory_file_system.hpp"

namespace rehook::fuzz {
namespace {

// The reader looks for the file on disk, and reads it by way of its FileSystem.
struct Place {
  ScratchFolder folder;
  Path file;
  Place() : file(folder.path() / "build.make") {
    require(posix_file_system().write_atomic(file, "").ok(), "a file can be written");
  }
};

}  // namespace

int make_rules(const std::uint8_t* data, std::size_t size) {
  static const Place place;
  MemoryFileSystem fs;
  fs.put(place.file, std::string(as_text(data, size)));
  const Result<std::vector<MakeRule>> rules = read_make_rules(fs, place.folder.path());
  require(rules.ok() && rules->size() <= size, "a rule is a line");
  for (const MakeRule& rule : *rules) {
    require(rule.output.is_absolute() && rule.input.is_absolute(), "paths are absolute");
  }
  return 0;
}

}  // namespace rehook::fuzz
