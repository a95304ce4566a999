#include "hook/extension_loader.hpp"

#include <dlfcn.h>

#include <algorithm>
#include <cstring>

namespace rehook {
namespace {

// sys.setdlopenflags(RTLD_NOW | RTLD_LOCAL) for one scope.
class LocalSymbols final {
 public:
  LocalSymbols() {
    const Ref flags = call("sys", "getdlopenflags", {});
    before_ = flags ? PyLong_AsLong(flags.get()) : RTLD_NOW;
    PyErr_Clear();
    set(RTLD_NOW | RTLD_LOCAL);
  }
  ~LocalSymbols() {
    SavedError pending = SavedError::take();
    set(before_);
    if (pending) std::move(pending).restore();
  }
  LocalSymbols(const LocalSymbols&) = delete;
  LocalSymbols& operator=(const LocalSymbols&) = delete;

 private:
  static void set(long flags) {
    const Ref value = Ref::steal(PyLong_FromLong(flags));
    const Ref done = call("sys", "setdlopenflags", {value.get()});
    PyErr_Clear();
  }
  long before_ = RTLD_NOW;
};

}  // namespace

// A module of one phase enters itself into sys.modules; who is there already, because it is
// being replaced, stays, so that other threads go on finding it.
Ref create_extension(PyObject* spec) {
  const LocalSymbols local;
  PyObject* const modules = PyImport_GetModuleDict();
  const Ref name = optional_attribute(spec, "name");
  const Ref before = name ? Ref::borrow(PyDict_GetItemWithError(modules, name.get())) : Ref();
  PyErr_Clear();
  Ref module = call("_imp", "create_dynamic", {spec});
  if (before) {
    SavedError pending = SavedError::take();
    PyDict_SetItem(modules, name.get(), before.get());
    if (pending) std::move(pending).restore();
  }
  return module;
}

bool exec_extension(PyObject* module) {
  return static_cast<bool>(call("_imp", "exec_dynamic", {module}));
}

Status check_init_symbol(const ElfImage& image, const std::string& module) {
  const std::string name = module.substr(module.rfind('.') + 1);
  const bool ascii = std::all_of(name.begin(), name.end(),
                                 [](char c) { return static_cast<unsigned char>(c) < 128; });
  const auto& symbols = image.symbols();
  const bool found = ascii
                         ? image.defines("PyInit_" + name)
                         : std::any_of(symbols.begin(), symbols.end(), [](const auto& symbol) {
                             return symbol.defined && symbol.name.starts_with("PyInitU_");
                           });
  if (found) return ok_status();
  std::string others;
  for (const std::string& other : image.python_inits()) {
    others += (others.empty() ? "PyInit_" : ", PyInit_") + other;
  }
  return Error{ErrorCode::failed_load,
               module + " must define PyInit_" + name + " but " +
                   (others.empty() ? "defines no PyInit_ function" : "defines " + others),
               "the name in PYBIND11_MODULE (or of the PyInit_ function) must be the module's "
               "last part"};
}

Ref make_file_spec(const std::string& name, const Path& path, PyObject* loader_type) {
  const Ref py_name = from_string(name);
  const Ref py_path = from_string(path.native());
  const Ref loader = Ref::steal(
      PyObject_CallFunctionObjArgs(loader_type, py_name.get(), py_path.get(), nullptr));
  if (!loader) return {};
  const Ref bootstrap = Ref::steal(PyImport_ImportModule("_frozen_importlib_external"));
  if (!bootstrap) return {};
  const Ref maker =
      Ref::steal(PyObject_GetAttrString(bootstrap.get(), "spec_from_file_location"));
  const Ref arguments = Ref::steal(PyTuple_Pack(2, py_name.get(), py_path.get()));
  const Ref keywords = Ref::steal(PyDict_New());
  if (!maker || !arguments || !keywords ||
      PyDict_SetItemString(keywords.get(), "loader", loader.get()) < 0) {
    return {};
  }
  return Ref::steal(PyObject_Call(maker.get(), arguments.get(), keywords.get()));
}

Ref load_extension(PyObject* spec, Visible visible) {
  const Ref name = Ref::steal(PyObject_GetAttrString(spec, "name"));
  Ref module = call("_frozen_importlib", "module_from_spec", {spec});
  if (!module) return {};
  // Other threads that import this name meanwhile wait for the module's import lock.
  PyObject_SetAttrString(spec, "_initializing", Py_True);
  PyObject* modules = PyImport_GetModuleDict();
  const bool entered =
      visible == Visible::no || PyObject_SetItem(modules, name.get(), module.get()) == 0;
  const bool loaded = entered && exec_extension(module.get());
  SavedError pending = SavedError::take();
  PyObject_SetAttrString(spec, "_initializing", Py_False);
  PyErr_Clear();
  if (loaded) return module;
  if (visible == Visible::yes) PyObject_DelItem(modules, name.get());
  PyErr_Clear();
  if (pending) std::move(pending).restore();
  return {};
}

bool share_namespace(PyObject* hidden, PyObject* dict) {
  if (!PyModule_CheckExact(hidden) && !PyModule_Check(hidden)) return false;
  // struct PyModuleObject { PyObject_HEAD  PyObject *md_dict; … }
  // (Include/internal/pycore_moduleobject.h).
  auto* const slot =
      reinterpret_cast<PyObject**>(reinterpret_cast<char*>(hidden) + sizeof(PyObject));
  PyObject* const before = PyModule_GetDict(hidden);
  if (*slot != before) return false;
  if (before == dict) return true;
  *slot = Py_NewRef(dict);
  Py_DECREF(before);
  return true;
}

}  // namespace rehook
