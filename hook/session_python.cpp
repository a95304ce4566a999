// The Python modules of a reload: which are taken along, and who is told of it.
#include <algorithm>
#include <set>

#include "hook/session.hpp"

namespace rehook {
namespace {

// A plain attribute of a loaded module, or null; nothing is computed by a module's __getattr__.
Ref setting_of(const std::string& module, const char* name) {
  const Ref object = loaded_module(module);
  if (!object || !PyModule_Check(object.get())) return {};
  Ref value = Ref::borrow(PyDict_GetItemString(PyModule_GetDict(object.get()), name));
  return value;
}

bool is_excluding(const std::string& module) {
  const Ref value = setting_of(module, "__rehook_exclude__");
  const bool is_true = value && PyObject_IsTrue(value.get()) == 1;
  PyErr_Clear();
  return is_true;
}

}  // namespace

bool Session::is_excluding_itself(const std::string& name) {
  return is_excluding(name);
}

namespace {

// The topmost package around the module that asks to be reloaded whole, or "".
std::string whole_package(const std::string& module) {
  for (std::size_t dot = module.find('.');; dot = module.find('.', dot + 1)) {
    const std::string package = module.substr(0, dot);
    if (to_string(setting_of(package, "__rehook_mode__").get()) == "package") return package;
    if (dot == std::string::npos) return "";
  }
}

Ref names_of(const std::vector<std::string>& names) {
  Ref list = Ref::steal(PyList_New(0));
  for (const std::string& name : names) PyList_Append(list.get(), from_string(name).get());
  return list;
}

}  // namespace

// Whether it is a Python module with a source file, or a package that has such modules.
bool Session::is_python(const std::string& name) const {
  if (sources_.find(name) != nullptr) return true;
  const Ref module = loaded_module(name);
  const Ref spec = optional_attribute(module.get(), "__spec__");
  if (string_attribute(spec.get(), "origin") == "frozen") return false;
  if (string_attribute(module.get(), "__file__").ends_with(".py")) return name != "__main__";
  const std::vector<std::string> known = sources_.names();
  return std::any_of(known.begin(), known.end(),
                     [&](const std::string& other) { return other.starts_with(name + "."); });
}

void Session::add_python(const std::string& name, bool whole, Plan& plan) {
  for (PythonReload& one : plan.python) {
    if (one.name != name) continue;
    one.whole = one.whole || whole;
    return;
  }
  if (sources_.find(name) == nullptr) {
    // Nobody knows what was executed: all of it runs again.
    const Ref module = loaded_module(name);
    const std::string file = string_attribute(module.get(), "__file__");
    if (!file.ends_with(".py")) return;
    if (sources_.is_older_than_process(file)) {
      sources_.remember(name, file);
      return;
    }
    sources_.remember_file(name, file);
    whole = true;
  }
  auto saved = sources_.read(name);
  if (!saved) return;
  if (to_string(setting_of(name, "__rehook_mode__").get()) == "full") whole = true;
  const bool is_changed = !sources_.find(name)->has_text || sources_.is_changed(name);
  plan.python.push_back({name, std::move(*saved), whole, is_changed});
}

void Session::plan_python(const Wanted& wanted, Retry retry, Plan& plan,
                          ReloadSummary& summary) {
  sources_.remember_loaded();
  std::set<std::string> packages;
  std::vector<std::string> changed;
  // A package's Python half goes with its compiled one: it may import what is new, or not
  // import any more what is gone.
  std::set<std::string> tops;
  for (const Reloadable& module : plan.modules) {
    tops.insert(module.extension->name.substr(0, module.extension->name.find('.')));
  }
  bool is_news = retry == Retry::always || !plan.modules.empty();
  for (const std::string& name : sources_.names()) {
    if (is_excluded(name) || !loaded_module(name) || extensions_.contains(name) ||
        is_excluding(name) ||
        !(is_wanted(name, wanted) || tops.contains(name.substr(0, name.find('.'))))) {
      continue;
    }
    const bool is_named = std::find(wanted.begin(), wanted.end(), name) != wanted.end();
    if (!sources_.is_changed(name)) {
      if (is_named && sources_.is_gone(name)) {
        summary.left.push_back({"module " + name,
                                "its source file is gone: " + sources_.find(name)->file.name, 0,
                                nullptr});
      } else if (is_named) {
        summary.unchanged.push_back(name);
        forget_failure_of(name);
      }
      continue;
    }
    is_news = is_news || is_named;
    changed.push_back(name);
  }
  // Told before; the reminder says it again.
  if (!is_news && !changed.empty() && sources_.state_of(changed) == failed_python_)
    changed.clear();
  for (const std::string& name : changed) {
    const std::string package = whole_package(name);
    if (!package.empty()) packages.insert(package);
    add_python(name, false, plan);
  }
  for (const std::string& name : wanted) {
    // A module of an installed package: only when it is asked for by its name.
    if (sources_.find(name) == nullptr && !extensions_.contains(name) && !is_excluding(name)) {
      add_python(name, true, plan);
    }
  }
  for (const std::string& package : packages) {
    for (const std::string& name : sources_.names()) {
      const bool is_inside = name == package || name.starts_with(package + ".");
      if (is_inside && loaded_module(name) && !is_excluded(name)) add_python(name, true, plan);
    }
  }
}

// ---- those that take part ----

Status Session::tell_before(const Plan& plan) {
  std::vector<std::string> names;
  for (const Reloadable& module : plan.modules) names.push_back(module.extension->name);
  for (const PythonReload& one : plan.python) names.push_back(one.name);
  if (call("rehook._protocol", "before", {names_of(names).get()})) return ok_status();
  cause_ = SavedError::take();
  return Error{ErrorCode::failed_load, "a module refused to be reloaded: " + cause_.text(),
               "nothing has changed; see its __rehook_before__"};
}

Status Session::tell_after(const Plan& plan, const ReloadSummary& summary) {
  std::vector<std::string> names;
  for (const Reloadable& module : plan.modules) names.push_back(module.extension->name);
  for (const PythonReload& one : plan.python) names.push_back(one.name);
  const Ref report = describe_ ? describe_(summary) : Ref::borrow(Py_None);
  if (call("rehook._protocol", "after", {names_of(names).get(), report.get()})) {
    return ok_status();
  }
  cause_ = SavedError::take();
  return Error{ErrorCode::failed_load, "the reload was refused at its end: " + cause_.text(),
               "everything is as before; see __rehook_after__ and rehook.on_reload()"};
}

}  // namespace rehook
