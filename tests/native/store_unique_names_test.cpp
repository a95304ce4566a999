#include "shadow_store/unique_names.hpp"

#include <dlfcn.h>
#include <gtest/gtest.h>

#include <set>
#include <string>
#include <vector>

#include "shadow_store/copy_edits.hpp"
#include "tests/support/compiled_library.hpp"
#include "tests/support/fake_file_system.hpp"
#include "tests/support/temporary_folder.hpp"

namespace rehook {
namespace {

// "g_inline" has eight letters, and its guard ends in it: linkers keep one in the other's tail.
constexpr const char* k_source = R"(
int start();
inline int g_inline = start();
template <class T> struct Holder { static inline int value = 5; };
int start() { return 100; }
extern "C" int bump() { ++Holder<int>::value; return ++g_inline; }
)";

std::uint32_t gnu_hash(const std::string& name) {
  std::uint32_t hash = 5381;
  for (const char c : name) hash = hash * 33 + static_cast<unsigned char>(c);
  return hash;
}

class UniqueNamesTest : public testing::Test {
 protected:
  [[nodiscard]] bool compile(const std::string& source, const std::string& options = "") {
    if (!compile_library(source, file_, options)) return false;
    bytes_ = fs_.read(file_).value();
    image_ = ElfImage::parse(bytes_).value();
    return !unique_names(image_).empty();
  }
  TemporaryFolder folder_;
  FakeFileSystem fs_;
  Path file_ = folder_ / "lib.so";
  std::string bytes_;
  ElfImage image_;
  UsedNames used_;
};

TEST_F(UniqueNamesTest, ThreeHundredGenerationsShareNoName) {
  if (!compile(k_source)) GTEST_SKIP() << "this compiler makes no unique symbols";
  std::set<std::string> seen;
  for (const std::string& name : unique_names(image_)) seen.insert(name);
  ASSERT_TRUE(seen.contains("g_inline"));
  for (int i = 0; i < 300; ++i) {
    const Result<SymbolNames> names = make_symbol_names({&image_}, used_);
    ASSERT_TRUE(names.ok()) << reason(names);
    for (const auto& [old_name, name] : names.value()) {
      EXPECT_TRUE(seen.insert(name).second) << old_name;
      EXPECT_EQ(name.size(), old_name.size());
      EXPECT_EQ(gnu_hash(name), gnu_hash(old_name));
      EXPECT_EQ(name.find('\0'), std::string::npos);
    }
  }
}

TEST_F(UniqueNamesTest, NamesInTheTailOfOthersChangeAlike) {
  if (!compile(k_source, "-Wl,-O2")) GTEST_SKIP() << "this compiler makes no unique symbols";
  const SymbolNames names = make_symbol_names({&image_}, used_).value();
  std::size_t guards = 0;
  for (const auto& [old_name, name] : names) {
    for (const auto& [old_tail, tail] : names) {
      if (old_name == old_tail || !old_name.ends_with(old_tail)) continue;
      ++guards;
      EXPECT_TRUE(name.ends_with(tail)) << old_name;
    }
  }
  EXPECT_EQ(guards, 1U);
}

TEST_F(UniqueNamesTest, EachCopyHasItsOwnVariables) {
  for (const char* linker : {"", "-fuse-ld=gold", "-fuse-ld=lld", "-fuse-ld=mold"}) {
    if (!compile(k_source, linker)) continue;  // not installed
    for (int i = 0; i < 3; ++i) {
      CopyEdits edits;
      edits.symbols =
          std::make_shared<SymbolNames>(make_symbol_names({&image_}, used_).value());
      const Path copies[] = {folder_ / (std::string(linker) + std::to_string(i) + "a.so"),
                             folder_ / (std::string(linker) + std::to_string(i) + "b.so")};
      int expected = 101;
      for (const Path& copy : copies) {  // a generation of two libraries shares them
        ASSERT_TRUE(fs_.copy_new(file_, copy, 0600).ok());
        const Status edited = apply_edits(fs_, copy, edits);
        ASSERT_TRUE(edited.ok()) << reason(edited);
        void* const library = ::dlopen(copy.c_str(), RTLD_NOW | RTLD_LOCAL);
        ASSERT_NE(library, nullptr) << ::dlerror();
        // NOLINTNEXTLINE(google-readability-casting)
        EXPECT_EQ(reinterpret_cast<int (*)()>(::dlsym(library, "bump"))(), expected++)
            << linker;
      }
    }
  }
}

TEST_F(UniqueNamesTest, ANameTooShortToChangeIsUsedOnce) {
  if (!compile("inline int x = 1; extern \"C\" int get() { return ++x; }")) {
    GTEST_SKIP() << "this compiler makes no unique symbols";
  }
  const Result<SymbolNames> first = make_symbol_names({&image_}, used_);
  ASSERT_TRUE(first.ok()) << reason(first);
  EXPECT_EQ(first.value().at("x"), "x");
  const Result<SymbolNames> second = make_symbol_names({&image_}, used_);
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(second.error().code, ErrorCode::unsupported);
  EXPECT_NE(second.error().message.find("variable x,"), std::string::npos);
}

TEST_F(UniqueNamesTest, AShortNameRunsOutAndSaysSo) {
  if (!compile("inline int ab = 1; extern \"C\" int get() { return ++ab; }")) {
    GTEST_SKIP() << "this compiler makes no unique symbols";
  }
  std::set<std::string> seen;
  Result<SymbolNames> names = make_symbol_names({&image_}, used_);
  for (; names.ok() && seen.size() < 100; names = make_symbol_names({&image_}, used_)) {
    EXPECT_TRUE(seen.insert(names.value().at("ab")).second);
    EXPECT_NE(names.value().at("ab"), "ab");
  }
  EXPECT_GE(seen.size(), 4U);
  EXPECT_FALSE(names.ok());
}

TEST_F(UniqueNamesTest, AnotherNameInTheTailStaysAsItIs) {
  // The function "inline_" lies in the tail of the variable's name.
  constexpr const char* k_merged =
      "inline int my_global_inline_ = 1; extern \"C\" int inline_() { return "
      "++my_global_inline_; }";
  if (!compile(k_merged, "-Wl,-O2")) {
    GTEST_SKIP() << "this compiler makes no unique symbols";
  }
  CopyEdits edits;
  edits.symbols = std::make_shared<SymbolNames>(make_symbol_names({&image_}, used_).value());
  EXPECT_NE(edits.symbols->at("my_global_inline_"), "my_global_inline_");
  ASSERT_TRUE(apply_edits(fs_, file_, edits).ok());
  void* const library = ::dlopen(file_.c_str(), RTLD_NOW | RTLD_LOCAL);
  ASSERT_NE(library, nullptr) << ::dlerror();
  EXPECT_NE(::dlsym(library, "inline_"), nullptr);
}

TEST_F(UniqueNamesTest, WithoutAGnuHashTableRefused) {
  if (!compile(k_source, "-Wl,--hash-style=sysv")) {
    GTEST_SKIP() << "this compiler makes no unique symbols";
  }
  const Result<SymbolNames> names = make_symbol_names({&image_}, used_);
  ASSERT_FALSE(names.ok());
  EXPECT_EQ(names.error().code, ErrorCode::unsupported);
  EXPECT_NE(names.error().hint.find("hash-style"), std::string::npos);
}

TEST_F(UniqueNamesTest, GroupsAreWhoSharesAVariable) {
  const std::vector<std::pair<std::string, std::string>> sources = {
      {"one", "inline int shared_a = 1; extern \"C\" int one() { return ++shared_a; }"},
      {"two",
       "inline int shared_a = 1, shared_b = 2;"
       "extern \"C\" int two() { return ++shared_a + ++shared_b; }"},
      {"three", "inline int shared_b = 2; extern \"C\" int three() { return ++shared_b; }"},
      {"four", "inline int own = 2; extern \"C\" int four() { return ++own; }"},
      {"five", "extern int own; extern \"C\" int five() { return ++own; }"},
      {"six", "extern \"C\" int six() { return 6; }"}};
  std::vector<std::string> bytes;
  std::vector<ElfImage> images;
  bytes.reserve(sources.size());
  for (const auto& [name, source] : sources) {
    ASSERT_TRUE(compile_library(source, folder_ / name));
    bytes.push_back(fs_.read(folder_ / name).value());
    images.push_back(ElfImage::parse(bytes.back()).value());
  }
  if (unique_names(images[0]).empty()) GTEST_SKIP() << "no unique symbols";
  std::vector<const ElfImage*> pointers;
  for (const ElfImage& image : images) pointers.push_back(&image);
  const std::vector<std::size_t> groups = sharing_groups(pointers);
  EXPECT_EQ(groups[0], groups[1]);
  EXPECT_EQ(groups[1], groups[2]);
  EXPECT_NE(groups[2], groups[3]);
  EXPECT_EQ(groups[3], groups[4]);
  EXPECT_EQ(groups[5], 5U);
}

}  // namespace
}  // namespace rehook
