#include "builder/process.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <fstream>
#include <stdexcept>
#include <thread>

#include "tests/support/temporary_folder.hpp"

namespace rehook {
namespace {

using Clock = std::chrono::steady_clock;

Command shell(const std::string& script) {
  Command command;
  command.argv = {"sh", "-c", script};
  return command;
}

Result<ProcessResult> run(const Command& command) {
  return posix_process_runner().run(command, {}, {});
}

std::string output_of(const Command& command) {
  const Result<ProcessResult> result = run(command);
  return result ? result->output : "failed: " + result.error().message;
}

double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

// A zombie that nobody reaps counts as gone.
bool is_running(pid_t pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
  std::string number, name, state;
  file >> number >> name >> state;
  return file && state != "Z" && state != "X";
}

bool ends_soon(pid_t pid) {
  for (int i = 0; i < 200 && is_running(pid); ++i) ::usleep(10'000);
  return !is_running(pid);
}

TEST(Process, CapturesBothStreamsInTheOrderWritten) {
  std::vector<std::string> lines;
  const auto result = posix_process_runner().run(
      shell("echo one; echo two >&2; echo three; printf 'four\\r\\n\\nfive'"),
      [&](std::string_view line) { lines.emplace_back(line); }, {});
  ASSERT_TRUE(result) << reason(result);
  EXPECT_EQ(result->output, "one\ntwo\nthree\nfour\r\n\nfive");
  EXPECT_EQ(lines, (std::vector<std::string>{"one", "two", "three", "four", "", "five"}));
  EXPECT_EQ(result->exit_code, 0);
  EXPECT_GT(result->elapsed.count(), 0.0);
}

TEST(Process, ExitCodeAndSignalAreResults) {
  EXPECT_EQ(run(shell("exit 3"))->exit_code, 3);
  EXPECT_EQ(run(shell("kill -9 $$"))->exit_code, 128 + SIGKILL);
}

TEST(Process, AStatusThatSomebodyElseTookIsAnError) {
  const int status = run_in_child([] {
    ::signal(SIGCHLD, SIG_IGN);
    const auto result = run(shell("exit 3"));
    return !result && result.error().code == ErrorCode::io ? 0 : 1;
  });
  EXPECT_EQ(status, 0);
}

TEST(Process, MissingProgramIsNamed) {
  Command command;
  command.argv = {"no-such-program-at-all"};
  const auto result = run(command);
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, ErrorCode::not_found);
  EXPECT_NE(result.error().message.find("no-such-program-at-all"), std::string::npos);
  command.argv = {"/no/such/program"};
  EXPECT_EQ(run(command).error().code, ErrorCode::not_found);
  command.argv = {};
  EXPECT_EQ(run(command).error().code, ErrorCode::invalid);
  EXPECT_EQ(find_program("no-such-program-at-all").error().code, ErrorCode::not_found);
  EXPECT_TRUE(find_program("sh")->is_absolute());
}

TEST(Process, WhatExecRefusesIsAnError) {
  const TemporaryFolder folder;
  const Path script = folder / "script";
  std::ofstream(script) << "#!/no/such/interpreter\n";
  Command command;
  command.argv = {script.string()};
  EXPECT_EQ(run(command).error().code, ErrorCode::not_found) << "not executable";
  ASSERT_EQ(::chmod(script.c_str(), 0700), 0);
  const auto result = run(command);
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, ErrorCode::not_found);
  EXPECT_NE(result.error().message.find(script.string()), std::string::npos);
}

TEST(Process, MissingDirectoryIsNamed) {
  Command command = shell("true");
  command.directory = "/no/such/folder";
  const auto result = run(command);
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, ErrorCode::not_found);
  EXPECT_NE(result.error().message.find("/no/such/folder"), std::string::npos);
}

TEST(Process, RunsInItsDirectoryAndFindsProgramsFromThere) {
  const TemporaryFolder folder;
  std::ofstream(folder / "here.sh") << "#!/bin/sh\npwd\n";
  ASSERT_EQ(::chmod((folder / "here.sh").c_str(), 0700), 0);
  Command command;
  command.argv = {"./here.sh"};
  command.directory = folder.path();
  EXPECT_EQ(output_of(command), std::filesystem::canonical(folder.path()).string() + "\n");
}

TEST(Process, EnvironmentIsChangedAndRemoved) {
  ASSERT_EQ(::setenv("REHOOK_TEST_KEPT", "kept", 1), 0);
  ASSERT_EQ(::setenv("REHOOK_TEST_REMOVED", "there", 1), 0);
  Command command =
      shell("echo $REHOOK_TEST_KEPT ${REHOOK_TEST_REMOVED-gone} $REHOOK_TEST_NEW");
  command.environment = {{"REHOOK_TEST_REMOVED", std::nullopt}, {"REHOOK_TEST_NEW", "a=b c"}};
  EXPECT_EQ(output_of(command), "kept gone a=b c\n");
}

TEST(Process, LooksOnThePathOfTheChangedEnvironment) {
  const TemporaryFolder folder;
  std::ofstream(folder / "rehook-test-tool") << "#!/bin/sh\necho found\n";
  ASSERT_EQ(::chmod((folder / "rehook-test-tool").c_str(), 0700), 0);
  Command command;
  command.argv = {"rehook-test-tool"};
  EXPECT_EQ(run(command).error().code, ErrorCode::not_found);
  command.environment = {{"PATH", "relative::" + folder.path().string() + ":/bin"}};
  EXPECT_EQ(output_of(command), "found\n");
  command.directory = folder.path();
  command.environment = {{"PATH", ":."}};
  EXPECT_EQ(run(command).error().code, ErrorCode::not_found) << "a relative entry counted";
}

TEST(Process, InheritsNoDescriptorAndNoInput) {
  const int leaked = ::open("/dev/null", O_RDONLY);
  ASSERT_EQ(::dup2(leaked, 77), 77);
  Command command;
  command.argv = {"ls", "/proc/self/fd"};
  EXPECT_EQ(output_of(command), "0\n1\n2\n3\n");  // 3 is the folder that ls reads
  command.argv = {"cat"};
  EXPECT_EQ(output_of(command), "");
  ::close(leaked);
  ::close(77);
}

TEST(Process, RunsWhenOurStandardStreamsAreClosed) {
  const int status = run_in_child([] {
    ::close(0);
    ::close(1);
    ::close(2);
    const auto result = run(shell("echo out; echo err >&2; cat"));
    return result && result->output == "out\nerr\n" ? 0 : 1;
  });
  EXPECT_EQ(status, 0);
}

TEST(Process, LeadsAGroupAndHasDefaultSignals) {
  ::signal(SIGPIPE, SIG_IGN);
  const std::string output = output_of(shell(
      "echo $$; cut -d' ' -f5 /proc/self/stat; grep -E 'Sig(Ign|Blk)' /proc/self/status"));
  ::signal(SIGPIPE, SIG_DFL);
  const std::size_t first = output.find('\n');
  const std::size_t second = output.find('\n', first + 1);
  EXPECT_EQ(output.substr(0, first), output.substr(first + 1, second - first - 1));
  // The C library keeps signals 32 and 33 to itself: what it was started with stays.
  constexpr unsigned long long k_reserved = 0x180000000ULL;
  const auto mask = [&](const std::string& name) {
    return std::stoull(output.substr(output.find(name) + name.size()), nullptr, 16);
  };
  EXPECT_EQ(mask("SigBlk:\t"), 0U);
  EXPECT_EQ(mask("SigIgn:\t") & ~k_reserved, 0U);
}

TEST(Process, IsNice) {
  const int ours = std::stoi(output_of(shell("nice")));
  Command command = shell("nice");
  command.niceness = 5;
  EXPECT_EQ(output_of(command), std::to_string(std::min(ours + 5, 19)) + "\n");
}

TEST(Process, TakesMegabytesOfOutput) {
  std::size_t lines = 0;
  const auto result =
      posix_process_runner().run(shell("yes 'a line of output' | head -c 3000000"),
                                 [&](std::string_view) { ++lines; }, {});
  ASSERT_TRUE(result) << reason(result);
  EXPECT_EQ(result->output.size(), 3'000'000U);
  EXPECT_EQ(lines, (3'000'000U + 16) / 17);
}

TEST(Process, DoesNotWaitForDescendantsThatKeepTheOutput) {
  const auto begin = Clock::now();
  EXPECT_EQ(output_of(shell("sleep 20 & echo done")), "done\n");
  EXPECT_LT(seconds_since(begin), 5.0);
  const auto second = Clock::now();
  const std::string chatter = "(for i in 1 2 3 4 5 6; do echo $i; sleep 1; done) & echo done";
  EXPECT_TRUE(run(shell(chatter)));
  EXPECT_LT(seconds_since(second), 5.0);
}

TEST(Process, CancelEndsDescendantsInGroupsOfTheirOwn) {
  // As ninja starts compilers: in a process group that the build tool does not share.
  std::vector<pid_t> pids;
  const auto begin = Clock::now();
  const auto result = posix_process_runner().run(
      shell("echo $$; setsid sh -c 'echo $$; sleep 1000 & echo $!; wait' & wait"),
      [&](std::string_view line) { pids.push_back(std::stoi(std::string(line))); },
      [&] { return pids.size() == 3; });
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, ErrorCode::canceled);
  EXPECT_LT(seconds_since(begin), 2.5);
  ASSERT_EQ(pids.size(), 3U);
  for (const pid_t pid : pids) EXPECT_FALSE(is_running(pid)) << pid;
}

TEST(Process, CancelEndsNinjaAndItsJobs) {
  const TemporaryFolder folder;
  std::ofstream(folder / "build.ninja")
      << "rule job\n  command = echo $$$$ > $out.pid && exec sleep 1000\n"
      << "build one: job\nbuild two: job\n";
  Command ninja;
  ninja.argv = {"ninja", "-j2"};
  ninja.directory = folder.path();
  const auto pid_of = [&](const char* name) {
    pid_t pid = 0;
    std::ifstream(folder / name) >> pid;
    return pid;
  };
  const auto result = posix_process_runner().run(
      ninja, {}, [&] { return pid_of("one.pid") != 0 && pid_of("two.pid") != 0; });
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, ErrorCode::canceled);
  EXPECT_FALSE(is_running(pid_of("one.pid")));
  EXPECT_FALSE(is_running(pid_of("two.pid")));
}

TEST(Process, CancelIsAskedWhileOutputStreams) {
  const auto begin = Clock::now();
  int asked = 0;
  const auto result = posix_process_runner().run(
      shell("while :; do echo busy; done"), [](std::string_view) {},
      [&] { return ++asked == 4; });
  EXPECT_EQ(result.error().code, ErrorCode::canceled);
  EXPECT_LT(seconds_since(begin), 2.5);
}

TEST(Process, CancelKillsWhoIgnoresTheRequest) {
  pid_t pid = 0;
  const auto result = posix_process_runner().run(
      shell("trap '' TERM; echo $$; while :; do sleep 0.05; done"),
      [&](std::string_view line) { pid = std::stoi(std::string(line)); },
      [&] { return pid != 0; });
  EXPECT_EQ(result.error().code, ErrorCode::canceled);
  EXPECT_FALSE(is_running(pid));
}

TEST(Process, AnExceptionOfACallbackEndsTheProgram) {
  pid_t pid = 0;
  const auto fail = [&](std::string_view line) {
    pid = std::stoi(std::string(line));
    throw std::runtime_error("callback");
  };
  EXPECT_THROW(std::ignore = posix_process_runner().run(shell("echo $$; sleep 1000"), fail, {}),
               std::runtime_error);
  EXPECT_FALSE(is_running(pid));
}

TEST(Process, DiesWithUs) {
  const TemporaryFolder folder;
  const Path file = folder / "pid";
  const pid_t us = ::fork();
  if (us == 0) {
    std::ignore = run(shell("echo $$ > " + file.string() + ".new; mv " + file.string() +
                            ".new " + file.string() + "; exec sleep 1000"));
    ::_exit(0);
  }
  while (!std::filesystem::exists(file)) ::usleep(10'000);
  pid_t pid = 0;
  std::ifstream(file) >> pid;
  ASSERT_GT(pid, 0);
  EXPECT_TRUE(is_running(pid));
  ::kill(us, SIGKILL);
  ::waitpid(us, nullptr, 0);
  EXPECT_TRUE(ends_soon(pid));
}

TEST(Process, ManyThreadsRunPrograms) {
  std::atomic<int> right = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&right, i] {
      for (int round = 0; round < 5; ++round) {
        const std::string text = std::to_string(i * 100 + round);
        if (output_of(shell("echo " + text)) == text + "\n") ++right;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(right, 40);
}

}  // namespace
}  // namespace rehook
