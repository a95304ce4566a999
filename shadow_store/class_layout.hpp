#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "shadow_store/base/digest.hpp"
#include "shadow_store/base/result.hpp"

namespace rehook {

// What one C++ class, union or enumeration of a binary looks like in memory.
struct ClassLayout {
  std::string name;  // canonical, see type_name.hpp
  // Who wrote it: user code; or the standard library, of which only the classes that are bound
  // to Python now and then (std::vector<…>, …) are listed.
  enum class Origin : std::uint8_t { user, library } origin = Origin::user;
  // opaque: only declared in this binary. ambiguous: two different classes have this name.
  enum class State : std::uint8_t { defined, opaque, ambiguous } state = State::defined;
  // "size 16", "base geo::Shape @0", "member x @8 double", "virtual 2 area() const", …
  std::vector<std::string> lines;
  // Classes that code holding one of these can reach: members, bases, pointers, template
  // arguments, parameters of virtual functions. Indices into ClassLayouts::classes.
  std::vector<std::uint32_t> reaches;
  Digest library;  // of the classes of libraries that lie in between
};

// All classes of one build of an extension, and of the project's libraries it uses.
//
// On disk: magic, format number, length-prefixed fields, XXH3-128 of everything before it; a
// torn or flipped byte is noticed. Rejected: a digest per class alone (no reason to tell).
struct ClassLayouts {
  std::vector<ClassLayout> classes;  // sorted by name
  // Why not all of the binary's code could be looked at: "core.cpp: no debug information"; ""
  // when it could. Classes that are listed are known all the same.
  std::string gap;

  [[nodiscard]] const ClassLayout* find(std::string_view name) const;
};

inline constexpr std::uint32_t k_class_layout_format = 1;

[[nodiscard]] std::string serialize(const ClassLayouts& layouts);
// corrupt: torn, flipped or of another format.
[[nodiscard]] Result<ClassLayouts> parse_class_layouts(std::string_view bytes);

// Whether new code may work on objects that old code made. unknown is never same.
struct LayoutVerdict {
  enum class Answer : std::uint8_t { same, changed, unknown } answer = Answer::unknown;
  std::string reason;  // "member 'y' added", "no debug information"; "" when same

  [[nodiscard]] bool is_same() const { return answer == Answer::same; }
};

// Of the class behind a std::type_info::name(), and of everything it reaches.
[[nodiscard]] LayoutVerdict compare_layouts(const ClassLayouts& before,
                                            const ClassLayouts& after,
                                            std::string_view mangled_name);

// Of all classes of user code: same only when each one exists in both. For structs of C code,
// which have no type_info to ask by.
[[nodiscard]] LayoutVerdict compare_all_layouts(const ClassLayouts& before,
                                                const ClassLayouts& after);

}  // namespace rehook
