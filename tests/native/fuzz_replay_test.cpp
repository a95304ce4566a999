// The fuzz targets of tests/fuzz, without a fuzzer: over their seeds and what was once found,
// over every truncation of these, and every changed byte. See tests/fuzz/README.md.
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "shadow_store/base/file_system.hpp"
#include "tests/fuzz/fuzz_targets.hpp"
#include "tests/support/temporary_folder.hpp"

namespace rehook {
namespace {

struct Target {
  const char* name;
  fuzz::Run* run;
  // How often it is run in one case: what is slow leaves out some of the changes.
  std::size_t most_runs = 40'000;
};

constexpr std::size_t k_slow = 1'500;
constexpr std::size_t k_most_bytes = 32'000'000;  // of one seed

constexpr Target k_targets[] = {{"allowed_folders", fuzz::allowed_folders},
                                {"build_log", fuzz::build_log},
                                {"class_layout_reader", fuzz::class_layout_reader, k_slow},
                                {"class_layout_set", fuzz::class_layout_set},
                                {"class_layouts", fuzz::class_layouts},
                                {"cmake_reply", fuzz::cmake_reply, k_slow / 2},
                                {"depfile", fuzz::depfile},
                                {"diagnostics", fuzz::diagnostics},
                                {"elf_edits", fuzz::elf_edits, 8 * k_slow},
                                {"elf_image", fuzz::elf_image},
                                {"make_rules", fuzz::make_rules},
                                {"ninja_deps", fuzz::ninja_deps},
                                {"private_libraries", fuzz::private_libraries, k_slow},
                                {"project_state", fuzz::project_state},
                                {"store_names", fuzz::store_names, 2 * k_slow},
                                {"type_name", fuzz::type_name}};

Path corpus() {
  return REHOOK_FUZZ_CORPUS;
}

struct Seed {
  std::string name, bytes;
};

std::vector<Seed> seeds_of(const std::string& target) {
  std::vector<Seed> seeds;
  const auto names = posix_file_system().list(corpus() / target);
  EXPECT_TRUE(names) << reason(names);
  for (const std::string& name : names ? *names : std::vector<std::string>()) {
    const auto bytes = posix_file_system().read(corpus() / target / name);
    EXPECT_TRUE(bytes) << reason(bytes);
    seeds.push_back({name, bytes ? *bytes : std::string()});
  }
  return seeds;
}

// In memory that ends where the bytes do, so that a sanitizer sees every read behind them.
void run(const Target& target, std::string_view bytes) {
  const std::vector<std::uint8_t> exact(bytes.begin(), bytes.end());
  EXPECT_EQ(target.run(exact.data(), exact.size()), 0);
}

std::string with_flipped(const std::string& bytes, std::size_t at, char mask) {
  std::string changed = bytes;
  changed[at] = static_cast<char>(changed[at] ^ mask);
  return changed;
}

class FuzzReplay : public testing::TestWithParam<Target> {
 protected:
  // Every how many bytes of this seed a case changes one, to stay within its number of runs,
  // and of bytes to read.
  static std::size_t step(const std::vector<Seed>& seeds, const Seed& seed,
                          std::size_t runs_per_byte) {
    std::size_t runs = 0;
    for (const Seed& one : seeds) runs += one.bytes.size() * runs_per_byte;
    const std::size_t bytes = seed.bytes.size() * seed.bytes.size() * runs_per_byte;
    return std::max(1 + runs / GetParam().most_runs, 1 + bytes / k_most_bytes);
  }
};

INSTANTIATE_TEST_SUITE_P(Target, FuzzReplay, testing::ValuesIn(k_targets),
                         [](const auto& target) { return target.param.name; });

TEST_P(FuzzReplay, Seeds) {
  run(GetParam(), "");
  const std::vector<Seed> seeds = seeds_of(GetParam().name);
  EXPECT_FALSE(seeds.empty());
  for (const Seed& seed : seeds) {
    SCOPED_TRACE(seed.name);
    run(GetParam(), seed.bytes);
  }
}

TEST_P(FuzzReplay, Truncations) {
  const std::vector<Seed> seeds = seeds_of(GetParam().name);
  for (const Seed& seed : seeds) {
    SCOPED_TRACE(seed.name);
    const std::size_t stride = step(seeds, seed, 1);
    for (std::size_t size = 0; size < seed.bytes.size(); size += stride) {
      run(GetParam(), std::string_view(seed.bytes).substr(0, size));
    }
  }
}

TEST_P(FuzzReplay, ChangedBytes) {
  const std::vector<Seed> seeds = seeds_of(GetParam().name);
  for (const Seed& seed : seeds) {
    SCOPED_TRACE(seed.name);
    const std::size_t stride = step(seeds, seed, 2);
    for (std::size_t at = 0; at < seed.bytes.size(); at += stride) {
      for (const char mask : {'\xff', '\x01'}) {
        run(GetParam(), with_flipped(seed.bytes, at, mask));
      }
    }
  }
}

TEST(FuzzTargets, EachHasSeedsAndIsReplayed) {
  std::vector<std::string> names;
  for (const Target& target : k_targets) names.emplace_back(target.name);
  const auto folders = posix_file_system().list(corpus());
  ASSERT_TRUE(folders) << reason(folders);
  EXPECT_EQ(names, *folders);
}

// Refused, or the same to the last byte.
void expect_no_other_meaning(const std::string& target, fuzz::Meaning* meaning) {
  int accepted = 0;
  for (const Seed& seed : seeds_of(target)) {
    SCOPED_TRACE(seed.name);
    const std::optional<std::string> original = meaning(seed.bytes);
    if (!original) continue;
    ++accepted;
    for (std::size_t at = 0; at < seed.bytes.size(); ++at) {
      const std::string_view cut = std::string_view(seed.bytes).substr(0, at);
      ASSERT_FALSE(meaning(cut).has_value()) << "cut at byte " << at;
      for (const char mask : {'\xff', '\x01'}) {
        const auto other = meaning(with_flipped(seed.bytes, at, mask));
        ASSERT_TRUE(!other || *other == *original) << "byte " << at << " was changed";
      }
    }
  }
  EXPECT_GE(accepted, 2) << "seeds that are whole";
}

TEST(FuzzDigests, AChangedProjectStateIsNotTakenForAnother) {
  expect_no_other_meaning("project_state", fuzz::project_state_meaning);
}

TEST(FuzzDigests, ChangedClassLayoutsAreNotTakenForOthers) {
  expect_no_other_meaning("class_layouts", fuzz::class_layouts_meaning);
}

}  // namespace
}  // namespace rehook
