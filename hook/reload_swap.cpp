// The module objects everybody holds get the new content.
#include <algorithm>

#include "hook/extension_loader.hpp"
#include "hook/reload_transaction.hpp"
#include "shadow_store/base/trace.hpp"

namespace rehook {
namespace {

// Names that importlib, not the module, gives a module object.
bool is_import_name(const std::string& name) {
  return name == "__name__" || name == "__spec__" || name == "__loader__" ||
         name == "__package__" || name == "__builtins__" || name == "__path__" ||
         name == "__cached__";
}

}  // namespace

void ReloadTransaction::journal(PyObject* module) {
  if (!PyModule_Check(module)) return;
  PyObject* dict = PyModule_GetDict(module);
  if (namespaces_.contains(dict)) return;
  namespaces_.emplace(dict, std::pair(Ref::borrow(dict), Ref::steal(PyDict_Copy(dict))));
}

void ReloadTransaction::replace_content(PyObject* module, PyObject* fresh,
                                        const std::set<std::string>* owned,
                                        const std::map<PyObject*, PyObject*>& kept) {
  journal(module);
  PyObject* const dict = PyModule_GetDict(module);
  PyObject* const content = PyModule_GetDict(fresh);
  const std::string module_name = string_attribute(module, "__name__");
  const Ref keys = Ref::steal(PyDict_Keys(dict));
  for (Py_ssize_t i = 0; keys && i < PyList_GET_SIZE(keys.get()); ++i) {
    PyObject* key = PyList_GET_ITEM(keys.get(), i);
    PyObject* old_value = PyDict_GetItem(dict, key);
    PyObject* new_value = PyDict_GetItem(content, key);
    const std::string name = to_string(key);
    if (new_value != nullptr) continue;
    // Gone from the source, unless somebody else put it there.
    const bool ours = owned != nullptr
                          ? owned->contains(name)
                          : string_attribute(old_value, "__module__") == module_name;
    if (ours && !is_import_name(name)) PyDict_DelItem(dict, key);
  }
  PyObject *key = nullptr, *value = nullptr;
  Py_ssize_t at = 0;
  const Ref items = Ref::steal(PyDict_Copy(content));
  while (items && PyDict_Next(items.get(), &at, &key, &value) != 0) {
    const auto same = kept.find(value);
    PyDict_SetItem(dict, key, same == kept.end() ? value : same->second);
  }
  // C code that kept a handle of the module it was initialised with must write where we read.
  const Ref own = Ref::borrow(content);
  if (share_namespace(fresh, dict)) shared_.push_back({Ref::borrow(fresh), own});
}

void ReloadTransaction::swap_one(Item& item) {
  LoadedExtension& extension = *item.plan.extension;
  PyObject* const modules = PyImport_GetModuleDict();
  // Submodules that the extension made: the old objects stay, too, when there is a new one of
  // the name.
  const std::map<PyObject*, PyObject*> kept = kept_modules(item);
  for (const auto& [fresh, module] : kept) {
    const std::set<std::string>* owned = nullptr;
    if (module == extension.module.get() && extension.names_known) owned = &extension.names;
    replace_content(module, fresh, owned, kept);
  }
  for (const auto& [key, module] : saved_modules_) {
    const std::string name = to_string(key.get());
    if (name == extension.name ||
        (name.starts_with(extension.name + ".") && PyDict_Contains(modules, key.get()) == 1)) {
      PyDict_SetItem(modules, key.get(), module.get());
    }
  }
  const Ref own_name = from_string(extension.name);
  PyDict_SetItem(modules, own_name.get(), extension.module.get());
  if (const Ref cache = pybind11_module_cache()) {
    const Ref key = from_string(extension.name);
    if (PyDict_Contains(cache.get(), key.get()) == 1) {
      PyDict_SetItem(cache.get(), key.get(), extension.module.get());
    }
  }
  PyErr_Clear();
}

void ReloadTransaction::swap() {
  const TraceStep step("swap");
  for (Item& item : items_) swap_one(item);
}

}  // namespace rehook
