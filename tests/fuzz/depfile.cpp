// The .d files of compilers.
#include "builder/header_deps.hpp"
#include "tests/fuzz/fuzz_targets.hpp"
#include "tests/support/memory_file_system.hpp"

namespace rehook::fuzz {

int depfile(const std::uint8_t* data, std::size_t size) {
  MemoryFileSystem fs;
  fs.put("/build/lib/CMakeFiles/core.dir/core.cpp.o.d", std::string(as_text(data, size)));
  const Result<std::vector<ObjectDeps>> deps = read_depfiles(fs, "/build");
  require(deps.ok() && deps->size() <= 1, "one file tells of one object at most");
  for (const ObjectDeps& object : *deps) {
    require(!object.inputs.empty() && object.inputs.size() <= size, "inputs are words of it");
    for (const Path& input : object.inputs) {
      require(input.is_absolute(), "an input's path is absolute");
    }
  }
  return 0;
}

}  // namespace rehook::fuzz
