#include <dlfcn.h>
#include <gtest/gtest.h>

#include <string>

#include "hook/patch/virtual_tables.hpp"
#include "tests/support/compiled_library.hpp"
#include "tests/support/temporary_folder.hpp"

namespace rehook {
namespace {

// A class with two bases, so that there are two tables and a thunk; BUILD is its number.
constexpr const char* k_source = R"(
struct Shape {
  virtual ~Shape() = default;
  virtual int area() const;
  virtual int corners() const = 0;
};
struct Named {
  virtual int name() const;
  int padding = 0;
};
struct Square : Shape, Named {
  int corners() const override;
  int name() const override;
};
int Shape::area() const { return 10 + BUILD; }
int Named::name() const { return 20 + BUILD; }
int Square::corners() const { return 30 + BUILD; }
int Square::name() const { return 40 + BUILD; }
extern "C" Square* make() { return new Square; }
extern "C" int area(const Shape* shape) { return shape->area(); }
extern "C" int corners(const Shape* shape) { return shape->corners(); }
extern "C" int name(const Square* square) { const Named* named = square; return named->name(); }
extern "C" void destroy(Shape* shape) { delete shape; }
)";

struct Build {
  std::string bytes;
  LoadedLibrary mapped;
  void* handle = nullptr;

  [[nodiscard]] VirtualTables::Build view() const { return {bytes, mapped}; }
  template <typename Function>
  Function* function(const char* name) const {
    return reinterpret_cast<Function*>(dlsym(handle, name));
  }
  [[nodiscard]] void* make() const { return function<void*()>("make")(); }
  [[nodiscard]] int ask(const char* question, const void* object) const {
    return function<int(const void*)>(question)(object);
  }
};

class VirtualTablesTest : public testing::Test {
 protected:
  Build load(int number, const std::string& extra = "", const std::string& options = "") {
    // BUILD in the text is the preprocessor's business.
    const std::string source =
        "#define BUILD " + std::to_string(number) + "\n" + k_source + extra;
    const Path file = folder_ / Path(std::to_string(++count_)).replace_extension(".so");
    EXPECT_TRUE(compile_library(source, file, options));
    Build build;
    build.bytes = *posix_file_system().read(file);
    build.handle = *load_library(file);
    build.mapped = *find_loaded_library(file);
    return build;
  }

  TemporaryFolder folder_;
  int count_ = 0;
};

const auto k_all = [](std::string_view) { return true; };

TEST_F(VirtualTablesTest, OldObjectsCallNewFunctions) {
  const Build one = load(1), two = load(2);
  void* const object = one.make();
  VirtualTables tables;
  ASSERT_TRUE(tables.plan(one.view(), two.view(), {}, k_all));
  EXPECT_EQ(one.ask("area", object), 11);
  ASSERT_TRUE(tables.apply());
  EXPECT_EQ(one.ask("area", object), 12);
  EXPECT_EQ(one.ask("corners", object), 32);
  EXPECT_EQ(one.ask("name", object), 42);  // through the second table and its thunk
  EXPECT_TRUE(tables.covers("6Square"));
  std::ignore = tables.commit();
  EXPECT_EQ(two.ask("name", object), 42);
  two.function<void(void*)>("destroy")(object);
}

TEST_F(VirtualTablesTest, WithoutCommitTheyCallOldOnesAgain) {
  const Build one = load(1), two = load(2);
  void* const object = one.make();
  {
    VirtualTables tables;
    ASSERT_TRUE(tables.plan(one.view(), two.view(), {}, k_all));
    ASSERT_TRUE(tables.apply());
    EXPECT_EQ(one.ask("name", object), 42);
  }
  EXPECT_EQ(one.ask("area", object), 11);
  EXPECT_EQ(one.ask("corners", object), 31);
  EXPECT_EQ(one.ask("name", object), 41);
}

TEST_F(VirtualTablesTest, ObjectsOfEveryEarlierBuildFollow) {
  Build current = load(1);
  void* const first = current.make();
  FollowingTables following;
  for (int number = 2; number <= 5; ++number) {
    const Build next = load(number);
    VirtualTables tables;
    ASSERT_TRUE(tables.plan(current.view(), next.view(), following, k_all));
    ASSERT_TRUE(tables.apply());
    following = tables.commit();
    current = next;
    EXPECT_EQ(current.ask("corners", first), 30 + number);
  }
  EXPECT_EQ(following.by_class.at("6Square").size(), 4U);
}

TEST_F(VirtualTablesTest, ClassesWithAnotherLayoutAreLeftAlone) {
  const Build one = load(1), two = load(2);
  void* const object = one.make();
  VirtualTables tables;
  const auto only_others = [](std::string_view name) { return name != "6Square"; };
  ASSERT_TRUE(tables.plan(one.view(), two.view(), {}, only_others));
  ASSERT_TRUE(tables.apply());
  EXPECT_FALSE(tables.covers("6Square"));
  EXPECT_EQ(one.ask("corners", object), 31);
}

TEST_F(VirtualTablesTest, TablesOfAnotherSizeAreLeftAlone) {
  const Build one = load(1);
  const Build two =
      load(2,
           "struct Disc : Shape { int corners() const override; virtual int r(); "
           "}; int Disc::corners() const { return 0; } int Disc::r() { return 1; }");
  const Build three = load(3,
                           "struct Disc : Shape { int corners() const override; }; "
                           "int Disc::corners() const { return 0; }");
  VirtualTables tables;
  ASSERT_TRUE(tables.plan(two.view(), three.view(), {}, k_all));
  EXPECT_FALSE(tables.covers("4Disc"));
  EXPECT_TRUE(tables.covers("6Square"));
  VirtualTables others;
  ASSERT_TRUE(others.plan(one.view(), two.view(), {}, k_all));
  EXPECT_FALSE(others.covers("4Disc"));
}

TEST_F(VirtualTablesTest, AStrippedLibraryStillTellsItsExportedTables) {
  const Build one = load(1, "", "-s"), two = load(2, "", "-s");
  void* const object = one.make();
  VirtualTables tables;
  ASSERT_TRUE(tables.plan(one.view(), two.view(), {}, k_all));
  ASSERT_TRUE(tables.apply());
  EXPECT_EQ(one.ask("corners", object), 32);
}

TEST_F(VirtualTablesTest, HiddenTablesOfAStrippedLibraryAreNotFound) {
  const std::string options = "-s -fvisibility=hidden";
  const std::string extra =
      "extern \"C\" __attribute__((visibility(\"default\"))) int seen() { "
      "return 1; }";
  const Build one = load(1, extra, options), two = load(2, extra, options);
  VirtualTables tables;
  ASSERT_TRUE(tables.plan(one.view(), two.view(), {}, k_all));
  EXPECT_FALSE(tables.covers("6Square"));
}

TEST_F(VirtualTablesTest, TornFilesAreRefused) {
  const Build one = load(1), two = load(2);
  for (std::size_t size = 0; size < one.bytes.size(); size += 97) {
    VirtualTables tables;
    const std::string torn = one.bytes.substr(0, size);
    std::ignore = tables.plan({torn, one.mapped}, two.view(), {}, k_all);  // must not crash
  }
}

}  // namespace
}  // namespace rehook
