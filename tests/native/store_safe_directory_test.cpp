#include "shadow_store/safe_directory.hpp"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <string>

#include "tests/support/temporary_folder.hpp"

namespace rehook {
namespace {

constexpr uid_t k_nobody = 65534;

class SafeDirectoryTest : public testing::Test {
 protected:
  // A folder of the given mode, whatever the umask.
  [[nodiscard]] Path make(const Path& name, mode_t mode) const {
    std::filesystem::create_directories(folder_ / name);
    EXPECT_EQ(::chmod((folder_ / name).c_str(), mode), 0);
    return folder_ / name;
  }
  // Refused as unsafe, with a message that names `culprit` and says `why`.
  static void expect_refused(const Path& path, const Path& culprit, const std::string& why) {
    const Result<Path> made = make_private_directory(path);
    ASSERT_FALSE(made.ok()) << path;
    EXPECT_EQ(made.error().code, ErrorCode::unsafe) << made.error().message;
    EXPECT_NE(made.error().message.find(" " + culprit.native() + ":"), std::string::npos)
        << made.error().message;
    EXPECT_NE(made.error().message.find(why), std::string::npos) << made.error().message;
    EXPECT_FALSE(made.error().hint.empty());
  }
  TemporaryFolder folder_;
};

TEST_F(SafeDirectoryTest, CreatesWhatIsMissingForUsOnly) {
  const Result<Path> made = make_private_directory(folder_ / "a" / "b");
  ASSERT_TRUE(made.ok()) << reason(made);
  EXPECT_EQ(made.value(), std::filesystem::canonical(folder_.path()) / "a" / "b");
  for (const char* name : {"a", "a/b"}) {
    EXPECT_EQ(posix_file_system().stat(folder_ / name)->mode & 07777U, 0700U) << name;
  }
  EXPECT_TRUE(make_private_directory(folder_ / "a" / "b").ok());
}

TEST_F(SafeDirectoryTest, AcceptsOneThatOthersMayRead) {
  EXPECT_TRUE(make_private_directory(make("readable", 0755)).ok());
}

TEST_F(SafeDirectoryTest, RefusesOneThatOthersMayWrite) {
  for (const mode_t mode : {0777, 0770, 0702, 01777}) {
    const Path path = make("open", mode);
    expect_refused(path, path, "other users may write there");
  }
}

TEST_F(SafeDirectoryTest, RefusesAParentThatOthersMayWriteUnlessSticky) {
  const Path above = make("above", 0777);
  expect_refused(above / "store", above, "other users may write there");
  expect_refused(above / "deep" / "store", above, "other users may write there");
  EXPECT_FALSE(std::filesystem::exists(above / "deep"));
  EXPECT_TRUE(make_private_directory(make("sticky", 01777) / "store").ok());
}

TEST_F(SafeDirectoryTest, AcceptsAParentThatTheUsersPrivateGroupMayWrite) {
  const Path above = make("above", 0775);
  ASSERT_EQ(::chown(above.c_str(), ::geteuid(), static_cast<gid_t>(::geteuid())), 0)
      << "this user has no private group";
  EXPECT_TRUE(make_private_directory(above / "store").ok());
}

TEST_F(SafeDirectoryTest, RefusesASymbolicLinkAsTheFolder) {
  const Path real = make("real", 0700);
  std::filesystem::create_directory_symlink(real, folder_ / "link");
  expect_refused(folder_ / "link", folder_ / "link", "symbolic link");
  expect_refused(Path((folder_ / "link").native() + "/"), folder_ / "link", "symbolic link");
  std::filesystem::create_directory_symlink(folder_ / "nowhere", folder_ / "dangling");
  expect_refused(folder_ / "dangling", folder_ / "dangling", "symbolic link");
  EXPECT_FALSE(std::filesystem::exists(folder_ / "nowhere"));
}

TEST_F(SafeDirectoryTest, ResolvesLinksAboveAndChecksWhereTheyLead) {
  std::filesystem::create_directory_symlink(make("real", 0700), folder_ / "link");
  const Result<Path> made = make_private_directory(folder_ / "link" / "store");
  ASSERT_TRUE(made.ok()) << reason(made);
  EXPECT_EQ(made.value(), std::filesystem::canonical(folder_ / "real") / "store");
  const Path open = make("open", 0777);
  std::filesystem::create_directory_symlink(open, folder_ / "trap");
  expect_refused(folder_ / "trap" / "store", open, "other users may write there");
}

TEST_F(SafeDirectoryTest, TakesNamesAsPeopleWriteThem) {
  const Path real = std::filesystem::canonical(make("real", 0700));
  for (const char* name : {"/real/", "/real/.", "/real//", "/x/../real", "/real/sub/.."}) {
    std::filesystem::create_directories(folder_ / "real" / "sub");
    const Result<Path> made = make_private_directory(folder_.path().native() + name);
    ASSERT_TRUE(made.ok()) << reason(made);
    EXPECT_EQ(made.value(), real) << name;
  }
  for (const char* name : {"", "/"}) {
    EXPECT_EQ(make_private_directory(name).error().code, ErrorCode::invalid) << name;
  }
}

TEST_F(SafeDirectoryTest, AFileInItsPlaceIsAnError) {
  std::ofstream(folder_ / "file") << "x";
  EXPECT_FALSE(make_private_directory(folder_ / "file").ok());
  EXPECT_FALSE(make_private_directory(folder_ / "file" / "store").ok());
}

TEST_F(SafeDirectoryTest, RefusesFoldersOfOtherUsers) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root can give a folder away";
  const Path theirs = make("theirs", 0755);
  std::filesystem::create_directories(theirs / "ours");
  ASSERT_EQ(::chown(theirs.c_str(), k_nobody, k_nobody), 0);
  expect_refused(theirs, theirs, "owned by user 65534");
  expect_refused(theirs / "ours", theirs, "owned by user 65534");
}

TEST_F(SafeDirectoryTest, WorksForAnOrdinaryUserBelowRootsFolders) {
  if (::geteuid() != 0) GTEST_SKIP() << "the other cases run as an ordinary user already";
  ASSERT_EQ(::chmod(folder_.path().c_str(), 0711), 0);  // may be passed, not listed
  const Path home = make("home", 0700);
  ASSERT_EQ(::chown(home.c_str(), k_nobody, k_nobody), 0);
  const Path roots = make("roots", 0755);
  const int status = run_in_child([&] {
    if (::setuid(k_nobody) != 0) return 2;
    if (!make_private_directory(home / ".cache" / "rehook").ok()) return 3;
    const Result<Path> refused = make_private_directory(roots);  // root could change it, but…
    return !refused.ok() && refused.error().code == ErrorCode::unsafe ? 0 : 4;
  });
  EXPECT_EQ(status, 0);
}

}  // namespace
}  // namespace rehook
