// Ninja's deps log: <build>/.ninja_deps.
#include "builder/header_deps.hpp"
#include "builder/ninja_memory.hpp"
#include "tests/fuzz/fuzz_targets.hpp"
#include "tests/support/memory_file_system.hpp"

namespace rehook::fuzz {

int ninja_deps(const std::uint8_t* data, std::size_t size) {
  MemoryFileSystem fs;
  fs.put("/build/.ninja_deps", std::string(as_text(data, size)));
  fs.put("/build/.ninja_log", "# ninja log v5\n1\t2\t3\ta.o\tabc\n");
  if (auto memory = NinjaMemory::read(fs, "/build")) {
    // What is added to a log that was read can be read again.
    memory->remember({"/build/a.o", {"/source/a.c"}, 4});
    require(memory->write(fs).ok() && NinjaMemory::read(fs, "/build").ok(),
            "a log stays readable");
  }
  const Result<std::vector<ObjectDeps>> deps = read_ninja_deps(fs, "/build");
  if (!deps) return 0;
  for (const ObjectDeps& object : *deps) {
    require(object.object.is_absolute(), "an object's path is absolute");
    require(object.inputs.size() <= size / 12, "every input has a record of its own");
    for (const Path& input : object.inputs) {
      require(input.is_absolute(), "an input's path is absolute");
    }
  }
  return 0;
}

}  // namespace rehook::fuzz
