#include "hook/patch/pairing.hpp"

#include <algorithm>
#include <string_view>

#include "hook/patch/class_adoption.hpp"
#include "hook/patch/python_classes.hpp"
#include "hook/patch/static_classes.hpp"

namespace rehook {
namespace {

// Bits the interpreter keeps in tp_flags for itself; they say nothing about the class.
constexpr unsigned long k_passing_flags = Py_TPFLAGS_READY | Py_TPFLAGS_READYING |
                                          Py_TPFLAGS_VALID_VERSION_TAG
#ifdef Py_TPFLAGS_HAVE_VERSION_TAG
                                          | Py_TPFLAGS_HAVE_VERSION_TAG
#endif
                                          | Py_TPFLAGS_IS_ABSTRACT;

bool is_module_name(const std::string& name) {
  return name.starts_with("__") && name.ends_with("__");
}

// An enumeration made by a call, enum.IntEnum("Name", …), from C code: it says that it is of
// whichever Python module called that code, where nobody finds it.
bool is_stray_enum(PyObject* object) {
  if (PyType_Check(object) == 0 || !is_enum_class(reinterpret_cast<PyTypeObject*>(object))) {
    return false;
  }
  const Ref module = loaded_module(string_attribute(object, "__module__"));
  const std::string name = string_attribute(object, "__name__");
  return !module || optional_attribute(module.get(), name.c_str()).get() != object;
}

bool is_static_type(PyTypeObject* type) {
  return !PyType_HasFeature(type, Py_TPFLAGS_HEAPTYPE);
}

class Pairing {
 public:
  Pairing(const std::vector<PatchModule>& modules, const Ownership& ownership,
          const Callables& callables, const ClassJudge& judge)
      : modules_(&modules), ownership_(&ownership), callables_(&callables), judge_(&judge) {}

  Pairs take() {
    for (const PatchModule& module : *modules_) {
      if (module.python) continue;
      pair_content(PyModule_GetDict(module.before.get()), PyModule_GetDict(module.after.get()),
                   module.name);
    }
    for (const PatchModule& module : *modules_) {
      if (module.python) pair_python_module(module);
    }
    drop_orphans();
    return std::move(pairs_);
  }

 private:
  void pair_content(PyObject* before, PyObject* after, const std::string& place) {
    const Ref names = Ref::steal(PyDict_Keys(before));
    for (Py_ssize_t i = 0; names && i < PyList_GET_SIZE(names.get()); ++i) {
      PyObject* const key = PyList_GET_ITEM(names.get(), i);
      const Ref old = Ref::borrow(PyDict_GetItemWithError(before, key));
      const Ref fresh = Ref::borrow(PyDict_GetItemWithError(after, key));
      PyErr_Clear();
      const std::string name = to_string(key);
      if (!old || !fresh || old.get() == fresh.get() || is_module_name(name)) continue;
      pair(old, fresh, place + "." + name);
    }
  }

  void pair(const Ref& old, const Ref& fresh, const std::string& name) {
    if (!seen_.insert(old.get()).second) return;  // an alias
    const bool old_type = PyType_Check(old.get()) != 0,
               new_type = PyType_Check(fresh.get()) != 0;
    if (!(old_type || is_callable_kind(old.get())) ||
        !(new_type || is_callable_kind(fresh.get()))) {
      return;
    }
    if (!is_ours(old.get()) || !is_ours(fresh.get())) return;
    if (old_type && new_type) {
      pair_classes(old, fresh, name);
    } else if (!old_type && !new_type && callables_->can_patch(old.get(), fresh.get())) {
      pairs_.callables.push_back({old, fresh, name});
    } else {
      pairs_.replaced.push_back({old, fresh, name});
    }
  }

  [[nodiscard]] bool is_ours(PyObject* object) const {
    return ownership_->owns(object) || is_stray_enum(object);
  }

  // Cython makes classes that it keeps in variables, and derives others from them.
  void pair_bases(PyTypeObject* before, PyTypeObject* after) {
    if (PyTuple_GET_SIZE(before->tp_bases) != PyTuple_GET_SIZE(after->tp_bases)) return;
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(before->tp_bases); ++i) {
      const Ref was = Ref::borrow(PyTuple_GET_ITEM(before->tp_bases, i));
      const Ref is = Ref::borrow(PyTuple_GET_ITEM(after->tp_bases, i));
      const std::string name = string_attribute(was.get(), "__qualname__");
      if (was.get() == is.get() || name != string_attribute(is.get(), "__qualname__")) continue;
      pair(was, is, string_attribute(was.get(), "__module__") + "." + name);
    }
  }

  void pair_classes(const Ref& old, const Ref& fresh, const std::string& name) {
    auto* const before = reinterpret_cast<PyTypeObject*>(old.get());
    auto* const after = reinterpret_cast<PyTypeObject*>(fresh.get());
    const bool is_static = is_static_type(before) && is_static_type(after);
    pair_bases(before, after);
    // Asked in any case: it keeps account of all classes of binding libraries.
    Verdict verdict = (*judge_)(old.get(), fresh.get());
    std::string why =
        is_static ? static_class_obstacle(before, after) : adoption_obstacle(before, after);
    if (!why.empty()) verdict = {Verdict::Kind::replace, std::move(why)};
    if (verdict.kind == Verdict::Kind::leave) {
      pairs_.left.emplace_back("class " + name, verdict.reason);
      return;
    }
    if (verdict.kind == Verdict::Kind::replace) {
      pairs_.replaced.push_back({old, fresh, name});
      pairs_.left.emplace_back("instances of " + name, verdict.reason);
      // Classes inside a class that is left are found from the new one.
    } else {
      (is_static ? pairs_.moved : pairs_.classes).push_back({old, fresh, name});
    }
    pair_nested(before, after, name);
  }

  void pair_nested(PyTypeObject* before, PyTypeObject* after, const std::string& place) {
    PyObject *key = nullptr, *value = nullptr;
    Py_ssize_t at = 0;
    std::vector<std::pair<Ref, Ref>> nested;
    while (PyDict_Next(before->tp_dict, &at, &key, &value) != 0) {
      PyObject* const fresh = PyDict_GetItemWithError(after->tp_dict, key);
      if (!PyType_Check(value) || fresh == nullptr || !PyType_Check(fresh) || fresh == value) {
        continue;
      }
      nested.emplace_back(Ref::borrow(value), Ref::borrow(fresh));
    }
    PyErr_Clear();
    for (const auto& [old, fresh] : nested) {
      pair(old, fresh, place + "." + string_attribute(old.get(), "__name__"));
    }
  }

  // ---- Python modules ----

  // Names whose value the run of the module's statements changed; those that an object says it
  // has come first, because an alias (`g = f`) may have got a function of its own.
  void pair_python_module(const PatchModule& module) {
    PyObject* const shadow = PyModule_GetDict(module.after.get());
    std::vector<std::pair<Ref, Ref>> named, aliases;
    std::vector<std::string> names, other_names;
    PyObject *key = nullptr, *fresh = nullptr;
    Py_ssize_t at = 0;
    while (PyDict_Next(shadow, &at, &key, &fresh) != 0) {
      PyObject* const old = PyDict_GetItemWithError(module.python->before.get(), key);
      const std::string name = to_string(key);
      if (old == nullptr || old == fresh || is_module_name(name)) continue;
      const bool is_named = string_attribute(old, "__qualname__") == name;
      (is_named ? named : aliases).emplace_back(Ref::borrow(old), Ref::borrow(fresh));
      (is_named ? names : other_names).push_back(name);
    }
    PyErr_Clear();
    named.insert(named.end(), aliases.begin(), aliases.end());
    names.insert(names.end(), other_names.begin(), other_names.end());
    for (std::size_t i = 0; i < named.size(); ++i) {
      pair_python(named[i].first, named[i].second, module, names[i],
                  module.python->definitions.contains(names[i]));
    }
  }

  // A function or class, or what wraps one, that a statement of this module made.
  [[nodiscard]] static bool is_made_here(PyObject* object, const std::string& module,
                                         bool is_definition) {
    const std::string origin = string_attribute(object, "__module__");
    if (origin == module || is_partial(object)) return true;
    if (!is_definition) return false;
    // What a decorator of another module made; but not another module's own function that
    // somebody put here.
    const Ref home = loaded_module(origin);
    const std::string name = string_attribute(object, "__qualname__");
    return !home || optional_attribute(home.get(), name.c_str()).get() != object;
  }

  [[nodiscard]] static bool is_partial(PyObject* object) {
    return std::string_view(Py_TYPE(object)->tp_name) == "functools.partial";
  }

  [[nodiscard]] static bool is_code_like(PyObject* object) {
    return PyType_Check(object) != 0 || is_callable_kind(object) || is_partial(object) ||
           std::string_view(Py_TYPE(object)->tp_name) == "functools._lru_cache_wrapper";
  }

  void pair_python(const Ref& old, const Ref& fresh, const PatchModule& module,
                   const std::string& name, bool is_definition) {
    if (old.get() == fresh.get() || !is_code_like(old.get()) ||
        PyCallable_Check(fresh.get()) == 0 ||
        !is_made_here(old.get(), module.name, is_definition) ||
        is_alias(old.get(), module, name)) {
      return;
    }
    if (!seen_.insert(old.get()).second) return;
    const std::string place = module.name + "." + name;
    if (is_python_class(old.get()) && is_python_class(fresh.get()) &&
        is_made_here(fresh.get(), module.name, false)) {
      pair_python_classes(old, fresh, module, name);
    } else if (PyFunction_Check(old.get()) && PyFunction_Check(fresh.get())) {
      if (!is_made_here(fresh.get(), module.name, is_definition)) {
        pairs_.replaced.push_back({old, fresh, place});
        return;
      }
      pair_closures(old.get(), fresh.get(), module, 0);
      pairs_.callables.push_back(
          {old, fresh, place, module.python->decorated.contains(name), true});
    } else if (PyType_Check(old.get()) == 0 && PyType_Check(fresh.get()) == 0 &&
               callables_->can_patch(old.get(), fresh.get())) {
      pairs_.callables.push_back({old, fresh, place});
    } else {
      pairs_.replaced.push_back({old, fresh, place});
    }
  }

  // `g = f`: the function goes on being f, whatever g is now.
  [[nodiscard]] static bool is_alias(PyObject* object, const PatchModule& module,
                                     const std::string& name) {
    const std::string own = string_attribute(object, "__qualname__");
    if (own == name || own.empty()) return false;
    const Ref key = from_string(own);
    const bool is_alias =
        PyDict_GetItemWithError(module.python->before.get(), key.get()) == object &&
        PyDict_Contains(PyModule_GetDict(module.after.get()), key.get()) == 1;
    PyErr_Clear();
    return is_alias;
  }

  // What a decorator wraps, which somebody may hold without the wrapper.
  void pair_closures(PyObject* old, PyObject* fresh, const PatchModule& module, int depth) {
    PyObject *was = PyFunction_GET_CLOSURE(old), *is = PyFunction_GET_CLOSURE(fresh);
    if (was == nullptr || is == nullptr || depth > 8) return;
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(was) && i < PyTuple_GET_SIZE(is); ++i) {
      const Ref one = Ref::steal(PyCell_Get(PyTuple_GET_ITEM(was, i)));
      const Ref other = Ref::steal(PyCell_Get(PyTuple_GET_ITEM(is, i)));
      if (!one || !other || one.get() == other.get() || !PyFunction_Check(one.get()) ||
          !PyFunction_Check(other.get()) || !is_same_definition(one.get(), other.get()) ||
          string_attribute(one.get(), "__module__") != module.name ||
          !seen_.insert(one.get()).second) {
        continue;
      }
      pair_closures(one.get(), other.get(), module, depth + 1);
      pairs_.callables.push_back({one, other, module.name, false, true});
    }
  }

  void pair_python_classes(const Ref& old, const Ref& fresh, const PatchModule& module,
                           const std::string& name) {
    auto* const before = reinterpret_cast<PyTypeObject*>(old.get());
    auto* const after = reinterpret_cast<PyTypeObject*>(fresh.get());
    const std::string place = module.name + "." + name;
    std::string why = python_class_obstacle(before, after);
    if (!why.empty()) {
      pairs_.replaced.push_back({old, fresh, place});
      pairs_.left.emplace_back("instances of " + place, why);
    } else {
      pairs_.python_classes.push_back({old, fresh, place});
    }
    PyObject *key = nullptr, *value = nullptr;
    Py_ssize_t at = 0;
    std::vector<std::pair<Ref, Ref>> nested;
    while (PyDict_Next(before->tp_dict, &at, &key, &value) != 0) {
      PyObject* const other = PyDict_GetItemWithError(after->tp_dict, key);
      if (PyType_Check(value) && other != nullptr && PyType_Check(other) && other != value) {
        nested.emplace_back(Ref::borrow(value), Ref::borrow(other));
      }
    }
    PyErr_Clear();
    for (const auto& [was, is] : nested) {
      pair_python(was, is, module, string_attribute(was.get(), "__qualname__"), false);
    }
  }

  // A class is adopted only when its bases are: new methods would run on parts of old layout.
  void drop_orphans() {
    while (drop_orphan(pairs_.classes) || drop_orphan(pairs_.moved)) continue;
    for (std::vector<ObjectPair>* list : {&pairs_.classes, &pairs_.moved}) {
      std::stable_sort(
          list->begin(), list->end(),
          [](const ObjectPair& a, const ObjectPair& b) { return depth(a) < depth(b); });
    }
    std::stable_sort(
        pairs_.python_classes.begin(), pairs_.python_classes.end(),
        [](const ObjectPair& a, const ObjectPair& b) {
          const auto lines = [](const ObjectPair& pair) {
            return PyTuple_GET_SIZE(reinterpret_cast<PyTypeObject*>(pair.after.get())->tp_mro);
          };
          // A metaclass before its classes.
          const bool a_meta = PyType_IsSubtype(reinterpret_cast<PyTypeObject*>(a.after.get()),
                                               &PyType_Type) != 0;
          const bool b_meta = PyType_IsSubtype(reinterpret_cast<PyTypeObject*>(b.after.get()),
                                               &PyType_Type) != 0;
          return a_meta != b_meta ? a_meta : lines(a) < lines(b);
        });
  }

  bool drop_orphan(std::vector<ObjectPair>& list) {
    for (auto pair = list.begin(); pair != list.end(); ++pair) {
      std::string why = orphaned(*pair);
      if (why.empty() && &list == &pairs_.moved) why = static_child(*pair);
      if (why.empty()) continue;
      pairs_.left.emplace_back("instances of " + pair->name, why);
      pairs_.replaced.push_back(*pair);
      list.erase(pair);
      return true;
    }
    return false;
  }

  // C code has laid out a static type for the base that it was made with.
  [[nodiscard]] std::string static_child(const ObjectPair& pair) const {
    for (const Ref& child : subclasses_of(reinterpret_cast<PyTypeObject*>(pair.before.get()))) {
      const bool moves = std::any_of(
          pairs_.moved.begin(), pairs_.moved.end(),
          [&](const ObjectPair& other) { return other.before.get() == child.get(); });
      if (moves || !is_static_type(reinterpret_cast<PyTypeObject*>(child.get()))) continue;
      return "the static type " + string_attribute(child.get(), "__name__") +
             " derives from it, and stays on the old build";
    }
    return "";
  }

  static Py_ssize_t depth(const ObjectPair& pair) {
    return PyTuple_GET_SIZE(reinterpret_cast<PyTypeObject*>(pair.before.get())->tp_mro);
  }

  [[nodiscard]] std::string orphaned(const ObjectPair& pair) const {
    PyObject* const old = reinterpret_cast<PyTypeObject*>(pair.before.get())->tp_bases;
    PyObject* const fresh = reinterpret_cast<PyTypeObject*>(pair.after.get())->tp_bases;
    if (PyTuple_GET_SIZE(old) != PyTuple_GET_SIZE(fresh)) return "its base classes changed";
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(old); ++i) {
      PyObject *was = PyTuple_GET_ITEM(old, i), *is = PyTuple_GET_ITEM(fresh, i);
      const auto is_it = [&](const ObjectPair& other) {
        return other.before.get() == was && other.after.get() == is;
      };
      const bool follows = was == is ||
                           std::any_of(pairs_.moved.begin(), pairs_.moved.end(), is_it) ||
                           std::any_of(pairs_.classes.begin(), pairs_.classes.end(), is_it);
      if (!follows) {
        return "its base class " + string_attribute(was, "__name__") +
               " stays on the old build";
      }
    }
    return "";
  }

  const std::vector<PatchModule>* modules_;
  const Ownership* ownership_;
  const Callables* callables_;
  const ClassJudge* judge_;
  std::set<PyObject*> seen_;
  Pairs pairs_;
};

}  // namespace

std::string adoption_obstacle(PyTypeObject* before, PyTypeObject* after) {
  if (!PyType_HasFeature(before, Py_TPFLAGS_HEAPTYPE) ||
      !PyType_HasFeature(after, Py_TPFLAGS_HEAPTYPE)) {
    return "it is a static type in one of the builds only";
  }
  if (PyType_HasFeature(before, Py_TPFLAGS_IMMUTABLETYPE)) {
    return "the type is immutable";
  }
  return layout_obstacle(before, after);
}

std::string layout_obstacle(PyTypeObject* before, PyTypeObject* after) {
  if (before->tp_basicsize != after->tp_basicsize ||
      before->tp_itemsize != after->tp_itemsize) {
    return "the size of its objects changed from " + std::to_string(before->tp_basicsize) +
           " to " + std::to_string(after->tp_basicsize);
  }
  if (before->tp_dictoffset != after->tp_dictoffset ||
      before->tp_weaklistoffset != after->tp_weaklistoffset) {
    return "its objects keep their attributes or weak references in another place";
  }
  if ((before->tp_flags & ~k_passing_flags) != (after->tp_flags & ~k_passing_flags)) {
    return "its type flags changed";
  }
  if (Py_TYPE(before) != Py_TYPE(after)) return "its metaclass changed";
  return "";
}

Pairs pair_modules(const std::vector<PatchModule>& modules, const Ownership& ownership,
                   const Callables& callables, const ClassJudge& judge) {
  return Pairing(modules, ownership, callables, judge).take();
}

}  // namespace rehook
