#include "builder/cmake_file_api.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <random>

#include "builder/extension_targets.hpp"
#include "builder/process.hpp"
#include "tests/support/fake_file_system.hpp"
#include "tests/support/temporary_folder.hpp"

namespace rehook {
namespace {

namespace stdfs = std::filesystem;

constexpr const char* k_core = "_core.cpython-311-x86_64-linux-gnu.so";

Path recorded(const std::string& name) {
  return Path(REHOOK_FIXTURES) / "cmake_replies" / name;
}
Path reply_folder(const Path& build) {
  return build / ".cmake/api/v1/reply";
}

const Target* find_target(const CodeModel& model, const std::string& name) {
  for (const Target& target : model.targets) {
    if (target.name == name) return &target;
  }
  return nullptr;
}

template <typename T>
bool contains(const std::vector<T>& list, const T& value) {
  return std::find(list.begin(), list.end(), value) != list.end();
}

// A copy of a recorded reply, to be broken.
class CopiedReply {
 public:
  explicit CopiedReply(const std::string& version) {
    stdfs::copy(recorded(version), folder_ / "build", stdfs::copy_options::recursive);
  }
  [[nodiscard]] Path build() const { return folder_ / "build"; }
  [[nodiscard]] Path file(const std::string& prefix) const {
    for (const auto& entry : stdfs::directory_iterator(reply_folder(build()))) {
      if (entry.path().filename().string().starts_with(prefix)) return entry.path();
    }
    return {};
  }
  [[nodiscard]] static std::string text(const Path& file) {
    return *posix_file_system().read(file);
  }
  void replace(const Path& file, const std::string& from, const std::string& to) const {
    std::string all = text(file);
    for (std::size_t at = 0; (at = all.find(from, at)) != std::string::npos; at += to.size()) {
      all.replace(at, from.size(), to);
    }
    std::ofstream(file, std::ios::binary) << all;
  }
  [[nodiscard]] Result<CodeModel> read() const {
    return read_file_api_reply(posix_file_system(), build(), "");
  }

 private:
  TemporaryFolder folder_;
};

class RecordedReply : public testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(CMake, RecordedReply,
                         testing::Values("3.24.3", "3.25.1", "3.25.1-multi", "3.31.6", "4.1.2",
                                         "4.4.4"),
                         [](const auto& name) {
                           std::string text = name.param;
                           std::replace(text.begin(), text.end(), '.', '_');
                           std::replace(text.begin(), text.end(), '-', '_');
                           return text;
                         });

TEST_P(RecordedReply, Targets) {
  const Path build = recorded(GetParam());
  const auto model = read_file_api_reply(posix_file_system(), build, "Release");
  ASSERT_TRUE(model) << reason(model);
  EXPECT_EQ(model->cmake_version,
            std::string(GetParam()).substr(0, model->cmake_version.size()));
  EXPECT_EQ(model->generator.substr(0, 5), "Ninja");
  EXPECT_EQ(model->configuration, "Release");
  EXPECT_EQ(model->source_dir, "/src/demo");
  EXPECT_EQ(model->build_dir, build);
  ASSERT_EQ(model->targets.size(), 2U);
  const Target* core = find_target(*model, "core_ext");
  const Target* math = find_target(*model, "mathx");
  ASSERT_TRUE(core != nullptr && math != nullptr);
  EXPECT_EQ(core->type, "MODULE_LIBRARY");
  EXPECT_EQ(core->name_on_disk, k_core);
  ASSERT_EQ(core->artifacts.size(), 1U);
  EXPECT_EQ(core->artifacts[0].filename(), k_core);
  EXPECT_EQ(core->artifacts[0].native().substr(0, build.native().size()), build.native());
  EXPECT_EQ(core->install_destinations, std::vector<std::string>{"demo"});
  EXPECT_EQ(core->dependencies, std::vector<std::string>{math->id});
  EXPECT_EQ(core->defined_in, "CMakeLists.txt:13");
  EXPECT_FALSE(core->lto);
  EXPECT_EQ(math->type, "STATIC_LIBRARY");
  EXPECT_EQ(math->defined_in, "lib/mathx/CMakeLists.txt:1");
  EXPECT_EQ(dependency_closure(*model, core->id), (std::vector<const Target*>{core, math}));
}

TEST_P(RecordedReply, SourcesAndFlags) {
  const Path build = recorded(GetParam());
  const auto model = read_file_api_reply(posix_file_system(), build, "Release");
  ASSERT_TRUE(model) << reason(model);
  const Target* core = find_target(*model, "core_ext");
  ASSERT_NE(core, nullptr);
  ASSERT_EQ(core->sources.size(), 3U);
  EXPECT_EQ(core->sources[0].path, "/src/demo/src/core.cpp");
  EXPECT_TRUE(core->sources[0].compiled);
  EXPECT_FALSE(core->sources[0].generated);
  EXPECT_EQ(core->sources[2].path, build / "gen/table.hpp");
  EXPECT_FALSE(core->sources[2].compiled);
  EXPECT_TRUE(core->sources[2].generated);
  ASSERT_EQ(core->compile_groups.size(), 1U);
  const CompileGroup& group = core->compile_groups[0];
  EXPECT_EQ(group.language, "CXX");
  EXPECT_EQ(group.standard, "20");
  for (const char* flag : {"-O3", "-fPIC", "-Wall", "-DSPACED=a b", "-std=gnu++20"}) {
    EXPECT_TRUE(contains(group.flags, std::string(flag))) << flag;
  }
  EXPECT_TRUE(contains(group.defines, std::string("GREETING=\"hello world\"")));
  EXPECT_EQ(group.includes, (std::vector<Path>{"/src/demo/src", build / "gen",
                                               "/src/demo/lib/mathx", "/usr/include/vendor"}));
  EXPECT_EQ(group.system_includes, std::vector<Path>{"/usr/include/vendor"});
}

TEST_P(RecordedReply, WhatConfiguringDependsOn) {
  const auto model = read_file_api_reply(posix_file_system(), recorded(GetParam()), "Release");
  ASSERT_TRUE(model) << reason(model);
  EXPECT_EQ(model->cmake_inputs,
            (std::vector<Path>{"/src/demo/CMakeLists.txt", "/src/demo/cmake/AddExtension.cmake",
                               "/src/demo/src/version.hpp.in",
                               "/src/demo/lib/mathx/CMakeLists.txt"}));
  ASSERT_EQ(model->toolchains.size(), 1U);
  EXPECT_EQ(model->toolchains[0].language, "CXX");
  EXPECT_EQ(model->toolchains[0].compiler_id, "GNU");
  EXPECT_EQ(model->toolchains[0].compiler, "/usr/bin/c++");
  EXPECT_NE(model->toolchains[0].version, "");
  EXPECT_EQ(model->cache.at("CMAKE_HOME_DIRECTORY"), "/src/demo");
  ASSERT_EQ(model->installed_files.size(), 3U);
  const InstalledFile& renamed = model->installed_files[1];
  EXPECT_EQ(model->installed_files[0].to, "__init__.py");
  EXPECT_EQ(renamed.from, "/src/demo/demo/plain.py");
  EXPECT_EQ(renamed.destination, "demo");
  EXPECT_EQ(renamed.to, "renamed.py");
  EXPECT_EQ(model->installed_files[2].from, "/src/demo/demo/sub");
  EXPECT_EQ(model->installed_files[2].to, "sub");
}

TEST_P(RecordedReply, TheModuleIsFound) {
  const auto model = read_file_api_reply(posix_file_system(), recorded(GetParam()), "Release");
  ASSERT_TRUE(model) << reason(model);
  ModuleNaming naming;
  naming.extension_suffixes = {".cpython-311-x86_64-linux-gnu.so", ".abi3.so", ".so"};
  const auto target = find_extension_target(*model, naming, "demo._core");
  ASSERT_TRUE(target) << reason(target);
  EXPECT_EQ(target->target_name, "core_ext");
}

TEST(FileApi, ChoosesAConfiguration) {
  const Path build = recorded("3.25.1-multi");
  const auto debug = read_file_api_reply(posix_file_system(), build, "Debug");
  ASSERT_TRUE(debug) << reason(debug);
  EXPECT_EQ(debug->configuration, "Debug");
  EXPECT_EQ(find_target(*debug, "core_ext")->artifacts[0], build / "Debug" / k_core);
  EXPECT_TRUE(read_file_api_reply(posix_file_system(), build, ""));
  const auto unknown = read_file_api_reply(posix_file_system(), build, "Nope");
  ASSERT_FALSE(unknown);
  EXPECT_EQ(unknown.error().code, ErrorCode::invalid);
  EXPECT_NE(unknown.error().message.find("Debug, Release"), std::string::npos);
  const auto single = read_file_api_reply(posix_file_system(), recorded("3.25.1"), "Nope");
  ASSERT_TRUE(single) << reason(single);
  EXPECT_EQ(single->configuration, "Release");
}

TEST(FileApi, NeverConfigured) {
  const TemporaryFolder folder;
  const auto model = read_file_api_reply(posix_file_system(), folder.path(), "");
  ASSERT_FALSE(model);
  EXPECT_EQ(model.error().code, ErrorCode::not_found);
  EXPECT_NE(model.error().message.find(folder.path().string()), std::string::npos);
}

TEST(FileApi, TheNewestIndexCounts) {
  const CopiedReply reply("3.25.1");
  std::ofstream(reply_folder(reply.build()) / "index-2000-01-01T00-00-00-0000.json") << "{}";
  std::ofstream(reply_folder(reply.build()) / "error-2999-01-01T00-00-00-0000.json") << "{}";
  EXPECT_TRUE(reply.read());
  std::ofstream(reply_folder(reply.build()) / "index-2999-01-01T00-00-00-0000.json") << "{}";
  EXPECT_EQ(reply.read().error().code, ErrorCode::corrupt);
}

TEST(FileApi, AnswersToOthersWillDo) {
  const CopiedReply reply("3.25.1");
  reply.replace(reply.file("index-"), "client-rehook", "client-other");
  EXPECT_TRUE(reply.read());
  reply.replace(reply.file("index-"), "\"codemodel\"", "\"nothing\"");
  EXPECT_EQ(reply.read().error().code, ErrorCode::corrupt);
}

TEST(FileApi, AFileThatVanishesIsReadAgain) {
  const CopiedReply reply("3.25.1");
  const Path target = reply.file("target-core_ext"), hidden = target.native() + ".hidden";
  FakeFileSystem fs;
  int vanished = 0;
  fs.before = [&](const FakeFileSystem::Call& call) {
    if (call.operation == "list" && vanished == 1) stdfs::rename(hidden, target);
    if (call.path == target && vanished++ == 0) stdfs::rename(target, hidden);
  };
  const auto model = read_file_api_reply(fs, reply.build(), "");
  EXPECT_TRUE(model) << reason(model);
  EXPECT_EQ(vanished, 2);
  stdfs::remove(target);
  EXPECT_EQ(reply.read().error().code, ErrorCode::busy);
}

TEST(FileApi, AbsolutePathsFollowTheBuildFolder) {
  const CopiedReply reply("3.25.1");
  reply.replace(reply.file("codemodel-"), "/src/demo", "/build/demo/nested");
  const auto model = reply.read();
  ASSERT_TRUE(model) << reason(model);
  EXPECT_EQ(model->source_dir, "/build/demo/nested");
  EXPECT_EQ(find_target(*model, "core_ext")->sources[2].path, reply.build() / "gen/table.hpp");
}

TEST(FileApi, FetchedSourcesAreNotGenerated) {
  const CopiedReply reply("3.25.1");
  reply.replace(reply.file("cmakeFiles-"), "\"lib/mathx/CMakeLists.txt\"",
                "\"/build/demo/_deps/fc-src/CMakeLists.txt\", \"isGenerated\": true");
  reply.replace(reply.file("target-core"), "/build/demo/gen/table.hpp\"",
                "/build/demo/_deps/fc-src/x.cpp\"");
  const auto model = reply.read();
  ASSERT_TRUE(model) << reason(model);
  EXPECT_EQ(model->cmake_inputs.back(), reply.build() / "_deps/fc-src/CMakeLists.txt");
  EXPECT_FALSE(find_target(*model, "core_ext")->sources[2].generated);
}

TEST(FileApi, NamesThatAreNotUtf8) {
  const CopiedReply reply("3.25.1");
  reply.replace(reply.file("target-core"), "src/more.cpp", "src/mo\xffre.cpp");
  auto model = reply.read();
  ASSERT_TRUE(model) << reason(model);
  EXPECT_EQ(model->targets[0].sources[1].path, "/src/demo/src/mo\xEF\xBF\xBDre.cpp");
  // As CMake does: lossy in the reply, true in the cache.
  for (const char* file : {"codemodel-", "target-core", "cmakeFiles-"}) {
    reply.replace(reply.file(file), "/src/demo", "/src/d\xEF\xBF\xBDmo");
  }
  std::ofstream(reply.build() / "CMakeCache.txt", std::ios::binary)
      << "# cache\nCMAKE_HOME_DIRECTORY:INTERNAL=/src/d\xffmo\nX:Y=Z\n";
  model = reply.read();
  ASSERT_TRUE(model) << reason(model);
  EXPECT_EQ(model->source_dir, "/src/d\xffmo");
  EXPECT_EQ(find_target(*model, "core_ext")->compile_groups[0].includes[0], "/src/d\xffmo/src");
  EXPECT_EQ(model->cmake_inputs[0], "/src/d\xffmo/CMakeLists.txt");
}

class GlobbedReply : public testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(CMake, GlobbedReply, testing::Values("3.25.1", "4.4.4"),
                         [](const auto& name) {
                           return name.param[0] == '3' ? "Script" : "Expressions";
                         });

TEST_P(GlobbedReply, FoldersThatExist) {
  const CopiedReply reply(GetParam());
  const TemporaryFolder top;
  for (const char* name : {"src/deep", "assets/deep/er", "assets/.git/x"}) {
    stdfs::create_directories(top / name);
  }
  stdfs::create_directory_symlink(top / "assets", top / "assets/deep/loop");
  const std::string source = top.path().string();
  reply.replace(reply.build() / "CMakeFiles/VerifyGlobs.cmake", "/src/demo", source);
  reply.replace(reply.file("cmakeFiles-"), "/src/demo", source);
  const auto model = reply.read();
  ASSERT_TRUE(model) << reason(model);
  for (const char* name : {"src", "assets", "assets/deep", "assets/deep/er"}) {
    EXPECT_TRUE(contains(model->glob_dirs, top / name)) << name;
  }
  EXPECT_FALSE(contains(model->glob_dirs, top / "src/deep"));
  EXPECT_FALSE(contains(model->glob_dirs, top / "assets/.git"));
  EXPECT_LE(model->glob_dirs.size(), 5U);  // the link may count once
}

TEST(FileApi, TheQueryIsWrittenOnce) {
  const TemporaryFolder folder;
  FakeFileSystem fs;
  ASSERT_TRUE(write_file_api_query(fs, folder.path()));
  const auto text = fs.read(folder / ".cmake/api/v1/query/client-rehook/query.json");
  ASSERT_TRUE(text) << reason(text);
  EXPECT_EQ(*text,
            "{\"client\":{\"tool\":\"rehook\"},\"requests\":["
            "{\"kind\":\"codemodel\",\"version\":2},{\"kind\":\"cmakeFiles\",\"version\":1},"
            "{\"kind\":\"toolchains\",\"version\":1},{\"kind\":\"cache\",\"version\":2}]}\n");
  fs.forget();
  ASSERT_TRUE(write_file_api_query(fs, folder.path()));
  EXPECT_TRUE(fs.writes().empty());
}

// What is left of a reply is read or refused; it never crashes.
void read_broken(const CopiedReply& reply, const Path& file, const std::string& bytes) {
  std::ofstream(file, std::ios::binary) << bytes;
  const auto model = reply.read();
  if (model) std::ignore = find_extension_targets(*model, {});
}

TEST(FileApi, TruncatedReplies) {
  const CopiedReply reply("4.4.4");
  for (const char* prefix : {"index-", "codemodel-", "target-core", "directory-.",
                             "toolchains-", "cache-", "cmakeFiles-"}) {
    const Path file = reply.file(prefix);
    const std::string whole = CopiedReply::text(file);
    const std::size_t step = std::max<std::size_t>(1, whole.size() / 60);
    for (std::size_t size = 0; size < whole.size(); size += step) {
      read_broken(reply, file, whole.substr(0, size));
    }
    read_broken(reply, file, whole);
    ASSERT_TRUE(reply.read()) << prefix;
  }
}

TEST(FileApi, FlippedReplies) {
  const CopiedReply reply("4.4.4");
  std::mt19937 random(7);
  const std::string odd = "{}[]\",:0-1enft\xff";
  for (const char* prefix : {"index-", "codemodel-", "target-core", "directory-."}) {
    const Path file = reply.file(prefix);
    const std::string whole = CopiedReply::text(file);
    for (int round = 0; round < 150; ++round) {
      std::string flipped = whole;
      for (int flips = 0; flips < 1 + round % 3; ++flips) {
        flipped[random() % flipped.size()] = odd[random() % odd.size()];
      }
      read_broken(reply, file, flipped);
    }
    read_broken(reply, file, whole);
  }
}

// Every member in turn becomes something else: null, a number, a text, a list, an object.
TEST(FileApi, MembersOfTheWrongType) {
  const CopiedReply reply("4.4.4");
  for (const char* prefix :
       {"index-", "codemodel-", "target-core", "directory-.", "cmakeFiles-"}) {
    const Path file = reply.file(prefix);
    const std::string whole = CopiedReply::text(file);
    int round = 0;
    for (std::size_t at = 0; (at = whole.find("\": ", at)) != std::string::npos; at += 3) {
      if (++round % 7 != 0 && prefix == std::string("cmakeFiles-")) continue;
      const char* values[] = {"null", "-7", "\"x\"", "[]", "{}", "[{}, 3]", "1e99"};
      // The old value stays, under another name.
      std::string changed = whole;
      changed.insert(at + 3, std::string(values[round % 7]) + ", \"was\": ");
      read_broken(reply, file, changed);
    }
    read_broken(reply, file, whole);
  }
}

TEST(FileApi, WhatTheInstalledCmakeWrites) {
  const TemporaryFolder top;
  const Path source = top / "odd \xff sou rce", build = top / "bui ld";
  stdfs::copy(recorded("demo"), source, stdfs::copy_options::recursive);
  ASSERT_TRUE(write_file_api_query(posix_file_system(), build));
  Command cmake;
  cmake.argv = {"cmake",         "-G",
                "Ninja",         "-S",
                source.string(), "-B",
                build.string(),  "-DCMAKE_INSTALL_PREFIX=" + (top / "prefix").string()};
  const auto configured = posix_process_runner().run(cmake, {}, {});
  ASSERT_TRUE(configured && configured->exit_code == 0)
      << (configured ? configured->output : reason(configured));
  const auto model = read_file_api_reply(posix_file_system(), build, "");
  ASSERT_TRUE(model) << reason(model);
  EXPECT_EQ(model->source_dir, source);
  EXPECT_EQ(model->configuration, "");
  EXPECT_TRUE(contains(model->cmake_inputs, source / "lib/mathx/CMakeLists.txt"));
  EXPECT_TRUE(contains(model->glob_dirs, source / "assets/deep"));
  for (const Target& target : model->targets) {
    for (const TargetSource& file : target.sources) {
      EXPECT_TRUE(file.generated || stdfs::exists(file.path)) << file.path;
    }
  }
}

}  // namespace
}  // namespace rehook
