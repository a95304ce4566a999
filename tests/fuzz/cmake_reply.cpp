// A reply of CMake's File API, and which extension modules the project makes. The input is an
// archive (MemoryFileSystem::put_archive) of the build folder.
#include "builder/cmake_file_api.hpp"
#include "builder/extension_targets.hpp"
#include "tests/fuzz/fuzz_targets.hpp"
#include "tests/support/memory_file_system.hpp"

namespace rehook::fuzz {
namespace {

ModuleNaming naming_of(const CodeModel& model) {
  ModuleNaming naming;
  naming.extension_suffixes = {".cpython-311-x86_64-linux-gnu.so", ".abi3.so", ".so"};
  naming.packages["demo"] = model.source_dir / "demo";
  naming.installed["demo._core"] = "_core.cpython-311-x86_64-linux-gnu.so";
  return naming;
}

void look_for_modules(const CodeModel& model, const ModuleNaming& naming) {
  for (const ExtensionTarget& found : find_extension_targets(model, naming)) {
    const Result<ExtensionTarget> same = find_extension_target(model, naming, found.module);
    require(same.ok() || same.error().code == ErrorCode::invalid,
            "a module that is listed is found, or ambiguous");
    std::ignore = dependency_closure(model, found.target_id);
    std::ignore = match_init(found.module, {"PyInit__core", "PyInit_" + found.target_name});
  }
  std::ignore = find_extension_target(model, naming, "demo._core");
}

}  // namespace

int cmake_reply(const std::uint8_t* data, std::size_t size) {
  const Path build = "/build";
  MemoryFileSystem fs;
  fs.put_archive(build, as_text(data, size));
  const char* const configuration = size % 2 == 0 ? "" : "Release";
  const Result<CodeModel> model = read_file_api_reply(fs, build, configuration);
  require(model.ok() || !model.error().message.empty(), "a refusal says why");
  if (!model) return 0;
  look_for_modules(*model, ModuleNaming());
  look_for_modules(*model, naming_of(*model));
  return 0;
}

}  // namespace rehook::fuzz
