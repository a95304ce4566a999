#include "builder/binding_libraries.hpp"

#include <gtest/gtest.h>

#include <string>

namespace rehook {
namespace {

TEST(BindingLibraries, AreFoundByTheirMarks) {
  EXPECT_TRUE(binding_libraries_in("ELF PyInit__core nanobind pybind11").empty());
  const BindingLibraries pybind11 = binding_libraries_in("..__pybind11_internals_v11_gcc");
  EXPECT_TRUE(pybind11.contains(BindingLibrary::pybind11));
  EXPECT_FALSE(pybind11.contains(BindingLibrary::nanobind));
}

TEST(BindingLibraries, NanobindInsideOrOutsideOfTheModule) {
  for (const std::string mark : {"__nb_internals_%s_%s__", "N8nanobind12python_errorE",
                                 "because the nanobind backend module 'x' is not installed"}) {
    const BindingLibraries found = binding_libraries_in(".." + mark + "..");
    EXPECT_TRUE(found.contains(BindingLibrary::nanobind)) << mark;
    EXPECT_FALSE(found.contains(BindingLibrary::pybind11)) << mark;
  }
}

TEST(BindingLibraries, AreASet) {
  BindingLibraries both = binding_libraries_in("__pybind11_internals_v5");
  EXPECT_FALSE(both.empty());
  both.add(binding_libraries_in("__nb_internals_"));
  for (const BindingLibrary library : k_binding_libraries) EXPECT_TRUE(both.contains(library));
  EXPECT_EQ(BindingLibraries(both.bits()).bits(), both.bits());
}

}  // namespace
}  // namespace rehook
