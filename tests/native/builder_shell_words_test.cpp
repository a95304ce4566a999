#include "builder/shell_words.hpp"

#include <gtest/gtest.h>

namespace rehook {
namespace {

using Words = std::vector<std::string>;

TEST(ShellWords, Split) {
  EXPECT_EQ(split_shell_words(" -O3  -DNDEBUG\t-fPIC\n"), (Words{"-O3", "-DNDEBUG", "-fPIC"}));
  EXPECT_EQ(split_shell_words("\"-DA=a b\" '-DB=\"c\\\"' -DC=d\\ e"),
            (Words{"-DA=a b", "-DB=\"c\\\"", "-DC=d e"}));
  EXPECT_EQ(split_shell_words("-DX=\\\"text\\\" \"a\\\"b\\n\""),
            (Words{"-DX=\"text\"", "a\"b\\n"}));
  EXPECT_EQ(split_shell_words("'' a\"\"b \"\""), (Words{"", "ab", ""}));
  EXPECT_EQ(split_shell_words("open 'quote"), (Words{"open", "quote"}));
  EXPECT_EQ(split_shell_words("end\\"), (Words{"end\\"}));
  EXPECT_EQ(split_shell_words(" \n"), Words{});
}

}  // namespace
}  // namespace rehook
