#include "tests/fuzz/fuzz_targets.hpp"

#include <cstdio>
#include <cstdlib>

#include "shadow_store/base/digest.hpp"

namespace rehook::fuzz {

void require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "does not hold: %s\n", what);
  std::abort();
}

std::string sealed(std::string_view body) {
  const Digest digest = digest_of(body);
  std::string bytes(body);
  return bytes.append(reinterpret_cast<const char*>(digest.bytes.data()), digest.bytes.size());
}

}  // namespace rehook::fuzz
