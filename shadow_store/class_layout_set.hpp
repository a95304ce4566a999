#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "shadow_store/class_layout.hpp"

namespace rehook {

// Gathers descriptions of classes, from one compilation unit after the other, and makes
// ClassLayouts of them. Knows nothing of debug information.
class ClassLayoutSet final {
 public:
  using Id = std::uint32_t;
  struct Description {
    std::vector<std::string> lines;
    std::vector<Id> reaches;
  };

  // The class of this name, in any spelling.
  Id id_of(const std::string& name);
  [[nodiscard]] const std::string& name_of(Id id) const { return nodes_[id].name; }

  // Written by the user, or a class of the standard library that may be bound to Python.
  [[nodiscard]] bool is_listed(Id id) const { return nodes_[id].listed; }
  [[nodiscard]] bool is_user_code(Id id) const { return nodes_[id].user; }
  [[nodiscard]] bool is_defined(Id id) const { return nodes_[id].defined; }

  // A second, different description makes the name ambiguous.
  void define(Id id, Description description);

  [[nodiscard]] ClassLayouts finish(std::string gap) const;

 private:
  struct Node {
    std::string name;
    bool user = false, listed = false, defined = false, ambiguous = false;
    Description description;
    Digest digest;  // of the lines
  };
  [[nodiscard]] std::vector<Id> arguments_of(const std::string& name) const;
  void add_reached(Id from, const std::vector<std::uint32_t>& place, ClassLayout& layout) const;

  std::vector<Node> nodes_;
  std::unordered_map<std::string, Id> spellings_, ids_;
};

}  // namespace rehook
