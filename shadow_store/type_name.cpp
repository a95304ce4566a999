#include "shadow_store/type_name.hpp"

#include <cxxabi.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cstdlib>
#include <memory>
#include <vector>

namespace rehook {
namespace {

constexpr std::string_view k_anonymous = "(anonymous namespace)";
constexpr int k_deepest = 200;

bool is_word(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_' || c == '$' ||
         static_cast<unsigned char>(c) >= 0x80;
}

bool is_number(std::string_view token) {
  return !token.empty() && std::isdigit(static_cast<unsigned char>(token.front())) != 0;
}

bool is_basic(std::string_view token) {
  constexpr std::array k_words = {"unsigned", "signed", "long",   "short",
                                  "int",      "char",   "double", "__int128"};
  return std::find(k_words.begin(), k_words.end(), token) != k_words.end();
}

// "3ul" -> "3", "true" -> "1"; any other token as it is.
std::string plain_value(std::string_view token) {
  if (token == "true") return "1";
  if (token == "false") return "0";
  if (is_number(token) && token.find('.') == std::string_view::npos) {
    const std::size_t end = token.find_last_not_of("uUlL");
    return std::string(token.substr(0, end + 1));
  }
  return std::string(token);
}

std::vector<std::string> tokens_of(std::string_view text) {
  std::vector<std::string> tokens;
  while (!text.empty()) {
    const char c = text.front();
    std::size_t size = 1;
    if (c == ' ') {
      text.remove_prefix(1);
      continue;
    }
    bool anonymous = false;
    for (const std::string_view one :
         {k_anonymous, std::string_view("{anonymous}"), std::string_view("<unnamed>")}) {
      if (!text.starts_with(one)) continue;
      anonymous = true;
      size = one.size();
    }
    if (!anonymous && is_word(c)) {
      while (size < text.size() && is_word(text[size])) ++size;
    } else if (!anonymous && c == '\'' && text.size() > 2 && text[1] != '\\' &&
               text[2] == '\'') {
      tokens.push_back(std::to_string(static_cast<unsigned char>(text[1])));
      text.remove_prefix(3);
      continue;
    } else if (!anonymous && (text.starts_with("::") || text.starts_with("&&"))) {
      size = 2;
    }
    tokens.emplace_back(anonymous ? k_anonymous : text.substr(0, size));
    text.remove_prefix(size);
  }
  return tokens;
}

// The words of a built-in arithmetic type, in any order, as one name.
std::string basic_name(const std::vector<std::string>& words) {
  const auto count = [&](std::string_view word) {
    return std::count(words.begin(), words.end(), word);
  };
  std::string name = count("unsigned") > 0 ? "unsigned " : "";
  if (count("char") > 0) return (count("signed") > 0 ? "signed " : name) + "char";
  if (count("double") > 0) return count("long") > 0 ? "long double" : "double";
  if (count("__int128") > 0) return name + "__int128";
  if (count("short") > 0) return name + "short";
  if (count("long") > 1) return name + "long long";
  return name + (count("long") == 1 ? "long" : "int");
}

// type := cv* (basic words | qualified name) cv* (ptr | ref | array | function)*
class Parser {
 public:
  explicit Parser(std::vector<std::string> tokens) : tokens_(std::move(tokens)) {}

  // "" when the text is something else.
  std::string whole() {
    std::string name = type(0);
    return ok_ && at_ == tokens_.size() ? name : "";
  }

 private:
  [[nodiscard]] std::string_view peek(std::size_t ahead = 0) const {
    return at_ + ahead < tokens_.size() ? std::string_view(tokens_[at_ + ahead])
                                        : std::string_view();
  }
  bool take(std::string_view token) {
    if (peek() != token) return false;
    ++at_;
    return true;
  }
  std::string fail() {
    ok_ = false;
    return "";
  }
  void take_cv(bool& is_const, bool& is_volatile) {
    for (;;) {
      if (take("const")) {
        is_const = true;
      } else if (take("volatile")) {
        is_volatile = true;
      } else if (!take("struct") && !take("class") && !take("enum") && !take("union")) {
        return;
      }
    }
  }

  std::string type(int depth) {
    if (depth > k_deepest) return fail();
    bool is_const = false, is_volatile = false;
    take_cv(is_const, is_volatile);
    std::string name;
    if (is_basic(peek())) {
      std::vector<std::string> words;
      while (is_basic(peek()) || peek() == "const" || peek() == "volatile") {
        take_cv(is_const, is_volatile);
        if (is_basic(peek())) words.emplace_back(tokens_[at_++]);
      }
      name = basic_name(words);
    } else {
      name = qualified(depth);
    }
    take_cv(is_const, is_volatile);
    if (is_const) name += " const";
    if (is_volatile) name += " volatile";
    return ok_ ? name + declarator(depth) : "";
  }

  std::string qualified(int depth) {
    take("::");
    std::string name;
    do {
      if (!name.empty()) name += "::";
      const std::string_view part = peek();
      if (part.empty() || (part != k_anonymous && !is_word(part.front()))) return fail();
      name += plain_value(part);
      ++at_;
      if (take("<")) name += "<" + list(">", depth) + ">";
    } while (ok_ && take("::"));
    return name;
  }

  // What follows up to `close`, which is taken, too.
  std::string list(std::string_view close, int depth) {
    std::string items;
    while (ok_ && !take(close)) {
      if (!items.empty()) {
        if (!take(",")) return fail();
        items += ",";
      }
      items += argument(depth + 1);
    }
    return items == "void" && close == ")" ? "" : items;
  }

  // A type, or a value with the cast the demangler puts before it: (ns::Colour)1, (char)97, -3.
  std::string argument(int depth) {
    if (take(".")) return take(".") && take(".") ? "..." : fail();
    if (peek() == "(") {
      int open = 0;
      std::size_t ahead = 0;
      for (; !peek(ahead).empty(); ++ahead) {
        if (peek(ahead) == "(") ++open;
        if (peek(ahead) == ")" && --open == 0) break;
      }
      if (!is_number(peek(ahead + 1)) && peek(ahead + 1) != "-") return fail();
      at_ += ahead + 1;
    }
    const std::string sign = take("-") ? "-" : "";
    const std::string_view value = peek();
    if (is_number(value) || value == "true" || value == "false") {
      ++at_;
      return sign + plain_value(value);
    }
    if (!sign.empty()) return fail();
    return type(depth);
  }

  std::string declarator(int depth) {
    if (depth > k_deepest) return fail();
    std::string out;
    for (;;) {
      bool is_const = false, is_volatile = false;
      if (take("*")) {
        out += "*";
        take_cv(is_const, is_volatile);
        if (is_const) out += " const";
        if (is_volatile) out += " volatile";
      } else if (peek() == "&" || peek() == "&&") {
        out += tokens_[at_++];
      } else if (take("[")) {
        out += "[";
        if (is_number(peek())) out += plain_value(tokens_[at_++]);
        if (!take("]")) return fail();
        out += "]";
      } else if (peek() == "(" && (peek(1) == "*" || peek(1) == "&" || peek(1) == "&&")) {
        ++at_;
        out += "(" + declarator(depth + 1);
        if (!take(")")) return fail();
        out += ")";
      } else if (take("(")) {
        out += "(" + list(")", depth) + ")";
        take_cv(is_const, is_volatile);
        if (is_const) out += " const";
      } else if (take("noexcept")) {
        out += " noexcept";
      } else {
        return out;
      }
      if (!ok_) return "";
    }
  }

  std::vector<std::string> tokens_;
  std::size_t at_ = 0;
  bool ok_ = true;
};

}  // namespace

std::string canonical_type_name(std::string_view text) {
  std::vector<std::string> tokens = tokens_of(text);
  std::string name = Parser(tokens).whole();
  if (!name.empty()) return name;
  for (const std::string& token : tokens) name += token;
  return name;
}

std::string canonical_name_of_mangled(std::string_view mangled) {
  if (mangled.starts_with("*")) mangled.remove_prefix(1);  // gcc's mark for local types
  int status = 0;
  const std::unique_ptr<char, decltype(&std::free)> text(
      abi::__cxa_demangle(std::string(mangled).c_str(), nullptr, nullptr, &status), &std::free);
  return status == 0 && text ? canonical_type_name(text.get()) : "";
}

}  // namespace rehook
