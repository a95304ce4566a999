#include "shadow_store/class_layout.hpp"

#include <algorithm>
#include <cstring>
#include <set>

#include "shadow_store/type_name.hpp"

namespace rehook {
namespace {

using Answer = LayoutVerdict::Answer;
using State = ClassLayout::State;

constexpr std::string_view k_magic = "rehookly";

void put_number(std::string& out, std::uint32_t value) {
  for (unsigned shift = 0; shift < 32; shift += 8) out += static_cast<char>(value >> shift);
}

void put_text(std::string& out, std::string_view text) {
  put_number(out, static_cast<std::uint32_t>(text.size()));
  out += text;
}

std::string_view as_text(const Digest& digest) {
  return {reinterpret_cast<const char*>(digest.bytes.data()), digest.bytes.size()};
}

// Never reads past the end: after the first failure everything is empty and ok() is false.
class Reader {
 public:
  explicit Reader(std::string_view bytes) : bytes_(bytes) {}
  [[nodiscard]] bool ok() const { return ok_; }
  [[nodiscard]] bool at_end() const { return bytes_.empty(); }
  std::string_view raw(std::size_t size) {
    if (!ok_ || bytes_.size() < size) {
      ok_ = false;
      return {};
    }
    const std::string_view found = bytes_.substr(0, size);
    bytes_.remove_prefix(size);
    return found;
  }
  std::uint32_t number() {
    std::uint32_t value = 0;
    const std::string_view from = raw(4);
    for (std::size_t i = from.size(); i-- > 0;) {
      value = value << 8U | static_cast<unsigned char>(from[i]);
    }
    return value;
  }
  std::string text() { return std::string(raw(number())); }
  Digest digest() {
    Digest value;
    const std::string_view from = raw(value.bytes.size());
    if (ok_) std::memcpy(value.bytes.data(), from.data(), from.size());
    return value;
  }
  template <typename Each>
  void list(Each each) {
    const std::uint32_t count = number();
    for (std::uint32_t i = 0; ok_ && i < count; ++i) each();
  }

 private:
  std::string_view bytes_;
  bool ok_ = true;
};

// "member y @8 double" -> "member", "y"; what a line is about.
struct Subject {
  std::string kind, name;
  friend bool operator==(const Subject&, const Subject&) = default;
};

Subject subject_of(const std::string& line) {
  const std::size_t first = line.find(' ');
  if (first == std::string::npos) return {line, ""};
  Subject subject{line.substr(0, first), ""};
  std::size_t begin = first + 1;
  if (subject.kind == "size" || subject.kind == "alignment" || subject.kind == "underlying") {
    return subject;
  }
  if (subject.kind == "virtual") {  // the slot comes first
    begin = std::min(line.find(' ', begin), line.size() - 1) + 1;
    subject.name = line.substr(begin);
    return subject;
  }
  const std::size_t end = std::min(line.rfind(" @"), line.rfind(" = "));
  subject.name = line.substr(begin, end == std::string::npos ? end : end - begin);
  return subject;
}

std::string what_is(const Subject& subject) {
  const std::string kind = subject.kind == "virtual" ? "virtual function" : subject.kind;
  return subject.name.empty() ? kind : kind + " '" + subject.name + "'";
}

std::string_view behind(std::string_view line, std::size_t at) {
  return line.substr(std::min(at, line.size()));
}

std::string change_of(const Subject& subject, const std::string& before,
                      const std::string& after) {
  if (subject.kind == "size") {
    return "size " + std::string(behind(before, 5)) + " -> " + std::string(behind(after, 5));
  }
  if (subject.kind == "virtual") {
    const auto slot = [](std::string_view line) {
      return std::string(behind(line, 8).substr(0, behind(line, 8).find(' ')));
    };
    return what_is(subject) + " moved from slot " + slot(before) + " to " + slot(after);
  }
  const std::size_t at = subject.kind.size() + subject.name.size() + 2;
  const auto tail = [at](const std::string& line) {
    return at < line.size() ? line.substr(at) : line;
  };
  return what_is(subject) + " changed: " + tail(before) + " -> " + tail(after);
}

// How two lists of lines differ, in a few words; the most telling difference first.
std::string difference(const std::vector<std::string>& before,
                       const std::vector<std::string>& after) {
  const auto look_up = [](const std::vector<std::string>& lines, const Subject& subject) {
    return std::find_if(lines.begin(), lines.end(),
                        [&](const std::string& line) { return subject_of(line) == subject; });
  };
  std::string moved;
  for (const std::string& line : after) {
    const Subject subject = subject_of(line);
    if (look_up(before, subject) == before.end()) {
      return what_is(subject) + (subject.kind == "virtual" ? " inserted" : " added");
    }
  }
  for (const std::string& line : before) {
    const Subject subject = subject_of(line);
    const auto same = look_up(after, subject);
    if (same == after.end()) return what_is(subject) + " removed";
    // A grown member moves those behind it, and the size: the first one that is not the size.
    if (*same == line) continue;
    if (moved.empty() || moved.starts_with("size ")) moved = change_of(subject, line, *same);
  }
  return moved.empty() ? "its parts are in another order" : moved;
}

std::vector<std::string_view> names_of(const ClassLayouts& all, const ClassLayout& one) {
  std::vector<std::string_view> names;
  for (const std::uint32_t index : one.reaches) names.push_back(all.classes[index].name);
  return names;
}

// An enumeration that gained members: what old values mean has not changed.
bool only_enumerators_added(const std::vector<std::string>& before,
                            const std::vector<std::string>& after) {
  auto expected = before.begin();
  for (const std::string& line : after) {
    if (expected != before.end() && *expected == line) {
      ++expected;
    } else if (!line.starts_with("enumerator ")) {
      return false;
    }
  }
  return expected == before.end();
}

// One class of both builds, without what it reaches.
LayoutVerdict compare_one(const ClassLayouts& all_before, const ClassLayouts& all_after,
                          const ClassLayout& before, const ClassLayout& after) {
  if (before.state == State::ambiguous || after.state == State::ambiguous) {
    return {Answer::unknown, "two different classes have this name"};
  }
  const bool opaque_before = before.state == State::opaque;
  const bool opaque_after = after.state == State::opaque;
  if (opaque_before != opaque_after) {
    return {Answer::unknown, "it is only declared in one of the builds"};
  }
  if (opaque_before) {
    const std::string& gap = all_before.gap.empty() ? all_after.gap : all_before.gap;
    if (gap.empty()) return {Answer::same, ""};
    return {Answer::unknown,
            "it is only declared where the code can be looked at (" + gap + ")"};
  }
  if (before.lines != after.lines && !only_enumerators_added(before.lines, after.lines)) {
    return {Answer::changed, difference(before.lines, after.lines)};
  }
  if (before.library != after.library) {
    return {Answer::changed, "a class of a library that is part of it changed"};
  }
  if (names_of(all_before, before) != names_of(all_after, after)) {
    return {Answer::changed, "it refers to other classes"};
  }
  return {Answer::same, ""};
}

// Everything that the classes of `start` reach, side by side. A change counts for more than
// what is not known.
LayoutVerdict compare_closure(const ClassLayouts& before, const ClassLayouts& after,
                              std::vector<std::string_view> start, std::string_view asked_for) {
  LayoutVerdict verdict{Answer::same, ""};
  std::set<std::string_view> seen(start.begin(), start.end());
  std::vector<std::string_view> waiting = std::move(start);
  for (std::size_t i = 0; i < waiting.size(); ++i) {
    const std::string_view name = waiting[i];
    const ClassLayout* const was = before.find(name);
    const ClassLayout* const is = after.find(name);
    if (was == nullptr || is == nullptr) continue;  // compare_one() told it of who leads here
    LayoutVerdict one = compare_one(before, after, *was, *is);
    if (one.answer != Answer::same && (verdict.answer != Answer::changed)) {
      if (name != asked_for) one.reason = std::string(name) + ": " + one.reason;
      if (verdict.answer == Answer::same || one.answer == Answer::changed) verdict = one;
    }
    if (verdict.answer == Answer::changed) return verdict;
    for (const std::string_view next : names_of(before, *was)) {
      if (seen.insert(next).second) waiting.push_back(next);
    }
  }
  return verdict;
}

std::string not_listed(const ClassLayouts& layouts, std::string_view name,
                       std::string_view build) {
  if (!layouts.gap.empty()) return layouts.gap;
  return "class " + std::string(name) + " is not in the debug information of the " +
         std::string(build) + " build";
}

}  // namespace

const ClassLayout* ClassLayouts::find(std::string_view name) const {
  const auto at = std::lower_bound(
      classes.begin(), classes.end(), name,
      [](const ClassLayout& one, std::string_view wanted) { return one.name < wanted; });
  return at != classes.end() && at->name == name ? &*at : nullptr;
}

std::string serialize(const ClassLayouts& layouts) {
  std::string out(k_magic);
  put_number(out, k_class_layout_format);
  put_text(out, layouts.gap);
  put_number(out, static_cast<std::uint32_t>(layouts.classes.size()));
  for (const ClassLayout& one : layouts.classes) {
    put_text(out, one.name);
    out += static_cast<char>(one.origin);
    out += static_cast<char>(one.state);
    put_number(out, static_cast<std::uint32_t>(one.lines.size()));
    for (const std::string& line : one.lines) put_text(out, line);
    put_number(out, static_cast<std::uint32_t>(one.reaches.size()));
    for (const std::uint32_t index : one.reaches) put_number(out, index);
    out += as_text(one.library);
  }
  const Digest digest = digest_of(out);
  return out += as_text(digest);
}

Result<ClassLayouts> parse_class_layouts(std::string_view bytes) {
  const Error corrupt{ErrorCode::corrupt, "the class layouts are torn or of another format"};
  constexpr std::size_t k_tail = sizeof(Digest::bytes);
  if (bytes.size() < k_magic.size() + k_tail || !bytes.starts_with(k_magic)) return corrupt;
  const std::string_view body = bytes.substr(0, bytes.size() - k_tail);
  if (as_text(digest_of(body)) != bytes.substr(body.size())) return corrupt;
  Reader in(body.substr(k_magic.size()));
  if (in.number() != k_class_layout_format) return corrupt;
  ClassLayouts layouts;
  layouts.gap = in.text();
  in.list([&] {
    ClassLayout& one = layouts.classes.emplace_back();
    one.name = in.text();
    const std::string_view kinds = in.raw(2);
    if (in.ok()) {
      one.origin = kinds[0] == 0 ? ClassLayout::Origin::user : ClassLayout::Origin::library;
      one.state = State(kinds[1] % 3);
    }
    in.list([&] { one.lines.push_back(in.text()); });
    in.list([&] { one.reaches.push_back(in.number()); });
    one.library = in.digest();
  });
  if (!in.ok() || !in.at_end()) return corrupt;
  for (const ClassLayout& one : layouts.classes) {
    for (const std::uint32_t index : one.reaches) {
      if (index >= layouts.classes.size()) return corrupt;
    }
  }
  return layouts;
}

LayoutVerdict compare_layouts(const ClassLayouts& before, const ClassLayouts& after,
                              std::string_view mangled_name) {
  const std::string name = canonical_name_of_mangled(mangled_name);
  if (name.empty()) return {Answer::unknown, "its name cannot be read"};
  for (const auto& [layouts, build] :
       {std::pair(&before, "running"), std::pair(&after, "new")}) {
    const ClassLayout* const found = layouts->find(name);
    if (found == nullptr) return {Answer::unknown, not_listed(*layouts, name, build)};
    if (found->state == State::opaque) {
      return {Answer::unknown,
              "class " + name + " is only declared in the " + std::string(build) + " build"};
    }
    // Code that could not be looked at may mean another class of that name.
    if (!layouts->gap.empty() && name.find("(anonymous namespace)") != std::string::npos) {
      return {Answer::unknown, layouts->gap};
    }
  }
  return compare_closure(before, after, {name}, name);
}

LayoutVerdict compare_all_layouts(const ClassLayouts& before, const ClassLayouts& after) {
  std::vector<std::string_view> start;
  const auto is_counted = [](const ClassLayout& one) {
    return one.origin == ClassLayout::Origin::user && one.state != State::opaque;
  };
  for (const ClassLayout& one : before.classes) {
    if (!is_counted(one)) continue;
    start.emplace_back(one.name);
    if (after.find(one.name) == nullptr && after.gap.empty()) {
      return {Answer::changed, "class " + one.name + " removed"};
    }
  }
  for (const ClassLayout& one : after.classes) {
    if (is_counted(one) && before.find(one.name) == nullptr && before.gap.empty()) {
      return {Answer::changed, "class " + one.name + " added"};
    }
  }
  LayoutVerdict verdict = compare_closure(before, after, std::move(start), "");
  for (const ClassLayouts* const layouts : {&before, &after}) {
    if (verdict.is_same() && !layouts->gap.empty()) verdict = {Answer::unknown, layouts->gap};
  }
  return verdict;
}

}  // namespace rehook
