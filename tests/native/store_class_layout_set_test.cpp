#include "shadow_store/class_layout_set.hpp"

#include <gtest/gtest.h>

namespace rehook {
namespace {

const ClassLayout* only(const ClassLayouts& layouts, const char* name) {
  return layouts.find(name);
}

TEST(ClassLayoutSetTest, WhatLiesBehindLibrariesIsReached) {
  ClassLayoutSet set;
  const auto user = set.id_of("geo::User");
  const auto pointer = set.id_of("std::unique_ptr<geo::Inner>");
  const auto inner = set.id_of("geo::Inner");
  set.define(user, {{"size 8", "member it @0 std::unique_ptr<geo::Inner>"}, {pointer}});
  set.define(pointer, {{"size 8"}, {inner}});
  set.define(inner, {{"size 4"}, {}});
  const ClassLayouts layouts = set.finish("");
  ASSERT_EQ(layouts.classes.size(), 2U);
  const ClassLayout& found = *only(layouts, "geo::User");
  ASSERT_EQ(found.reaches.size(), 1U);
  EXPECT_EQ(layouts.classes[found.reaches[0]].name, "geo::Inner");
}

// clang leaves out instances of templates that it thinks are described elsewhere.
TEST(ClassLayoutSetTest, ADeclaredTemplateReachesItsArguments) {
  ClassLayoutSet set;
  const auto user = set.id_of("geo::User");
  const auto table =
      set.id_of("std::map<int, std::vector<geo::Inner*>, X<geo::Odd (*)(geo::In)>>");
  for (const char* name : {"geo::Inner", "geo::Odd", "geo::In", "geo::Other"}) {
    set.define(set.id_of(name), {{"size 4"}, {}});
  }
  set.define(user, {{"size 8"}, {table}});
  const ClassLayouts layouts = set.finish("");
  std::vector<std::string> names;
  for (const auto index : only(layouts, "geo::User")->reaches) {
    names.push_back(layouts.classes[index].name);
  }
  EXPECT_EQ(names, (std::vector<std::string>{"geo::In", "geo::Inner", "geo::Odd"}));
}

TEST(ClassLayoutSetTest, AChangeInALibraryIsSeen) {
  std::vector<Digest> digests;
  for (const char* size : {"size 8", "size 16", "size 8"}) {
    ClassLayoutSet set;
    const auto text = set.id_of("std::text");
    set.define(set.id_of("User"), {{"size 8"}, {text}});
    set.define(text, {{size}, {}});
    digests.push_back(only(set.finish(""), "User")->library);
  }
  EXPECT_NE(digests[0], digests[1]);
  EXPECT_EQ(digests[0], digests[2]);
}

TEST(ClassLayoutSetTest, BoundContainersAreListedTheirInsidesAreNot) {
  ClassLayoutSet set;
  for (const char* name :
       {"std::vector<int>", "std::__cxx11::list<int>", "std::vector<int>::node",
        "std::_Rep<int>", "pybind11::handle", "_object"}) {
    set.define(set.id_of(name), {{"size 8"}, {}});
  }
  const ClassLayouts layouts = set.finish("");
  ASSERT_EQ(layouts.classes.size(), 2U);
  EXPECT_EQ(layouts.classes[0].name, "std::__cxx11::list<int>");
  EXPECT_EQ(layouts.classes[1].name, "std::vector<int>");
}

TEST(ClassLayoutSetTest, StructsOfUsersAndOfCythonMayStartWithUnderscores) {
  ClassLayoutSet set;
  for (const char* name :
       {"_Thing", "__pyx_obj_3pkg_Thing", "__pyx_mstatetype", "__va_list_tag", "_typeobject"}) {
    set.define(set.id_of(name), {{"size 8"}, {}});
  }
  const ClassLayouts layouts = set.finish("");
  ASSERT_EQ(layouts.classes.size(), 2U);
  EXPECT_EQ(layouts.classes[0].name, "_Thing");
  EXPECT_EQ(layouts.classes[1].name, "__pyx_obj_3pkg_Thing");
}

}  // namespace
}  // namespace rehook
