#include "hook/interpreter.hpp"

#include <tuple>

namespace rehook {

SavedError SavedError::take() {
  PyObject *type = nullptr, *value = nullptr, *traceback = nullptr;
  PyErr_Fetch(&type, &value, &traceback);
  SavedError error;
  if (type == nullptr) return error;
  PyErr_NormalizeException(&type, &value, &traceback);
  if (traceback != nullptr) PyException_SetTraceback(value, traceback);
  Py_XDECREF(type);
  Py_XDECREF(traceback);
  error.value_ = Ref::steal(value);
  return error;
}

void SavedError::restore() && {
  PyObject* value = value_.release();
  PyObject* type = Py_NewRef(reinterpret_cast<PyObject*>(Py_TYPE(value)));
  PyErr_Restore(type, value, PyException_GetTraceback(value));
}

std::string SavedError::text() const {
  if (!value_) return "";
  std::string out = Py_TYPE(value_.get())->tp_name;
  const Ref message = Ref::steal(PyObject_Str(value_.get()));
  PyErr_Clear();
  if (message) {
    const std::string text = to_string(message.get());
    if (!text.empty()) out += ": " + text;
  }
  return out;
}

std::string to_string(PyObject* text) {
  if (text == nullptr || !PyUnicode_Check(text)) return "";
  const Ref bytes = Ref::steal(PyUnicode_AsEncodedString(text, "utf-8", "surrogateescape"));
  if (!bytes) {
    PyErr_Clear();
    return "";
  }
  return {PyBytes_AS_STRING(bytes.get()),
          static_cast<std::size_t>(PyBytes_GET_SIZE(bytes.get()))};
}

Ref from_string(std::string_view text) {
  return Ref::steal(PyUnicode_DecodeUTF8(text.data(), static_cast<Py_ssize_t>(text.size()),
                                         "surrogateescape"));
}

std::string string_attribute(PyObject* object, const char* name) {
  return to_string(optional_attribute(object, name).get());
}

Ref optional_attribute(PyObject* object, const char* name) {
  if (object == nullptr) return {};
  Ref value = Ref::steal(PyObject_GetAttrString(object, name));
  if (!value) PyErr_Clear();
  return value;
}

Ref sys_modules() {
  return Ref::borrow(PyImport_GetModuleDict());
}

Ref loaded_module(const std::string& name) {
  const Ref key = from_string(name);
  if (!key) {
    PyErr_Clear();
    return {};
  }
  Ref module = Ref::borrow(PyDict_GetItemWithError(PyImport_GetModuleDict(), key.get()));
  PyErr_Clear();
  if (module.get() == Py_None) return {};
  return module;
}

Ref call(const char* module, const char* function, std::initializer_list<PyObject*> arguments) {
  const Ref owner = Ref::steal(PyImport_ImportModule(module));
  if (!owner) return {};
  const Ref callee = Ref::steal(PyObject_GetAttrString(owner.get(), function));
  if (!callee) return {};
  const std::vector<PyObject*> items(arguments);
  return Ref::steal(PyObject_Vectorcall(callee.get(), items.data(), items.size(), nullptr));
}

ImportLockRelease::ImportLockRelease() {
  SavedError pending = SavedError::take();
  while (call("_imp", "release_lock", {})) ++depth_;
  PyErr_Clear();  // "not holding the import lock"
  if (pending) std::move(pending).restore();
}

ImportLockRelease::~ImportLockRelease() {
  SavedError pending = SavedError::take();
  for (; depth_ > 0; --depth_) std::ignore = call("_imp", "acquire_lock", {});
  PyErr_Clear();
  if (pending) std::move(pending).restore();
}

ImportLock ImportLock::acquire(const std::string& module) {
  ImportLock result;
  const Ref name = from_string(module);
  Ref lock = call("importlib._bootstrap", "_get_module_lock", {name.get()});
  if (lock) {
    const Ref done = Ref::steal(PyObject_CallMethod(lock.get(), "acquire", nullptr));
    if (done) result.lock_ = std::move(lock);
  }
  // A deadlock with another importing thread raises here; going on without the lock is what the
  // import system itself does then.
  PyErr_Clear();
  return result;
}

ImportLock::~ImportLock() {
  if (!lock_) return;
  SavedError pending = SavedError::take();
  const Ref done = Ref::steal(PyObject_CallMethod(lock_.get(), "release", nullptr));
  PyErr_Clear();
  if (pending) std::move(pending).restore();
}

}  // namespace rehook
