#include "shadow_store/base/file_system.hpp"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "tests/support/temporary_folder.hpp"

namespace rehook {
namespace {

class FileSystemTest : public testing::Test {
 protected:
  [[nodiscard]] Path write(const Path& name, std::string_view text) const {
    std::ofstream(folder_ / name, std::ios::binary) << text;
    return folder_ / name;
  }
  [[nodiscard]] std::string text_of(const Path& path) const {
    const Result<std::string> content = fs_.read(path);
    return content.ok() ? content.value() : "(" + content.error().message + ")";
  }
  [[nodiscard]] std::vector<std::string> names() const {
    Result<std::vector<std::string>> found = fs_.list(folder_.path());
    return found.ok() ? *found : std::vector<std::string>{"(unreadable)"};
  }
  [[nodiscard]] unsigned mode_of(const Path& path) const {
    const Result<FileStat> stat = fs_.stat(path);
    return stat.ok() ? stat.value().mode & 07777U : 0;
  }

  TemporaryFolder folder_;
  FileSystem& fs_ = posix_file_system();
};

// Whether `work` fails, with the code io, in a process that may not write files of more than 10
// bytes.
bool fails_on_a_full_disk(const std::function<Status()>& work) {
  const int status = run_in_child([&] {
    ::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{10, 10};
    if (::setrlimit(RLIMIT_FSIZE, &limit) != 0) return 2;
    const Status result = work();
    return !result.ok() && result.error().code == ErrorCode::io ? 0 : 1;
  });
  return status == 0;
}

TEST_F(FileSystemTest, StatTellsWhatTheSystemKnows) {
  const Path file = write("a", "12345");
  struct stat expected {};
  ASSERT_EQ(::stat(file.c_str(), &expected), 0);
  const Result<FileStat> stat = fs_.stat(file);
  ASSERT_TRUE(stat.ok());
  EXPECT_EQ(stat->size, 5U);
  EXPECT_EQ(stat->inode, expected.st_ino);
  EXPECT_EQ(stat->device, expected.st_dev);
  EXPECT_EQ(stat->uid, ::geteuid());
  EXPECT_EQ(stat->mtime_ns / 1'000'000'000, expected.st_mtim.tv_sec);
  EXPECT_EQ(stat->mtime_ns % 1'000'000'000, expected.st_mtim.tv_nsec);
  EXPECT_EQ(stat->ctime_ns % 1'000'000'000, expected.st_ctim.tv_nsec);
  EXPECT_TRUE(stat->is_regular());
  EXPECT_TRUE(fs_.stat(folder_.path())->is_directory());
  std::filesystem::create_symlink(file, folder_ / "link");
  EXPECT_EQ(fs_.stat(folder_ / "link").value(), stat.value());
}

TEST_F(FileSystemTest, WhatIsMissingIsNotFoundAndNamed) {
  const Path file = write("file", "");
  for (const Path& path : {folder_ / "no", folder_ / "no" / "deeper", file / "below a file"}) {
    for (const Error& error :
         {fs_.stat(path).error(), fs_.read(path).error(), fs_.digest(path).error(),
          fs_.list(path).error(), fs_.copy_new(path, folder_ / "new", 0600).error(),
          fs_.remove(path, MissingOk::no).error()}) {
      EXPECT_EQ(error.code, ErrorCode::not_found) << error.message;
      EXPECT_NE(error.message.find(path.native()), std::string::npos) << error.message;
    }
  }
  EXPECT_EQ(names(), std::vector<std::string>{"file"});
}

TEST_F(FileSystemTest, ReadsAnyBytesOfAnyLength) {
  std::string text("\0\xff\n\0", 4);
  EXPECT_EQ(text_of(write("small", text)), text);
  for (int i = 0; i < 60000; ++i) text += std::to_string(i);
  EXPECT_EQ(text_of(write("large", text)), text);
  EXPECT_EQ(fs_.digest(folder_ / "large").value(), digest_of(text));
  EXPECT_EQ(text_of(write("empty", "")), "");
  EXPECT_NE(text_of("/proc/self/stat"), "");  // its size is said to be 0
  EXPECT_EQ(fs_.read(folder_.path()).error().code, ErrorCode::io);
}

TEST_F(FileSystemTest, ListsSortedWithoutDots) {
  std::ignore = write("b", "");
  std::ignore = write(".a", "");
  std::ignore = write("ä", "");
  EXPECT_EQ(names(), (std::vector<std::string>{".a", "b", "ä"}));
}

TEST_F(FileSystemTest, WriteAtomicReplacesTheFileNotItsContent) {
  const Path file = write("file", "old");
  const std::uint64_t inode = fs_.stat(file)->inode;
  std::ifstream reader(file);
  ASSERT_TRUE(fs_.write_atomic(file, "new").ok());
  EXPECT_EQ(text_of(file), "new");
  EXPECT_NE(fs_.stat(file)->inode, inode);
  std::string seen;
  reader >> seen;
  EXPECT_EQ(seen, "old");
  EXPECT_EQ(mode_of(file), 0600U);
  EXPECT_EQ(names(), std::vector<std::string>{"file"});
}

TEST_F(FileSystemTest, FailuresLeaveNothingBehind) {
  const Path file = write("file", "old");
  const Path source = write("source", std::string(100, 'x'));
  const std::vector<std::string> before = names();
  EXPECT_TRUE(
      fails_on_a_full_disk([&] { return fs_.write_atomic(file, std::string(100, 'y')); }));
  EXPECT_TRUE(fails_on_a_full_disk([&] { return fs_.copy_new(source, folder_ / "n", 0600); }));
  EXPECT_TRUE(
      fails_on_a_full_disk([&] { return fs_.publish_copy(source, folder_ / "n", 0500); }));
  EXPECT_EQ(names(), before);
  EXPECT_EQ(text_of(file), "old");
  // The target of the rename is a folder: the failure comes last.
  std::filesystem::create_directory(folder_ / "taken");
  std::ignore = fs_.make_directories(folder_ / "taken" / "more");
  EXPECT_FALSE(fs_.write_atomic(folder_ / "taken", "y").ok());
  EXPECT_EQ(names(), (std::vector<std::string>{"file", "source", "taken"}));
}

TEST_F(FileSystemTest, WriteAtomicIntoNoFolderIsNotFound) {
  const Status status = fs_.write_atomic(folder_ / "no" / "file", "x");
  ASSERT_FALSE(status.ok());
  EXPECT_EQ(status.error().code, ErrorCode::not_found);
  EXPECT_NE(status.error().message.find((folder_ / "no" / "file").native()), std::string::npos);
}

TEST_F(FileSystemTest, PublishCopyNeverReplaces) {
  const Path file = folder_ / "published";
  ASSERT_TRUE(fs_.publish_copy(write("one", "first"), file, 0500).ok());
  EXPECT_EQ(mode_of(file), 0500U);
  const std::uint64_t inode = fs_.stat(file)->inode;
  ASSERT_TRUE(fs_.publish_copy(write("two", "second"), file, 0400).ok());
  EXPECT_EQ(text_of(file), "first");
  EXPECT_EQ(fs_.stat(file)->inode, inode);
  EXPECT_EQ(mode_of(file), 0500U);
  EXPECT_EQ(names(), (std::vector<std::string>{"one", "published", "two"}));
}

TEST_F(FileSystemTest, PublishPrivateTakesTheFileOnlyOnSuccess) {
  const Path file = write("private", "text");
  EXPECT_FALSE(fs_.publish_private(file, folder_ / "no" / "there", 0500).ok());
  EXPECT_EQ(text_of(file), "text");
  ASSERT_TRUE(fs_.publish_private(file, folder_ / "there", 0500).ok());
  EXPECT_EQ(names(), std::vector<std::string>{"there"});
  EXPECT_EQ(mode_of(folder_ / "there"), 0500U);
}

TEST_F(FileSystemTest, CopyNewMakesAnIndependentFile) {
  const std::string text(300000, 'x');
  const Path source = write("source", text);
  const Path copy = folder_ / "copy";
  ASSERT_TRUE(fs_.copy_new(source, copy, 0640).ok());
  EXPECT_EQ(mode_of(copy), 0640U);
  EXPECT_NE(fs_.stat(copy)->inode, fs_.stat(source)->inode);
  std::ignore = write("source", "changed in place");
  EXPECT_EQ(text_of(copy), text);
  EXPECT_FALSE(fs_.copy_new(source, copy, 0600).ok());
  EXPECT_EQ(text_of(copy), text);  // and the failure did not remove it
}

TEST_F(FileSystemTest, CopyNewFindsAWayBetweenAnyTwoFileSystems) {
  // The kernel makes this file up, so it can neither clone it nor copy it by itself.
  ASSERT_TRUE(fs_.copy_new("/proc/self/cmdline", folder_ / "proc", 0600).ok());
  EXPECT_EQ(text_of(folder_ / "proc"), text_of("/proc/self/cmdline"));
  const Path elsewhere = "/dev/shm/rehook-test-" + std::to_string(::getpid());
  std::ofstream(elsewhere) << std::string(200000, 'z');
  const Status copied = fs_.copy_new(elsewhere, folder_ / "shm", 0600);
  std::filesystem::remove(elsewhere);
  ASSERT_TRUE(copied.ok()) << reason(copied);
  EXPECT_EQ(text_of(folder_ / "shm"), std::string(200000, 'z'));
}

TEST_F(FileSystemTest, CopyNewTakesFilesOnly) {
  ASSERT_EQ(::mkfifo((folder_ / "pipe").c_str(), 0600), 0);
  for (const Path& source : {folder_.path(), folder_ / "pipe"}) {
    const Status status = fs_.copy_new(source, folder_ / "copy", 0600);  // and does not wait
    ASSERT_FALSE(status.ok());
    EXPECT_EQ(status.error().code, ErrorCode::invalid) << status.error().message;
  }
  std::filesystem::create_symlink(folder_ / "victim", folder_ / "link");
  EXPECT_FALSE(fs_.copy_new(write("source", "x"), folder_ / "link", 0600).ok());
  EXPECT_FALSE(std::filesystem::exists(folder_ / "victim"));
}

TEST_F(FileSystemTest, PatchReplacesBytesInPlace) {
  const Path file = write("file", "0123456789");
  const std::uint64_t inode = fs_.stat(file)->inode;
  ASSERT_TRUE(fs_.patch(file, {{0, "ab"}, {9, "z"}, {4, ""}}).ok());
  EXPECT_EQ(text_of(file), "ab2345678z");
  EXPECT_EQ(fs_.stat(file)->inode, inode);
}

TEST_F(FileSystemTest, PatchNeverMakesTheFileLonger) {
  const Path file = write("file", "0123456789");
  for (const std::uint64_t offset : {9ULL, 10ULL, 1000ULL, ~0ULL}) {
    const Status status = fs_.patch(file, {{0, "ab"}, {offset, "xy"}});
    ASSERT_FALSE(status.ok()) << offset;
    EXPECT_EQ(status.error().code, ErrorCode::invalid);
  }
  EXPECT_EQ(text_of(file), "0123456789");
  EXPECT_FALSE(fs_.patch(folder_ / "new", {}).ok());
}

TEST_F(FileSystemTest, AppendKeepsRecordsWhole) {
  const Path file = folder_ / "log";
  std::vector<std::thread> threads;
  for (const char letter : {'a', 'b', 'c'}) {
    threads.emplace_back([this, file, letter] {
      for (int i = 0; i < 30; ++i) {
        EXPECT_TRUE(fs_.append(file, std::string(200, letter) + "\n").ok());
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  const std::string text = text_of(file);
  ASSERT_EQ(text.size(), 3U * 30U * 201U);
  for (std::size_t at = 0; at < text.size(); at += 201) {
    EXPECT_EQ(text.substr(at, 201), std::string(200, text[at]) + "\n");
  }
  EXPECT_EQ(mode_of(file), 0600U);
}

TEST_F(FileSystemTest, AFullDiskComesWithAHint) {
  const Status status = fs_.append("/dev/full", "x");
  ASSERT_FALSE(status.ok());
  EXPECT_EQ(status.error().code, ErrorCode::io);
  EXPECT_EQ(status.error().message, "cannot append to /dev/full: No space left on device");
  EXPECT_NE(status.error().hint.find("free some space"), std::string::npos);
}

TEST_F(FileSystemTest, MissingPermissionComesWithAHint) {
  const Path file = write("file", "x");
  ASSERT_EQ(::chmod(file.c_str(), 0), 0);
  const int status = run_in_child([&] {
    if (::geteuid() == 0 && ::setuid(65534) != 0) return 2;
    const Result<std::string> text = fs_.read(file);
    if (text.ok() || text.error().code != ErrorCode::io) return 1;
    return text.error().hint.find("permissions") == std::string::npos ? 3 : 0;
  });
  EXPECT_EQ(status, 0);
}

TEST_F(FileSystemTest, MakesFoldersForUsOnly) {
  const Path deep = folder_ / "a" / "b" / "c";
  ASSERT_TRUE(fs_.make_directories(deep).ok());
  ASSERT_TRUE(fs_.make_directories(deep).ok());
  ASSERT_TRUE(fs_.make_directories(Path((folder_ / "d" / "e").native() + "/")).ok());
  EXPECT_EQ(mode_of(deep), 0700U);
  EXPECT_EQ(mode_of(deep.parent_path()), 0700U);
  EXPECT_TRUE(std::filesystem::is_directory(folder_ / "d" / "e"));
  const Path file = write("file", "");
  EXPECT_EQ(fs_.make_directories(file).error().code, ErrorCode::io);
  EXPECT_FALSE(fs_.make_directories(file / "below").ok());
}

TEST_F(FileSystemTest, ThreadsMakeTheSameFolders) {
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int k = 0; k < 20; ++k) {
        EXPECT_TRUE(fs_.make_directories(folder_ / std::to_string(k) / "x" / "y").ok());
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST_F(FileSystemTest, RemovesFilesAndTrees) {
  const Path file = write("file", "x");
  ASSERT_TRUE(fs_.remove(file, MissingOk::no).ok());
  EXPECT_TRUE(fs_.remove(file, MissingOk::yes).ok());
  EXPECT_EQ(fs_.remove(file, MissingOk::no).error().code, ErrorCode::not_found);

  ASSERT_TRUE(fs_.make_directories(folder_ / "tree" / "deep").ok());
  const Path kept = write("kept", "x");
  std::filesystem::create_symlink(kept, folder_ / "tree" / "link");
  std::filesystem::create_directory_symlink(folder_.path(), folder_ / "tree" / "up");
  EXPECT_FALSE(fs_.remove(folder_ / "tree", MissingOk::no).ok());  // not empty
  ASSERT_TRUE(fs_.remove_tree(folder_ / "tree").ok());
  EXPECT_TRUE(fs_.remove_tree(folder_ / "tree").ok());
  EXPECT_EQ(names(), std::vector<std::string>{"kept"});
}

TEST_F(FileSystemTest, SetsModes) {
  const Path file = write("file", "x");
  ASSERT_TRUE(fs_.set_mode(file, 0500).ok());
  EXPECT_EQ(mode_of(file), 0500U);
  EXPECT_EQ(fs_.set_mode(folder_ / "no", 0500).error().code, ErrorCode::not_found);
}

}  // namespace
}  // namespace rehook
