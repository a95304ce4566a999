#include "shadow_store/base/temporary_name.hpp"

#include <signal.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstdint>

#include "shadow_store/base/platform.hpp"

namespace rehook {
namespace {

constexpr std::string_view k_prefix = ".tmp-";
constexpr std::size_t k_random_digits = 16;

}  // namespace

std::string temporary_name() {
  constexpr std::string_view digits = "0123456789abcdef";
  std::string name = std::string(k_prefix) + std::to_string(::getpid()) + "-";
  std::uint64_t number = random_number();
  for (std::size_t i = 0; i < k_random_digits; ++i, number >>= 4U) name += digits[number & 15U];
  return name;
}

std::optional<long> temporary_owner(std::string_view name) {
  if (name.substr(0, k_prefix.size()) != k_prefix) return std::nullopt;
  name.remove_prefix(k_prefix.size());
  long pid = 0;
  const auto parsed = std::from_chars(name.data(), name.data() + name.size(), pid);
  if (parsed.ec != std::errc{} || pid <= 0) return std::nullopt;
  name.remove_prefix(static_cast<std::size_t>(parsed.ptr - name.data()));
  if (name.size() != 1 + k_random_digits || name.front() != '-') return std::nullopt;
  return pid;
}

bool is_orphan(std::string_view name) {
  const std::optional<long> pid = temporary_owner(name);
  return pid && ::kill(static_cast<pid_t>(*pid), 0) != 0 && errno == ESRCH;
}

}  // namespace rehook
