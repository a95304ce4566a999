#include "shadow_store/shadow_copy.hpp"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "shadow_store/base/platform.hpp"
#include "shadow_store/elf_image.hpp"
#include "tests/support/compiled_library.hpp"
#include "tests/support/fake_file_system.hpp"
#include "tests/support/temporary_folder.hpp"

namespace rehook {
namespace {

class ShadowCopyTest : public testing::Test {
 protected:
  void SetUp() override {
    const Path file = folder_ / "_core.so";
    ASSERT_TRUE(compile_library("inline int shared = 1; int use() { return shared; }", file));
    Result<ArtifactStore> store = ArtifactStore::open(fs_, folder_ / "store");
    ASSERT_TRUE(store.ok()) << reason(store);
    store_.emplace(std::move(store).value());
    const Result<Digest> digest = store_->publish(file);
    ASSERT_TRUE(digest.ok()) << reason(digest);
    digest_ = digest.value();
    artifact_ = store_->object_path(digest_, "_core.so");
    sessions_ = store_->root() / "sessions";
  }
  [[nodiscard]] std::shared_ptr<ShadowFolder> open() {
    Result<std::shared_ptr<ShadowFolder>> folder = ShadowFolder::open(fs_, *store_);
    if (!folder.ok()) ADD_FAILURE() << folder.error().message;
    return folder.ok() ? *folder : nullptr;
  }
  [[nodiscard]] std::set<std::string> sessions() const {
    std::set<std::string> found;
    for (const std::string& name : names_in(sessions_)) {
      if (name != "lock") found.insert(name);
    }
    return found;
  }
  [[nodiscard]] static std::vector<std::string> names_in(const Path& folder) {
    return posix_file_system().list(folder).value();
  }
  // A process that has opened a folder and made a copy in it, and lives until it is killed.
  [[nodiscard]] pid_t start_other_process() {
    int ready[2];
    if (::pipe(ready) != 0) return -1;
    const pid_t child = ::fork();
    if (child == 0) {
      const Result<std::shared_ptr<ShadowFolder>> folder = ShadowFolder::open(fs_, *store_);
      const bool made =
          folder.ok() && folder.value()->make(artifact_, digest_, "pkg._core", 1).ok();
      const char byte = made ? 'y' : 'n';
      if (::write(ready[1], &byte, 1) != 1) ::_exit(1);
      while (true) ::pause();
    }
    char byte = 0;
    EXPECT_EQ(::read(ready[0], &byte, 1), 1);
    EXPECT_EQ(byte, 'y');
    ::close(ready[0]);
    ::close(ready[1]);
    return child;
  }
  static void end(pid_t child) {
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
  }

  TemporaryFolder folder_;
  FakeFileSystem fs_;
  std::optional<ArtifactStore> store_;
  Digest digest_;
  Path artifact_, sessions_;
};

TEST_F(ShadowCopyTest, TheFolderIsNamedAfterTheProcess) {
  const std::shared_ptr<ShadowFolder> folder = open();
  ASSERT_NE(folder, nullptr);
  EXPECT_GT(process_start_ticks(), 0U);
  EXPECT_EQ(folder->path(), sessions_ / (std::to_string(::getpid()) + "-" +
                                         std::to_string(process_start_ticks())));
  EXPECT_EQ(fs_.stat(folder->path())->mode & 07777U, 0700U);
}

TEST_F(ShadowCopyTest, MakesReadableUniqueNames) {
  const std::shared_ptr<ShadowFolder> folder = open();
  const Result<Path> first = folder->make(artifact_, digest_, "pkg._core", 3);
  const Result<Path> second = folder->make(artifact_, digest_, "pkg._core", 3);
  ASSERT_TRUE(first.ok() && second.ok()) << reason(first) << reason(second);
  const std::string short_digest = digest_.hex().substr(0, 8);
  EXPECT_EQ(first.value(), folder->path() / ("pkg._core.g3." + short_digest + ".0._core.so"));
  EXPECT_EQ(second.value(), folder->path() / ("pkg._core.g3." + short_digest + ".1._core.so"));
  EXPECT_NE(fs_.stat(first.value())->inode, fs_.stat(second.value())->inode);
  EXPECT_NE(fs_.stat(first.value())->inode, fs_.stat(artifact_)->inode);
  EXPECT_EQ(fs_.stat(first.value())->mode & 07777U, 0500U);
}

TEST_F(ShadowCopyTest, NamesOfAnyLengthFit) {
  const std::shared_ptr<ShadowFolder> folder = open();
  const Path source = folder_ / (std::string(240, 'n') + ".so");
  std::filesystem::copy_file(artifact_, source);
  for (const std::string& module :
       {std::string(300, 'm'), std::string("../../x"), std::string()}) {
    const Result<Path> made = folder->make(source, digest_, module, 1);
    ASSERT_TRUE(made.ok()) << reason(made);
    EXPECT_EQ(made->parent_path(), folder->path());
    EXPECT_EQ(made->extension(), ".so");
  }
}

TEST_F(ShadowCopyTest, TheCopyIsEditedTheArtifactIsNot) {
  const std::shared_ptr<ShadowFolder> folder = open();
  const Result<Path> made = folder->make(artifact_, digest_, "_core", 1);
  ASSERT_TRUE(made.ok()) << reason(made);
  EXPECT_TRUE(store_->verify(digest_, "_core.so").ok());
  const std::string bytes = fs_.read(made.value()).value();
  Result<ElfImage> image = ElfImage::parse(bytes);
  ASSERT_TRUE(image.ok());
  for (const ElfImage::DynamicSymbol& symbol : image->symbols()) {
    EXPECT_NE(symbol.binding(), SymbolBinding::gnu_unique) << symbol.name;
  }
  EXPECT_EQ(fs_.count("patch"), digest_of(bytes) == digest_ ? 0U : 1U);
}

TEST_F(ShadowCopyTest, ARottenArtifactIsRefusedAndLeavesNothing) {
  const std::shared_ptr<ShadowFolder> folder = open();
  std::filesystem::permissions(artifact_, std::filesystem::perms::owner_all);
  std::fstream(artifact_, std::ios::in | std::ios::out | std::ios::binary).seekp(2000) << "rot";
  const Result<Path> made = folder->make(artifact_, digest_, "_core", 1);
  ASSERT_FALSE(made.ok());
  EXPECT_EQ(made.error().code, ErrorCode::corrupt);
  EXPECT_NE(made.error().message.find(artifact_.native()), std::string::npos);
  EXPECT_EQ(names_in(folder->path()), std::vector<std::string>{"lease"});
}

TEST_F(ShadowCopyTest, WhatIsNoLibraryIsRefused) {
  const std::shared_ptr<ShadowFolder> folder = open();
  std::ofstream(folder_ / "text.so") << "text";
  const Result<Path> made = folder->make(folder_ / "text.so", digest_of("text"), "m", 1);
  ASSERT_FALSE(made.ok());
  EXPECT_EQ(made.error().code, ErrorCode::corrupt);
  const Result<Path> missing = folder->make(folder_ / "missing.so", digest_, "m", 1);
  ASSERT_FALSE(missing.ok());
  EXPECT_EQ(missing.error().code, ErrorCode::not_found);
  EXPECT_EQ(names_in(folder->path()), std::vector<std::string>{"lease"});
}

TEST_F(ShadowCopyTest, OneProcessMayOpenSeveral) {
  const std::shared_ptr<ShadowFolder> first = open();
  const std::shared_ptr<ShadowFolder> second = open();
  ASSERT_TRUE(first != nullptr && second != nullptr);
  EXPECT_NE(first->path(), second->path());
  EXPECT_EQ(sessions().size(), 2U);
  EXPECT_TRUE(first->make(artifact_, digest_, "m", 1).ok());
}

TEST_F(ShadowCopyTest, OpeningSweepsDeadProcessesAndOnlyThem) {
  const pid_t living = start_other_process();
  const std::set<std::string> of_living = sessions();
  ASSERT_EQ(of_living.size(), 1U);
  const pid_t dying = start_other_process();
  ASSERT_EQ(sessions().size(), 2U);
  end(dying);
  const std::shared_ptr<ShadowFolder> ours = open();
  std::set<std::string> expected = of_living;
  expected.insert(ours->path().filename().native());
  EXPECT_EQ(sessions(), expected);
  EXPECT_EQ(names_in(sessions_ / *of_living.begin()).size(), 2U);  // its lease and its copy
  end(living);
  const std::shared_ptr<ShadowFolder> again = open();
  EXPECT_EQ(sessions().count(*of_living.begin()), 0U);
  EXPECT_EQ(sessions().count(ours->path().filename().native()), 1U);
}

TEST_F(ShadowCopyTest, LeftoversUnderOurOwnNameAreNoObstacle) {
  // A process with the same number, started at the same tick after an earlier boot.
  const std::string name =
      std::to_string(::getpid()) + "-" + std::to_string(process_start_ticks());
  std::filesystem::create_directories(sessions_ / name / "deep");
  std::ofstream(sessions_ / name / "old.so") << "x";
  std::ofstream(sessions_ / "stray file") << "x";
  const std::shared_ptr<ShadowFolder> folder = open();
  ASSERT_NE(folder, nullptr);
  EXPECT_EQ(folder->path(), sessions_ / name);
  EXPECT_EQ(names_in(folder->path()), std::vector<std::string>{"lease"});
}

TEST_F(ShadowCopyTest, AForkedChildNeedsItsOwn) {
  const std::shared_ptr<ShadowFolder> folder = open();
  const int status = run_in_child([&] {
    const Result<Path> made = folder->make(artifact_, digest_, "m", 1);
    if (made.ok() || made.error().code != ErrorCode::busy) return 1;
    if (made.error().hint.empty()) return 2;
    const Result<std::shared_ptr<ShadowFolder>> own = ShadowFolder::open(fs_, *store_);
    if (!own.ok() || own.value()->path() == folder->path()) return 3;
    return own.value()->make(artifact_, digest_, "m", 1).ok() ? 0 : 4;
  });
  EXPECT_EQ(status, 0);
  EXPECT_EQ(names_in(folder->path()), std::vector<std::string>{"lease"});
}

TEST_F(ShadowCopyTest, StoppedAtAnyWriteNothingHalfMadeIsLeftForLong) {
  bool stopped = true;
  for (std::size_t i = 0; stopped; ++i) {
    ASSERT_LT(i, 50U);
    FakeFileSystem mortal;
    mortal.stop_at_write(i);
    {
      Result<std::shared_ptr<ShadowFolder>> doomed = ShadowFolder::open(mortal, *store_);
      if (doomed.ok()) std::ignore = (*doomed)->make(artifact_, digest_, "m", 1);
    }
    stopped = mortal.stopped();
    const std::shared_ptr<ShadowFolder> folder = open();
    ASSERT_NE(folder, nullptr);
    EXPECT_EQ(sessions(), std::set<std::string>{folder->path().filename().native()});
    EXPECT_TRUE(folder->make(artifact_, digest_, "m", 1).ok());
  }
}

TEST_F(ShadowCopyTest, AFailedWriteLeavesNoFile) {
  const std::shared_ptr<ShadowFolder> folder = open();
  int failures = 0;
  for (std::size_t i = 0; i < 10; ++i) {
    fs_.fail_write(i, Error{ErrorCode::io, "no space"});
    const Result<Path> made = folder->make(artifact_, digest_, "m", 1);
    if (made.ok()) break;
    ++failures;
    EXPECT_EQ(made.error().message, "no space");
    EXPECT_EQ(names_in(folder->path()), std::vector<std::string>{"lease"});
  }
  EXPECT_GE(failures, 2);  // copy, mode, and the edit where the compiler makes unique symbols
}

TEST_F(ShadowCopyTest, ThreadsNeverGetTheSameName) {
  const std::shared_ptr<ShadowFolder> folder = open();
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int k = 0; k < 5; ++k) EXPECT_TRUE(folder->make(artifact_, digest_, "m", 1).ok());
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(names_in(folder->path()).size(), 1U + 20U);
}

// Otherwise another process could take a folder without a lease yet for one that is left over.
TEST_F(ShadowCopyTest, FoldersAreMadeAndSweptByOneProcessAtATime) {
  std::filesystem::create_directory(sessions_ / "dead");
  int changes = 0;
  fs_.before = [&](const FakeFileSystem::Call& call) {
    if (call.operation != "make_directories" && call.operation != "remove_tree") return;
    ++changes;
    EXPECT_FALSE(FileLock::try_acquire(sessions_ / "lock", LockKind::shared).ok());
  };
  ASSERT_NE(open(), nullptr);
  EXPECT_EQ(changes, 2);
  EXPECT_TRUE(FileLock::try_acquire(sessions_ / "lock", LockKind::exclusive).ok());
}

TEST_F(ShadowCopyTest, ProcessesOpenAtTheSameTimeWithoutLosingTheirFolder) {
  std::vector<pid_t> children;
  for (int i = 0; i < 6; ++i) {
    const pid_t child = ::fork();
    if (child == 0) {
      for (int k = 0; k < 5; ++k) {
        const Result<std::shared_ptr<ShadowFolder>> own = ShadowFolder::open(fs_, *store_);
        if (!own.ok() || !own.value()->make(artifact_, digest_, "m", 1).ok()) ::_exit(1);
      }
      ::_exit(0);
    }
    children.push_back(child);
  }
  for (const pid_t child : children) {
    int status = -1;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0);
  }
}

}  // namespace
}  // namespace rehook
