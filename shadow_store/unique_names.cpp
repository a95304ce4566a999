#include "shadow_store/unique_names.hpp"

#include <algorithm>
#include <array>
#include <map>
#include <numeric>
#include <set>

#include "shadow_store/elf_editor.hpp"

namespace rehook {
namespace {

// By how much a pair may be changed; the first of them is "not at all".
constexpr std::array<int, 7> k_steps = {0, 1, -1, 2, -2, 3, 4};
constexpr int k_hash_factor = 33;
constexpr int k_most_tries = 5000;

bool is_byte(int value) {
  return value > 0 && value < 256;
}

// Bytes at the end of each name that other names share.
using FixedTails = std::unordered_map<std::string, std::size_t>;

struct NamePlan {
  std::string name;
  std::vector<std::size_t> pairs;  // where each begins, the last one first
  double variants = 1;
};

std::vector<int> steps_of(const std::string& name, std::size_t at) {
  std::vector<int> steps;
  for (const int step : k_steps) {
    if (is_byte(static_cast<unsigned char>(name[at]) - step) &&
        is_byte(static_cast<unsigned char>(name[at + 1]) + k_hash_factor * step)) {
      steps.push_back(step);
    }
  }
  return steps;
}

// Where a name that is not ours lies in the bytes of one that is, or the other way round.
void find_fixed_tails(const ElfImage& image, FixedTails& tails) {
  std::map<const char*, std::string_view> by_end;  // the longest of ours that ends there
  std::vector<std::string_view> others = image.library_names();
  others.insert(others.end(), image.other_names().begin(), image.other_names().end());
  for (const ElfImage::DynamicSymbol& symbol : image.symbols()) {
    if (!tails.contains(std::string(symbol.name))) {
      others.push_back(symbol.name);
      continue;
    }
    std::string_view& longest = by_end[symbol.name.data() + symbol.name.size()];
    if (symbol.name.size() > longest.size()) longest = symbol.name;
  }
  for (const std::string_view other : others) {
    const auto merged = by_end.find(other.data() + other.size());
    if (other.empty() || merged == by_end.end()) continue;
    std::size_t& tail = tails.find(std::string(merged->second))->second;
    tail = std::max(tail, std::min(other.size(), merged->second.size()));
  }
}

// Those of the names that another one ends in.
using NameParts = std::unordered_map<std::string, std::vector<std::string>>;

NameParts parts_of(const FixedTails& tails) {
  std::set<std::size_t> lengths;
  for (const auto& [name, tail] : tails) lengths.insert(name.size());
  NameParts parts;
  for (const auto& [name, tail] : tails) {
    std::vector<std::string>& found = parts[name];
    for (const std::size_t length : lengths) {
      if (length == 0 || length >= name.size()) continue;
      std::string part = name.substr(name.size() - length);
      if (tails.contains(part)) found.push_back(std::move(part));
    }
  }
  return parts;
}

// A name and one that it ends in change alike.
void align_fixed_tails(FixedTails& tails, const NameParts& parts) {
  for (bool changed = true; changed;) {
    changed = false;
    for (const auto& [name, found] : parts) {
      std::size_t& tail = tails.find(name)->second;
      for (const std::string& part : found) {
        std::size_t& other = tails.find(part)->second;
        const std::size_t shared = std::min(tail, part.size());
        if (other < shared) {
          other = shared;
          changed = true;
        }
        if (tail < other) {
          tail = other;
          changed = true;
        }
      }
    }
  }
}

NamePlan plan_name(const std::string& name, std::size_t fixed,
                   const std::vector<std::string>& parts) {
  NamePlan plan{name, {}, 1};
  std::set<std::size_t> straddled;  // pairs, from the end, in which another name begins
  for (const std::string& part : parts) {
    if (part.size() % 2 == 1) straddled.insert(part.size() / 2);
  }
  for (std::size_t pair = 0; 2 * pair + 2 <= name.size(); ++pair) {
    if (2 * pair < fixed || straddled.contains(pair)) continue;
    const std::size_t at = name.size() - 2 - 2 * pair;
    plan.pairs.push_back(at);
    plan.variants *= static_cast<double>(steps_of(name, at).size());
  }
  return plan;
}

// The number's digits say how each pair changes.
std::string variant(const NamePlan& plan, std::uint64_t number) {
  std::string text = plan.name;
  for (const std::size_t at : plan.pairs) {
    const std::vector<int> steps = steps_of(plan.name, at);
    const int step = steps[number % steps.size()];
    number /= steps.size();
    text[at] = static_cast<char>(static_cast<unsigned char>(text[at]) - step);
    text[at + 1] =
        static_cast<char>(static_cast<unsigned char>(text[at + 1]) + k_hash_factor * step);
  }
  return text;
}

Error exhausted(const std::string& name) {
  return Error{
      ErrorCode::unsupported,
      "the C++ variable " + name +
          ", which several libraries share, has no unused name left for one more build",
      "compile with -fno-gnu-unique, give it a longer name, or restart the interpreter"};
}

// Every symbol's own, or null when one of them is taken.
Result<SymbolNames> names_of_number(const std::vector<NamePlan>& plans, std::uint64_t number,
                                    const UsedNames& used, const FixedTails& old_names) {
  SymbolNames names;
  for (const NamePlan& plan : plans) {
    std::string name = variant(plan, number);
    const bool changed = name != plan.name;
    if (used.contains(name) || (changed && old_names.contains(name)) ||
        (!changed && plan.variants > 1)) {
      return exhausted(plan.name);
    }
    names.emplace(plan.name, std::move(name));
  }
  return names;
}

}  // namespace

std::vector<std::string> unique_names(const ElfImage& image) {
  std::vector<std::string> names;
  for (const ElfImage::DynamicSymbol& symbol : image.symbols()) {
    if (!symbol.defined || symbol.binding() != SymbolBinding::gnu_unique) continue;
    if (!is_standard_library_only(symbol.name)) names.emplace_back(symbol.name);
  }
  return names;
}

Result<SymbolNames> make_symbol_names(const std::vector<const ElfImage*>& members,
                                      UsedNames& used) {
  FixedTails tails;
  for (const ElfImage* member : members) {
    if (!member->has_gnu_hash()) {
      return Error{ErrorCode::unsupported,
                   "libraries that share C++ variables need a GNU hash table",
                   "link with -Wl,--hash-style=gnu or -Wl,--hash-style=both"};
    }
    for (std::string& name : unique_names(*member)) tails.emplace(std::move(name), 0);
  }
  for (const ElfImage* member : members) find_fixed_tails(*member, tails);
  const NameParts parts = parts_of(tails);
  align_fixed_tails(tails, parts);
  std::vector<NamePlan> plans;
  for (const auto& [name, tail] : tails) {
    plans.push_back(plan_name(name, tail, parts.find(name)->second));
  }
  // The shortest names first: they are the ones to run out.
  std::sort(plans.begin(), plans.end(), [](const NamePlan& left, const NamePlan& right) {
    return left.variants < right.variants;
  });
  Result<SymbolNames> names = SymbolNames{};
  for (int i = 0; i < k_most_tries; ++i) {
    names = names_of_number(plans, used.next_number(), used, tails);
    if (!names) continue;
    for (const auto& [old_name, name] : *names) used.add(name);
    return names;
  }
  return names;
}

std::vector<FilePatch> plan_symbol_names(const ElfImage& image, const SymbolNames& names) {
  std::map<std::size_t, std::string> by_offset;
  for (const ElfImage::DynamicSymbol& symbol : image.symbols()) {
    const auto found = names.find(std::string(symbol.name));
    if (found == names.end() || found->first == found->second) continue;
    by_offset.emplace(image.file_offset(symbol.name), found->second);
  }
  std::vector<FilePatch> patches;
  for (auto& [offset, name] : by_offset) patches.push_back({offset, std::move(name)});
  return patches;
}

std::vector<std::size_t> sharing_groups(const std::vector<const ElfImage*>& libraries) {
  std::vector<std::size_t> group(libraries.size());
  std::iota(group.begin(), group.end(), std::size_t{0});
  std::unordered_map<std::string, std::size_t> owner;
  const auto join = [&](std::size_t left, std::size_t right) {
    const std::size_t from = group[right], to = group[left];
    if (from == to) return;
    std::replace(group.begin(), group.end(), from, to);
  };
  for (std::size_t i = 0; i < libraries.size(); ++i) {
    for (const std::string& name : unique_names(*libraries[i])) {
      const auto [known, is_new] = owner.emplace(name, i);
      if (!is_new) join(known->second, i);
    }
  }
  if (owner.empty()) return group;
  for (std::size_t i = 0; i < libraries.size(); ++i) {
    for (const ElfImage::DynamicSymbol& symbol : libraries[i]->symbols()) {
      if (const auto known = owner.find(std::string(symbol.name)); known != owner.end()) {
        join(known->second, i);
      }
    }
  }
  return group;
}

}  // namespace rehook
