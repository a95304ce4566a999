#include "hook/patch/pairing.hpp"

#include <algorithm>

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

class Pairing {
 public:
  Pairing(const std::vector<PatchModule>& modules, const Ownership& ownership,
          const Callables& callables, const ClassJudge& judge)
      : modules_(&modules), ownership_(&ownership), callables_(&callables), judge_(&judge) {}

  Pairs take() {
    for (const PatchModule& module : *modules_) {
      pair_content(PyModule_GetDict(module.before.get()), PyModule_GetDict(module.after.get()),
                   module.name);
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
    if (!ownership_->owns(old.get()) || !ownership_->owns(fresh.get())) return;
    if (old_type && new_type) {
      pair_classes(old, fresh, name);
    } else if (!old_type && !new_type && callables_->can_patch(old.get(), fresh.get())) {
      pairs_.callables.push_back({old, fresh, name});
    } else {
      pairs_.replaced.push_back({old, fresh, name});
    }
  }

  void pair_classes(const Ref& old, const Ref& fresh, const std::string& name) {
    auto* const before = reinterpret_cast<PyTypeObject*>(old.get());
    auto* const after = reinterpret_cast<PyTypeObject*>(fresh.get());
    // Asked in any case: it keeps account of all classes of binding libraries.
    Verdict verdict = (*judge_)(old.get(), fresh.get());
    if (std::string why = adoption_obstacle(before, after); !why.empty()) {
      verdict = {Verdict::Kind::replace, std::move(why)};
    }
    if (verdict.kind == Verdict::Kind::leave) {
      pairs_.left.emplace_back("class " + name, verdict.reason);
      return;
    }
    if (verdict.kind == Verdict::Kind::replace) {
      pairs_.replaced.push_back({old, fresh, name});
      pairs_.left.emplace_back("instances of " + name, verdict.reason);
      // Classes inside a class that is left are found from the new one.
    } else {
      pairs_.classes.push_back({old, fresh, name});
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

  // A class is adopted only when its bases are: new methods would run on parts of old layout.
  void drop_orphans() {
    for (bool again = true; again;) {
      again = false;
      for (auto pair = pairs_.classes.begin(); pair != pairs_.classes.end(); ++pair) {
        const std::string why = orphaned(*pair);
        if (why.empty()) continue;
        pairs_.left.emplace_back("instances of " + pair->name, why);
        pairs_.replaced.push_back(*pair);
        pairs_.classes.erase(pair);
        again = true;
        break;
      }
    }
    std::stable_sort(
        pairs_.classes.begin(), pairs_.classes.end(),
        [](const ObjectPair& a, const ObjectPair& b) { return depth(a) < depth(b); });
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
      const bool follows =
          was == is ||
          std::any_of(pairs_.classes.begin(), pairs_.classes.end(),
                      [&](const ObjectPair& other) {
                        return other.before.get() == was && other.after.get() == is;
                      });
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
    return "a static type belongs to the build that defines it";
  }
  if (PyType_HasFeature(before, Py_TPFLAGS_IMMUTABLETYPE)) {
    return "the type is immutable";
  }
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
