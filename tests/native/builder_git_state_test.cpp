#include "builder/git_state.hpp"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>

#include "builder/process.hpp"
#include "tests/support/temporary_folder.hpp"

#ifdef __SANITIZE_ADDRESS__
// libgit2 1.5 does not free what a regular expression used, once a repository has submodules.
extern "C" __attribute__((visibility("default"))) const char* __lsan_default_suppressions() {
  return "leak:libpcre2";
}
#endif

namespace rehook {
namespace {

class Git : public testing::Test {
 protected:
  void SetUp() override {
    set_git_plugin(REHOOK_GIT_PLUGIN);
    ::setenv("HOME", "/no/home", 1);  // and so nobody's configuration
    ::unsetenv("XDG_CONFIG_HOME");
  }

  std::string git(std::vector<std::string> arguments, const std::string& folder = ".") {
    Command command;
    command.argv = {
        "git", "-c", "user.name=a", "-c", "user.email=a@b", "-c", "protocol.file.allow=always"};
    command.argv.insert(command.argv.end(), arguments.begin(), arguments.end());
    command.directory = folder_ / folder;
    const auto result = posix_process_runner().run(command, {}, {});
    EXPECT_TRUE(result && result->exit_code == 0) << (result ? result->output : reason(result));
    return result ? result->output.substr(0, result->output.find('\n')) : "";
  }
  void write(const Path& name, const std::string& text) {
    std::filesystem::create_directories((folder_ / name).parent_path());
    std::ofstream(folder_ / name) << text;
  }
  void make_repository() {
    git({"init", "-q", "-b", "main/line", "."});
    write("a.txt", "one");
    write("sub/b.txt", "two");
    git({"add", "."});
    git({"commit", "-qm", "first"});
  }
  GitState state(const Path& below = "") {
    const auto result = read_git_state(folder_ / below);
    EXPECT_TRUE(result) << reason(result);
    return result ? *result : GitState();
  }
  TemporaryFolder folder_;
};

TEST_F(Git, NoRepositoryIsANormalAnswer) {
  EXPECT_FALSE(state().is_repository);
  EXPECT_FALSE(state("no/such/folder").is_repository);
}

TEST_F(Git, CleanRepository) {
  make_repository();
  const GitState now = state("sub");
  EXPECT_TRUE(now.is_repository);
  EXPECT_EQ(now.commit, git({"rev-parse", "HEAD"}));
  EXPECT_EQ(now.branch, "main/line");
  EXPECT_EQ(now.worktree, std::filesystem::canonical(folder_.path()));
  EXPECT_FALSE(now.dirty);
}

TEST_F(Git, UntrackedAndTouchedFilesAreNotDirt) {
  make_repository();
  write("new.txt", "untracked");
  write("new folder/x.txt", "untracked");
  write("a.txt", "one");  // the same again
  EXPECT_FALSE(state().dirty);
}

TEST_F(Git, ChangedStagedAndDeletedFilesAreDirt) {
  make_repository();
  write("sub/b.txt", "other");
  EXPECT_TRUE(state().dirty);
  git({"add", "."});
  EXPECT_TRUE(state().dirty);
  git({"commit", "-qm", "second"});
  EXPECT_FALSE(state().dirty);
  std::filesystem::remove(folder_ / "a.txt");
  EXPECT_TRUE(state().dirty);
  git({"reset", "-q", "--hard"});
  write("added.txt", "x");
  git({"add", "added.txt"});
  EXPECT_TRUE(state().dirty);
}

TEST_F(Git, UnbornBranch) {
  git({"init", "-q", "-b", "fresh", "."});
  EXPECT_TRUE(state().is_repository);
  EXPECT_EQ(state().commit, "");
  EXPECT_EQ(state().branch, "fresh");
  EXPECT_FALSE(state().dirty);
  write("a.txt", "one");
  git({"add", "."});
  EXPECT_TRUE(state().dirty);
}

TEST_F(Git, DetachedHead) {
  make_repository();
  git({"checkout", "-q", "--detach"});
  EXPECT_EQ(state().branch, "");
  EXPECT_EQ(state().commit.size(), 40U);
}

TEST_F(Git, LinkedWorktreeAndBareRepository) {
  make_repository();
  git({"worktree", "add", "-q", "-b", "side", "linked"});
  EXPECT_EQ(state("linked").branch, "side");
  EXPECT_EQ(state("linked").worktree, std::filesystem::canonical(folder_ / "linked"));
  git({"clone", "-q", "--bare", ".", "bare.git"});
  EXPECT_TRUE(state("bare.git").is_repository);
  EXPECT_EQ(state("bare.git").worktree, Path());
}

TEST_F(Git, SubmodulesCountByTheirTrackedFiles) {
  make_repository();
  git({"clone", "-q", ".", "origin"});
  git({"submodule", "add", "-q", "./origin", "vendored"});
  git({"commit", "-qam", "submodule"});
  EXPECT_FALSE(state().dirty);
  write("vendored/untracked.txt", "x");
  EXPECT_FALSE(state().dirty);
  write("vendored/a.txt", "changed");
  EXPECT_TRUE(state().dirty);
}

TEST_F(Git, LooksWithoutWriting) {
  make_repository();
  write("a.txt", "one");  // stale stat data in the index, which git would refresh
  const auto before = std::filesystem::last_write_time(folder_ / ".git/index");
  std::ignore = state();
  EXPECT_EQ(std::filesystem::last_write_time(folder_ / ".git/index"), before);
}

TEST_F(Git, BrokenRepositoryIsAnErrorWithTheReason) {
  make_repository();
  std::ofstream(folder_ / ".git/index") << "this is no index";
  const auto result = read_git_state(folder_.path());
  ASSERT_FALSE(result);
  EXPECT_NE(result.error().message.find(folder_.path().string()), std::string::npos);
  EXPECT_NE(result.error().message.find("index"), std::string::npos) << result.error().message;
}

TEST_F(Git, ARepositoryOfSomebodyElseIsRefused) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root to become somebody else";
  make_repository();
  ASSERT_EQ(::chmod(folder_.path().c_str(), 0755), 0);
  const int status = run_in_child([&] {
    if (!read_git_state(folder_.path()) || ::setuid(12345) != 0) return 1;
    const auto result = read_git_state(folder_.path());
    if (result) return 2;
    const bool told = result.error().hint.find("safe.directory") != std::string::npos;
    return result.error().code == ErrorCode::unsafe && told ? 0 : 3;
  });
  EXPECT_EQ(status, 0);
}

TEST_F(Git, MissingLibraryIsAnError) {
  set_git_plugin("/no/such/rehook_git.so");
  const auto result = read_git_state(folder_.path());
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, ErrorCode::unsupported);
  EXPECT_NE(result.error().message.find("/no/such/rehook_git.so"), std::string::npos);
  set_git_plugin(REHOOK_GIT_PLUGIN);
  EXPECT_TRUE(read_git_state(folder_.path()));
}

}  // namespace
}  // namespace rehook
