#include "builder/extension_targets.hpp"

#include <gtest/gtest.h>

namespace rehook {
namespace {

const std::string k_suffix = ".cpython-311-x86_64-linux-gnu.so";

Target extension(const std::string& name, const std::string& stem,
                 std::vector<std::string> destinations = {}) {
  Target target;
  target.id = name + "::@1";
  target.name = name;
  target.type = "MODULE_LIBRARY";
  target.name_on_disk = stem + k_suffix;
  target.artifacts = {"/build/demo/" + target.name_on_disk};
  target.install_destinations = std::move(destinations);
  target.defined_in = "CMakeLists.txt:12";
  return target;
}

class Extensions : public testing::Test {
 protected:
  Extensions() {
    model.source_dir = "/src/demo";
    model.build_dir = "/build/demo";
    naming.extension_suffixes = {k_suffix, ".abi3.so", ".so"};
  }
  std::vector<std::string> modules() const {
    std::vector<std::string> names;
    for (const ExtensionTarget& target : find_extension_targets(model, naming)) {
      names.push_back(target.module);
    }
    return names;
  }
  // The module that one target becomes.
  std::string module_of(const Target& target) {
    model.targets = {target};
    const std::vector<std::string> names = modules();
    return names.size() == 1 ? names[0] : "(" + std::to_string(names.size()) + ")";
  }
  std::string installed_to(const std::string& destination) {
    return module_of(extension("core_ext", "_core", {destination}));
  }
  using Names = std::vector<std::string>;
  CodeModel model;
  ModuleNaming naming;
};

TEST_F(Extensions, WhatCountsAsOne) {
  Target target = extension("t", "_core", {"."});
  EXPECT_EQ(module_of(target), "_core");
  target.type = "STATIC_LIBRARY";
  EXPECT_EQ(module_of(target), "(0)");
  target.type = "SHARED_LIBRARY";
  EXPECT_EQ(module_of(target), "_core");
  target.name_on_disk = "libhelper.so";
  EXPECT_EQ(module_of(target), "(0)");
  target.name_on_disk = "libhelper" + k_suffix;
  EXPECT_EQ(module_of(target), "libhelper");
  target.type = "MODULE_LIBRARY";
  target.name_on_disk = "libhelper.so";
  EXPECT_EQ(module_of(target), "libhelper");
  target.name_on_disk = "plain.so";
  EXPECT_EQ(module_of(target), "plain");
  target.name_on_disk = "stable.abi3.so";
  EXPECT_EQ(module_of(target), "stable");
  target.name_on_disk = "_core.cpython-310-x86_64-linux-gnu.so";
  EXPECT_EQ(module_of(target), "(0)") << "made for another Python";
  target.name_on_disk = "my-plugin.so";
  EXPECT_EQ(module_of(target), "(0)");
  target.name_on_disk = ".so";
  EXPECT_EQ(module_of(target), "(0)");
  target.name_on_disk = "";
  EXPECT_EQ(module_of(target), "_core") << "from the artifact";
}

TEST_F(Extensions, SuffixesInAnyOrder) {
  naming.extension_suffixes = {".so", k_suffix};
  EXPECT_EQ(installed_to("pkg"), "pkg._core");
}

TEST_F(Extensions, InstallDestinations) {
  EXPECT_EQ(installed_to("pkg"), "pkg._core");
  EXPECT_EQ(installed_to("pkg/sub/"), "pkg.sub._core");
  EXPECT_EQ(installed_to("./pkg"), "pkg._core");
  EXPECT_EQ(installed_to("."), "_core");
  EXPECT_EQ(installed_to(""), "_core");
  EXPECT_EQ(installed_to("lib/pkg"), "pkg._core");
  EXPECT_EQ(installed_to("lib/python3.11/site-packages/pkg"), "pkg._core");
  EXPECT_EQ(installed_to("lib/python3.11/site-packages"), "_core");
  EXPECT_EQ(installed_to("/usr/lib/python3/dist-packages/pkg"), "pkg._core");
  EXPECT_EQ(installed_to("lib/x86_64-linux-gnu"), "_core") << "tells nothing";
  EXPECT_EQ(installed_to("/opt/elsewhere"), "_core") << "tells nothing";
  EXPECT_EQ(installed_to("../up"), "_core") << "tells nothing";
}

TEST_F(Extensions, KnownPackagesInDestinations) {
  naming.packages = {{"pkg", "/src/demo/python/pkg"}};
  EXPECT_EQ(installed_to("share/python/pkg/sub"), "pkg.sub._core");
  EXPECT_EQ(installed_to("/opt/elsewhere/pkg"), "pkg._core");
  EXPECT_EQ(installed_to("/src/demo/python/pkg/sub"), "pkg.sub._core");
  EXPECT_EQ(installed_to("lib"), "pkg._core") << "a bare lib tells nothing; the only package";
  EXPECT_EQ(installed_to("other"), "other._core");
  naming.packages = {{"lib", "/src/demo/lib"}};
  EXPECT_EQ(installed_to("lib"), "lib._core");
  EXPECT_EQ(installed_to("lib/sub"), "lib.sub._core");
}

TEST_F(Extensions, ScikitBuildCore) {
  model.cache = {{"SKBUILD_PLATLIB_DIR", "/tmp/wheel/platlib"},
                 {"CMAKE_INSTALL_PREFIX", "/tmp/prefix"}};
  EXPECT_EQ(installed_to("/tmp/wheel/platlib/pkg"), "pkg._core");
  EXPECT_EQ(installed_to("/tmp/wheel/platlib"), "_core");
  EXPECT_EQ(installed_to("/tmp/prefix/pkg/sub"), "pkg.sub._core");
  naming.install_dir = "pkg";
  EXPECT_EQ(installed_to("."), "pkg._core");
  EXPECT_EQ(installed_to("sub"), "pkg.sub._core");
  EXPECT_EQ(installed_to("/tmp/prefix"), "pkg._core");
  EXPECT_EQ(installed_to("/tmp/wheel/platlib/other"), "other._core");
  naming.install_dir = "/platlib/pkg";
  EXPECT_EQ(installed_to("."), "pkg._core");
  naming.install_dir = "/data/share";
  EXPECT_EQ(installed_to("."), "_core") << "tells nothing";
}

TEST_F(Extensions, SeveralDestinations) {
  const Target target = extension("t", "_core", {"lib", "one", "two"});
  model.targets = {target};
  EXPECT_EQ(modules(), (Names{"one._core", "two._core"}));
  naming.installed = {{"two._core", "_core" + k_suffix}};
  EXPECT_EQ(modules(), (Names{"two._core"}));
}

TEST_F(Extensions, InstalledFiles) {
  const Target target = extension("t", "_core");
  naming.packages = {{"a", "/src/demo/a"}, {"b", "/src/demo/b"}};
  EXPECT_EQ(module_of(target), "_core") << "two packages, nothing decides";
  naming.installed = {{"b.sub._core", "_core" + k_suffix}, {"b.other", "other.so"}};
  EXPECT_EQ(module_of(target), "b.sub._core");
  naming.installed = {{"a._core", "_core.abi3.so"}, {"b._core", "_core" + k_suffix}};
  EXPECT_EQ(module_of(target), "b._core") << "the same file name";
}

TEST_F(Extensions, ArtifactFolders) {
  Target target = extension("t", "_core");
  naming.packages = {{"pkg", "/src/demo/python/pkg"}, {"other", "/src/demo/other"}};
  target.artifacts = {"/src/demo/python/pkg/sub/_core" + k_suffix};
  EXPECT_EQ(module_of(target), "pkg.sub._core");
  target.artifacts = {"/build/demo/pkg/_core" + k_suffix};
  EXPECT_EQ(module_of(target), "pkg._core");
  target.artifacts = {"/build/demo/lib.linux/other/deep/_core" + k_suffix};
  EXPECT_EQ(module_of(target), "other.deep._core");
  target.artifacts = {"/elsewhere/pkg/_core" + k_suffix};
  EXPECT_EQ(module_of(target), "pkg._core");
  model.build_dir = "/home/pkg/build";
  target.artifacts = {"/home/pkg/build/Release/_core" + k_suffix};
  EXPECT_EQ(module_of(target), "_core") << "the place of the build folder decides nothing";
}

TEST_F(Extensions, PackageInsideAPackagesFolder) {
  Target target = extension("t", "_core");
  target.artifacts = {"/src/demo/src/inner/_core" + k_suffix};
  naming.packages = {{"demo", "/src/demo"}, {"inner", "/src/demo/src/inner"}};
  EXPECT_EQ(module_of(target), "inner._core");
}

TEST_F(Extensions, TheOnlyPackageElseTopLevel) {
  const Target target = extension("_core", "_core");
  EXPECT_EQ(module_of(target), "_core");
  naming.packages = {{"pkg", "/src/demo/pkg"}};
  EXPECT_EQ(module_of(target), "pkg._core");
}

TEST_F(Extensions, DebugPostfix) {
  Target target = extension("_core", "_core_d", {"pkgd"});
  EXPECT_EQ(module_of(target), "pkgd._core_d") << "nobody says that it is one";
  model.configuration = "Debug";
  model.cache = {{"CMAKE_DEBUG_POSTFIX", "_d"}};
  EXPECT_EQ(module_of(target), "pkgd._core");
  EXPECT_EQ(find_extension_targets(model, naming)[0].artifact, target.artifacts[0]);
  EXPECT_EQ(module_of(extension("_core", "_core-d", {"pkg"})), "(0)") << "not the cached one";
  model.cache = {{"CMAKE_DEBUG_POSTFIX", "-d"}};
  EXPECT_EQ(module_of(extension("_core", "_core-d", {"pkg"})), "pkg._core");
  model.cache.clear();
  naming.installed = {{"pkg._core", "_core" + k_suffix}};
  EXPECT_EQ(module_of(extension("_core", "_core_d", {"pkg"})), "pkg._core");
  EXPECT_EQ(module_of(extension("_core", "_core_extra_long", {"pkg"})), "pkg._core_extra_long");
  model.targets = {extension("a", "_core", {"pkg"}), extension("b", "_core_d", {"pkg"})};
  EXPECT_EQ(modules(), (Names{"pkg._core", "pkg._core_d"}));
}

TEST_F(Extensions, MatchInit) {
  EXPECT_EQ(match_init("_core_d", {"main", "PyInit__core", "PyInit__co"}), "_core");
  EXPECT_EQ(match_init("_core", {"PyInit__core", "PyInit_other"}), "_core");
  EXPECT_EQ(match_init("_core", {"PyInit_other", "PyInit_"}), "_core");
  EXPECT_EQ(match_init("_core", {}), "_core");
}

TEST_F(Extensions, SortedByName) {
  model.targets = {extension("z", "z", {"pkg"}), extension("a", "a", {"pkg"}),
                   extension("m", "m", {"."})};
  EXPECT_EQ(modules(), (Names{"m", "pkg.a", "pkg.z"}));
}

TEST_F(Extensions, FindOne) {
  model.targets = {extension("core_ext", "_core", {"pkg"}), extension("x", "x", {"pkg"})};
  const auto found = find_extension_target(model, naming, "pkg._core");
  ASSERT_TRUE(found);
  EXPECT_EQ(found->target_name, "core_ext");
  EXPECT_EQ(found->target_id, "core_ext::@1");
  EXPECT_EQ(found->artifact, "/build/demo/_core" + k_suffix);
  EXPECT_EQ(found->defined_in, "CMakeLists.txt:12");
}

TEST_F(Extensions, FindNone) {
  auto found = find_extension_target(model, naming, "pkg._core");
  ASSERT_FALSE(found);
  EXPECT_EQ(found.error().code, ErrorCode::not_found);
  EXPECT_NE(found.error().message.find("/src/demo/CMakeLists.txt"), std::string::npos);
  model.targets = {extension("x_ext", "x", {"pkg"})};
  found = find_extension_target(model, naming, "pkg._core");
  ASSERT_FALSE(found);
  EXPECT_EQ(found.error().code, ErrorCode::not_found);
  EXPECT_NE(found.error().message.find("pkg.x (target x_ext, CMakeLists.txt:12)"),
            std::string::npos);
}

TEST_F(Extensions, FindTwo) {
  model.targets = {extension("one", "_core", {"pkg"}), extension("two", "_core", {"pkg"})};
  const auto found = find_extension_target(model, naming, "pkg._core");
  ASSERT_FALSE(found);
  EXPECT_EQ(found.error().code, ErrorCode::invalid);
  for (const char* name : {"one", "two", "CMakeLists.txt:12"}) {
    EXPECT_NE(found.error().message.find(name), std::string::npos) << found.error().message;
  }
  EXPECT_NE(found.error().hint.find("targets"), std::string::npos);
}

TEST_F(Extensions, AnInstalledModuleWinsOverADestinationNobodyUses) {
  model.targets = {extension("core_ext", "_core", {"lib/demo_cpp"})};
  naming.installed = {{"pkg._core", "_core" + k_suffix}};
  const auto found = find_extension_target(model, naming, "pkg._core");
  ASSERT_TRUE(found);
  EXPECT_EQ(found->module, "pkg._core");
  EXPECT_EQ(found->target_name, "core_ext");
}

TEST_F(Extensions, ClosureWithCyclesAndStrangers) {
  Target a, b, c;
  a.id = "a";
  a.dependencies = {"b", "nobody"};
  b.id = "b";
  b.dependencies = {"a"};
  c.id = "c";
  model.targets = {c, b, a};
  const auto closure = dependency_closure(model, "a");
  ASSERT_EQ(closure.size(), 2U);
  EXPECT_EQ(closure[0]->id, "a");
  EXPECT_EQ(closure[1]->id, "b");
  EXPECT_TRUE(dependency_closure(model, "nobody").empty());
}

}  // namespace
}  // namespace rehook
