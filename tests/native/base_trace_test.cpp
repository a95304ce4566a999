#include "shadow_store/base/trace.hpp"

#include <gtest/gtest.h>

#include <cstdlib>
#include <regex>
#include <string>
#include <thread>
#include <vector>

#include "tests/support/temporary_folder.hpp"

namespace rehook {
namespace {

class TraceTest : public testing::Test {
 protected:
  ~TraceTest() override { Trace::set_file({}); }
  [[nodiscard]] std::string text() const {
    const Result<std::string> content = posix_file_system().read(file_);
    return content.ok() ? content.value() : "";
  }
  TemporaryFolder folder_;
  Path file_ = folder_ / "trace.jsonl";
};

TEST_F(TraceTest, WritesNothingWhenOff) {
  Trace::set_file({});
  EXPECT_FALSE(Trace::enabled());
  Trace::write("build", 1, {});
  { const TraceStep step("load"); }
  EXPECT_FALSE(std::filesystem::exists(file_));
}

TEST_F(TraceTest, WritesOneLinePerStep) {
  Trace::set_file(file_);
  Trace::write("build", 812.4, {{"module", "pkg._core"}, {"reason", "src/a.cpp changed"}});
  const std::regex line(
      R"re(\{"t":"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z","pid":\d+,"step":"build","ms":812\.4\d*,)re"
      R"re("module":"pkg\._core","reason":"src/a\.cpp changed"\}\n)re");
  EXPECT_TRUE(std::regex_match(text(), line)) << text();
}

TEST_F(TraceTest, StepsTimeTheirScope) {
  Trace::set_file(file_);
  {
    const TraceStep step("load", "module", "m");
    std::this_thread::sleep_for(std::chrono::milliseconds(3));
    EXPECT_GE(step.elapsed_ms(), 3.0);
    EXPECT_EQ(text(), "");
  }
  std::smatch found;
  const std::string written = text();
  ASSERT_TRUE(std::regex_search(written, found, std::regex(R"("ms":(\d+\.\d+),"module":"m")")));
  EXPECT_GE(std::stod(found[1]), 3.0);
}

TEST_F(TraceTest, AnyBytesMakeValidJson) {
  Trace::set_file(file_);
  Trace::write("s", -1,
               {{"k", "a\"b\\c\n\x01 \xc3\xa4 \xff \xc3 \xed\xa0\x80 \xf0\x9f\x98\x80"}});
  const std::string bad = "\\ufffd";
  EXPECT_NE(text().find(",\"ms\":0.000,\"k\":\"a\\\"b\\\\c\\u000a\\u0001 \xc3\xa4 " + bad +
                        " " + bad + " " + bad + bad + bad + " \xf0\x9f\x98\x80\"}\n"),
            std::string::npos)
      << text();
}

TEST_F(TraceTest, ThreadsDoNotMixTheirLines) {
  Trace::set_file(file_);
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([] {
      for (int k = 0; k < 25; ++k) Trace::write("step", k, {{"text", std::string(300, 'x')}});
    });
  }
  for (std::thread& thread : threads) thread.join();
  const std::string written = text();
  const std::regex line(
      R"re(\{"t":"[^"]*","pid":\d+,"step":"step","ms":[\d.]+,"text":"x+"\})re");
  std::size_t lines = 0;
  for (std::size_t at = 0; at < written.size(); ++lines) {
    const std::size_t end = written.find('\n', at);
    ASSERT_NE(end, std::string::npos);
    EXPECT_TRUE(std::regex_match(written.substr(at, end - at), line));
    at = end + 1;
  }
  EXPECT_EQ(lines, 100U);
}

TEST_F(TraceTest, AnUnwritableFileIsNoFailure) {
  Trace::set_file(folder_ / "no" / "trace");
  Trace::write("build", 1, {});
  EXPECT_TRUE(Trace::enabled());
}

// Not a test by itself: the process that the next case starts.
TEST(TraceEnvironment, WriteOneStepWhenOn) {
  if (Trace::enabled()) Trace::write("from the environment", 1, {});
}

TEST_F(TraceTest, TheEnvironmentNamesTheFile) {
  const Path self = std::filesystem::read_symlink("/proc/self/exe");
  const std::string command = "REHOOK_TRACE='" + file_.native() + "' '" + self.native() +
                              "' --gtest_filter=TraceEnvironment.* >/dev/null";
  ASSERT_EQ(std::system(command.c_str()), 0);
  EXPECT_NE(text().find("\"step\":\"from the environment\""), std::string::npos) << text();
}

}  // namespace
}  // namespace rehook
