#include "shadow_store/base/temporary_name.hpp"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <string>

namespace rehook {
namespace {

TEST(TemporaryName, DiffersEachTimeAndTellsItsOwner) {
  const std::string first = temporary_name();
  const std::string second = temporary_name();
  EXPECT_NE(first, second);
  EXPECT_EQ(first.rfind(".tmp-" + std::to_string(::getpid()) + "-", 0), 0U) << first;
  EXPECT_EQ(temporary_owner(first), ::getpid());
}

TEST(TemporaryName, OtherNamesHaveNoOwner) {
  for (const char* name :
       {"", ".tmp-", ".tmp-12", ".tmp-12-", ".tmp-12-0123", ".tmp-x-0123456789abcdef",
        ".tmp--5-0123456789abcdef", ".tmp-0-0123456789abcdef", "tmp-12-0123456789abcdef",
        ".tmp-99999999999999999999-0123456789abcdef", ".tmp-12-0123456789abcdef.so"}) {
    EXPECT_FALSE(temporary_owner(name).has_value()) << name;
    EXPECT_FALSE(is_orphan(name)) << name;
  }
}

TEST(TemporaryName, IsAnOrphanOnceItsProcessIsGone) {
  EXPECT_FALSE(is_orphan(temporary_name()));
  const pid_t child = ::fork();
  if (child == 0) ::_exit(0);
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(is_orphan(".tmp-" + std::to_string(child) + "-0123456789abcdef"));
}

}  // namespace
}  // namespace rehook
