#include "hook/adoption_judge.hpp"

#include <algorithm>
#include <array>
#include <cstring>

#include "hook/interpreter.hpp"
#include "shadow_store/type_name.hpp"

namespace rehook {
namespace {

Verdict replace(std::string reason) {
  return {Verdict::Kind::replace, std::move(reason)};
}
Verdict adopt() {
  return {Verdict::Kind::adopt, ""};
}

std::string reason_of(const LayoutVerdict& verdict) {
  return (verdict.answer == LayoutVerdict::Answer::changed ? "its layout changed: "
                                                           : "its layout is not known: ") +
         verdict.reason;
}

PyTypeObject* as_type(PyObject* object) {
  return reinterpret_cast<PyTypeObject*>(object);
}

// Whether instances hold nothing but what the interpreter lays out: a dict, weak references,
// and what their base class has. Such classes are made by a class statement or a call of
// type().
bool has_no_fields(PyTypeObject* type) {
  const PyTypeObject* const base = type->tp_base;
  if (base == nullptr || type->tp_itemsize != base->tp_itemsize) return false;
  Py_ssize_t own = type->tp_basicsize - base->tp_basicsize;
  const auto word = static_cast<Py_ssize_t>(sizeof(PyObject*));
  if (type->tp_dictoffset > 0 && base->tp_dictoffset == 0) own -= word;
  if (type->tp_weaklistoffset > 0 && base->tp_weaklistoffset == 0) own -= word;
  return own == 0;
}

// The struct that Cython makes of `cdef class Name` in the module pkg.mod:
// __pyx_obj_3pkg_3mod_Name.
std::string cython_struct(std::string_view type_name) {
  std::string name = "__pyx_obj_";
  for (std::size_t dot = type_name.find('.'); dot != std::string_view::npos;
       dot = type_name.find('.')) {
    name += std::to_string(dot) + std::string(type_name.substr(0, dot)) + "_";
    type_name.remove_prefix(dot + 1);
  }
  return name + std::string(type_name);
}

bool has_virtual_functions(const ClassLayouts& layouts, std::string_view cpp_name) {
  const ClassLayout* const layout = layouts.find(canonical_name_of_mangled(cpp_name));
  return layout != nullptr &&
         std::any_of(layout->lines.begin(), layout->lines.end(), [](const std::string& line) {
           return line.starts_with("virtual ") || line.starts_with("member _vptr");
         });
}

}  // namespace

AdoptionJudge::AdoptionJudge(InstancePolicy policy, std::vector<JudgedExtension> extensions,
                             FindBridge find_bridge)
    : policy_(policy),
      extensions_(std::move(extensions)),
      find_bridge_(std::move(find_bridge)) {}

// By the module that the class says it is of; a class may call itself by any name.
const JudgedExtension* AdoptionJudge::extension_of(PyObject* type) const {
  const std::string module = string_attribute(type, "__module__");
  const JudgedExtension* best = extensions_.size() == 1 ? &extensions_.front() : nullptr;
  for (const JudgedExtension& one : extensions_) {
    const bool inside = module == one.module || module.starts_with(one.module + ".");
    if (inside && (best == nullptr || one.module.size() >= best->module.size())) best = &one;
  }
  return best;
}

bool AdoptionJudge::keeps_layout(const std::string& module, std::string_view cpp_name) const {
  if (policy_ == InstancePolicy::keep) return false;
  return std::any_of(extensions_.begin(), extensions_.end(), [&](const JudgedExtension& one) {
    return one.module == module && compare_layouts(one.before, one.after, cpp_name).is_same();
  });
}

Verdict AdoptionJudge::judge(PyObject* before, PyObject* after) {
  const RehookBridge* const bridge = find_bridge_(before);
  RehookClass known{};
  if (bridge == nullptr || bridge->describe(before, &known) == 0) {
    return judge_plain(before, after);
  }
  bound_.push_back(
      {Ref::borrow(before), Ref::borrow(after), bridge, known.cpp_name, false, false});
  return judge_bound(before, after, *bridge, known);
}

void AdoptionJudge::note_adopted(const std::vector<ObjectPair>& pairs) {
  for (Judged& one : bound_) {
    one.adopted = std::any_of(pairs.begin(), pairs.end(), [&](const ObjectPair& pair) {
      return pair.before.get() == one.before.get();
    });
  }
}

Verdict AdoptionJudge::judge_bound(PyObject* before, PyObject* after,
                                   const RehookBridge& bridge, const RehookClass& old_class) {
  const JudgedExtension* const extension = extension_of(before);
  RehookClass new_class{};
  if (bridge.describe(after, &new_class) == 0)
    return replace("it is no bound C++ class any more");
  if (std::strcmp(old_class.cpp_name, new_class.cpp_name) != 0) {
    return replace("it is another C++ class now");
  }
  if (policy_ == InstancePolicy::keep) return replace("the setting instances is \"keep\"");
  if (old_class.size != new_class.size || old_class.align != new_class.align) {
    return replace("its layout changed: size " + std::to_string(old_class.size) + " -> " +
                   std::to_string(new_class.size));
  }
  // The members of an enumeration are objects of their own, paired by name and value.
  if (old_class.is_enum == 0 || new_class.is_enum == 0) {
    if (extension == nullptr) return replace("its layout is not known: which module is it of?");
    const LayoutVerdict layouts =
        compare_layouts(extension->before, extension->after, old_class.cpp_name);
    if (!layouts.is_same()) return replace(reason_of(layouts));
    bound_.back().is_polymorphic = has_virtual_functions(extension->after, old_class.cpp_name);
  }
  const RehookClassPair pair{before, after};
  std::array<char, 512> text{};
  if (bridge.can_adopt(&pair, text.data(), text.size()) != 0) return replace(text.data());
  return adopt();
}

Verdict AdoptionJudge::judge_plain(PyObject* before, PyObject* after) const {
  if (policy_ == InstancePolicy::keep) return replace("the setting instances is \"keep\"");
  if (has_no_fields(as_type(before)) && has_no_fields(as_type(after))) return adopt();
  const JudgedExtension* const extension = extension_of(before);
  if (extension == nullptr) return replace("its layout is not known: which module is it of?");
  const std::string name = cython_struct(as_type(before)->tp_name);
  if (extension->before.find(name) != nullptr && extension->after.find(name) != nullptr) {
    const LayoutVerdict layouts = compare_layouts(extension->before, extension->after,
                                                  std::to_string(name.size()) + name);
    return layouts.is_same() ? adopt() : replace(reason_of(layouts));
  }
  // Nothing tells which struct is behind a type of the C API, so all of them have to be the
  // same.
  const LayoutVerdict layouts = compare_all_layouts(extension->before, extension->after);
  return layouts.is_same() ? adopt() : replace(reason_of(layouts));
}

}  // namespace rehook
