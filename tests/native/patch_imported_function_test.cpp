#include <dlfcn.h>
#include <gtest/gtest.h>

#include "hook/patch/imported_function.hpp"
#include "tests/support/compiled_library.hpp"
#include "tests/support/temporary_folder.hpp"

namespace rehook {
namespace {

// abs() once called and once by its address; -fno-builtin keeps the calls.
constexpr const char* k_source = R"(
extern "C" int abs(int);
extern "C" int call(int x) { return abs(x); }
int (*const volatile pointer)(int) = &abs;
extern "C" int call_pointer(int x) { return pointer(x); }
)";

int thousand(int value) {
  return 1000 + value;
}

class ImportedFunctionTest : public testing::TestWithParam<const char*> {};

TEST_P(ImportedFunctionTest, IsLedElsewhereWhileTheObjectLives) {
  const TemporaryFolder folder;
  const Path file = folder / "lib.so";
  if (!compile_library(k_source, file, GetParam())) GTEST_SKIP() << "no such linker";
  void* const handle = *load_library(file);
  const auto call = reinterpret_cast<int (*)(int)>(dlsym(handle, "call"));
  const auto call_pointer = reinterpret_cast<int (*)(int)>(dlsym(handle, "call_pointer"));
  EXPECT_EQ(call(-5), 5);
  {
    ImportedFunction imported("abs", reinterpret_cast<const void*>(&thousand));
    ASSERT_TRUE(imported.redirect(*find_loaded_library(file)));
    EXPECT_EQ(call(-5), 995);
    EXPECT_EQ(call_pointer(-5), 995);
  }
  EXPECT_EQ(call(-5), 5);
  EXPECT_EQ(call_pointer(-5), 5);
}

TEST_P(ImportedFunctionTest, ALibraryWithoutTheImportIsLeftAlone) {
  const TemporaryFolder folder;
  const Path file = folder / "lib.so";
  if (!compile_library(k_source, file, GetParam())) GTEST_SKIP() << "no such linker";
  void* const handle = *load_library(file);
  ImportedFunction imported("labs", reinterpret_cast<const void*>(&thousand));
  EXPECT_TRUE(imported.redirect(*find_loaded_library(file)));
  EXPECT_EQ(reinterpret_cast<int (*)(int)>(dlsym(handle, "call"))(-5), 5);
}

INSTANTIATE_TEST_SUITE_P(Builds, ImportedFunctionTest,
                         testing::Values("-fno-builtin", "-fno-builtin -fno-plt",
                                         "-fno-builtin -Wl,-z,now,-z,relro",
                                         "-fno-builtin -fuse-ld=lld",
                                         "-fno-builtin -fuse-ld=gold", "-fno-builtin -s"));

}  // namespace
}  // namespace rehook
