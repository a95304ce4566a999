// The source itself: this executable exists also where the interpreter's part is not built.
#include "hook/registry/bridge_builder.cpp"  // NOLINT(bugprone-suspicious-include)

#include <gtest/gtest.h>

#include <fstream>

#include "tests/support/temporary_folder.hpp"

namespace rehook {
namespace {

// Writes what it is asked to compile, or fails.
class FakeCompiler final : public ProcessRunner {
 public:
  Result<ProcessResult> run(const Command& command, const LineSink&,
                            const CancelPoll& cancel) override {
    commands.push_back(command);
    if (cancel && cancel()) return Error{ErrorCode::canceled, "stopped"};
    const Path output = command.argv.back();
    std::ofstream(output) << "library";
    if (meanwhile) meanwhile();
    return ProcessResult{exit_code, exit_code == 0 ? "" : "error: no", {}};
  }
  std::vector<Command> commands;
  std::function<void()> meanwhile;
  int exit_code = 0;
};

class RegistryBridge : public testing::Test {
 protected:
  RegistryBridge() {
    write(folder_ / "include/pybind11/detail/internals.h", "one");
    write(folder_ / "include/pybind11/pytypes.h", "two");
    write(folder_ / "bridge/pybind11_bridge.cpp", "source");
    write(folder_ / "bridge/nanobind_bridge.cpp", "source");
    write(folder_ / "bridge/bridge_abi.h", "contract");
    write(folder_ / "nanobind/include/nanobind/nanobind.h", "one");
    write(folder_ / "nanobind/src/nb_internals.h", "two");
    write(folder_ / "nanobind/ext/robin_map/include/tsl/robin_map.h", "three");
    write(folder_ / "c++", "compiler");
    request_.source_dir = folder_ / "bridge";
    request_.compiler = folder_ / "c++";
    request_.flags.includes = {folder_ / "other", folder_ / "include"};
    request_.cache_dir = folder_ / "cache/bridges";
  }
  static void write(const Path& path, const std::string& text) {
    std::filesystem::create_directories(path.parent_path());
    std::ofstream(path) << text;
  }
  Result<Path> build() { return build_bridge(posix_file_system(), compiler_, request_, {}); }
  [[nodiscard]] std::size_t files_in_cache() const {
    return posix_file_system().list(request_.cache_dir)->size();
  }
  // The words between "-fvisibility=hidden" and ours.
  std::string kept(const std::vector<std::string>& flags) {
    request_.flags.includes.clear();
    request_.flags.flags = flags;
    const std::vector<std::string> argv = bridge_command(request_, {});
    std::string text;
    for (std::size_t i = 4; argv[i] != "-frtti"; ++i) {
      text += (text.empty() ? "" : " ") + argv[i];
    }
    return text;
  }

  TemporaryFolder folder_;
  BridgeRequest request_;
  FakeCompiler compiler_;
};

TEST_F(RegistryBridge, KeepsTheFlagsThatDecideLayouts) {
  EXPECT_EQ(kept({"-O3",           "-g",    "-Wall",     "-flto=auto",
                  "-DA=1",         "-U",    "B",         "-fsanitize=address",
                  "-include",      "pch.h", "-fno-rtti", "-stdlib=libc++",
                  "-march=native", "-MD",   "-MF",       "x.d",
                  "-mllvm",        "-x",    "-pthread",  "-fno-abi-compat",
                  "-isysroot",     "/s"}),
            "-DA=1 -U B -stdlib=libc++ -march=native -pthread -fno-abi-compat -isysroot /s "
            "-std=gnu++17");
}

TEST_F(RegistryBridge, NeedsCxx17) {
  EXPECT_EQ(kept({"-std=c++14"}), "-std=gnu++17");
  EXPECT_EQ(kept({"-std=c++2b"}), "-std=c++2b");
  request_.flags.standard = "11";
  EXPECT_EQ(kept({}), "-std=gnu++17");
  request_.flags.standard = "20";
  EXPECT_EQ(kept({}), "-std=gnu++20");
  EXPECT_EQ(kept({"-std=gnu++11", "-std=c++17"}), "-std=c++17");
}

TEST_F(RegistryBridge, PassesDefinesAndFolders) {
  request_.flags.defines = {"_GLIBCXX_DEBUG", "NAME=\"a b\""};
  request_.flags.includes = {"/a", "/b"};
  request_.flags.system_includes = {"/b"};
  const std::vector<std::string> argv = bridge_command(request_, {});
  const std::vector<std::string> expected = {
      "-D_GLIBCXX_DEBUG", "-DNAME=\"a b\"", "-I", "/a", "-isystem", "/b"};
  EXPECT_NE(std::search(argv.begin(), argv.end(), expected.begin(), expected.end()),
            argv.end());
}

TEST_F(RegistryBridge, FindsPybind11) {
  FileSystem& fs = posix_file_system();
  EXPECT_EQ(binding_include_dir(fs, BindingLibrary::pybind11, request_.flags),
            folder_ / "include");
  CompileGroup flags;
  flags.flags = {"-O2", "-isystem", (folder_ / "include").native()};
  EXPECT_EQ(binding_include_dir(fs, BindingLibrary::pybind11, flags), folder_ / "include");
  flags.flags = {"-I" + (folder_ / "include").native()};
  EXPECT_EQ(binding_include_dir(fs, BindingLibrary::pybind11, flags), folder_ / "include");
}

TEST_F(RegistryBridge, IsCompiledOnce) {
  const Result<Path> first = build();
  ASSERT_TRUE(first) << first.error().message;
  EXPECT_EQ(*build(), *first);
  EXPECT_EQ(compiler_.commands.size(), 1U);
  EXPECT_EQ(files_in_cache(), 1U);
  EXPECT_EQ(compiler_.commands[0].niceness, 10);
}

TEST_F(RegistryBridge, IsNeverLoadedDamaged) {
  const Path bridge = *build();
  for (const char* damage : {"", "librarY", "library and more"}) {
    std::filesystem::remove(bridge);
    write(bridge, damage);
    const std::size_t before = compiler_.commands.size();
    EXPECT_EQ(*build(), bridge);
    EXPECT_EQ(compiler_.commands.size(), before + 1) << damage;
    EXPECT_EQ(*posix_file_system().read(bridge), "library");
    EXPECT_EQ(files_in_cache(), 1U);
  }
}

TEST_F(RegistryBridge, IsCompiledAgainForOtherInputs) {
  const auto changes = {
      std::function<void()>([&] { write(folder_ / "include/pybind11/pytypes.h", "2"); }),
      std::function<void()>([&] { write(folder_ / "include/pybind11/conduit/new.h", ""); }),
      std::function<void()>([&] { write(folder_ / "bridge/bridge_abi.h", "x"); }),
      std::function<void()>([&] { write(folder_ / "bridge/pybind11_bridge.cpp", "x"); }),
      std::function<void()>([&] { write(request_.compiler, "newer"); }),
      std::function<void()>([&] { request_.flags.defines = {"NDEBUG"}; }),
  };
  ASSERT_TRUE(build());
  for (const auto& change : changes) {
    const std::size_t before = compiler_.commands.size();
    change();
    ASSERT_TRUE(build());
    EXPECT_EQ(compiler_.commands.size(), before + 1);
  }
}

class NanobindBridge : public RegistryBridge {
 protected:
  NanobindBridge() {
    request_.library = BindingLibrary::nanobind;
    request_.flags.includes = {folder_ / "other", folder_ / "nanobind/include"};
  }
};

TEST_F(NanobindBridge, SeesTheSourcesAndRobinMap) {
  const Result<Path> built = build();
  ASSERT_TRUE(built) << built.error().message;
  EXPECT_TRUE(built->filename().native().starts_with("nanobind-"));
  const std::vector<std::string>& argv = compiler_.commands.at(0).argv;
  for (const char* folder : {"nanobind/src", "nanobind/ext/robin_map/include"}) {
    EXPECT_NE(std::find(argv.begin(), argv.end(), (folder_ / folder).native()), argv.end());
  }
  EXPECT_NE(
      std::find(argv.begin(), argv.end(), (folder_ / "bridge/nanobind_bridge.cpp").native()),
      argv.end());
}

TEST_F(NanobindBridge, IsCompiledAgainForOtherSources) {
  const char* const files[] = {"nanobind/src/nb_internals.h",
                               "nanobind/ext/robin_map/include/tsl/robin_map.h",
                               "nanobind/include/nanobind/nanobind.h"};
  ASSERT_TRUE(build());
  for (const char* file : files) {
    const std::size_t before = compiler_.commands.size();
    write(folder_ / file, "changed");
    ASSERT_TRUE(build());
    EXPECT_EQ(compiler_.commands.size(), before + 1);
  }
}

TEST_F(NanobindBridge, FindsRobinMapAmongTheIncludes) {
  std::filesystem::rename(folder_ / "nanobind/ext/robin_map/include", folder_ / "other");
  ASSERT_TRUE(build());
}

TEST_F(NanobindBridge, IsNotForTheStableAbiOfASplitExtension) {
  request_.flags.defines = {"Py_LIMITED_API=0x030C0000"};
  EXPECT_EQ(kept({}), "-DPy_LIMITED_API=0x030C0000 -std=gnu++17");
  request_.flags.defines.push_back("NB_BACKEND_MODULE=nanobind_backend");
  EXPECT_EQ(kept({}),
            "-DPy_LIMITED_API=0x030C0000 -DNB_BACKEND_MODULE=nanobind_backend "
            "-U NB_BACKEND_MODULE -U Py_LIMITED_API -std=gnu++17");
}

TEST_F(NanobindBridge, SaysWhatIsMissing) {
  std::filesystem::remove(folder_ / "nanobind/src/nb_internals.h");
  const Result<Path> missing = build();
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code, ErrorCode::not_found);
  EXPECT_NE(missing.error().message.find("nb_internals.h"), std::string::npos);
}

TEST_F(RegistryBridge, FailureLeavesNothingBehind) {
  compiler_.exit_code = 1;
  const Result<Path> failed = build();
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().code, ErrorCode::failed_build);
  EXPECT_EQ(failed.error().detail, "error: no");
  EXPECT_NE(failed.error().message.find((folder_ / "include").native()), std::string::npos);
  EXPECT_TRUE(failed.error().message.ends_with("did not compile: error: no"));
  EXPECT_EQ(files_in_cache(), 0U);
}

TEST_F(RegistryBridge, CancelingLeavesNothingBehind) {
  const Result<Path> canceled =
      build_bridge(posix_file_system(), compiler_, request_, [] { return true; });
  ASSERT_FALSE(canceled);
  EXPECT_EQ(canceled.error().code, ErrorCode::canceled);
  EXPECT_EQ(files_in_cache(), 0U);
}

TEST_F(RegistryBridge, TwoBuildersAgree) {
  FakeCompiler other;
  compiler_.meanwhile = [&] {
    EXPECT_TRUE(build_bridge(posix_file_system(), other, request_, {}));
  };
  ASSERT_TRUE(build());
  EXPECT_EQ(other.commands.size(), 1U);
  EXPECT_EQ(files_in_cache(), 1U);
}

TEST_F(RegistryBridge, RemovesWhatKilledCompilersLeft) {
  const int status = run_in_child([] { return 0; });
  ASSERT_EQ(status, 0);
  write(request_.cache_dir / ".tmp-999999999-0123456789abcdef", "half");
  ASSERT_TRUE(build());
  EXPECT_EQ(files_in_cache(), 1U);
}

TEST_F(RegistryBridge, WithoutPybind11ThereIsNone) {
  request_.flags.includes = {folder_ / "other"};
  const Result<Path> missing = build();
  if (binding_include_dir(posix_file_system(), BindingLibrary::pybind11, {}).empty()) {
    ASSERT_FALSE(missing);
    EXPECT_EQ(missing.error().code, ErrorCode::not_found);
  }
}

}  // namespace
}  // namespace rehook
