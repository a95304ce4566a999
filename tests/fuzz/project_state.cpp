// A project's state and its records, as bytes and with the digest that makes them count.
#include "builder/project_state.hpp"

#include "builder/build_plan.hpp"
#include "tests/fuzz/fuzz_targets.hpp"
#include "tests/support/memory_file_system.hpp"

namespace rehook::fuzz {
namespace {

void look_at(ProjectState state) {
  const std::string written = serialize(state);
  const Result<ProjectState> again = parse_project_state(written);
  require(again.ok() && serialize(*again) == written, "what was read can be written");
  for (const BuiltModule& module : state.modules) {
    require(module.flags < state.compile_groups.size(), "a module's flags are there");
  }
  MemoryFileSystem fs;
  fs.put("/src/core.cpp", "int f();");
  const InputScan scan = scan_inputs(fs, state.inputs, {{"env CXXFLAGS", "-O0"}});
  const Freshness fresh = decide(state, scan);
  require(scan.changes.empty() || std::holds_alternative<Rebuild>(fresh),
          "a change is a reason to build");
  const Digest fingerprint = fingerprint_digest(state.inputs);
  require(fingerprint == fingerprint_digest(state.inputs), "a fingerprint is a function");
}

}  // namespace

int project_state(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes = as_text(data, size);
  for (const std::string& file : {std::string(bytes), sealed(bytes)}) {
    Result<ProjectState> state = parse_project_state(file);
    if (state) look_at(std::move(*state));
  }
  return 0;
}

std::optional<std::string> project_state_meaning(std::string_view bytes) {
  const Result<ProjectState> state = parse_project_state(bytes);
  if (!state) return std::nullopt;
  return serialize(*state);
}

}  // namespace rehook::fuzz
