#include "hook/generation_budget.hpp"

#include <sys/resource.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <limits>
#include <string_view>

namespace rehook {
namespace {

constexpr std::uint64_t k_no_limit = std::numeric_limits<std::uint64_t>::max();
constexpr std::uint64_t k_kilobyte = 1024;
constexpr std::uint64_t k_default_mappings = 65530;  // Linux, vm.max_map_count
// glibc keeps this much for libraries that are loaded later: the tunable, and about twice as
// much that it reserves for other namespaces (dl-tls.c, _dl_tls_static_surplus_init).
constexpr std::uint64_t k_default_static_tls = 512, k_more_static_tls = 1088;

std::uint64_t number_in(std::string_view text) {
  const std::size_t begin = std::min(text.find_first_of("0123456789"), text.size());
  std::uint64_t value = 0;
  std::from_chars(text.data() + begin, text.data() + text.size(), value);
  return value;
}

// The number after `key`, or `otherwise`.
std::uint64_t number_after(std::string_view text, std::string_view key,
                           std::uint64_t otherwise) {
  const std::size_t at = text.find(key);
  return at == std::string_view::npos ? otherwise : number_in(text.substr(at + key.size()));
}

std::uint64_t number_in_file(FileSystem& fs, const Path& file, std::uint64_t otherwise) {
  const auto text = fs.read(file);
  const bool is_number = text && !text->empty() && text->front() >= '0' && text->front() <= '9';
  return is_number ? number_in(*text) : otherwise;
}

std::uint64_t count_mappings(FileSystem& fs) {
  const auto maps = fs.read("/proc/self/maps");
  return maps ? static_cast<std::uint64_t>(std::count(maps->begin(), maps->end(), '\n')) : 0;
}

// Bytes that this process can still get.
std::uint64_t available_memory(FileSystem& fs) {
  std::uint64_t available = k_no_limit;
  if (const auto text = fs.read("/proc/meminfo")) {
    const std::uint64_t found = number_after(*text, "MemAvailable:", 0) * k_kilobyte;
    if (found > 0) available = found;
  }
  const Path group = "/sys/fs/cgroup";
  const std::uint64_t most = number_in_file(fs, group / "memory.max", k_no_limit);
  const std::uint64_t taken = number_in_file(fs, group / "memory.current", 0);
  if (most != k_no_limit) available = std::min(available, most - std::min(most, taken));
  rlimit addresses{};
  if (getrlimit(RLIMIT_AS, &addresses) == 0 && addresses.rlim_cur != RLIM_INFINITY) {
    const auto status = fs.read("/proc/self/status");
    const std::uint64_t size = status ? number_after(*status, "VmSize:", 0) * k_kilobyte : 0;
    available = std::min<std::uint64_t>(
        available, addresses.rlim_cur - std::min<std::uint64_t>(addresses.rlim_cur, size));
  }
  return available;
}

Budget static_tls() {
  Budget budget{"bytes of static thread-local storage", 0, 0, WhenFull::warn,
                "compile without -ftls-model=initial-exec, or start Python with "
                "GLIBC_TUNABLES=glibc.rtld.optional_static_tls=65536"};
  const char* const tunables = std::getenv("GLIBC_TUNABLES");
  budget.limit =
      k_more_static_tls + number_after(tunables == nullptr ? "" : tunables,
                                       "glibc.rtld.optional_static_tls=", k_default_static_tls);
  return budget;
}

}  // namespace

std::uint64_t static_tls_room() {
  return static_tls().limit;
}

void GenerationBudgets::count(std::map<std::string, LoadedExtension>& extensions) {
  const auto take = [&](const Path& file, GenerationCost& cost) {
    const auto found = find_loaded_library(file);
    if (!found) return false;
    cost.mapped += found->size();
    cost.private_bytes += found->private_bytes;
    cost.mappings += found->mappings;
    return true;
  };
  const auto count_one = [&](Generation& generation) {
    if (generation.cost) return;
    GenerationCost cost;
    if (!take(generation.file, cost)) return;
    for (const LibraryInstance& library : generation.libraries) {
      if (!libraries_.contains(library.file.native()) && take(library.file, cost)) {
        libraries_.insert(library.file.native());
      }
    }
    generation.cost = cost;
  };
  for (auto& [name, extension] : extensions) {
    for (Generation& generation : extension.retired) count_one(generation);
    count_one(extension.current);
  }
}

std::vector<Budget> GenerationBudgets::measure(
    const std::map<std::string, LoadedExtension>& extensions, Mappings how) {
  Budget mappings{"memory mappings", 0, 0, WhenFull::refuse,
                  "restart the interpreter, or allow more with sysctl vm.max_map_count"};
  Budget memory{"bytes of memory", 0, 0, WhenFull::refuse,
                "restart the interpreter, or give it more memory"};
  Budget tls = static_tls();
  std::uint64_t own = 0;  // mappings
  const auto add = [&](const Generation& generation) {
    const GenerationCost cost = generation.cost.value_or(GenerationCost{});
    memory.used += cost.private_bytes;
    own += cost.mappings;
    tls.used += generation.static_tls;
  };
  for (const auto& [name, extension] : extensions) {
    for (const Generation& generation : extension.retired) add(generation);
    add(extension.current);
  }
  const std::uint64_t available = available_memory(*fs_);
  memory.limit = available == k_no_limit ? 0 : available + memory.used;
  mappings.limit = number_in_file(*fs_, "/proc/sys/vm/max_map_count", k_default_mappings);
  mappings.used = last_mappings_ + own - last_own_;
  const bool is_due = ++estimates_ * k_lines_each > last_mappings_;
  if (how == Mappings::counted || is_due || mappings.is_half_used()) {
    last_mappings_ = mappings.used = count_mappings(*fs_);
    last_own_ = own;
    estimates_ = 0;
  }
  return {mappings, memory, tls};
}

Status check_budgets(const std::vector<Budget>& budgets, std::size_t generations) {
  for (const Budget& budget : budgets) {
    if (!budget.is_used_up()) continue;
    return Error{ErrorCode::unsafe,
                 "not reloaded: " + std::to_string(budget.used) + " of " +
                     std::to_string(budget.limit) + " " + budget.name +
                     " are used, and each reload takes more; " + std::to_string(generations) +
                     " builds of extensions are loaded, which are never unloaded",
                 budget.hint};
  }
  return ok_status();
}

}  // namespace rehook
