#include "shadow_store/class_layout_set.hpp"

#include <algorithm>
#include <array>
#include <set>

#include "shadow_store/type_name.hpp"

namespace rehook {
namespace {

constexpr std::uint32_t k_nowhere = ~0U;

bool is_in(std::string_view name, std::string_view space) {
  return name.starts_with(space) && name.substr(space.size()).starts_with("::");
}

// Names with two leading underscores are the implementation's; _object is the interpreter's.
bool is_user_name(std::string_view name) {
  for (const std::string_view space : {"std", "pybind11", "nanobind"}) {
    if (is_in(name, space)) return false;
  }
  // Cython's own tables change with every constant, and no object refers to them.
  if (name.starts_with("__pyx_")) return !name.starts_with("__pyx_mstate");
  // One underscore is a habit of C code: typedef struct _Thing {…} Thing.
  return !name.starts_with("__") && name != "_object" && name != "_typeobject" &&
         !name.starts_with("typedef");  // gcc: "typedef __va_list_tag …"
}

// "std::vector<…>" itself, not what is inside it: people bind these to Python classes.
bool is_bindable(std::string_view name) {
  constexpr std::array k_templates = {
      "vector",   "map",     "unordered_map", "set",      "unordered_set", "multimap",
      "deque",    "list",    "array",         "pair",     "tuple",         "complex",
      "optional", "variant", "bitset",        "valarray", "basic_string"};
  if (!is_in(name, "std") || !name.ends_with(">")) return false;
  name.remove_prefix(5);
  if (is_in(name, "__cxx11")) name.remove_prefix(9);
  const std::size_t open = name.find('<');
  if (open == std::string_view::npos || std::find(k_templates.begin(), k_templates.end(),
                                                  name.substr(0, open)) == k_templates.end()) {
    return false;
  }
  int depth = 0;
  for (std::size_t i = open; i < name.size(); ++i) {
    depth += name[i] == '<' ? 1 : name[i] == '>' ? -1 : 0;
    if (depth == 0) return i + 1 == name.size();
  }
  return false;
}

Digest digest_of_lines(const std::vector<std::string>& lines) {
  Hasher hasher;
  for (const std::string& line : lines) hasher.add_field(line);
  return hasher.finish();
}

}  // namespace

ClassLayoutSet::Id ClassLayoutSet::id_of(const std::string& name) {
  if (const auto known = spellings_.find(name); known != spellings_.end()) return known->second;
  const std::string canonical = canonical_type_name(name);
  const auto [at, is_new] = ids_.try_emplace(canonical, static_cast<Id>(nodes_.size()));
  if (is_new) {
    Node& node = nodes_.emplace_back();
    node.name = canonical;
    node.user = is_user_name(canonical);
    node.listed = node.user || is_bindable(canonical);
  }
  spellings_.emplace(name, at->second);
  return at->second;
}

void ClassLayoutSet::define(Id id, Description description) {
  Node& node = nodes_[id];
  const Digest digest = digest_of_lines(description.lines);
  if (node.defined) {
    if (node.digest != digest) node.ambiguous = true;
    // One unit may know only the declaration of what another one leads to.
    node.description.reaches.insert(node.description.reaches.end(), description.reaches.begin(),
                                    description.reaches.end());
    return;
  }
  node.defined = true;
  node.digest = digest;
  node.description = std::move(description);
}

// The classes named in the template arguments of a class that is only declared: clang does not
// describe every instance it uses.
std::vector<ClassLayoutSet::Id> ClassLayoutSet::arguments_of(const std::string& name) const {
  std::vector<Id> found;
  // Each argument is a name between two of these, up to its own arguments' end.
  constexpr std::string_view k_edges = "<,(";
  for (std::size_t at = name.find_first_of(k_edges); at != std::string::npos;
       at = name.find_first_of(k_edges, at + 1)) {
    int depth = 0;
    for (std::size_t end = at + 1; end < name.size(); ++end) {
      const char c = name[end];
      const bool ends = depth == 0 && (c == ',' || c == '>' || c == '*' || c == '&' ||
                                       c == '(' || c == ')' || c == '[' || c == ' ');
      if (ends) {
        const auto known = ids_.find(name.substr(at + 1, end - at - 1));
        if (known != ids_.end()) found.push_back(known->second);
        break;
      }
      depth += c == '<' ? 1 : c == '>' ? -1 : 0;
    }
  }
  return found;
}

// What `from` leads to: classes of user code by their places, the libraries' in between as one
// digest.
void ClassLayoutSet::add_reached(Id from, const std::vector<std::uint32_t>& place,
                                 ClassLayout& layout) const {
  std::set<std::string> between;
  std::set<Id> seen{from};
  std::set<std::uint32_t> reached;
  std::vector<Id> waiting{from};
  while (!waiting.empty()) {
    const Node& node = nodes_[waiting.back()];
    waiting.pop_back();
    const std::vector<Id> named = node.defined ? std::vector<Id>() : arguments_of(node.name);
    for (const Id next : node.defined ? node.description.reaches : named) {
      if (!seen.insert(next).second) continue;
      if (nodes_[next].user) {
        reached.insert(place[next]);
        continue;
      }
      between.insert(nodes_[next].name + " " + nodes_[next].digest.hex());
      waiting.push_back(next);
    }
  }
  Hasher hasher;
  for (const std::string& one : between) hasher.add_field(one);
  layout.library = hasher.finish();
  layout.reaches.assign(reached.begin(), reached.end());
}

ClassLayouts ClassLayoutSet::finish(std::string gap) const {
  std::vector<Id> order;
  for (Id id = 0; id < nodes_.size(); ++id) {
    const Node& node = nodes_[id];
    if (node.user || (node.listed && node.defined)) order.push_back(id);
  }
  std::sort(order.begin(), order.end(),
            [this](Id a, Id b) { return nodes_[a].name < nodes_[b].name; });
  std::vector<std::uint32_t> place(nodes_.size(), k_nowhere);
  for (std::size_t i = 0; i < order.size(); ++i) place[order[i]] = static_cast<Id>(i);

  ClassLayouts layouts;
  layouts.gap = std::move(gap);
  for (const Id id : order) {
    const Node& node = nodes_[id];
    ClassLayout& layout = layouts.classes.emplace_back();
    layout.name = node.name;
    layout.origin = node.user ? ClassLayout::Origin::user : ClassLayout::Origin::library;
    layout.state = !node.defined    ? ClassLayout::State::opaque
                   : node.ambiguous ? ClassLayout::State::ambiguous
                                    : ClassLayout::State::defined;
    layout.lines = node.description.lines;
    add_reached(id, place, layout);
  }
  return layouts;
}

}  // namespace rehook
