#include "shadow_store/file_name.hpp"

#include <gtest/gtest.h>

namespace rehook {
namespace {

TEST(PlainFileName, IsOneNameInAFolder) {
  EXPECT_EQ(plain_file_name("_core.so"), "_core.so");
  EXPECT_EQ(plain_file_name("../../etc/x\n.so"), ".._.._etc_x_.so");
  EXPECT_EQ(plain_file_name("größe.so"), "größe.so");
  EXPECT_EQ(plain_file_name(std::string_view("a\0b", 3)), "a_b");
}

TEST(PlainFileName, KeepsTheEnd) {
  EXPECT_EQ(plain_file_name("long_name.so", 5), "me.so");
  EXPECT_EQ(plain_file_name("x", 0), "");
  EXPECT_EQ(plain_file_name(std::string(300, 'x') + ".so").size(), 255U);
}

}  // namespace
}  // namespace rehook
