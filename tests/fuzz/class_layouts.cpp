// The stored layouts of a build's classes, as bytes and with the digest that makes them count.
#include "shadow_store/class_layout.hpp"

#include <utility>

#include "tests/fuzz/fuzz_targets.hpp"

namespace rehook::fuzz {
namespace {

void look_at(const ClassLayouts& layouts) {
  const std::string written = serialize(layouts);
  const Result<ClassLayouts> again = parse_class_layouts(written);
  require(again.ok() && serialize(*again) == written, "what was read can be written");
  ClassLayouts other = *again;
  for (ClassLayout& one : other.classes) {
    if (!one.lines.empty()) one.lines.pop_back();
    std::ignore = layouts.find(one.name);
  }
  for (const ClassLayouts* after : {&*again, &std::as_const(other)}) {
    std::ignore = compare_all_layouts(layouts, *after);
    for (const char* name : {"N1n1SE", "St6vectorIN1n1SESaIS1_EE", "1S"}) {
      std::ignore = compare_layouts(layouts, *after, name);
      std::ignore = compare_layouts(*after, layouts, name);
    }
  }
}

}  // namespace

int class_layouts(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes = as_text(data, size);
  for (const std::string& file : {std::string(bytes), sealed(bytes)}) {
    const Result<ClassLayouts> layouts = parse_class_layouts(file);
    if (layouts) look_at(*layouts);
  }
  return 0;
}

std::optional<std::string> class_layouts_meaning(std::string_view bytes) {
  const Result<ClassLayouts> layouts = parse_class_layouts(bytes);
  if (!layouts) return std::nullopt;
  return serialize(*layouts);
}

}  // namespace rehook::fuzz
