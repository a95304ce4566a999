#include "hook/extension_needs.hpp"

namespace rehook {
namespace {

bool is_below(const std::string& module, const std::string& package) {
  return module == package || module.starts_with(package + ".");
}

// Whether a class that `user` holds derives from one of the module `provider`.
bool derives_from(PyObject* user, const std::string& provider) {
  if (user == nullptr || !PyModule_Check(user)) return false;
  const Ref content = Ref::steal(PyDict_Copy(PyModule_GetDict(user)));
  PyObject *key = nullptr, *value = nullptr;
  Py_ssize_t at = 0;
  while (content && PyDict_Next(content.get(), &at, &key, &value) != 0) {
    if (!PyType_Check(value)) continue;
    if (is_below(string_attribute(value, "__module__"), provider)) continue;  // merely imported
    PyObject* const mro = reinterpret_cast<PyTypeObject*>(value)->tp_mro;
    for (Py_ssize_t i = 1; mro != nullptr && i < PyTuple_GET_SIZE(mro); ++i) {
      const std::string module = string_attribute(PyTuple_GET_ITEM(mro, i), "__module__");
      if (is_below(module, provider)) return true;
    }
  }
  return false;
}

}  // namespace

const std::set<std::string>& ExtensionNeeds::named_in(const Path& file) {
  const auto [at, is_new] = named_.try_emplace(file);
  if (!is_new) return at->second;
  const auto bytes = fs_->read(file);
  for (const std::string& name : names_) {
    // As a text of its own, not as a part of another.
    if (bytes && bytes->find(std::string(1, '\0') + name + '\0') != std::string::npos) {
      at->second.insert(name);
    }
  }
  return at->second;
}

std::string ExtensionNeeds::why(const Path& file, PyObject* module,
                                const std::string& provider) {
  if (derives_from(module, provider)) return "it derives from classes of " + provider;
  return named_in(file).contains(provider) ? "it imports " + provider : "";
}

}  // namespace rehook
