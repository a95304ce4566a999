#include "builder/project_state.hpp"

#include <gtest/gtest.h>

namespace rehook {
namespace {

ProjectState sample() {
  ProjectState state;
  state.root = "/src/demo \xff";
  state.build_dir = "/build/demo";
  Input file;
  file.name = "/src/demo/a.cpp";
  file.digest = digest_of("a");
  file.stat.size = 7;
  file.stat.ctime_ns = 123;
  file.hashed_at_ns = 456;
  file.modules = 3;
  Input value;
  value.name = "environment CXXFLAGS";
  value.kind = InputKind::value;
  value.role = InputRole::toolchain;
  value.text = "-O2";
  value.digest = digest_of("-O2");
  state.inputs = {file, value};
  state.fingerprint = fingerprint_digest(state.inputs);
  state.modules = {{"demo._core",
                    "_core",
                    "/build/demo/_core.so",
                    "CMakeLists.txt:3",
                    digest_of("x"),
                    digest_of("y"),
                    BindingLibraries(1),
                    0,
                    {}}};
  state.modules[0].layouts = digest_of("z");
  state.packages = {{"demo", "/src/demo/demo"}};
  state.python_files = {{"demo._version", "/build/demo/_version.py"}};
  state.exclude = {"demo.tools"};
  state.environment = {{"A", "1"}, {"B", std::nullopt}};
  state.built = {{"/src/demo/a.cpp", digest_of("older")}};
  state.compilers = {{"CXX", "/usr/bin/c++"}};
  state.compile_groups.resize(1);
  state.compile_groups[0].flags = {"-O3"};
  state.compile_groups[0].includes = {"/usr/include/python3.11"};
  state.built_at_ns = 99;
  state.build_seconds = 1.5;
  return state;
}

TEST(ProjectStateFile, ReadsBackWhatWasWritten) {
  const ProjectState state = sample();
  const auto back = parse_project_state(serialize(state));
  ASSERT_TRUE(back.ok());
  EXPECT_EQ(serialize(*back), serialize(state));
  EXPECT_EQ(back->root, state.root);
  EXPECT_EQ(back->inputs[0].stat, state.inputs[0].stat);
  EXPECT_EQ(back->inputs[1].text, "-O2");
  EXPECT_EQ(back->environment, state.environment);
  EXPECT_EQ(back->modules[0].module, "demo._core");
  EXPECT_EQ(back->modules[0].layouts, digest_of("z"));
}

TEST(ProjectStateFile, EveryTruncationIsRefused) {
  const std::string bytes = serialize(sample());
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_FALSE(parse_project_state(bytes.substr(0, size)).ok()) << size;
  }
}

TEST(ProjectStateFile, EveryFlippedByteIsRefused) {
  const std::string bytes = serialize(sample());
  for (std::size_t at = 0; at < bytes.size(); ++at) {
    std::string flipped = bytes;
    flipped[at] = static_cast<char>(flipped[at] ^ 0x20);
    EXPECT_FALSE(parse_project_state(flipped).ok()) << at;
  }
}

TEST(ProjectStateFile, AnotherFormatIsRefused) {
  std::string bytes = serialize(sample());
  bytes[8] = static_cast<char>(bytes[8] + 1);
  const std::string body = bytes.substr(0, bytes.size() - 16);
  const Digest digest = digest_of(body);
  const std::string resealed =
      body + std::string(reinterpret_cast<const char*>(digest.bytes.data()), 16);
  EXPECT_FALSE(parse_project_state(resealed).ok());
}

}  // namespace
}  // namespace rehook
