// Names and lines of classes as debug information may spell them. Each line of the input is
// one: ":<name>" begins a class, ">" makes the one before reach it, the rest describes it.
#include "shadow_store/class_layout_set.hpp"

#include <algorithm>
#include <utility>

#include "tests/fuzz/fuzz_targets.hpp"

namespace rehook::fuzz {

int class_layout_set(const std::uint8_t* data, std::size_t size) {
  std::string_view rest = as_text(data, size);
  ClassLayoutSet set;
  ClassLayoutSet::Id current = set.id_of("n::Start");
  ClassLayoutSet::Description description;
  while (!rest.empty()) {
    const std::string line(rest.substr(0, rest.find('\n')));
    rest.remove_prefix(std::min(line.size() + 1, rest.size()));
    if (line.starts_with(':')) {
      set.define(current, std::exchange(description, {}));
      current = set.id_of(line.substr(1));
    } else if (line.starts_with('>')) {
      description.reaches.push_back(set.id_of(line.substr(1)));
    } else {
      description.lines.push_back(line);
    }
  }
  set.define(current, std::move(description));
  const ClassLayouts layouts = set.finish("");
  const std::string written = serialize(layouts);
  const Result<ClassLayouts> read = parse_class_layouts(written);
  require(read.ok() && serialize(*read) == written, "what was gathered can be stored");
  for (const ClassLayout& one : layouts.classes) {
    require(layouts.find(one.name) != nullptr, "every class is found by its name");
  }
  std::ignore = compare_all_layouts(layouts, *read);
  return 0;
}

}  // namespace rehook::fuzz
