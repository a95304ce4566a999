#include "shadow_store/base/digest.hpp"

#include <gtest/gtest.h>

#include <string>
#include <utility>

namespace rehook {
namespace {

TEST(Digest, IsXxh3OfTheAlgorithmsOwnTestValue) {
  EXPECT_EQ(digest_of("").hex(), "99aa06d3014798d86001c324468d497f");
}

TEST(Digest, HexComesBack) {
  const Digest digest = digest_of("some content");
  ASSERT_EQ(digest.hex().size(), 32U);
  const Result<Digest> back = Digest::from_hex(digest.hex());
  ASSERT_TRUE(back.ok());
  EXPECT_EQ(back.value(), digest);
}

TEST(Digest, OtherTextIsNoDigest) {
  const std::string good = digest_of("x").hex();
  std::string upper = good;
  upper[3] = 'A';
  std::string beyond = good;
  beyond[31] = 'g';
  for (const std::string& bad : {std::string(), good + "0", good.substr(1), upper, beyond}) {
    const Result<Digest> digest = Digest::from_hex(bad);
    ASSERT_FALSE(digest.ok()) << bad;
    EXPECT_EQ(digest.error().code, ErrorCode::corrupt);
  }
}

TEST(Hasher, PiecesMakeTheSameDigestAsTheWhole) {
  std::string text;
  for (int i = 0; i < 5000; ++i) text += std::to_string(i);
  for (const std::size_t piece : {1U, 7U, 240U, 1024U, 100000U}) {
    Hasher hasher;
    for (std::size_t at = 0; at < text.size(); at += piece) hasher.add(text.substr(at, piece));
    EXPECT_EQ(hasher.finish(), digest_of(text)) << piece;
  }
}

TEST(Hasher, NothingAddedIsTheEmptyText) {
  EXPECT_EQ(Hasher().finish(), digest_of(""));
}

TEST(Hasher, FieldsKnowWhereTheyEnd) {
  const auto of = [](std::string_view first, std::string_view second) {
    Hasher hasher;
    hasher.add_field(first);
    hasher.add_field(second);
    return hasher.finish();
  };
  EXPECT_EQ(of("ab", "c"), of("ab", "c"));
  EXPECT_NE(of("ab", "c"), of("a", "bc"));
  EXPECT_NE(of("ab", ""), of("", "ab"));
}

TEST(Hasher, GoesOnAfterAMove) {
  Hasher first;
  first.add("abc");
  Hasher second = std::move(first);
  second.add("def");
  EXPECT_EQ(second.finish(), digest_of("abcdef"));
}

}  // namespace
}  // namespace rehook
