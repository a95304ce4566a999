#include "shadow_store/artifact_store.hpp"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "shadow_store/base/temporary_name.hpp"
#include "tests/support/compiled_library.hpp"
#include "tests/support/fake_file_system.hpp"
#include "tests/support/temporary_folder.hpp"

namespace rehook {
namespace {

class ArtifactStoreTest : public testing::Test {
 protected:
  [[nodiscard]] Path write(const Path& name, std::string_view text) const {
    std::ofstream(folder_ / name, std::ios::binary) << text;
    return folder_ / name;
  }
  [[nodiscard]] ArtifactStore store() {
    Result<ArtifactStore> opened = ArtifactStore::open(fs_, root_);
    if (!opened.ok()) ADD_FAILURE() << opened.error().message;
    return std::move(opened).value();
  }
  [[nodiscard]] static std::string text_of(const Path& path) {
    const Result<std::string> text = posix_file_system().read(path);
    return text.ok() ? text.value() : "(" + text.error().message + ")";
  }
  // The private files lying about under objects/.
  [[nodiscard]] std::vector<std::string> temporaries() const {
    std::vector<std::string> found;
    const std::vector<std::string> all = posix_file_system().list(root_ / "objects").value();
    for (const std::string& name : all) {
      if (temporary_owner(name)) found.push_back(name);
    }
    return found;
  }

  TemporaryFolder folder_;
  Path root_ = folder_ / "store";
  FakeFileSystem fs_;
};

TEST_F(ArtifactStoreTest, OpensANewFolderAndItsOwnAgain) {
  const ArtifactStore first = store();
  EXPECT_EQ(first.root(), std::filesystem::canonical(root_));
  EXPECT_EQ(text_of(root_ / "format"), "rehook store 1 xxh3-128\n");
  for (const char* name : {"", "objects", "projects", "sessions"}) {
    EXPECT_EQ(fs_.stat(root_ / name)->mode & 07777U, 0700U) << name;
  }
  fs_.forget();
  std::ignore = store();
  EXPECT_TRUE(fs_.writes().empty());
}

TEST_F(ArtifactStoreTest, RefusesAnUnsafeFolder) {
  std::filesystem::create_directory(root_);
  ASSERT_EQ(::chmod(root_.c_str(), 0777), 0);
  const Result<ArtifactStore> opened = ArtifactStore::open(fs_, root_);
  ASSERT_FALSE(opened.ok());
  EXPECT_EQ(opened.error().code, ErrorCode::unsafe);
  EXPECT_TRUE(fs_.calls().empty());
}

TEST_F(ArtifactStoreTest, RefusesAnUnsafeFolderInside) {
  std::ignore = store();
  ASSERT_EQ(::chmod((root_ / "objects").c_str(), 0777), 0);
  const Result<ArtifactStore> opened = ArtifactStore::open(fs_, root_);
  ASSERT_FALSE(opened.ok());
  EXPECT_EQ(opened.error().code, ErrorCode::unsafe);
}

TEST_F(ArtifactStoreTest, RefusesAnotherFormatAndTouchesNothing) {
  struct Case {
    const char* text;
    ErrorCode code;
    const char* says;
  };
  for (const Case& bad :
       {Case{"rehook store 2 xxh3-128\n", ErrorCode::unsupported, "a newer rehook"},
        Case{"rehook store 1 blake3\n", ErrorCode::unsupported, "a newer rehook"},
        Case{"rehook store 0 x\n", ErrorCode::unsupported, "an older rehook"},
        Case{"", ErrorCode::corrupt, "format"},
        Case{"something else\n", ErrorCode::corrupt, "format"}}) {
    std::filesystem::remove_all(root_);
    std::filesystem::create_directory(root_);
    std::ofstream(root_ / "format") << bad.text;
    fs_.forget();
    const Result<ArtifactStore> opened = ArtifactStore::open(fs_, root_);
    ASSERT_FALSE(opened.ok()) << bad.text;
    EXPECT_EQ(opened.error().code, bad.code) << bad.text;
    EXPECT_NE(opened.error().message.find(bad.says), std::string::npos)
        << opened.error().message;
    EXPECT_TRUE(fs_.writes().empty());
    EXPECT_EQ(fs_.list(root_).value(), std::vector<std::string>{"format"});
  }
}

TEST_F(ArtifactStoreTest, PublishedFilesAreFoundByDigestAndName) {
  ArtifactStore opened = store();
  const Result<Digest> digest = opened.publish(write("lib.a", "content"));
  ASSERT_TRUE(digest.ok()) << reason(digest);
  EXPECT_EQ(digest.value(), digest_of("content"));
  const Path object = opened.object_path(digest.value(), "lib.a");
  EXPECT_EQ(object, opened.root() / "objects" / digest->hex().substr(0, 2) /
                        (digest->hex() + "-lib.a"));
  EXPECT_EQ(text_of(object), "content");
  EXPECT_EQ(fs_.stat(object)->mode & 07777U, 0500U);
  EXPECT_TRUE(opened.contains(digest.value(), "lib.a"));
  EXPECT_FALSE(opened.contains(digest.value(), "other.a"));
  EXPECT_FALSE(opened.contains(digest_of("x"), "lib.a"));
  EXPECT_TRUE(opened.verify(digest.value(), "lib.a").ok());
  EXPECT_EQ(opened.verify(digest_of("x"), "lib.a").error().code, ErrorCode::not_found);
  EXPECT_EQ(temporaries(), std::vector<std::string>{});
}

TEST_F(ArtifactStoreTest, StaysWhenTheBuildOutputChangesInPlace) {
  ArtifactStore opened = store();
  const Path file = write("lib.a", "content");
  const Digest digest = opened.publish(file).value();
  std::ignore = write("lib.a", "CONTENT");
  EXPECT_EQ(text_of(opened.object_path(digest, "lib.a")), "content");
}

TEST_F(ArtifactStoreTest, ObjectNamesStayInsideTheFolder) {
  const ArtifactStore opened = store();
  const Digest digest = digest_of("x");
  const Path folder = opened.root() / "objects" / digest.hex().substr(0, 2);
  for (const std::string& name :
       {std::string("../../x"), std::string("/etc/passwd"), std::string(".."), std::string(),
        std::string(400, 'n') + ".so"}) {
    const Path path = opened.object_path(digest, name);
    EXPECT_EQ(path.parent_path(), folder) << path;
    EXPECT_EQ(path.lexically_normal(), path);
    EXPECT_LE(path.filename().native().size(), 255U);
  }
}

TEST_F(ArtifactStoreTest, PublishingAgainIsCheapAndKeepsTheInode) {
  ArtifactStore opened = store();
  const Path file = write("lib.a", "content");
  const Digest digest = opened.publish(file).value();
  const std::uint64_t inode = fs_.stat(opened.object_path(digest, "lib.a"))->inode;
  fs_.forget();
  ASSERT_TRUE(opened.publish(file).ok());
  EXPECT_TRUE(fs_.writes().empty());
  EXPECT_EQ(fs_.stat(opened.object_path(digest, "lib.a"))->inode, inode);
}

TEST_F(ArtifactStoreTest, ARottenObjectIsReplacedByTheNextPublish) {
  ArtifactStore opened = store();
  const Path file = write("lib.a", "content");
  const Digest digest = opened.publish(file).value();
  const Path object = opened.object_path(digest, "lib.a");
  for (const char* rotten : {"", "c0ntent"}) {
    ASSERT_EQ(::chmod(object.c_str(), 0700), 0);
    std::ofstream(object) << rotten;
    EXPECT_EQ(opened.contains(digest, "lib.a"), *rotten != '\0');
    ASSERT_TRUE(opened.publish(file).ok());
    EXPECT_EQ(text_of(object), "content");
  }
}

TEST_F(ArtifactStoreTest, VerifyRemovesARottenObject) {
  ArtifactStore opened = store();
  const Digest digest = opened.publish(write("lib.a", "content")).value();
  const Path object = opened.object_path(digest, "lib.a");
  ASSERT_EQ(::chmod(object.c_str(), 0700), 0);
  std::ofstream(object) << "c0ntent";
  const Status status = opened.verify(digest, "lib.a");
  ASSERT_FALSE(status.ok());
  EXPECT_EQ(status.error().code, ErrorCode::corrupt);
  EXPECT_FALSE(opened.contains(digest, "lib.a"));
}

TEST_F(ArtifactStoreTest, ASourceThatChangesWhileCopiedIsCopiedAgain) {
  ArtifactStore opened = store();
  const Path file = write("lib.a", "first");
  int copies = 0;
  bool copied = false;
  fs_.before = [&](const FakeFileSystem::Call& call) {
    // The source is looked at before and after the copy: change it in between, twice.
    if (call.operation == "stat" && call.path == file && copied && copies <= 2) {
      std::ignore = write("lib.a", "version " + std::to_string(copies));
    }
    copied = call.operation == "copy_new";
    copies += copied ? 1 : 0;
  };
  const Result<Digest> digest = opened.publish(file);
  ASSERT_TRUE(digest.ok()) << reason(digest);
  EXPECT_EQ(copies, 3);
  EXPECT_EQ(digest.value(), digest_of("version 2"));
  EXPECT_EQ(text_of(opened.object_path(digest.value(), "lib.a")), "version 2");
  EXPECT_EQ(temporaries(), std::vector<std::string>{});
}

TEST_F(ArtifactStoreTest, ASourceThatKeepsChangingIsRefused) {
  ArtifactStore opened = store();
  const Path file = write("lib.a", "0");
  int version = 0;
  fs_.before = [&](const FakeFileSystem::Call& call) {
    if (call.operation == "copy_new") std::ignore = write("lib.a", std::to_string(++version));
  };
  const Result<Digest> digest = opened.publish(file);
  ASSERT_FALSE(digest.ok());
  EXPECT_EQ(digest.error().code, ErrorCode::corrupt);
  EXPECT_NE(digest.error().message.find("changed while it was copied"), std::string::npos);
  EXPECT_EQ(version, 3);
  EXPECT_EQ(temporaries(), std::vector<std::string>{});
}

TEST_F(ArtifactStoreTest, OnlyWholeSharedLibrariesAreStored) {
  ArtifactStore opened = store();
  const Path whole = folder_ / "lib.so";
  ASSERT_TRUE(compile_library("int answer() { return 42; }", whole));
  ASSERT_TRUE(opened.publish(whole).ok());
  const std::string bytes = text_of(whole);
  for (const char* name : {"torn.so", "libtorn.so.1.2"}) {
    const Result<Digest> torn = opened.publish(write(name, bytes.substr(0, bytes.size() - 1)));
    ASSERT_FALSE(torn.ok()) << name;
    EXPECT_EQ(torn.error().code, ErrorCode::corrupt);
    EXPECT_NE(torn.error().message.find(name), std::string::npos) << torn.error().message;
  }
  EXPECT_FALSE(opened.publish(write("empty.txt", "")).ok());
  EXPECT_TRUE(opened.publish(write("lib.something.txt", "no library")).ok());
  EXPECT_EQ(opened.publish(folder_.path()).error().code, ErrorCode::invalid);
  EXPECT_EQ(opened.publish(folder_ / "missing.so").error().code, ErrorCode::not_found);
}

TEST_F(ArtifactStoreTest, AFailedWriteIsReportedAndCleanedUp) {
  ArtifactStore opened = store();
  const Path file = write("lib.a", "content");
  const Error full{ErrorCode::io, "no space", "free some"};
  int failures = 0;
  for (std::size_t i = 0; i < 20; ++i) {
    fs_.fail_write(i, full);
    const Result<Digest> digest = opened.publish(file);
    EXPECT_EQ(temporaries(), std::vector<std::string>{});
    if (digest.ok()) break;
    ++failures;
    EXPECT_EQ(digest.error().message, "no space");
    EXPECT_FALSE(opened.contains(digest_of("content"), "lib.a"));
  }
  EXPECT_GE(failures, 3);  // copy, folder, publish
  EXPECT_TRUE(opened.verify(digest_of("content"), "lib.a").ok());
}

TEST_F(ArtifactStoreTest, StoppedAtAnyWriteTheNextStartWorks) {
  const Path file = write("lib.a", "content");
  const Digest digest = digest_of("content");
  bool stopped = true;
  for (std::size_t i = 0; stopped; ++i) {
    ASSERT_LT(i, 50U);
    std::filesystem::remove_all(root_);
    FakeFileSystem mortal;
    mortal.stop_at_write(i);
    Result<ArtifactStore> doomed = ArtifactStore::open(mortal, root_);
    if (doomed.ok()) std::ignore = doomed->publish(file);
    stopped = mortal.stopped();
    ArtifactStore opened = store();
    if (opened.contains(digest, "lib.a")) {
      EXPECT_TRUE(opened.verify(digest, "lib.a").ok());
    }
    ASSERT_TRUE(opened.publish(file).ok()) << "stopped at write " << i;
    EXPECT_TRUE(opened.verify(digest, "lib.a").ok());
  }
}

TEST_F(ArtifactStoreTest, OpeningRemovesWhatDeadProcessesLeft) {
  std::ignore = store();
  int status = -1;
  const pid_t child = ::fork();
  if (child == 0) ::_exit(0);
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  const std::string dead = ".tmp-" + std::to_string(child) + "-0123456789abcdef";
  const std::string alive = temporary_name();
  for (const Path& folder : {root_, root_ / "objects"}) {
    std::ofstream(folder / dead) << "x";
    std::ofstream(folder / alive) << "x";
  }
  std::ignore = store();
  for (const Path& folder : {root_, root_ / "objects"}) {
    EXPECT_FALSE(std::filesystem::exists(folder / dead));
    EXPECT_TRUE(std::filesystem::exists(folder / alive));
  }
}

TEST_F(ArtifactStoreTest, ThreadsPublishTheSameFile) {
  ArtifactStore opened = store();
  const Path file = write("lib.a", std::string(100000, 'x'));
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      ArtifactStore mine = store();
      const Result<Digest> digest = mine.publish(file);
      EXPECT_TRUE(digest.ok()) << reason(digest);
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_TRUE(opened.verify(digest_of(std::string(100000, 'x')), "lib.a").ok());
  EXPECT_EQ(temporaries(), std::vector<std::string>{});
}

}  // namespace
}  // namespace rehook
