#include "builder/header_deps.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <fstream>
#include <random>

#include "builder/process.hpp"
#include "tests/support/temporary_folder.hpp"

namespace rehook {
namespace {

// Writes a deps log byte by byte, as its format says.
struct LogWriter {
  explicit LogWriter(std::uint32_t version_) : version(version_) {
    bytes = "# ninjadeps\n";
    number(version);
  }
  void number(std::uint32_t value) {
    for (int shift = 0; shift < 32; shift += 8) bytes += static_cast<char>(value >> shift);
  }
  void path(std::string name) {
    while (name.size() % 4 != 0) name += '\0';
    number(static_cast<std::uint32_t>(name.size() + 4));
    bytes += name;
    number(~paths++);
  }
  void deps(std::uint32_t output, const std::vector<std::uint32_t>& inputs) {
    const std::size_t size = 4 * (1 + (version == 3 ? 1 : 2) + inputs.size());
    number(static_cast<std::uint32_t>(size) | 1U << 31);
    number(output);
    number(0x12345678);
    if (version != 3) number(0x00112233);
    for (const std::uint32_t input : inputs) number(input);
  }
  std::uint32_t version;
  std::uint32_t paths = 0;
  std::string bytes;
};

class HeaderDeps : public testing::Test {
 protected:
  Result<std::vector<ObjectDeps>> read(const std::string& bytes) {
    std::ofstream(folder_ / ".ninja_deps", std::ios::binary) << bytes;
    return read_ninja_deps(posix_file_system(), folder_.path());
  }
  static std::string sample(std::uint32_t version) {
    LogWriter log(version);
    log.path("a.o");
    log.path("/src/a.cpp");
    log.path("gen/odd \xff name.hpp");
    log.deps(0, {1});
    log.path("bcde.o");
    log.deps(3, {});
    log.deps(0, {1, 2});
    return log.bytes;
  }
  TemporaryFolder folder_;
};

TEST_F(HeaderDeps, LastRecordCounts) {
  for (const std::uint32_t version : {3U, 4U}) {
    const auto deps = read(sample(version));
    ASSERT_TRUE(deps) << reason(deps);
    ASSERT_EQ(deps->size(), 2U);
    EXPECT_EQ((*deps)[0].object, folder_ / "a.o");
    EXPECT_EQ((*deps)[0].inputs,
              (std::vector<Path>{"/src/a.cpp", folder_ / "gen/odd \xff name.hpp"}));
    EXPECT_EQ((*deps)[1].object, folder_ / "bcde.o");
    EXPECT_TRUE((*deps)[1].inputs.empty());
  }
}

TEST_F(HeaderDeps, MissingLogIsEmpty) {
  const auto deps = read_ninja_deps(posix_file_system(), folder_.path());
  ASSERT_TRUE(deps) << reason(deps);
  EXPECT_TRUE(deps->empty());
}

TEST_F(HeaderDeps, EveryTruncationIsRead) {
  const std::string whole = sample(4);
  for (std::size_t size = 0; size <= whole.size(); ++size) {
    const auto deps = read(whole.substr(0, size));
    EXPECT_TRUE(deps) << size << ": " << reason(deps);
  }
}

TEST_F(HeaderDeps, EveryFlippedByteIsReadOrRefused) {
  const std::string whole = sample(4);
  for (std::size_t at = 0; at < whole.size(); ++at) {
    for (const int mask : {0x01, 0x80, 0xff}) {
      std::string flipped = whole;
      flipped[at] = static_cast<char>(flipped[at] ^ mask);
      const auto deps = read(flipped);
      if (deps) continue;
      EXPECT_TRUE(deps.error().code == ErrorCode::corrupt ||
                  deps.error().code == ErrorCode::unsupported);
    }
  }
}

TEST_F(HeaderDeps, CorruptRecordsAreNamed) {
  EXPECT_EQ(read("something else").error().code, ErrorCode::corrupt);
  EXPECT_EQ(read(LogWriter(5).bytes).error().code, ErrorCode::unsupported);
  LogWriter gap(4);
  gap.paths = 1;
  gap.path("second");
  EXPECT_EQ(read(gap.bytes).error().code, ErrorCode::corrupt);
  LogWriter unknown(4);
  unknown.path("a.o");
  unknown.deps(0, {1});
  EXPECT_EQ(read(unknown.bytes).error().code, ErrorCode::corrupt);
  LogWriter huge(4);
  huge.number(1U << 20);
  EXPECT_EQ(read(huge.bytes).error().code, ErrorCode::corrupt);
  LogWriter empty(4);
  empty.number(0);
  EXPECT_EQ(read(empty.bytes).error().code, ErrorCode::corrupt);
}

TEST_F(HeaderDeps, WhatNinjaWrites) {
  std::ofstream(folder_ / "my header.hpp") << "int one();\n";
  std::ofstream(folder_ / "a.cpp") << "#include \"my header.hpp\"\nint two() { return 2; }\n";
  std::ofstream(folder_ / "build.ninja")
      << "rule cc\n  command = c++ -MD -MF $out.d -c $in -o $out\n  depfile = $out.d\n"
      << "  deps = gcc\nbuild a.o: cc a.cpp\n";
  Command ninja;
  ninja.argv = {"ninja"};
  ninja.directory = folder_.path();
  const auto built = posix_process_runner().run(ninja, {}, {});
  ASSERT_TRUE(built && built->exit_code == 0) << (built ? built->output : reason(built));
  const auto deps = read_ninja_deps(posix_file_system(), folder_.path());
  ASSERT_TRUE(deps) << reason(deps);
  ASSERT_EQ(deps->size(), 1U);
  EXPECT_EQ((*deps)[0].object, folder_ / "a.o");
  const std::vector<Path>& inputs = (*deps)[0].inputs;
  for (const char* name : {"a.cpp", "my header.hpp"}) {
    EXPECT_NE(std::find(inputs.begin(), inputs.end(), folder_ / name), inputs.end()) << name;
  }
}

class Depfiles : public testing::Test {
 protected:
  void write(const Path& name, const std::string& text) {
    std::filesystem::create_directories((folder_ / name).parent_path());
    std::ofstream(folder_ / name, std::ios::binary) << text;
  }
  std::vector<std::string> inputs_of(const std::string& text) {
    write("CMakeFiles/m.dir/a.cpp.o.d", text);
    const auto deps = read_depfiles(posix_file_system(), folder_.path());
    std::vector<std::string> inputs;
    if (!deps || deps->empty()) return inputs;
    for (const Path& input : deps->front().inputs) inputs.push_back(input.string());
    return inputs;
  }
  using Names = std::vector<std::string>;
  TemporaryFolder folder_;
};

TEST_F(Depfiles, EscapesAndContinuations) {
  EXPECT_EQ(
      inputs_of("a.o: /a.cpp \\\n /b\\ c.hpp\\\n  /d$$.hpp \\\r\n\t/e\\#.hpp /f\\g /\xff\n"),
      (Names{"/a.cpp", "/b c.hpp", "/d$.hpp", "/e#.hpp", "/f\\g", "/\xff"}));
  EXPECT_EQ(inputs_of("a.o: /a.cpp /b.hpp\n\n/b.hpp:\n\n/c.hpp:\n"),
            (Names{"/a.cpp", "/b.hpp"}));
  EXPECT_EQ(inputs_of("a\\ b.o \\\n c.o: \\\n /a.cpp /a.cpp"), (Names{"/a.cpp"}));
  EXPECT_EQ(inputs_of("a.o: /c\\:d /e:f"), (Names{"/c:d", "/e:f"}));
  EXPECT_TRUE(inputs_of("").empty());
  EXPECT_TRUE(inputs_of("a.o:").empty());
  EXPECT_EQ(inputs_of("a.o: /b\\"), (Names{"/b\\"}));
}

TEST_F(Depfiles, AreFoundBelowCMakeFilesOnly) {
  write("lib/mathx/CMakeFiles/mathx.dir/src/x.cpp.o.d", "x.o: ../x.cpp /x.hpp\n");
  write("CMakeFiles/m.dir/a.cpp.o.d", "a.o: /a.cpp\n");
  write("elsewhere/z.o.d", "z.o: /z.cpp\n");
  std::filesystem::create_directory_symlink(folder_.path(), folder_ / "CMakeFiles/m.dir/loop");
  const auto deps = read_depfiles(posix_file_system(), folder_.path());
  ASSERT_TRUE(deps) << reason(deps);
  ASSERT_EQ(deps->size(), 2U);
  EXPECT_EQ((*deps)[0].object, folder_ / "CMakeFiles/m.dir/a.cpp.o");
  EXPECT_EQ((*deps)[1].object, folder_ / "lib/mathx/CMakeFiles/mathx.dir/src/x.cpp.o");
  EXPECT_EQ((*deps)[1].inputs, (std::vector<Path>{folder_ / "lib/mathx/../x.cpp", "/x.hpp"}));
}

TEST_F(Depfiles, WhatTheCompilerWrites) {
  write("odd $ #name.hpp", "int one();\n");
  write("a.cpp", "#include \"odd $ #name.hpp\"\n");
  std::filesystem::create_directories(folder_ / "CMakeFiles/m.dir");
  Command compiler;
  compiler.argv = {"c++",
                   "-MD",
                   "-MP",
                   "-MF",
                   "CMakeFiles/m.dir/a.cpp.o.d",
                   "-c",
                   "-o",
                   "a.o",
                   folder_.path().string() + "/a.cpp"};
  compiler.directory = folder_.path();
  const auto built = posix_process_runner().run(compiler, {}, {});
  ASSERT_TRUE(built && built->exit_code == 0) << (built ? built->output : reason(built));
  const auto deps = read_depfiles(posix_file_system(), folder_.path());
  ASSERT_EQ(deps->size(), 1U);
  const std::vector<Path>& inputs = deps->front().inputs;
  for (const char* name : {"a.cpp", "odd $ #name.hpp"}) {
    EXPECT_NE(std::find(inputs.begin(), inputs.end(), folder_ / name), inputs.end()) << name;
  }
}

TEST_F(Depfiles, AnyBytesAreRead) {
  std::mt19937 random(1);
  const std::string letters("\\ :$#\n\r\tab/\0", 12);
  for (int round = 0; round < 500; ++round) {
    std::string text;
    for (unsigned i = random() % 40; i > 0; --i) text += letters[random() % letters.size()];
    std::ignore = inputs_of(text);
  }
}

}  // namespace
}  // namespace rehook
