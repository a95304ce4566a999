#include "shadow_store/class_layout.hpp"

#include <gtest/gtest.h>

#include <filesystem>
#include <string>

#include "shadow_store/class_layout_reader.hpp"
#include "tests/support/compiled_library.hpp"
#include "tests/support/temporary_folder.hpp"

namespace rehook {
namespace {

using Answer = LayoutVerdict::Answer;

constexpr const char* k_flags = "-g -fno-var-tracking";

// What a user has: classes, and a function that makes the compiler keep them all.
constexpr const char* k_before = R"(
#include <map>
#include <memory>
#include <vector>
namespace geo {
enum class Colour { red, green };
struct Inner { double a; double b; };
struct Leaf { int first; float second; };
struct Base {
  virtual ~Base() {}
  virtual int one(Leaf&) { return 1; }
  virtual int two() { return 2; }
  int kept;
};
struct Derived : Base { Colour colour; unsigned low : 3; unsigned high : 5; };
struct Plain { long number; char* text; };
struct Holder { std::unique_ptr<Inner> inner; };
struct Table { std::map<int, std::vector<Inner>> rows; };
struct Link { Inner* to; Link* next; };
template <class T, unsigned long N = 3> struct Grid { T cells[N]; const char* title; };
struct Lonely { short here; };
}
namespace { struct Secret { int a; }; }
typedef struct { int width; geo::Inner depth; } Box;
struct Opaque;
struct Handle { Opaque* it; };
extern "C" void use(geo::Derived d, geo::Plain p, geo::Holder& h, geo::Table& t, geo::Link l,
                    geo::Grid<const char*> g, geo::Lonely o, Box b, Handle k) {
  static geo::Derived made;  // without its virtual functions gcc only declares it
  static Secret secret{1};
  static std::vector<geo::Lonely> bound;
  bound.push_back(o);
  h.inner = std::make_unique<geo::Inner>();
  t.rows[d.kept + secret.a].push_back(*l.to);
}
)";

constexpr const char* k_derived = "N3geo7DerivedE";
constexpr const char* k_plain = "N3geo5PlainE";
constexpr const char* k_holder = "N3geo6HolderE";
constexpr const char* k_table = "N3geo5TableE";
constexpr const char* k_link = "N3geo4LinkE";
constexpr const char* k_grid = "N3geo4GridIPKcLm3EEE";
constexpr const char* k_lonely = "N3geo6LonelyE";
constexpr const char* k_secret = "*N12_GLOBAL__N_16SecretE";
constexpr const char* k_box = "3Box";
constexpr const char* k_handle = "6Handle";
constexpr const char* k_bound = "St6vectorIN3geo6LonelyESaIS1_EE";

std::string with(std::string text, const std::string& old, const std::string& changed) {
  const std::size_t at = text.find(old);
  EXPECT_NE(at, std::string::npos) << old;
  return at == std::string::npos ? text : text.replace(at, old.size(), changed);
}

class ClassLayoutTest : public testing::Test {
 protected:
  ClassLayoutTest() { set_class_layout_plugin(REHOOK_LAYOUTS_PLUGIN); }

  [[nodiscard]] Path compile(const std::string& source, const std::string& options = k_flags,
                             const std::string& compiler = "") {
    const Path file = folder_ / ("lib" + std::to_string(made_++) + ".so");
    EXPECT_TRUE(compile_library(source, file, options, compiler.empty() ? "c++" : compiler));
    return file;
  }
  [[nodiscard]] static ClassLayouts read(const std::vector<Path>& files) {
    Result<ClassLayouts> layouts = read_class_layouts(files);
    EXPECT_TRUE(layouts.ok()) << reason(layouts);
    return layouts.ok() ? *layouts : ClassLayouts{};
  }
  [[nodiscard]] ClassLayouts layouts(const std::string& source,
                                     const std::string& options = k_flags,
                                     const std::string& compiler = "") {
    return read({compile(source, options, compiler)});
  }
  [[nodiscard]] const ClassLayouts& before() {
    if (before_.classes.empty()) before_ = layouts(k_before);
    return before_;
  }
  // Compiles an edited source; gives the verdict on one class.
  void edit(const std::string& old, const std::string& changed) {
    after_ = layouts(with(k_before, old, changed));
  }
  [[nodiscard]] LayoutVerdict verdict(const char* name) {
    return compare_layouts(before(), after_, name);
  }
  void expect_same(const char* name) {
    EXPECT_EQ(verdict(name).answer, Answer::same) << name << ": " << verdict(name).reason;
  }
  void expect_changed(const char* name, const std::string& why) {
    EXPECT_EQ(verdict(name).answer, Answer::changed) << name << ": " << verdict(name).reason;
    EXPECT_EQ(verdict(name).reason, why);
  }
  void expect_all_same_but(std::vector<const char*> changed) {
    for (const char* name : {k_derived, k_plain, k_holder, k_table, k_link, k_grid, k_lonely,
                             k_secret, k_box, k_handle, k_bound}) {
      const bool is_changed = std::find(changed.begin(), changed.end(), name) != changed.end();
      EXPECT_EQ(verdict(name).answer, is_changed ? Answer::changed : Answer::same)
          << name << ": " << verdict(name).reason;
    }
  }

  TemporaryFolder folder_;
  ClassLayouts before_, after_;
  int made_ = 0;
};

TEST_F(ClassLayoutTest, CommentsAndNewFunctionsChangeNothing) {
  edit("namespace geo {", "// a comment\n\n\nnamespace geo { inline int more() { return 1; }");
  EXPECT_EQ(before().gap, "");
  expect_all_same_but({});
  EXPECT_TRUE(compare_all_layouts(before(), after_).is_same())
      << compare_all_layouts(before(), after_).reason;
}

TEST_F(ClassLayoutTest, AnAddedMemberIsNamed) {
  edit("short here;", "short here; short there;");
  expect_changed(k_lonely, "member 'there' added");
  expect_all_same_but({k_lonely, k_bound});
  EXPECT_EQ(compare_all_layouts(before(), after_).answer, Answer::changed);
}

TEST_F(ClassLayoutTest, AMemberThatFillsPaddingIsAChange) {
  edit("struct Plain { long number; char* text; };",
       "struct Plain { char* text; long number; };");
  expect_changed(k_plain, "member 'number' changed: @0 long int:8 -> @8 long int:8");
  expect_all_same_but({k_plain});
}

TEST_F(ClassLayoutTest, ATypeOfEqualSizeIsAChange) {
  edit("long number;", "double number;");
  expect_changed(k_plain, "member 'number' changed: @0 long int:8 -> @0 double:8");
  edit("high : 5", "high : 6");
  expect_all_same_but({k_derived});
}

TEST_F(ClassLayoutTest, AClassCountsWhereverItIsReached) {
  edit("double b; }", "double b; int c; }");
  // Behind unique_ptr, in a vector in a map, behind a pointer, and as a member.
  expect_all_same_but({k_holder, k_table, k_link, k_box});
  expect_changed(k_holder, "geo::Inner: member 'c' added");
}

TEST_F(ClassLayoutTest, SwappedMembersOfEqualSizeAreSeenThroughAPointer) {
  edit("double a; double b;", "double b; double a;");
  expect_all_same_but({k_holder, k_table, k_link, k_box});
}

TEST_F(ClassLayoutTest, VirtualFunctionsCountInTheirOrder) {
  edit("virtual int two()", "virtual int between() { return 0; }\n  virtual int two()");
  expect_changed(k_derived, "geo::Base: virtual function 'between() -> int:4' inserted");
  edit("  virtual int one(Leaf&) { return 1; }\n  virtual int two() { return 2; }\n",
       "  virtual int two() { return 2; }\n  virtual int one(Leaf&) { return 1; }\n");
  EXPECT_EQ(verdict(k_derived).answer, Answer::changed);
  EXPECT_NE(verdict(k_derived).reason.find("moved from slot"), std::string::npos)
      << verdict(k_derived).reason;
  expect_all_same_but({k_derived});
}

TEST_F(ClassLayoutTest, WhatVirtualFunctionsTakeCounts) {
  edit("float second;", "double second;");
  expect_all_same_but({k_derived});
}

TEST_F(ClassLayoutTest, EnumeratorsCount) {
  edit("{ red, green }", "{ blue, red, green }");
  expect_changed(k_derived, "geo::Colour: enumerator 'blue' added");
  edit("enum class Colour {", "enum class Colour : char {");
  EXPECT_EQ(verdict(k_derived).answer, Answer::changed);
}

TEST_F(ClassLayoutTest, TemplatesAnonymousNamespacesAndTypedefsAreFound) {
  edit("T cells[N];", "T cells[N + 1];");
  expect_all_same_but({k_grid});
  edit("Secret { int a; }", "Secret { int a; int b; }");
  expect_all_same_but({k_secret});
  edit("int width;", "int width, height;");
  expect_all_same_but({k_box});
}

TEST_F(ClassLayoutTest, WhatIsNotThereIsUnknown) {
  after_ = before();
  EXPECT_EQ(verdict("N3geo7NowhereE").answer, Answer::unknown);
  EXPECT_EQ(verdict("gibberish").answer, Answer::unknown);
  EXPECT_EQ(verdict("6Opaque").answer, Answer::unknown);
  after_ = ClassLayouts{};
  EXPECT_EQ(verdict(k_plain).answer, Answer::unknown);
  edit("struct Opaque;", "struct Opaque { int now; };");
  EXPECT_EQ(verdict(k_handle).answer, Answer::unknown);
}

TEST_F(ClassLayoutTest, TwoClassesOfOneNameAreUnknown) {
  const Path one = compile("struct S { int a; }; extern \"C\" int f(S s) { return s.a; }");
  const Path two = compile("struct S { float a; }; extern \"C\" float g(S s) { return s.a; }");
  before_ = after_ = read({one, two});
  EXPECT_EQ(verdict("1S").answer, Answer::unknown);
  EXPECT_EQ(verdict("1S").reason, "two different classes have this name");
}

TEST_F(ClassLayoutTest, AClassIsLookedUpInTheProjectsLibrariesToo) {
  const std::string user = "struct S; extern \"C\" S* f(S* s) { return s; }";
  const Path module = compile(user);
  before_ =
      read({module, compile("struct S { int a; }; extern \"C\" int g(S s) { return s.a; }")});
  after_ = read(
      {module, compile("struct S { float a; }; extern \"C\" float g(S s) { return s.a; }")});
  expect_changed("1S", "member 'a' changed: @0 int:4 -> @0 float:4");
}

class EveryFlavour : public ClassLayoutTest, public testing::WithParamInterface<const char*> {};

TEST_P(EveryFlavour, KnowsTheClasses) {
  const bool with_clang = std::string(GetParam()).starts_with("clang");
  const std::string flags = with_clang ? std::string(GetParam()).substr(6) : GetParam();
  const std::string compiler = with_clang ? "clang++" : "c++";
  // It may be missing, or have chosen a GCC whose standard library is not installed.
  const Path tiny = folder_ / "tiny.so";
  const char* const source = "#include <map>\nstd::map<int, int> made;\n";
  if (with_clang && !compile_library(source, tiny, "", compiler)) {
    const Result<std::string> log = posix_file_system().read(tiny.native() + ".log");
    GTEST_SKIP() << "clang++ compiles no C++ here: " << (log.ok() ? *log : reason(log));
  }
  before_ = layouts(k_before, flags, compiler);
  EXPECT_EQ(before_.gap, "");
  after_ = layouts(std::string("\n// moved\n") + k_before, flags, compiler);
  expect_all_same_but({});
  after_ = layouts(with(k_before, "double b; }", "double b; int c; }"), flags, compiler);
  expect_all_same_but({k_holder, k_table, k_link, k_box});
}

INSTANTIATE_TEST_SUITE_P(Compilers, EveryFlavour,
                         testing::Values("-g", "-O2 -g -fno-var-tracking", "-g -gdwarf-4",
                                         "-g -gdwarf-4 -gz", "-g -fdebug-types-section",
                                         "-g -gdwarf-4 -fdebug-types-section",
                                         "-g -gsplit-dwarf", "-g -gsplit-dwarf -gdwarf-4",
                                         "-g -flto -fno-fat-lto-objects", "clang -g",
                                         "clang -g -fstandalone-debug -O2",
                                         "clang -g -gdwarf-4 -gsplit-dwarf"));

class NoTypes : public ClassLayoutTest, public testing::WithParamInterface<const char*> {};

TEST_P(NoTypes, IsUnknownAndSaysWhy) {
  after_ = layouts(k_before, GetParam());
  EXPECT_NE(after_.gap, "");
  EXPECT_EQ(verdict(k_plain).answer, Answer::unknown);
  EXPECT_EQ(verdict(k_plain).reason, after_.gap);
  EXPECT_EQ(compare_all_layouts(before(), after_).answer, Answer::unknown);
  EXPECT_EQ(compare_all_layouts(after_, after_).answer, Answer::unknown);
}

INSTANTIATE_TEST_SUITE_P(Flags, NoTypes,
                         testing::Values("-g0", "-g1", "-g -s", "-O2 -g1 -flto"));

TEST_F(ClassLayoutTest, ALostSplitFileIsUnknown) {
  const Path file = compile(k_before, "-g -gsplit-dwarf");
  const ClassLayouts whole = read({file});
  EXPECT_EQ(whole.gap, "");
  int removed = 0;
  for (const Path& from : {folder_.path(), std::filesystem::current_path()}) {
    for (const auto& entry : std::filesystem::directory_iterator(from)) {
      const std::string name = entry.path().filename().string();
      if (!name.ends_with(".dwo")) continue;
      std::filesystem::remove(entry.path());
      ++removed;
    }
  }
  EXPECT_GT(removed, 0);
  after_ = read({file});
  EXPECT_EQ(verdict(k_plain).answer, Answer::unknown);
  EXPECT_EQ(verdict(k_plain).reason, "a split debug file (.dwo) is lost");
}

// One file of two is compiled without: what the other declares only may have changed.
TEST_F(ClassLayoutTest, CodeWithoutDebugInformationIsNoticed) {
  const Path without = folder_ / "without.o";
  const std::string hidden = "struct Opaque { int a; }; int peek(Opaque& o) { return o.a; }";
  ASSERT_TRUE(posix_file_system().write_atomic(folder_ / "without.cpp", hidden).ok());
  const std::string command = "c++ -c -fPIC -g0 -o '" + without.native() + "' '" +
                              (folder_ / "without.cpp").native() + "'";
  ASSERT_EQ(std::system(command.c_str()), 0);
  before_ = layouts(k_before, std::string(k_flags) + " '" + without.native() + "'");
  EXPECT_NE(before_.gap.find("peek"), std::string::npos) << before_.gap;
  after_ = before_;
  expect_same(k_plain);
  EXPECT_EQ(verdict(k_handle).answer, Answer::unknown);
  EXPECT_EQ(verdict(k_secret).answer, Answer::unknown);
  EXPECT_EQ(compare_all_layouts(before_, after_).answer, Answer::unknown);
}

TEST_F(ClassLayoutTest, StoredLayoutsSayTheSame) {
  const std::string bytes = serialize(before());
  Result<ClassLayouts> again = parse_class_layouts(bytes);
  ASSERT_TRUE(again.ok()) << reason(again);
  EXPECT_EQ(serialize(*again), bytes);
  after_ = *again;
  expect_all_same_but({});
}

TEST_F(ClassLayoutTest, DamagedStoredLayoutsAreNoticed) {
  const std::string bytes =
      serialize(layouts("struct S { int a; }; int f(S s) { return s.a; }"));
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_FALSE(parse_class_layouts(std::string_view(bytes).substr(0, size)).ok());
    std::string flipped = bytes;
    flipped[size] = static_cast<char>(flipped[size] ^ 4);
    EXPECT_FALSE(parse_class_layouts(flipped).ok());
  }
}

// Whatever the bytes are, reading ends, and does not crash.
TEST_F(ClassLayoutTest, DamagedDebugInformationIsSurvived) {
  const Path file = compile(
      "namespace n { enum E { a, b }; struct S { E e; S* next; int x : 3; };"
      "template <class T> struct V { T* at; virtual int f(S*) { return 0; }"
      " }; } extern \"C\" n::S* use(n::V<n::S> v) { return v.at; }");
  const std::string bytes = posix_file_system().read(file).value();
  // Most of a small library is headers and padding; the sections of interest follow the code.
  const std::size_t begin = bytes.find("GCC: (");
  const std::size_t first = begin == std::string::npos ? bytes.size() / 2 : begin;
  const Path damaged = folder_ / "damaged.so";
  unsigned state = 12345;
  int known = 0;
  for (int round = 0; round < 3000; ++round) {
    std::string copy = bytes;
    for (int flips = 0; flips <= round % 4; ++flips) {
      state = state * 1664525U + 1013904223U;
      const std::size_t at = first + (state >> 4U) % (copy.size() - first);
      copy[at] = static_cast<char>(copy[at] ^ (1U << (state >> 1U) % 8));
    }
    ASSERT_TRUE(posix_file_system().remove(damaged, MissingOk::yes).ok());
    ASSERT_TRUE(posix_file_system().append(damaged, copy).ok());
    known += read({damaged}).find("n::S") != nullptr ? 1 : 0;
  }
  EXPECT_GT(known, 100);
  for (std::size_t size = 0; size < bytes.size(); size += 97) {
    ASSERT_TRUE(posix_file_system().remove(damaged, MissingOk::yes).ok());
    ASSERT_TRUE(posix_file_system().append(damaged, bytes.substr(0, size)).ok());
    EXPECT_NE(read({damaged}).gap, "");
  }
}

TEST_F(ClassLayoutTest, AMissingPluginIsAnError) {
  set_class_layout_plugin("/no/such/rehook_layouts.so");
  const Result<ClassLayouts> result = read_class_layouts({});
  ASSERT_FALSE(result.ok());
  EXPECT_EQ(result.error().code, ErrorCode::unsupported);
}

}  // namespace
}  // namespace rehook
