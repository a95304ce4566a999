#include "shadow_store/type_name.hpp"

#include <gtest/gtest.h>

#include <map>
#include <string>
#include <typeinfo>
#include <vector>

namespace {
struct Hidden {};
enum class Colour { red, green };
template <typename T, Colour c, unsigned long n>
struct Tagged {};
}  // namespace

namespace rehook {
namespace {

template <typename T>
std::string own_name() {
  return canonical_name_of_mangled(typeid(T).name());
}

TEST(TypeNameTest, SpacesDoNotCount) {
  EXPECT_EQ(canonical_type_name("A<B<int> >"), canonical_type_name("A<B<int>>"));
  EXPECT_EQ(canonical_type_name("F<void (int, char)>"),
            canonical_type_name("F<void(int,char)>"));
  EXPECT_NE(canonical_type_name("A<unsigned int>"), canonical_type_name("A<int>"));
}

TEST(TypeNameTest, ConstMayStandOnEitherSide) {
  EXPECT_EQ(canonical_type_name("A<const char*>"), canonical_type_name("A<char const*>"));
  EXPECT_NE(canonical_type_name("A<char* const>"), canonical_type_name("A<char const*>"));
  EXPECT_EQ(canonical_type_name("A<const n::B<const int>&>"),
            canonical_type_name("A<n::B<int const> const&>"));
}

TEST(TypeNameTest, BasicTypesHaveOneName) {
  EXPECT_EQ(canonical_type_name("A<long unsigned int>"),
            canonical_type_name("A<unsigned long>"));
  EXPECT_EQ(canonical_type_name("A<short int>"), canonical_type_name("A<short>"));
  EXPECT_EQ(canonical_type_name("A<long long int>"), canonical_type_name("A<long long>"));
  EXPECT_NE(canonical_type_name("A<signed char>"), canonical_type_name("A<char>"));
  EXPECT_NE(canonical_type_name("A<long double>"), canonical_type_name("A<double>"));
}

TEST(TypeNameTest, ValuesHaveOneSpelling) {
  EXPECT_EQ(canonical_type_name("A<3ul>"), canonical_type_name("A<3>"));
  EXPECT_EQ(canonical_type_name("A<true>"), canonical_type_name("A<1>"));
  EXPECT_EQ(canonical_type_name("A<'a'>"), canonical_type_name("A<(char)97>"));
  EXPECT_EQ(canonical_type_name("A<(n::Colour)1, int>"), canonical_type_name("A<1, int>"));
  EXPECT_NE(canonical_type_name("A<-1>"), canonical_type_name("A<1>"));
}

TEST(TypeNameTest, TheAnonymousNamespaceHasOneName) {
  EXPECT_EQ(canonical_type_name("n::{anonymous}::A"),
            canonical_type_name("n::(anonymous namespace)::A"));
  EXPECT_EQ(own_name<Hidden>(), canonical_type_name("{anonymous}::Hidden"));
}

TEST(TypeNameTest, MangledNamesAreRead) {
  EXPECT_EQ(own_name<unsigned long>(), "unsigned long");
  EXPECT_EQ((own_name<Tagged<const char*, Colour::green, 7>>()),
            canonical_type_name("{anonymous}::Tagged<const char*, ({anonymous}::Colour)1, 7>"));
  EXPECT_EQ((own_name<std::vector<int>>()),
            canonical_type_name("std::vector<int, std::allocator<int>>"));
  EXPECT_EQ(canonical_name_of_mangled("not mangled"), "");
  EXPECT_EQ(canonical_name_of_mangled(""), "");
}

TEST(TypeNameTest, AnythingIsSurvived) {
  std::string deep;
  for (int i = 0; i < 5000; ++i) deep += "A<";
  EXPECT_EQ(canonical_type_name(deep), deep);
  for (const char* text : {"", "<", ">", "(", "A<", "A<(", "A<(x", "A<-", "::", "A<'", "*",
                           "A[", "A<B<int>", "(anonymous", "A<>", "operator<", "A(*)(int)"}) {
    EXPECT_LE(canonical_type_name(text).size(), std::string(text).size());
  }
}

}  // namespace
}  // namespace rehook
