#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <string>
#include <vector>

#include "hook/loaded_library.hpp"
#include "tests/support/compiled_library.hpp"
#include "tests/support/temporary_folder.hpp"

namespace rehook {
namespace {

bool is_replaced(const Path& file, const Path& but_in) {
  const std::vector<std::string> found = replaced_libraries(posix_file_system(), but_in);
  return std::find(found.begin(), found.end(), file.native()) != found.end();
}

class ReplacedLibraryTest : public testing::TestWithParam<const char*> {};

TEST_P(ReplacedLibraryTest, IsToldFromOneThatIsStillThere) {
  const TemporaryFolder folder;
  const Path file = std::filesystem::canonical(Path(folder / "x").parent_path()) / "lib.so";
  if (!compile_library("int value = 1; int get() { return value; }", file, GetParam())) {
    GTEST_SKIP() << "no such linker";
  }
  ASSERT_TRUE(load_library(file));
  EXPECT_FALSE(is_replaced(file, "/nowhere"));
  std::filesystem::rename(file, file.native() + ".old");  // the same file, elsewhere
  EXPECT_FALSE(is_replaced(file, "/nowhere"));
  std::filesystem::rename(file.native() + ".old", file);
  std::filesystem::remove(file);
  ASSERT_TRUE(compile_library("int other;", file, GetParam()));
  EXPECT_TRUE(is_replaced(file, "/nowhere"));
  EXPECT_FALSE(is_replaced(file, file.parent_path()));
}

INSTANTIATE_TEST_SUITE_P(Builds, ReplacedLibraryTest,
                         testing::Values("", "-Wl,-z,now,-z,relro", "-Wl,-z,norelro",
                                         "-Wl,-z,noseparate-code", "-fuse-ld=lld", "-s"));

}  // namespace
}  // namespace rehook
