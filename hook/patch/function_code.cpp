#include "hook/patch/function_code.hpp"

#include <algorithm>
#include <tuple>
#include <unordered_set>

#include "hook/patch/callables.hpp"
#include "hook/patch/gc_heap.hpp"

namespace rehook {
namespace {

constexpr int k_nesting = 8;  // classes in classes, wrappers around wrappers

bool same_text(PyObject* one, PyObject* other) {
  return one == other ||
         (PyUnicode_Check(one) && PyUnicode_Check(other) && PyUnicode_Compare(one, other) == 0);
}

bool is_same_code(PyObject* one, PyCodeObject* other) {
  const int same = PyObject_RichCompareBool(one, reinterpret_cast<PyObject*>(other), Py_EQ);
  PyErr_Clear();
  return same == 1;
}

PyCodeObject* code_of(PyObject* function) {
  return reinterpret_cast<PyCodeObject*>(PyFunction_GET_CODE(function));
}

// Whether only one function uses this code, and nobody the code of functions inside of it: each
// function that was made of it holds a reference, and so does each call that is under way.
bool is_used_once(PyCodeObject* code) {
  if (Py_REFCNT(code) > 1) return false;
  PyObject* const constants = code->co_consts;
  for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(constants); ++i) {
    PyObject* const inner = PyTuple_GET_ITEM(constants, i);
    if (PyCode_Check(inner) && !is_used_once(reinterpret_cast<PyCodeObject*>(inner))) {
      return false;
    }
  }
  return true;
}

}  // namespace

long FunctionCode::match(PyCodeObject* code) const {
  for (std::size_t i = 0; i < replacements_.size(); ++i) {
    const CodeReplacement& one = replacements_[i];
    if (one.line == code->co_firstlineno && same_text(one.qualname.get(), code->co_qualname) &&
        same_text(one.file.get(), code->co_filename) &&
        (!one.old_code || is_same_code(one.old_code.get(), code))) {
      return static_cast<long>(i);
    }
  }
  return -1;
}

void FunctionCode::look_at_function(PyObject* function) {
  const auto known =
      std::find_if(functions_.begin(), functions_.end(),
                   [&](const Target& target) { return target.function.get() == function; });
  if (known != functions_.end()) return;
  const long at = match(code_of(function));
  if (at < 0) return;
  functions_.push_back({Ref::borrow(function), static_cast<std::size_t>(at)});
  ++found_[static_cast<std::size_t>(at)];
}

void FunctionCode::look_at_class(PyTypeObject* type, int depth) {
  if (depth > k_nesting || !PyType_HasFeature(type, Py_TPFLAGS_HEAPTYPE)) return;
  PyObject *key = nullptr, *value = nullptr;
  Py_ssize_t at = 0;
  while (PyDict_Next(type->tp_dict, &at, &key, &value) != 0) look_at(value, depth + 1);
}

void FunctionCode::look_at(PyObject* object, int depth) {
  if (depth > k_nesting) return;
  if (PyType_Check(object)) {
    look_at_class(reinterpret_cast<PyTypeObject*>(object), depth);
    return;
  }
  if (Py_TYPE(object) == &PyProperty_Type) {
    for (const char* name : {"fget", "fset", "fdel"}) {
      const Ref part = optional_attribute(object, name);
      if (part && PyFunction_Check(part.get())) look_at_function(part.get());
    }
    return;
  }
  PyObject* const inner = innermost_function(object);
  if (PyFunction_Check(inner)) look_at_function(inner);
}

bool FunctionCode::is_all() const {
  // A definition inside a function may have no function at all just now; whether it has shows
  // in the references to its code, which the enclosing code names.
  for (std::size_t i = 0; i < replacements_.size(); ++i) {
    if (found_[i] > 0) continue;
    if (to_string(replacements_[i].qualname.get()).find("<locals>") == std::string::npos) {
      return false;
    }
  }
  return std::all_of(functions_.begin(), functions_.end(), [](const Target& target) {
    return is_used_once(code_of(target.function.get()));
  });
}

void FunctionCode::find(const std::vector<PyObject*>& namespaces, bool everywhere) {
  namespaces_ = namespaces;
  found_.assign(replacements_.size(), 0);
  if (replacements_.empty()) return;
  for (PyObject* space : namespaces) {
    PyObject *key = nullptr, *value = nullptr;
    Py_ssize_t at = 0;
    while (PyDict_Next(space, &at, &key, &value) != 0) {
      if (PyType_Check(value) || is_callable_kind(value)) look_at(value, 0);
    }
  }
  if (!everywhere && is_all()) return;
  struct Context {
    FunctionCode* self;
    std::unordered_set<PyObject*>
        files;  // known by address: those of one module are one object
    std::unordered_set<PyObject*> others;
    std::unordered_set<PyObject*> functions;
    std::vector<PyObject*> found;
    std::size_t objects = 0;
  } context;
  context.self = this;
  for (const Target& target : functions_) context.functions.insert(target.function.get());
  visit_gc_objects(
      [](PyObject* object, void* data) {
        auto* const inner = static_cast<Context*>(data);
        ++inner->objects;
        if (!PyFunction_Check(object)) return;
        PyObject* const file = code_of(object)->co_filename;
        if (inner->others.contains(file)) return;
        if (!inner->files.contains(file)) {
          const auto& wanted = inner->self->replacements_;
          const bool ours = std::any_of(wanted.begin(), wanted.end(), [&](const auto& one) {
            return same_text(one.file.get(), file);
          });
          (ours ? inner->files : inner->others).insert(file);
          if (!ours) return;
        }
        if (!inner->functions.contains(object)) inner->found.push_back(object);
      },
      &context);
  objects_ = context.objects;
  for (PyObject* function : context.found) {
    const long at = match(code_of(function));
    if (at < 0) continue;
    functions_.push_back({Ref::borrow(function), static_cast<std::size_t>(at)});
    ++found_[static_cast<std::size_t>(at)];
  }
}

// The cells of the function by the names that its new code knows them by. A method that needs
// __class__ for the first time gets a cell with the class that its qualified name says.
Ref FunctionCode::closure_for(PyFunctionObject* function, PyCodeObject* code,
                              std::string& missing) const {
  const Ref wanted = Ref::steal(PyCode_GetFreevars(code));
  const Ref known =
      Ref::steal(PyCode_GetFreevars(reinterpret_cast<PyCodeObject*>(function->func_code)));
  if (!wanted || !known) return {};
  Ref cells = Ref::steal(PyTuple_New(PyTuple_GET_SIZE(wanted.get())));
  for (Py_ssize_t i = 0; cells && i < PyTuple_GET_SIZE(wanted.get()); ++i) {
    PyObject* const name = PyTuple_GET_ITEM(wanted.get(), i);
    PyObject* cell = nullptr;
    for (Py_ssize_t j = 0; j < PyTuple_GET_SIZE(known.get()); ++j) {
      if (same_text(PyTuple_GET_ITEM(known.get(), j), name) &&
          function->func_closure != nullptr) {
        cell = PyTuple_GET_ITEM(function->func_closure, j);
      }
    }
    Ref made;
    if (cell == nullptr && to_string(name) == "__class__") {
      const std::string qualname = to_string(function->func_qualname);
      const std::string owner = qualname.substr(0, qualname.rfind('.'));
      PyObject* found = nullptr;
      Ref holder;
      std::size_t from = 0;
      while (from <= owner.size() && owner.find("<locals>") == std::string::npos) {
        const std::size_t dot = std::min(owner.find('.', from), owner.size());
        const std::string part = owner.substr(from, dot - from);
        found = from == 0 ? PyDict_GetItemString(function->func_globals, part.c_str())
                          : PyDict_GetItemString(
                                reinterpret_cast<PyTypeObject*>(found)->tp_dict, part.c_str());
        if (found == nullptr || PyType_Check(found) == 0) {
          found = nullptr;
          break;
        }
        from = dot + 1;
      }
      if (found != nullptr) made = Ref::steal(PyCell_New(found));
      cell = made.get();
    }
    if (cell == nullptr) {
      missing = to_string(name);
      return {};
    }
    PyTuple_SET_ITEM(cells.get(), i, Py_NewRef(cell));
  }
  return cells;
}

void FunctionCode::replace_one(const Target& target) {
  auto* const function = reinterpret_cast<PyFunctionObject*>(target.function.get());
  auto* const code =
      reinterpret_cast<PyCodeObject*>(replacements_[target.replacement].code.get());
  PyObject* const owner = target.function.get();
  std::string missing;
  Ref cells = closure_for(function, code, missing);
  if (!cells) {
    PyErr_Clear();
    if (missing.empty()) return;
    left_.emplace_back("function " + to_string(function->func_qualname),
                       "its new code needs the variable '" + missing +
                           "' of the function around it, which it was not made with");
    return;
  }
  // The text that a function made of this code gets.
  const Ref probe =
      Ref::steal(PyFunction_New(reinterpret_cast<PyObject*>(code), function->func_globals));
  const Ref before = Ref::steal(PyFunction_New(function->func_code, function->func_globals));
  if (!probe || !before) {
    PyErr_Clear();
    return;
  }
  PyObject* const doc = reinterpret_cast<PyFunctionObject*>(probe.get())->func_doc;
  PyObject* const old_doc = reinterpret_cast<PyFunctionObject*>(before.get())->func_doc;
  const bool has_own_doc =
      function->func_doc != old_doc && !(function->func_doc != nullptr && old_doc != nullptr &&
                                         same_text(function->func_doc, old_doc));
#if PY_VERSION_HEX >= 0x030C0000
  const auto tell = [](PyObject* changed) {
    // A setter tells the interpreter's caches and watchers; the value stays.
    PyObject* const same = PyFunction_GET_KW_DEFAULTS(changed);
    if (PyFunction_SetKwDefaults(changed, same != nullptr ? same : Py_None) < 0) PyErr_Clear();
  };
  journal_->on_undo([tell, kept = Ref::borrow(owner)] { tell(kept.get()); });
#endif
  PyObject* const closure = PyTuple_GET_SIZE(cells.get()) > 0 ? cells.get() : nullptr;
  if (closure != nullptr || function->func_closure != nullptr) {
    journal_->exchange(owner, &function->func_closure, closure);
  }
  journal_->exchange(owner, &function->func_code, reinterpret_cast<PyObject*>(code));
  if (!has_own_doc)
    journal_->exchange(owner, &function->func_doc, doc != nullptr ? doc : Py_None);
  function->func_version = 0;
#if PY_VERSION_HEX >= 0x030C0000
  tell(owner);
#endif
}

void FunctionCode::replace() {
  for (const Target& target : functions_) replace_one(target);
}

}  // namespace rehook
