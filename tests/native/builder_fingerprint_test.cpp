#include "builder/fingerprint.hpp"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstdlib>
#include <fstream>
#include <thread>

#include "builder/build_plan.hpp"

namespace rehook {
namespace {

class FingerprintTest : public ::testing::Test {
 protected:
  FingerprintTest() {
    std::string pattern = ::testing::TempDir() + "/fingerprint-XXXXXX";
    dir_ = mkdtemp(pattern.data());
  }
  ~FingerprintTest() override { std::filesystem::remove_all(dir_); }

  Path write(const std::string& name, const std::string& text) const {
    std::ofstream(dir_ / name) << text;
    return dir_ / name;
  }
  // Stamps that look old enough to be trusted; ctime can't be set, so wait past the clock's
  // grain.
  static void settle() { std::this_thread::sleep_for(std::chrono::milliseconds(30)); }

  std::vector<Input> measured(const std::vector<Path>& files,
                              InputKind kind = InputKind::file) const {
    std::vector<Input> inputs;
    for (const Path& file : files) {
      Input input;
      input.name = file.native();
      input.kind = kind;
      measure_input(posix_file_system(), input);
      inputs.push_back(input);
    }
    std::ignore = fingerprint_digest(inputs);
    return inputs;
  }

  Path dir_;
};

TEST_F(FingerprintTest, AnUnchangedFileCostsOneStatAndNoHash) {
  const Path file = write("a.cpp", "int a;");
  settle();
  std::vector<Input> inputs = measured({file});
  const InputScan scan = scan_inputs(posix_file_system(), inputs, {});
  EXPECT_EQ(scan.stats, 1U);
  EXPECT_EQ(scan.hashed, 0U);
  EXPECT_TRUE(scan.changes.empty());
}

TEST_F(FingerprintTest, AFileHashedRightAfterItWasWrittenIsNotTrusted) {
  const Path file = write("a.cpp", "int a;");
  std::vector<Input> inputs = measured({file});
  inputs[0].hashed_at_ns = inputs[0].stat.ctime_ns;  // hashed within the tick of the write
  EXPECT_EQ(scan_inputs(posix_file_system(), inputs, {}).hashed, 1U);
}

TEST_F(FingerprintTest, AnEditThatKeepsSizeAndMtimeIsSeen) {
  const Path file = write("a.cpp", "int a = 1;");
  settle();
  std::vector<Input> inputs = measured({file});
  const auto stamp = std::filesystem::last_write_time(file);
  write("a.cpp", "int a = 2;");
  std::filesystem::last_write_time(file, stamp);
  const InputScan scan = scan_inputs(posix_file_system(), inputs, {});
  ASSERT_EQ(scan.changes.size(), 1U);
  EXPECT_NE(scan.changes[0].before, inputs[0].digest);
}

TEST_F(FingerprintTest, ATouchIsNoChangeButIsRemembered) {
  const Path file = write("a.cpp", "int a;");
  settle();
  std::vector<Input> inputs = measured({file});
  std::filesystem::last_write_time(file, std::filesystem::file_time_type::clock::now());
  const InputScan scan = scan_inputs(posix_file_system(), inputs, {});
  EXPECT_TRUE(scan.changes.empty());
  EXPECT_TRUE(scan.touched);
}

TEST_F(FingerprintTest, ARemovedFileIsAChangeAndSoIsItsReturn) {
  const Path file = write("a.cpp", "int a;");
  settle();
  std::vector<Input> inputs = measured({file});
  const Digest before = inputs[0].digest;
  std::filesystem::remove(file);
  EXPECT_EQ(scan_inputs(posix_file_system(), inputs, {}).changes.size(), 1U);
  EXPECT_EQ(inputs[0].digest, Digest{});
  write("a.cpp", "int a;");
  EXPECT_EQ(scan_inputs(posix_file_system(), inputs, {}).changes.size(), 1U);
  EXPECT_EQ(inputs[0].digest, before);
}

TEST_F(FingerprintTest, ADirectoryChangesWithItsSourcesOnly) {
  write("a.cpp", "");
  std::vector<Input> inputs = measured({dir_}, InputKind::directory);
  write("notes~", "");
  write(".a.cpp.swp", "");
  write("a.cpp.orig", "");
  EXPECT_TRUE(scan_inputs(posix_file_system(), inputs, {}).changes.empty());
  write("b.cpp", "");
  EXPECT_EQ(scan_inputs(posix_file_system(), inputs, {}).changes.size(), 1U);
}

TEST_F(FingerprintTest, ManyInputsAreLookedAtInTheirOrder) {
  constexpr int k_many = 4000;  // enough for several threads
  std::vector<Path> files;
  for (int i = 0; i < k_many; ++i) {
    files.push_back(write("h" + std::to_string(i) + ".hpp", std::to_string(i)));
  }
  settle();
  std::vector<Input> inputs = measured(files);
  const std::vector<Input> before = inputs;
  for (const Path& file : files) {
    std::filesystem::last_write_time(file, std::filesystem::file_time_type::clock::now());
  }
  for (const int i : {17, 2048, 3999}) write("h" + std::to_string(i) + ".hpp", "new");
  std::filesystem::remove(dir_ / "h100.hpp");
  const InputScan scan = scan_inputs(posix_file_system(), inputs, {});
  EXPECT_EQ(scan.stats, static_cast<std::size_t>(k_many));
  EXPECT_EQ(scan.hashed, static_cast<std::size_t>(k_many));
  EXPECT_TRUE(scan.touched);
  ASSERT_EQ(scan.changes.size(), 4U);
  for (std::size_t i = 1; i < scan.changes.size(); ++i) {
    EXPECT_LT(scan.changes[i - 1].index, scan.changes[i].index);
  }
  for (const InputChange& change : scan.changes) {
    EXPECT_EQ(change.before, before[change.index].digest);
    EXPECT_NE(inputs[change.index].digest, change.before);
  }
}

TEST_F(FingerprintTest, AValueThatAppearsIsAChange) {
  Input flags;
  flags.name = "environment CXXFLAGS";
  flags.kind = InputKind::value;
  measure_input(posix_file_system(), flags);
  std::vector<Input> inputs = {flags};
  EXPECT_TRUE(scan_inputs(posix_file_system(), inputs, {}).changes.empty());
  const InputScan scan =
      scan_inputs(posix_file_system(), inputs, {{"environment CXXFLAGS", "-O0"}});
  ASSERT_EQ(scan.changes.size(), 1U);
  EXPECT_EQ(describe_change("/src", inputs[0], scan.changes[0]),
            "environment CXXFLAGS changed from '' to '-O0'");
}

TEST_F(FingerprintTest, TheFingerprintDoesNotDependOnTheOrderOfDiscovery) {
  const Path a = write("a.cpp", "1");
  const Path b = write("b.cpp", "2");
  std::vector<Input> forward = measured({a, b});
  std::vector<Input> backward = measured({b, a});
  EXPECT_EQ(fingerprint_digest(forward), fingerprint_digest(backward));
  // …but on which file has which content.
  std::swap(forward[0].digest, forward[1].digest);
  EXPECT_NE(fingerprint_digest(forward), fingerprint_digest(backward));
}

TEST(BuildPlan, TellsTheEditedFileRatherThanItsFolder) {
  ProjectState state;
  state.root = "/p";
  state.inputs.resize(2);
  state.inputs[0].name = "/p/src/algo.cpp";
  state.inputs[0].digest = digest_of("new");
  state.inputs[1].name = "/p/src";
  state.inputs[1].kind = InputKind::directory;
  state.inputs[1].role = InputRole::configure;
  state.inputs[1].digest = digest_of("listing");
  InputScan scan;
  scan.changes = {{1, digest_of("old listing"), ""}, {0, digest_of("old"), ""}};
  const Freshness freshness = decide(state, scan);
  ASSERT_TRUE(std::holds_alternative<Rebuild>(freshness));
  EXPECT_EQ(std::get<Rebuild>(freshness).reason, "src/algo.cpp changed (and 1 more)");
  EXPECT_EQ(std::get<Rebuild>(freshness).role, InputRole::configure);
}

TEST(BuildPlan, NeverBuiltIsAReason) {
  EXPECT_EQ(std::get<Rebuild>(decide(std::nullopt, {})).reason, "never built");
}

}  // namespace
}  // namespace rehook
