// What libFuzzer calls; compiled once for each target.
#include "tests/fuzz/fuzz_targets.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  return rehook::fuzz::REHOOK_FUZZ_TARGET(data, size);
}
