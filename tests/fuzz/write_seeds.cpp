// write_seeds <folder>: seeds of the formats that end in a digest, whole and without it.
#include <cstdio>

#include "builder/project_state.hpp"
#include "hook/build_failure.hpp"
#include "hook/build_log.hpp"
#include "shadow_store/class_layout.hpp"
#include "tests/fuzz/fuzz_targets.hpp"

namespace rehook::fuzz {
namespace {

void write(const Path& file, std::string_view bytes) {
  require(posix_file_system().make_directories(file.parent_path()).ok(), "a folder is made");
  require(posix_file_system().write_atomic(file, bytes).ok(), "a seed is written");
}

void write_sealed(const Path& folder, const std::string& name, const std::string& bytes) {
  write(folder / (name + ".bin"), bytes);
  write(folder / (name + "_unsealed.bin"),
        std::string_view(bytes).substr(0, bytes.size() - sizeof(Digest::bytes)));
}

FileStat some_stat() {
  FileStat stat;
  stat.device = 1;
  stat.inode = 42;
  stat.size = 8;
  stat.mtime_ns = stat.ctime_ns = 1'700'000'000'123'456'789;
  stat.mode = 0100644;
  return stat;
}

Input some_input(const std::string& name, InputKind kind, InputRole role) {
  Input input;
  input.name = name;
  input.kind = kind;
  input.role = role;
  input.digest = digest_of(name);
  if (kind == InputKind::value) {
    input.text = "-O2";
    return input;
  }
  input.stat = some_stat();
  input.hashed_at_ns = input.stat.mtime_ns + 1'000'000'000;
  return input;
}

ProjectState some_state() {
  ProjectState state;
  state.root = state.source_dir = "/src";
  state.build_dir = "/build";
  state.inputs = {some_input("/src/core.cpp", InputKind::file, InputRole::compile),
                  some_input("/src/CMakeLists.txt", InputKind::file, InputRole::configure),
                  some_input("/src", InputKind::directory, InputRole::configure),
                  some_input("env CXXFLAGS", InputKind::value, InputRole::toolchain)};
  state.fingerprint = fingerprint_digest(state.inputs);
  BuiltModule module;
  module.module = "demo._core";
  module.target = "core_ext";
  module.output = "/build/_core.so";
  module.defined_in = "CMakeLists.txt:13";
  module.artifact = module.code = digest_of("core");
  module.bindings = BindingLibraries(1);
  module.stat = some_stat();
  BuiltLibrary library;
  library.soname = "libx.so.1";
  library.names = {"libx.so.1", "libx.so"};
  library.output = "/build/libx.so";
  library.artifact = library.code = digest_of("x");
  module.libraries = {library};
  state.modules = {module};
  state.packages["demo"] = "/src/demo";
  state.python_files["demo.gen"] = "/build/gen.py";
  state.exclude = {"demo.slow"};
  state.build_type = "Release";
  state.environment = {{"CXX", std::nullopt}, {"CXXFLAGS", "-O2"}};
  state.description_inputs = {"/src/pyproject.toml"};
  state.built["/src/core.cpp"] = digest_of("/src/core.cpp");
  state.compilers["CXX"] = "/usr/bin/c++";
  state.compile_groups = {{"CXX", "20", {"-O2"}, {"A=1"}, {"/src"}, {"/usr/include"}}};
  state.built_at_ns = 1'700'000'000'000'000'000;
  state.build_seconds = 1.5;
  return state;
}

ClassLayouts some_layouts() {
  using Origin = ClassLayout::Origin;
  using State = ClassLayout::State;
  ClassLayouts layouts;
  layouts.classes = {
      {"n::Base",
       Origin::user,
       State::defined,
       {"size 8", "virtual 2 area() const", "member x @0 int:4"},
       {},
       {}},
      {"n::E", Origin::user, State::defined, {"size 4", "enumerator a = 0"}, {}, {}},
      {"n::S",
       Origin::user,
       State::defined,
       {"size 16", "base n::Base @0", "member e @8 n::E"},
       {0, 1},
       digest_of("std")},
      {"std::vector<n::S,std::allocator<n::S>>",
       Origin::library,
       State::defined,
       {"size 24"},
       {2},
       {}}};
  return layouts;
}

void write_all(const Path& folder) {
  write_sealed(folder / "project_state", "small", serialize(some_state()));
  write_sealed(folder / "project_state", "empty", serialize(ProjectState()));
  write_sealed(folder / "class_layouts", "small", serialize(some_layouts()));
  ClassLayouts gap;
  gap.gap = "core.cpp: no debug information";
  write_sealed(folder / "class_layouts", "gap", serialize(gap));
  BuildFailure failure;
  failure.when = "2026-01-02T03:04:05Z";
  failure.fingerprint = digest_of("inputs");
  failure.error = {ErrorCode::failed_build, "core.cpp:1:2: error: no", "fix it", "line\nline"};
  write(folder / "build_log/failure.txt", serialize(failure));
  LoggedBuild build{
      "2026-01-02T03:04:05Z", "built", digest_of("a").hex(), "c0ffee", "main", true, 1.25,
      "src/core.cpp changed"};
  std::string log = log_line(build);
  build.kind = "reused";
  build.dirty = false;
  write(folder / "build_log/log.txt", log + log_line(build) + "torn\t");
}

}  // namespace
}  // namespace rehook::fuzz

int main(int count, char** words) {
  if (count != 2) {
    std::fputs("write_seeds <folder>\n", stderr);
    return 2;
  }
  rehook::fuzz::write_all(words[1]);
  return 0;
}
