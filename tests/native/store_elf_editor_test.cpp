#include "shadow_store/elf_editor.hpp"

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

// One generation: `VALUE` and `SIZE` are what the user edits. The second namespace stands for a
// header of the standard library.
constexpr const char* k_source = R"(
inline int conf[SIZE] = {VALUE};
template <class T> struct Holder { static inline int value = VALUE + 1; };
inline int& local() { static int value = [] { return VALUE + 2; }(); return value; }
namespace std {
template <class T> struct probe { static inline int value = VALUE; };
}
struct Mine {};
extern "C" {
int inline_variable() { return conf[0]; }
int static_member() { return Holder<int>::value; }
int function_static() { return local(); }
int of_std() { return std::probe<int>::value; }
int of_std_with_mine() { return std::probe<Mine>::value; }
int grow() { for (int& i : conf) i = 5; return conf[SIZE - 1]; }
}
)";

// What a private copy is edited for when it shares nothing.
Result<EditReport> isolate_unique_symbols(FileSystem& fs, const Path& file) {
  EditReport report;
  if (const auto bytes = fs.read(file)) {
    if (const auto image = ElfImage::parse(*bytes)) {
      std::ignore = plan_unique_isolation(*image, report);
    }
  }
  REHOOK_TRY(apply_edits(fs, file, {}));
  return report;
}

class ElfEditorTest : public testing::Test {
 protected:
  // Compiles a generation and says whether its compiler makes unique symbols at all.
  [[nodiscard]] bool compile(const Path& file, const std::string& value,
                             const std::string& options = "") {
    if (!compile_library(k_source, file, "-DVALUE=" + value + " " + options)) {
      ADD_FAILURE() << "the compiler refused";
    }
    return !unique_names(file).empty();
  }
  [[nodiscard]] std::set<std::string> unique_names(const Path& file) {
    std::set<std::string> names;
    const std::string bytes = fs_.read(file).value();
    Result<ElfImage> image = ElfImage::parse(bytes);
    EXPECT_TRUE(image.ok());
    for (const ElfImage::DynamicSymbol& symbol : image->symbols()) {
      if (symbol.binding() == SymbolBinding::gnu_unique) names.emplace(symbol.name);
    }
    return names;
  }
  // Calls a function of the library, which stays loaded as a generation does.
  [[nodiscard]] static int call(const Path& file, const char* name) {
    void* const library = ::dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) {
      ADD_FAILURE() << ::dlerror();
      return -1;
    }
    return reinterpret_cast<int (*)()>(::dlsym(library, name))();
  }
  TemporaryFolder folder_;
  FakeFileSystem fs_;
  Path first_ = folder_ / "g1.so";
  Path second_ = folder_ / "g2.so";
};

TEST_F(ElfEditorTest, MakesUniqueSymbolsWeakExceptTheStandardLibrarys) {
  if (!compile(first_, "100", "-DSIZE=4"))
    GTEST_SKIP() << "this compiler makes no unique symbols";
  const std::size_t before = unique_names(first_).size();
  const Result<EditReport> report = isolate_unique_symbols(fs_, first_);
  ASSERT_TRUE(report.ok()) << reason(report);
  EXPECT_EQ(unique_names(first_), std::set<std::string>{"_ZNSt5probeIiE5valueE"});
  EXPECT_EQ(report.value().isolated, before - 1);
  EXPECT_EQ(report.value().kept, 1U);
  EXPECT_GE(report.value().isolated, 4U);
}

TEST_F(ElfEditorTest, ChangesOneBytePerSymbolAndNothingElse) {
  if (!compile(first_, "100", "-DSIZE=4"))
    GTEST_SKIP() << "this compiler makes no unique symbols";
  const std::string before = fs_.read(first_).value();
  const Result<EditReport> report = isolate_unique_symbols(fs_, first_);
  ASSERT_TRUE(report.ok()) << reason(report);
  const std::string after = fs_.read(first_).value();
  ASSERT_EQ(after.size(), before.size());
  std::size_t changed = 0;
  for (std::size_t i = 0; i < before.size(); ++i) changed += before[i] != after[i] ? 1 : 0;
  EXPECT_EQ(changed, report.value().isolated);
}

TEST_F(ElfEditorTest, EditingAgainWritesNothing) {
  if (!compile(first_, "100", "-DSIZE=4"))
    GTEST_SKIP() << "this compiler makes no unique symbols";
  ASSERT_TRUE(isolate_unique_symbols(fs_, first_).ok());
  fs_.forget();
  const Result<EditReport> report = isolate_unique_symbols(fs_, first_);
  ASSERT_TRUE(report.ok());
  EXPECT_EQ(report.value().isolated, 0U);
  EXPECT_TRUE(fs_.writes().empty());
}

// The reason for all this: what happens without the edit. Fails when it is no longer needed.
TEST_F(ElfEditorTest, WithoutTheEditASecondGenerationIsStale) {
  if (!compile(first_, "100", "-DSIZE=4"))
    GTEST_SKIP() << "this compiler makes no unique symbols";
  ASSERT_TRUE(compile(second_, "200", "-DSIZE=4"));
  EXPECT_EQ(call(first_, "inline_variable"), 100);
  EXPECT_EQ(call(second_, "inline_variable"), 100);
}

TEST_F(ElfEditorTest, EachGenerationHasItsOwnVariables) {
  if (!compile(first_, "100", "-DSIZE=4"))
    GTEST_SKIP() << "this compiler makes no unique symbols";
  ASSERT_TRUE(compile(second_, "200", "-DSIZE=4"));
  ASSERT_TRUE(isolate_unique_symbols(fs_, first_).ok());
  ASSERT_TRUE(isolate_unique_symbols(fs_, second_).ok());
  for (const auto& [name, offset] :
       std::vector<std::pair<const char*, int>>{{"inline_variable", 0},
                                                {"static_member", 1},
                                                {"function_static", 2},
                                                {"of_std_with_mine", 0}}) {
    EXPECT_EQ(call(first_, name), 100 + offset) << name;
    EXPECT_EQ(call(second_, name), 200 + offset) << name;
  }
  EXPECT_EQ(call(first_, "of_std"), 100);
  EXPECT_EQ(call(second_, "of_std"), 100);  // the standard library's own stay one
}

TEST_F(ElfEditorTest, AGrownVariableDoesNotOverrunTheOldOne) {
  if (!compile(first_, "100", "-DSIZE=4"))
    GTEST_SKIP() << "this compiler makes no unique symbols";
  ASSERT_TRUE(compile(second_, "200", "-DSIZE=100000"));
  ASSERT_TRUE(isolate_unique_symbols(fs_, first_).ok());
  ASSERT_TRUE(isolate_unique_symbols(fs_, second_).ok());
  EXPECT_EQ(call(first_, "inline_variable"), 100);
  EXPECT_EQ(call(second_, "grow"), 5);
  EXPECT_EQ(call(first_, "inline_variable"), 100);
}

TEST_F(ElfEditorTest, OtherFilesAreRefusedByName) {
  ASSERT_TRUE(fs_.write_atomic(first_, "no library").ok());
  fs_.forget();
  const Result<EditReport> report = isolate_unique_symbols(fs_, first_);
  ASSERT_FALSE(report.ok());
  EXPECT_EQ(report.error().code, ErrorCode::corrupt);
  EXPECT_EQ(report.error().message, first_.native() + ": not an ELF file");
  EXPECT_TRUE(fs_.writes().empty());
}

TEST_F(ElfEditorTest, AnEditThatDidNotLastIsNoticed) {
  if (!compile(first_, "100", "-DSIZE=4"))
    GTEST_SKIP() << "this compiler makes no unique symbols";
  const std::string original = fs_.read(first_).value();
  bool patched = false;
  fs_.before = [&](const FakeFileSystem::Call& call) {
    if (call.operation == "read" && patched) {
      std::ignore = posix_file_system().write_atomic(first_, original);
    }
    patched = patched || call.operation == "patch";
  };
  const Result<EditReport> report = isolate_unique_symbols(fs_, first_);
  ASSERT_FALSE(report.ok());
  EXPECT_EQ(report.error().code, ErrorCode::corrupt);
}

TEST(StandardLibraryOnly, TellsItsOwnNamesFromTheUsers) {
  for (const char* own :
       {"_ZZNSt19_Sp_make_shared_tag5_S_tiEvE5__tag", "_ZSt19piecewise_construct",
        "_ZGVZNKSt8__detail11_AnyMatcherINSt7__cxx1112regex_traitsIcEELb0ELb0ELb0EEclEcE5__nul",
        "_ZZNKSt8__detail9_ExecutorIPKcSaINSt7__cxx119sub_matchIS2_EEENS3_12regex_"
        "traitsIcEELb0EE"
        "10_M_is_wordEcE3__s",
        "_ZZNSt8__detail18__to_chars_10_implIjEEvPcjT_E8__digits",
        "_ZZNKSt7__cxx1112regex_traitsIcE16lookup_classnameIPKcEENS1_10_RegexMaskET_S6_bE12__"
        "classnames",
        "_ZNSt7__cxx1110moneypunctIcLb0EE2idE", "_ZNSs4_Rep20_S_empty_rep_storageE"}) {
    EXPECT_TRUE(is_standard_library_only(own)) << own;
  }
  for (const char* users :
       {"conf", "_Z4confv", "_ZN4Mine5valueE", "_ZZ5localvE5value", "_ZGVZ5localvE5value", "",
        "_Z", "_ZN", "St", "_ZSt", "_ZNSt", "_ZNSt5probeI4MineE5valueE", "_ZN3Std5valueE",
        "_ZN8Standard5valueE",
        // What std::visit and std::function keep for code of the user.
        "_ZNSt8__detail9__variant12__gen_vtableINS0_21__deduce_visit_"
        "resultIiEEO7VisitorJRSt7variant"
        "IJiS4_EEEE9_S_vtableE",
        "_ZZNSt5probeIZ3runiEUlvE_E1fEvE5value"}) {
    EXPECT_FALSE(is_standard_library_only(users)) << users;
  }
}

}  // namespace
}  // namespace rehook
