// Debug information, by way of rehook_layouts.so and libdw; the input is the library.
#include "shadow_store/class_layout_reader.hpp"

#include "tests/fuzz/fuzz_targets.hpp"
#include "tests/fuzz/scratch_folder.hpp"

namespace rehook::fuzz {
namespace {

struct Place {
  ScratchFolder folder;
  Path file;
  Place() : file(folder.path() / "lib.so") {
    set_class_layout_plugin(REHOOK_LAYOUTS_PLUGIN);
    require(read_class_layouts({}).ok(), "the reader can be loaded");
  }
};

}  // namespace

int class_layout_reader(const std::uint8_t* data, std::size_t size) {
  static const Place place;
  const Path& file = place.file;
  std::ignore = posix_file_system().remove(file, MissingOk::yes);
  require(posix_file_system().append(file, as_text(data, size)).ok(), "a file can be written");
  const Result<ClassLayouts> layouts = read_class_layouts({file});
  require(layouts.ok(), "what is in a file is never an error");
  for (const ClassLayout& one : layouts->classes) {
    require(layouts->find(one.name) != nullptr, "every class is found by its name");
  }
  return 0;
}

}  // namespace rehook::fuzz
