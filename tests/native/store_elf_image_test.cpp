#include "shadow_store/elf_image.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "shadow_store/elf_editor.hpp"
#include "tests/support/compiled_library.hpp"
#include "tests/support/temporary_folder.hpp"

namespace rehook {
namespace {

constexpr const char* k_source = R"(
inline int counter = 1;
extern "C" {
double cos(double);
int plain_value = 7;
int hidden_away() __attribute__((visibility("hidden")));
int hidden_away() { return 1; }
double PyInit__core(double x) { return cos(x) + counter + hidden_away(); }
int PyInit_other() { return plain_value; }
int elsewhere();
int calls_elsewhere() { return elsewhere(); }
}
)";

// Bytes in memory that ends where they do, so that a sanitizer sees every read behind them.
class ExactBytes final {
 public:
  explicit ExactBytes(std::string_view text) : bytes_(text.begin(), text.end()) {
    bytes_.shrink_to_fit();
  }
  [[nodiscard]] std::string_view view() const { return {bytes_.data(), bytes_.size()}; }
  char& operator[](std::size_t i) { return bytes_[i]; }
  [[nodiscard]] std::size_t size() const { return bytes_.size(); }

 private:
  std::vector<char> bytes_;
};

// Parses, and touches everything that the image then offers. Whether it was accepted.
bool read_all(std::string_view bytes) {
  Result<ElfImage> image = ElfImage::parse(bytes);
  if (!image.ok()) {
    EXPECT_EQ(image.error().code, ErrorCode::corrupt);
    return false;
  }
  std::size_t sum = image->soname().size() + image->runpath().size() + image->needed().size();
  for (const char c : image->build_id()) sum += static_cast<unsigned char>(c);
  for (const ElfImage::DynamicSymbol& symbol : image->symbols()) {
    EXPECT_LT(symbol.info_offset, bytes.size());
    EXPECT_EQ(static_cast<std::uint8_t>(bytes[symbol.info_offset]), symbol.info);
    EXPECT_LE(image->file_offset(symbol.name) + symbol.name.size(), bytes.size());
    sum += static_cast<std::size_t>(std::count(symbol.name.begin(), symbol.name.end(), 'x'));
  }
  EditReport report;
  for (const FilePatch& patch : plan_unique_isolation(*image, report)) {
    EXPECT_LT(patch.offset, bytes.size());
  }
  return image->python_inits().size() + sum != ~std::size_t{0};
}

class ElfImageTest : public testing::Test {
 protected:
  [[nodiscard]] std::string compile(const std::string& options = "",
                                    const std::string& source = k_source) const {
    const Path output = folder_ / "lib.so";
    std::filesystem::remove(output);
    if (!compile_library(source, output, options)) return "";
    const Result<std::string> bytes = posix_file_system().read(output);
    return bytes.ok() ? bytes.value() : "";
  }
  TemporaryFolder folder_;
};

bool contains(const std::vector<std::string_view>& names, std::string_view name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

TEST_F(ElfImageTest, ReadsWhatAnyLinkerWrites) {
  int linkers = 0;
  for (const std::string& linker : std::vector<std::string>{"bfd", "gold", "lld", "mold"}) {
    for (const std::string& more :
         std::vector<std::string>{"-Wl,--hash-style=gnu -Wl,-rpath,'$ORIGIN/x' -Wl,-s",
                                  "-Wl,--hash-style=sysv -Wl,--disable-new-dtags "
                                  "-Wl,-rpath,'$ORIGIN/x'"}) {
      SCOPED_TRACE(linker + " " + more);
      const std::string bytes =
          compile("-fuse-ld=" + linker + " -Wl,-soname,libx.so.1 " +
                  "-Wl,--build-id=0x0123456789 -Wl,--no-as-needed -lm " + more);
      if (bytes.empty()) continue;  // no such linker here
      ++linkers;
      Result<ElfImage> image = ElfImage::parse(bytes);
      ASSERT_TRUE(image.ok()) << image.error().message;
      EXPECT_EQ(image->soname(), "libx.so.1");
      EXPECT_EQ(image->runpath(), "$ORIGIN/x");
      EXPECT_TRUE(contains(image->needed(), "libm.so.6"));
      EXPECT_TRUE(contains(image->needed(), "libc.so.6"));
      EXPECT_EQ(image->build_id(), "\x01\x23\x45\x67\x89");
      EXPECT_TRUE(image->defines("plain_value"));
      EXPECT_FALSE(image->defines("elsewhere"));
      EXPECT_FALSE(image->defines("hidden_away"));
      EXPECT_FALSE(image->defines(""));
      std::vector<std::string> inits = image->python_inits();
      std::sort(inits.begin(), inits.end());
      EXPECT_EQ(inits, (std::vector<std::string>{"_core", "other"}));
    }
  }
  EXPECT_GE(linkers, 2);
}

TEST_F(ElfImageTest, FindsTheBindingOfSymbolsAndWhereItIsWritten) {
  const std::string bytes = compile();
  Result<ElfImage> image = ElfImage::parse(bytes);
  ASSERT_TRUE(image.ok()) << image.error().message;
  int found = 0;
  for (const ElfImage::DynamicSymbol& symbol : image->symbols()) {
    EXPECT_EQ(static_cast<std::uint8_t>(bytes.at(symbol.info_offset)), symbol.info);
    EXPECT_EQ(bytes.substr(image->file_offset(symbol.name), symbol.name.size()), symbol.name);
    if (symbol.name != "plain_value") continue;
    ++found;
    EXPECT_EQ(symbol.binding(), SymbolBinding::global);
    EXPECT_EQ(symbol.info, 0x11);  // a global object
    EXPECT_EQ(symbol.info_with(SymbolBinding::weak), 0x21);
  }
  EXPECT_EQ(found, 1);
  EXPECT_EQ(bytes.substr(image->file_offset(image->string_table()), 1), std::string(1, '\0'));
}

TEST_F(ElfImageTest, ALibraryMayBeAlmostEmpty) {
  const std::string bytes = compile("-nostdlib", "static int unused_by_anyone;");
  Result<ElfImage> image = ElfImage::parse(bytes);
  ASSERT_TRUE(image.ok()) << image.error().message;
  EXPECT_EQ(image->soname(), "");
  EXPECT_EQ(image->runpath(), "");
  EXPECT_TRUE(image->python_inits().empty());
}

TEST_F(ElfImageTest, AcceptsALibraryWithoutSectionTable) {
  std::string bytes = compile();
  ASSERT_FALSE(bytes.empty());
  std::memset(bytes.data() + 40, 0, 8);  // e_shoff
  EXPECT_TRUE(ElfImage::parse(bytes).ok());
}

TEST_F(ElfImageTest, OtherFilesAreRefusedWithTheReason) {
  const std::string bytes = compile();
  ASSERT_GT(bytes.size(), 64U);
  const auto with = [&](std::size_t offset, char value) {
    std::string changed = bytes;
    changed[offset] = value;
    const Result<ElfImage> image = ElfImage::parse(changed);
    return image.ok() ? std::string("accepted") : image.error().message;
  };
  EXPECT_EQ(with(0, 'x'), "not an ELF file");
  EXPECT_EQ(with(4, 1), "not a 64-bit little-endian ELF file");
  EXPECT_EQ(with(5, 2), "not a 64-bit little-endian ELF file");
  EXPECT_EQ(with(16, 1), "not a shared library (ELF type ET_DYN)");
  EXPECT_NE(with(18, 3).find("built for another machine (ELF number 3,"), std::string::npos);
  for (const std::string& text : {std::string(),
                                  std::string("\x7f"
                                              "ELF"),
                                  std::string(64, '\0'), std::string("!<arch>\n")}) {
    EXPECT_FALSE(read_all(ExactBytes(text).view()));
  }
}

TEST_F(ElfImageTest, EveryTruncationIsSeen) {
  const std::string bytes = compile();
  ASSERT_TRUE(read_all(ExactBytes(bytes).view()));
  for (std::size_t size = 0; size < bytes.size(); size += size < 2048 ? 1 : 61) {
    EXPECT_FALSE(read_all(ExactBytes(bytes.substr(0, size)).view())) << size;
  }
  EXPECT_FALSE(read_all(ExactBytes(bytes.substr(0, bytes.size() - 1)).view()));
}

TEST_F(ElfImageTest, NoSingleByteMakesTheReaderLeaveTheFile) {
  ExactBytes bytes(compile("-Wl,-s -lm"));
  ASSERT_GT(bytes.size(), 64U);
  std::size_t refused = 0;
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    const char good = bytes[i];
    if (good == 0 && i > 4096 && i % 16 != 0) continue;  // padding between the segments, mostly
    for (const int flip : {0xff, 0x01, 0x80}) {
      bytes[i] = static_cast<char>(good ^ flip);
      refused += read_all(bytes.view()) ? 0 : 1;
    }
    bytes[i] = good;
  }
  EXPECT_GT(refused, 100U);
  EXPECT_TRUE(read_all(bytes.view()));
}

TEST_F(ElfImageTest, NoCombinationOfBadBytesDoesEither) {
  const std::string good = compile("-Wl,-s -Wl,--hash-style=both");
  ASSERT_GT(good.size(), 2048U);
  std::mt19937 random(20240501);
  const auto up_to = [&](std::size_t limit) { return random() % limit; };
  for (int round = 0; round < 1000; ++round) {
    ExactBytes bytes(good);
    for (std::size_t changes = 1 + up_to(6); changes > 0; --changes) {
      // Offsets and sizes matter most: write them whole, small or huge, into the front.
      const std::size_t at = 16 + up_to(2048 - 16);
      if (up_to(2) == 0) {
        bytes[at] = static_cast<char>(up_to(256));
      } else {
        for (std::size_t i = 0; i < 8; ++i)
          bytes[at / 8 * 8 + i] = static_cast<char>(i > 1 ? -(round & 1) : up_to(256));
      }
    }
    read_all(bytes.view());
  }
}

}  // namespace
}  // namespace rehook
