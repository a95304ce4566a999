#include "shadow_store/private_libraries.hpp"

#include <dlfcn.h>
#include <gtest/gtest.h>

#include <map>
#include <string>
#include <vector>

#include "tests/support/compiled_library.hpp"
#include "tests/support/fake_file_system.hpp"
#include "tests/support/temporary_folder.hpp"

namespace rehook {
namespace {

// A module that needs one library, in one build of it after another.
class PrivateLibrariesTest : public testing::Test {
 protected:
  void SetUp() override {
    auto store = ArtifactStore::open(fs_, folder_ / "store");
    ASSERT_TRUE(store.ok()) << reason(store);
    store_.emplace(std::move(store).value());
    auto shadows = ShadowFolder::open(fs_, *store_);
    ASSERT_TRUE(shadows.ok()) << reason(shadows);
    shadows_ = shadows.value();
  }
  [[nodiscard]] bool build(int value, const std::string& name = "libcore.so.1",
                           const std::string& options = "", bool with_soname = true) {
    const std::string text = std::to_string(value);
    const std::string soname = with_soname ? " -Wl,-soname," + name : "";
    // As CMake links them: found by the linker, by name.
    return compile_library("extern \"C\" int core_value() { return " + text + "; }",
                           folder_ / name, options + soname) &&
           compile_library(
               "extern \"C\" int core_value();"
               "extern \"C\" int module_value() { return core_value(); }",
               folder_ / "module.so",
               options + " -Wl,--no-as-needed -L" + folder_.path().native() + " -l:" + name);
  }
  [[nodiscard]] LibraryRequest request(const std::string& name = "libcore.so.1") {
    LibraryRequest request;
    request.module = "pkg.module";
    request.digest = store_->publish(folder_ / "module.so").value();
    request.artifact = store_->object_path(request.digest, "module.so");
    StoredLibrary library;
    const std::string bytes = fs_.read(folder_ / name).value();
    library.soname = ElfImage::parse(bytes).value().soname();
    library.names = {name};
    library.origin = folder_ / name;
    library.digest = store_->publish(library.origin).value();
    library.code = library.digest;
    library.artifact = store_->object_path(library.digest, name);
    request.libraries.push_back(library);
    return request;
  }
  // Loads what was prepared, and asks the module.
  [[nodiscard]] static int value(const PreparedLibraries& prepared) {
    for (const Path& file : prepared.load_first) {
      if (::dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL) == nullptr) {
        ADD_FAILURE() << ::dlerror();
        return -1;
      }
    }
    void* const module = ::dlopen(prepared.module_file.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (module == nullptr) {
      ADD_FAILURE() << ::dlerror();
      return -1;
    }
    return reinterpret_cast<int (*)()>(::dlsym(module, "module_value"))();
  }
  TemporaryFolder folder_;
  FakeFileSystem fs_;
  std::optional<ArtifactStore> store_;
  std::shared_ptr<ShadowFolder> shadows_;
  PrivateLibraries libraries_{fs_, [](const std::string&) { return false; }};
  RunningLibraries running_;
  std::map<Digest, bool> made_;
};

TEST_F(PrivateLibrariesTest, EveryBuildRunsItsOwnLibrary) {
  for (const char* linker : {"", "-fuse-ld=gold", "-fuse-ld=lld", "-fuse-ld=mold"}) {
    for (int i = 1; i <= 3; ++i) {
      if (!build(i, "libcore.so.1", linker)) break;  // not installed
      auto prepared = libraries_.prepare(*shadows_, request(), running_, made_);
      ASSERT_TRUE(prepared.ok()) << reason(prepared);
      EXPECT_EQ(value(prepared.value()), i) << linker;
    }
  }
}

TEST_F(PrivateLibrariesTest, ALibraryWithoutANameGetsOne) {
  for (const char* options : {"", "-Wl,-z,noseparate-code -Wl,--build-id=sha1", "-fuse-ld=gold",
                              "-fuse-ld=lld -Wl,--build-id=sha1", "-fuse-ld=mold"}) {
    for (int i = 1; i <= 2; ++i) {
      if (!build(i, "libcore.so", options, false)) break;
      const LibraryRequest wanted = request("libcore.so");
      ASSERT_EQ(wanted.libraries[0].soname, "");
      auto prepared = libraries_.prepare(*shadows_, wanted, running_, made_);
      ASSERT_TRUE(prepared.ok()) << options << ": " << reason(prepared);
      EXPECT_EQ(value(prepared.value()), i) << options;
    }
  }
}

TEST_F(PrivateLibrariesTest, NoRoomForANameIsAMessage) {
  ASSERT_TRUE(build(1, "libcore.so", "", false));
  const std::string bytes = fs_.read(folder_ / "libcore.so").value();
  const ElfImage image = ElfImage::parse(bytes).value();
  EXPECT_TRUE(plan_soname(bytes, image, "libshort.so").ok());
  const auto planned = plan_soname(bytes, image, std::string(5000, 'x'));
  ASSERT_FALSE(planned.ok());
  EXPECT_EQ(planned.error().code, ErrorCode::unsupported);
  EXPECT_NE(planned.error().hint.find("NO_SONAME"), std::string::npos);
}

TEST_F(PrivateLibrariesTest, WhatRunsIsUsedAgainUnlessItMustBeFresh) {
  ASSERT_TRUE(build(1));
  LibraryRequest wanted = request();
  const auto first = libraries_.prepare(*shadows_, wanted, running_, made_).value();
  made_.clear();
  const auto second = libraries_.prepare(*shadows_, wanted, running_, made_).value();
  EXPECT_EQ(first.instances[0].file, second.instances[0].file);
  EXPECT_TRUE(second.load_first.empty());
  EXPECT_NE(first.module_file, second.module_file);
  wanted.fresh_only = true;
  const auto third = libraries_.prepare(*shadows_, wanted, running_, made_).value();
  EXPECT_NE(third.instances[0].file, first.instances[0].file);
  EXPECT_NE(third.instances[0].name, first.instances[0].name);
  // Made by this reload: what comes later in it shares the copy.
  const auto fourth = libraries_.prepare(*shadows_, wanted, running_, made_).value();
  EXPECT_EQ(fourth.instances[0].file, third.instances[0].file);
}

TEST_F(PrivateLibrariesTest, ShortNamesAreUsedUpWithAMessage) {
  ASSERT_TRUE(build(1, "a.so"));
  PrivateLibraries libraries(fs_, [](const std::string&) { return true; });
  const auto prepared = libraries.prepare(*shadows_, request("a.so"), running_, made_);
  ASSERT_FALSE(prepared.ok());
  EXPECT_EQ(prepared.error().code, ErrorCode::unsupported);
  EXPECT_NE(prepared.error().message.find("a.so: no unused name of 4"), std::string::npos);
}

TEST_F(PrivateLibrariesTest, AFourLetterNameIsEnoughForManyBuilds) {
  ASSERT_TRUE(build(1, "a.so"));
  const LibraryRequest wanted = request("a.so");
  std::set<std::string> names;
  for (int i = 0; i < 50; ++i) {
    RunningLibraries running;
    std::map<Digest, bool> made;
    const auto prepared = libraries_.prepare(*shadows_, wanted, running, made);
    ASSERT_TRUE(prepared.ok()) << reason(prepared);
    EXPECT_TRUE(names.insert(prepared.value().instances[0].name).second);
  }
}

TEST_F(PrivateLibrariesTest, ANameInTheTailOfAnotherIsRefused) {
  // The library's name is kept inside the longer symbol.
  ASSERT_TRUE(compile_library("extern \"C\" int x_core() { return 1; }", folder_ / "core",
                              "-Wl,-O2 -Wl,-soname,core"));
  const std::string bytes = fs_.read(folder_ / "core").value();
  const ElfImage image = ElfImage::parse(bytes).value();
  const Result<std::size_t> fixed = fixed_tail(image, "core");
  if (fixed.ok()) GTEST_SKIP() << "this linker keeps names apart";
  EXPECT_EQ(fixed.error().code, ErrorCode::unsupported);
  EXPECT_NE(fixed.error().message.find("core"), std::string::npos);
}

TEST_F(PrivateLibrariesTest, AnotherNameInItsTailIsKept) {
  ASSERT_TRUE(compile_library("extern \"C\" int core() { return 1; }", folder_ / "x_core",
                              "-Wl,-O2 -Wl,-soname,libmy_long_core"));
  const std::string bytes = fs_.read(folder_ / "x_core").value();
  const ElfImage image = ElfImage::parse(bytes).value();
  const Result<std::size_t> fixed = fixed_tail(image, "libmy_long_core");
  ASSERT_TRUE(fixed.ok());
  EXPECT_FALSE(plan_library_names(image, {{"libmy_long_core", "one_that_is_longer"}}).ok());
  if (fixed.value() > 0) {
    EXPECT_FALSE(plan_library_names(image, {{"libmy_long_core", "ABCDEFGHIJKLMNO"}}).ok());
  }
  EXPECT_TRUE(plan_library_names(image, {{"libmy_long_core", "ABCDEFGHIJKcore"}}).ok());
}

TEST_F(PrivateLibrariesTest, OwnSymbolsFirstEvenWhenAnOlderBuildIsGlobal) {
  constexpr const char* k_source =
      "extern \"C\" int own() { return VALUE; } extern \"C\" int use() { return own(); }";
  for (const char* linker : {"", "-fuse-ld=gold", "-fuse-ld=mold", "-fuse-ld=lld"}) {
    const std::string tag = linker;
    const Path one = folder_ / ("one" + tag), two = folder_ / ("two" + tag);
    if (!compile_library(k_source, one, "-DVALUE=1 " + tag)) continue;
    ASSERT_TRUE(compile_library(k_source, two, "-DVALUE=2 " + tag));
    ASSERT_NE(::dlopen(one.c_str(), RTLD_NOW | RTLD_GLOBAL), nullptr);
    CopyEdits edits;
    edits.own_symbols_first = true;
    const Status edited = apply_edits(fs_, two, edits);
    if (!edited.ok()) {
      EXPECT_EQ(edited.error().code, ErrorCode::unsupported);
      EXPECT_NE(edited.error().message.find("no room"), std::string::npos) << linker;
      continue;
    }
    void* const library = ::dlopen(two.c_str(), RTLD_NOW | RTLD_LOCAL);
    ASSERT_NE(library, nullptr) << ::dlerror();
    EXPECT_EQ(reinterpret_cast<int (*)()>(::dlsym(library, "use"))(), 2) << linker;
  }
}

}  // namespace
}  // namespace rehook
