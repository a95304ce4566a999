#include "builder/object_shelf.hpp"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "tests/support/temporary_folder.hpp"

namespace rehook {
namespace {

constexpr std::int64_t k_second = 1'000'000'000;
constexpr std::int64_t k_then = 1'700'000'000 * k_second;

void add_number(std::string& bytes, std::uint32_t value) {
  for (int i = 0; i < 4; ++i) bytes += static_cast<char>(value >> (8 * i) & 0xffU);
}

// A build folder with one object a.o of source/a.c and source/a.h, as ninja leaves it.
class ObjectShelfTest : public testing::Test {
 protected:
  ObjectShelfTest() {
    write("source/a.c", "source 1");
    write("source/a.h", "header 1");
    write("build/made.h", "generated");
    write("build/build.ninja", "# \nbuild a.o: CXX ../source/a.c || order\n  FLAGS = -O2\n");
    write("build/a.o", "object 1");
    for (const char* file : {"source/a.c", "source/a.h", "build/made.h"}) stamp(file, k_then);
    stamp("build/a.o", k_then + k_second);
    write_logs();
  }
  void write(const Path& file, const std::string& text) const {
    std::filesystem::create_directories((folder_ / file).parent_path());
    std::ofstream(folder_ / file) << text;
  }
  void stamp(const Path& file, std::int64_t time) const {
    ASSERT_TRUE(fs_.set_mtime(folder_ / file, time).ok());
  }
  [[nodiscard]] std::string text(const Path& file) const {
    auto found = fs_.read(folder_ / file);
    return found ? *found : "(none)";
  }
  [[nodiscard]] std::int64_t mtime(const Path& file) const {
    return fs_.stat(folder_ / file)->mtime_ns;
  }
  void write_logs() const {
    std::string deps("# ninjadeps\n\4\0\0\0", 16);
    std::uint32_t number = 0;
    for (std::string name : {std::string("a.o"), (folder_ / "source/a.c").native(),
                             (folder_ / "source/a.h").native(), std::string("made.h")}) {
      name.resize((name.size() + 3) / 4 * 4, '\0');
      add_number(deps, static_cast<std::uint32_t>(name.size() + 4));
      deps += name;
      add_number(deps, ~number++);
    }
    const auto time = static_cast<std::uint64_t>(k_then + k_second);
    add_number(deps, 6 * 4 | 1U << 31);
    add_number(deps, 0);
    add_number(deps, static_cast<std::uint32_t>(time));
    add_number(deps, static_cast<std::uint32_t>(time >> 32U));
    for (const std::uint32_t input : {1U, 2U, 3U}) add_number(deps, input);
    write("build/.ninja_deps", deps);
    write("build/.ninja_log",
          "# ninja log v5\n1\t2\t" + std::to_string(time) + "\ta.o\tabc123\n");
  }
  // What the sources are now.
  [[nodiscard]] Contents contents() const {
    Contents found;
    for (const char* file : {"source/a.c", "source/a.h"}) {
      found[(folder_ / file).native()] = *fs_.digest(folder_ / file);
    }
    return found;
  }
  std::set<Path> exchange(const Contents& was, const std::string& toolchain = "gcc") const {
    return ObjectShelf(fs_, folder_ / "build", folder_ / "shelf", toolchain)
        .exchange(was, contents());
  }
  // The compiler runs: another object, in the logs with its time.
  void compile(const std::string& object) const {
    write("build/a.o", object);
    stamp("build/a.o", k_then + k_second);
    write_logs();
  }
  // a.c becomes `source 2`, is compiled, and becomes `source 1` again.
  Contents edit_and_undo() const {
    const Contents first = contents();
    write("source/a.c", "source 2");
    exchange(first);
    compile("object 2");
    Contents second = contents();
    write("source/a.c", "source 1");
    return second;
  }
  [[nodiscard]] std::vector<std::string> shelved() const {
    auto names = fs_.list(folder_ / "shelf");
    return names ? *names : std::vector<std::string>();
  }

  TemporaryFolder folder_;
  FileSystem& fs_ = posix_file_system();
};

TEST_F(ObjectShelfTest, AnObjectComesBackWithItsContents) {
  const Contents first = contents();
  write("source/a.c", "source 2");
  EXPECT_TRUE(exchange(first).empty());
  EXPECT_EQ(text("build/a.o"), "(none)");
  compile("object 2");
  const Contents second = contents();
  write("source/a.c", "source 1");
  EXPECT_EQ(exchange(second), std::set<Path>{folder_ / "build/a.o"});
  EXPECT_EQ(text("build/a.o"), "object 1");
  EXPECT_GE(mtime("build/a.o"), mtime("source/a.c"));
  const auto memory = NinjaMemory::read(fs_, folder_ / "build");
  ASSERT_TRUE(memory);
  EXPECT_EQ(memory->objects().at(0).mtime_ns, mtime("build/a.o"));
  EXPECT_EQ(memory->objects().at(0).inputs.size(), 3U);
  EXPECT_EQ(memory->command_of(folder_ / "build/a.o"), "abc123");
  // The other one is on the shelf now.
  write("source/a.c", "source 2");
  Contents undone = second;
  undone[(folder_ / "source/a.c").native()] = digest_of("source 1");
  exchange(undone);
  EXPECT_EQ(text("build/a.o"), "object 2");
}

TEST_F(ObjectShelfTest, MovedStampsAreNoReasonToCompile) {
  stamp("source/a.h", k_then + 9 * k_second);
  EXPECT_TRUE(exchange(contents()).empty());
  EXPECT_EQ(text("build/a.o"), "object 1");
  EXPECT_GE(mtime("build/a.o"), k_then + 9 * k_second);
  EXPECT_EQ(NinjaMemory::read(fs_, folder_ / "build")->objects().at(0).mtime_ns,
            mtime("build/a.o"));
}

TEST_F(ObjectShelfTest, NothingMovesWithoutNeed) {
  const std::string deps = text("build/.ninja_deps");
  EXPECT_TRUE(exchange(contents()).empty());
  EXPECT_EQ(mtime("build/a.o"), k_then + k_second);
  EXPECT_EQ(text("build/.ninja_deps"), deps);
}

TEST_F(ObjectShelfTest, WhatIsNotKnownIsLeftToNinja) {
  const Contents first = contents();
  write("source/a.c", "source 2");
  // The time stamp is not the recorded one; something made by the build is newer; a content is
  // unknown; the rule has more inputs than the source.
  stamp("build/a.o", k_then + 5 * k_second);
  exchange(first);
  EXPECT_EQ(text("build/a.o"), "object 1");
  stamp("build/a.o", k_then + k_second);
  stamp("build/made.h", k_then + 5 * k_second);
  exchange(first);
  EXPECT_EQ(text("build/a.o"), "object 1");
  stamp("build/made.h", k_then);
  Contents unknown = first;
  unknown[(folder_ / "source/a.h").native()] = Digest{};
  exchange(unknown);
  EXPECT_EQ(text("build/a.o"), "object 1");
  write("build/build.ninja", "\nbuild a.o: CXX ../source/a.c | x.pch || order\n");
  exchange(first);
  EXPECT_EQ(text("build/a.o"), "object 1");
  EXPECT_TRUE(shelved().empty());
}

TEST_F(ObjectShelfTest, AnotherToolchainGetsNothing) {
  const Contents second = edit_and_undo();
  EXPECT_TRUE(exchange(second, "clang").empty());
  EXPECT_NE(text("build/a.o"), "object 1");
}

TEST_F(ObjectShelfTest, AnotherCommandGetsNothing) {
  const Contents second = edit_and_undo();
  std::string log = text("build/.ninja_log");
  log.replace(log.find("abc123"), 6, "def456");
  write("build/.ninja_log", log);
  EXPECT_TRUE(exchange(second).empty());
}

TEST_F(ObjectShelfTest, AGeneratedHeaderCounts) {
  const Contents second = edit_and_undo();
  write("build/made.h", "generated otherwise");
  stamp("build/made.h", k_then);
  EXPECT_TRUE(exchange(second).empty());
}

TEST_F(ObjectShelfTest, WhatIsTornIsNotUsed) {
  const Contents second = edit_and_undo();
  for (const std::string& name : shelved()) {
    const Path file = Path("shelf") / name;
    const std::string whole = text(file);
    for (std::size_t size = 0; size < whole.size(); ++size) {
      write(file, whole.substr(0, size));
      EXPECT_TRUE(exchange(second).empty()) << name << " cut to " << size;
      std::string flipped = whole;
      flipped[size] = static_cast<char>(flipped[size] ^ 1);
      write(file, flipped);
      EXPECT_TRUE(exchange(second).empty()) << name << " flipped at " << size;
      compile("object 2");  // an exchange may have put it aside
    }
    write(file, whole);
  }
  EXPECT_FALSE(exchange(second).empty());
  EXPECT_EQ(text("build/a.o"), "object 1");
}

TEST_F(ObjectShelfTest, LogsThatAreTornAreNotWritten) {
  const Contents first = contents();
  write("source/a.c", "source 2");
  for (const char* log : {"build/.ninja_deps", "build/.ninja_log"}) {
    const std::string whole = text(log);
    for (std::size_t size = 0; size < whole.size(); ++size) {
      write(log, whole.substr(0, size));
      exchange(first);
      EXPECT_EQ(text(log), whole.substr(0, size)) << log;
      for (const char mask : {'\1', '\x80', '\xff'}) {  // whatever comes of it, it ends
        std::string flipped = whole;
        flipped[size] = static_cast<char>(flipped[size] ^ mask);
        write(log, flipped);
        exchange(first);
      }
      compile("object 1");
    }
    write(log, whole);
  }
}

}  // namespace
}  // namespace rehook
