#include "shadow_store/elf_editor.hpp"

#include <cxxabi.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <memory>
#include <string>

namespace rehook {
namespace {

// What a demangled name may contain outside of a scope and still be nobody's but the library's.
constexpr std::array<std::string_view, 30> k_neutral_words = {
    "__cxxabiv1", "__float128", "__gnu_cxx", "__int128", "bool",     "char",
    "char16_t",   "char32_t",   "char8_t",   "const",    "decltype", "double",
    "false",      "float",      "for",       "guard",    "int",      "long",
    "nullptr",    "reference",  "short",     "signed",   "std",      "temporary",
    "true",       "unsigned",   "variable",  "void",     "volatile", "wchar_t"};
static_assert(std::is_sorted(k_neutral_words.begin(), k_neutral_words.end()));

// The library's own objects have a few; a name with more counts as the user's.
constexpr std::size_t k_most_references = 30;

bool is_word_char(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
         c == '_' || static_cast<unsigned char>(c) >= 0x80;
}

// Cheap: whether the mangled name is that of something in std, or local to a function there.
// The grammar: _Z, then GV for a guard, Z for "local to", N for "nested", qualifiers, and St or
// one of the abbreviations for its most used classes.
bool begins_in_std(std::string_view mangled) {
  if (mangled.substr(0, 2) != "_Z") return false;
  mangled.remove_prefix(2);
  if (mangled.substr(0, 2) == "GV" || mangled.substr(0, 2) == "GR") mangled.remove_prefix(2);
  while (!mangled.empty() && mangled.front() == 'Z') mangled.remove_prefix(1);
  if (!mangled.empty() && mangled.front() == 'N') {
    mangled.remove_prefix(1);
    mangled.remove_prefix(std::min(mangled.find_first_not_of("rVKRO"), mangled.size()));
  }
  return mangled.size() >= 2 && mangled[0] == 'S' &&
         std::string_view("tabsiod").find(mangled[1]) != std::string_view::npos;
}

// How often a mangled name refers back to a part of itself (S_, S1_, T_, …), or seems to. Each
// time may double the text that comes out: 200 letters make megabytes, 400 fill any memory.
std::size_t references_in(std::string_view mangled) {
  std::size_t count = 0;
  bool open = false;  // behind the letter, or the digits that follow it
  for (const char c : mangled) {
    if (c == '_' && open) ++count;
    const bool is_digit = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z');
    open = c == 'S' || c == 'T' || (open && is_digit);
  }
  return count;
}

// Whether every name in the text is written after "std::" or is a neutral word. Anything
// doubtful, such as a lambda, counts as the user's.
bool names_only_standard_things(std::string_view text) {
  std::size_t position = 0;
  while (position < text.size()) {
    const char c = text[position];
    if (c == '{') return false;
    if (c == '[') {  // an ABI tag, as in "[abi:cxx11]"
      position = text.find(']', position);
      if (position == std::string_view::npos) return false;
    }
    if (!is_word_char(c)) {
      ++position;
      continue;
    }
    const std::size_t begin = position;
    while (position < text.size() && is_word_char(text[position])) ++position;
    const std::string_view word = text.substr(begin, position - begin);
    const bool scoped = begin >= 2 && text.substr(begin - 2, 2) == "::";
    const bool number = word.front() >= '0' && word.front() <= '9';
    if (!scoped && !number &&
        !std::binary_search(k_neutral_words.begin(), k_neutral_words.end(), word)) {
      return false;
    }
  }
  return true;
}

}  // namespace

bool is_standard_library_only(std::string_view mangled) {
  if (!begins_in_std(mangled) || references_in(mangled) > k_most_references) return false;
  int status = 0;
  const std::unique_ptr<char, decltype(&std::free)> text(
      abi::__cxa_demangle(std::string(mangled).c_str(), nullptr, nullptr, &status), &std::free);
  return status == 0 && text != nullptr && names_only_standard_things(text.get());
}

std::vector<FilePatch> plan_unique_isolation(const ElfImage& image, EditReport& report) {
  std::vector<FilePatch> patches;
  report = {};
  for (const ElfImage::DynamicSymbol& symbol : image.symbols()) {
    if (!symbol.defined || symbol.binding() != SymbolBinding::gnu_unique) continue;
    if (is_standard_library_only(symbol.name)) {
      ++report.kept;
      continue;
    }
    ++report.isolated;
    const char weak = static_cast<char>(symbol.info_with(SymbolBinding::weak));
    patches.push_back({symbol.info_offset, std::string(1, weak)});
  }
  return patches;
}

}  // namespace rehook
