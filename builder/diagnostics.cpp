#include "builder/diagnostics.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>
#include <set>
#include <tuple>

#include "builder/tool_text.hpp"

namespace rehook {
namespace {

using Text = std::string_view;

constexpr bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

Text base_name(Text path) {
  const std::size_t slash = path.rfind('/');
  return slash == Text::npos ? path : path.substr(slash + 1);
}

// Cuts ":123" off the end of `text`.
std::optional<int> cut_number(Text& text) {
  const std::size_t colon = text.rfind(':');
  if (colon == Text::npos || colon == 0) return std::nullopt;
  const Text digits = text.substr(colon + 1);
  int number = 0;
  const auto [end, error] =
      std::from_chars(digits.data(), digits.data() + digits.size(), number);
  if (digits.empty() || !is_digit(digits.front()) || error != std::errc() ||
      end != digits.data() + digits.size()) {
    return std::nullopt;
  }
  text = text.substr(0, colon);
  return number;
}

struct Place {
  Text file;
  int line = 0;
  int column = 0;
};

// "file", "file:12" or "file:12:5".
Place parse_place(Text text) {
  Place place;
  if (const auto last = cut_number(text)) {
    const auto before = cut_number(text);
    place.line = before.value_or(*last);
    place.column = before ? *last : 0;
  }
  place.file = text;
  return place;
}

Diagnostic make(const Place& place, Text severity, Text text) {
  Diagnostic result;
  if (!place.file.starts_with('<')) result.file = place.file;  // "<command-line>", "<stdin>"
  result.line = place.line;
  result.column = place.column;
  result.severity = severity;
  result.text = trim(text);
  return result;
}

bool is_linker(Text program) {
  const Text name = base_name(program);
  return name == "ld" || name.starts_with("ld.") || name.ends_with("-ld") || name == "mold" ||
         name.starts_with("ld64");
}

// "g++", "x86_64-linux-gnu-g++-12", "/usr/lib/gcc/…/cc1plus".
bool is_compiler(Text program) {
  constexpr std::array<Text, 12> k_names = {"cc1plus", "cc1",  "c++",         "g++",
                                            "gcc",     "cc",   "clang",       "clang++",
                                            "as",      "lto1", "lto-wrapper", "collect2"};
  Text name = base_name(program);
  const std::size_t version = name.find_last_not_of("0123456789.");
  if (version != Text::npos && name[version] == '-') name = name.substr(0, version);
  return std::any_of(k_names.begin(), k_names.end(), [&](Text known) {
    return name.ends_with(known) &&
           (name.size() == known.size() || name[name.size() - known.size() - 1] == '-');
  });
}

// "/usr/bin/ld: rest" -> "rest"; false when the line does not come from a linker.
bool cut_linker(Text& line) {
  const std::size_t colon = line.find(": ");
  if (colon == Text::npos || !is_linker(line.substr(0, colon))) return false;
  line.remove_prefix(colon + 2);
  return true;
}

struct Marker {
  Text text;
  Text severity;
};
constexpr std::array<Marker, 8> k_markers = {{{": error: ", "error"},
                                              {": fatal error: ", "error"},
                                              {": internal compiler error: ", "error"},
                                              {": sorry, unimplemented: ", "error"},
                                              {": Error: ", "error"},
                                              {": fatal: ", "error"},
                                              {": warning: ", "warning"},
                                              {": note: ", "note"}}};

// "   12 | code", "      |  ^~~~", "  +++ |+#include <vector>": source as gcc and new clang
// print it.
bool is_gutter(Text line) {
  if (!line.starts_with(' ')) return false;
  std::size_t at = line.find_first_not_of(' ');
  while (at < line.size() && (is_digit(line[at]) || line[at] == '+')) ++at;
  at = std::min(line.find_first_not_of(' ', at), line.size());
  return at < line.size() && line[at] == '|';
}

bool is_caret_line(Text line) {
  return line.find('^') != Text::npos && line.find_first_not_of(" \t^~") == Text::npos;
}

class Parser final {
 public:
  explicit Parser(const std::vector<Text>& lines) : lines_(lines) {}

  std::vector<Diagnostic> run() {
    while (at_ < lines_.size()) {
      const bool known = cmake() || make_rule() || compiler() || linker() || instantiation();
      if (!known) ++at_;
    }
    std::stable_sort(found_.begin(), found_.end(), [](const auto& left, const auto& right) {
      return rank(left.severity) < rank(right.severity);
    });
    return std::move(found_);
  }

 private:
  static int rank(Text severity) {
    return severity == "error" ? 0 : severity == "warning" ? 1 : 2;
  }

  void keep(Diagnostic found) {
    if (found.text.empty()) return;
    const bool fresh =
        seen_.emplace(found.file, found.line, found.column, found.severity, found.text).second;
    if (fresh) found_.push_back(std::move(found));
  }

  [[nodiscard]] Text line(std::size_t ahead) const {
    return at_ + ahead < lines_.size() ? lines_[at_ + ahead] : Text();
  }

  void take_excerpt_line(Diagnostic& found) {
    if (!found.excerpt.empty()) found.excerpt += '\n';
    found.excerpt += line(0);
    ++at_;
  }

  // The source lines below a message; `at_` is behind the message already.
  void take_excerpt(Diagnostic& found) {
    if (is_gutter(line(0))) {
      while (at_ < lines_.size() && is_gutter(line(0))) take_excerpt_line(found);
    } else if (is_caret_line(line(1)) && !is_caret_line(line(0))) {
      take_excerpt_line(found);
      take_excerpt_line(found);
    }
  }

  // lld and mold tell below the message who refers to a symbol, and where.
  void take_references(Diagnostic& found) {
    while (line(0).starts_with(">>> ")) {
      Text place = line(0).substr(4);
      for (const Text lead : {Text("referenced by "), Text("defined at ")}) {
        if (!place.starts_with(lead) || !found.file.empty()) continue;
        place.remove_prefix(lead.size());
        const std::size_t full = place.rfind(" (");
        if (full != Text::npos && place.ends_with(')')) {
          place = place.substr(full + 2, place.size() - full - 3);
        }
        const Place parsed = parse_place(place);
        found.file = parsed.file;
        found.line = parsed.line;
      }
      take_excerpt_line(found);
    }
  }

  // file:line:column: severity: text, or program: severity: text.
  bool compiler() {
    const Text whole = line(0);
    std::size_t begin = Text::npos;
    Marker marker;
    for (const Marker& candidate : k_markers) {
      const std::size_t found = whole.find(candidate.text);
      if (found >= begin) continue;
      begin = found;
      marker = candidate;
    }
    if (begin == Text::npos || begin == 0) return false;
    Text before = whole.substr(0, begin);
    const Text text = whole.substr(begin + marker.text.size());
    if (is_gutter(whole) || is_progress(whole)) return false;
    ++at_;
    cut_linker(before);
    Diagnostic found = located(before, marker.severity, text);
    if (found.text.starts_with("ld returned ") ||
        found.text.starts_with("linker command failed")) {
      return true;
    }
    take_excerpt(found);
    take_references(found);
    keep(std::move(found));
    return true;
  }

  static bool is_progress(Text whole) {
    NinjaProgress ignored;
    return parse_ninja_progress(whole, ignored);
  }

  // A program is no place; one that nobody knows stays in the text.
  static Diagnostic located(Text before, Text severity, Text text) {
    Place place = parse_place(before);
    if (const std::size_t function = before.find(":function "); function != Text::npos) {
      place = {base_object(before.substr(0, function)), 0,
               0};  // gold: "a.o:a.cpp:function f()"
    } else if (place.line == 0) {
      Diagnostic found = make({}, severity, text);
      const bool known = is_linker(before) || is_compiler(before) || before == "ninja" ||
                         before.starts_with('<');
      if (!known) found.text = std::string(before) + ": " + found.text;
      return found;
    }
    return make(place, severity, text);
  }

  // "a.o:a.cpp" -> "a.cpp".
  static Text base_object(Text text) {
    const std::size_t colon = text.rfind(':');
    return colon == Text::npos || colon + 1 == text.size() ? text : text.substr(colon + 1);
  }

  // What GNU ld prints, which knows no severities.
  bool linker() {
    Text rest = line(0);
    const bool named = cut_linker(rest);
    const std::size_t function = rest.find(": in function `");
    if (named && function != Text::npos && rest.ends_with("':")) {
      object_ = rest.substr(0, function);
      ++at_;
      return true;
    }
    for (const Text marker :
         {Text(": undefined reference to "), Text(": multiple definition of ")}) {
      const std::size_t begin = rest.find(marker);
      if (begin == Text::npos) continue;
      ++at_;
      keep(make(linker_place(rest.substr(0, begin)), "error", rest.substr(begin + 2)));
      return true;
    }
    if (!named) return false;
    ++at_;
    for (const Text noise :
         {Text("NOTE:"), Text("skipping incompatible"), Text("final link failed"),
          Text("previous definition"), Text("failed to set dynamic")}) {
      if (rest.find(noise) != Text::npos) return true;
    }
    const std::size_t colon = rest.find(": ");
    if (colon != Text::npos && rest.substr(0, colon).find(' ') == Text::npos) {
      keep(make(linker_place(rest.substr(0, colon)), "error", rest.substr(colon + 2)));
    } else {
      keep(make({}, "error", rest));
    }
    return true;
  }

  // "a.cpp:12", "a.cpp:(.text+0x5)", "a.o:a.cpp:(.text+0x5)", "(.text+0x20)" or "a.o".
  [[nodiscard]] Place linker_place(Text text) const {
    const std::size_t section = text.rfind('(');
    if (section == 0) return {object_, 0, 0};
    if (section == Text::npos || text[section - 1] != ':') return parse_place(text);
    return {base_object(text.substr(0, section - 1)), 0, 0};
  }

  // gcc names the line that asked for a template without calling it a note.
  bool instantiation() {
    const std::size_t begin = line(0).find(":   required ");
    if (begin == Text::npos) return false;
    const Place place = parse_place(line(0).substr(0, begin));
    if (place.line == 0) return false;
    Diagnostic found = make(place, "note", line(0).substr(begin + 1));
    ++at_;
    take_excerpt(found);
    keep(std::move(found));
    return true;
  }

  bool make_rule() {
    constexpr Text k_missing = "*** No rule to make target ";
    const std::size_t begin = line(0).find(k_missing);
    if (begin == Text::npos) return false;
    keep(make({}, "error", line(0).substr(begin + 4)));
    ++at_;
    return true;
  }

  // "CMake Error at CMakeLists.txt:12 (find_package):" and its indented paragraphs.
  bool cmake() {
    Text rest = line(0);
    if (!rest.starts_with("CMake ")) return false;
    const std::size_t error = std::min(rest.find("Error"), rest.find("Warning"));
    if (error > Text("CMake Deprecation ").size()) return false;
    const bool is_error = rest.substr(error).starts_with("Error");
    rest.remove_prefix(error + (is_error ? 5 : 7));
    if (rest.starts_with(" (dev)")) rest.remove_prefix(6);
    Diagnostic found;
    found.severity = is_error ? "error" : "warning";
    if (rest.starts_with(": ")) {
      found.text = trim(rest.substr(2));
    } else if (rest.starts_with(" at ") || rest.starts_with(" in ")) {
      rest = rest.substr(4, rest.rfind(':') - 4);
      if (rest.ends_with(')')) rest = rest.substr(0, rest.rfind(" ("));
      const Place place = parse_place(rest);
      found.file = place.file;
      found.line = place.line;
    } else if (rest != ":") {
      return false;
    }
    ++at_;
    if (found.text.empty()) {
      take_paragraphs(found);
    } else if (line(0).starts_with("Does not match ")) {  // another generator than last time
      found.text += ' ';
      found.text += line(0);
      ++at_;
    }
    keep(std::move(found));
    return true;
  }

  // The first sentence becomes the text, even over several paragraphs; what follows the
  // excerpt.
  void take_paragraphs(Diagnostic& found) {
    bool complete = false;
    for (; at_ < lines_.size() && (line(0).empty() || line(0).starts_with("  ")); ++at_) {
      const Text part = trim(line(0));
      if (complete) {
        if (!part.empty() || !found.excerpt.empty()) {
          found.excerpt +=
              std::string(line(0).substr(std::min<std::size_t>(2, line(0).size())));
          found.excerpt += '\n';
        }
        continue;
      }
      const bool ended = found.text.ends_with('.') || found.text.ends_with('!');
      complete = part.empty() && (ended || found.text.size() > 300);
      if (!part.empty() && !found.text.empty()) found.text += ' ';
      found.text += part;
    }
    while (found.excerpt.ends_with('\n')) found.excerpt.pop_back();
  }

  const std::vector<Text>& lines_;
  std::size_t at_ = 0;
  Text object_;  // named by the last "in function" of GNU ld
  std::vector<Diagnostic> found_;
  std::set<std::tuple<std::string, int, int, std::string, std::string>> seen_;
};

}  // namespace

std::vector<Diagnostic> parse_diagnostics(std::string_view output) {
  const std::string plain = strip_escapes(output);
  const std::vector<Text> lines = split_lines(plain);
  return Parser(lines).run();
}

std::string killed_program(std::string_view output) {
  // gcc and what it starts; clang; rehook itself, of the program that it started.
  constexpr std::array k_words = {"fatal error: Killed signal terminated program",
                                  "fatal error: Terminated signal terminated program",
                                  "terminated with signal 9 [Killed]",
                                  "terminated with signal 15 [Terminated]",
                                  "unable to execute command: Killed",
                                  "unable to execute command: Terminated",
                                  "rehook: the build tool was ended by signal "};
  const std::string plain = strip_escapes(output);
  for (const Text one : split_lines(plain)) {
    const Text line = trim(one);
    const bool from_shell = line == "Killed" || line == "Terminated";
    const bool told = std::any_of(k_words.begin(), k_words.end(), [&](const char* words) {
      return line.find(words) != Text::npos;
    });
    if (from_shell || told) return std::string(line);
  }
  return "";
}

}  // namespace rehook
