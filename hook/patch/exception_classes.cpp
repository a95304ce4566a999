#include "hook/patch/exception_classes.hpp"

namespace rehook {
namespace {

constexpr int k_deepest = 4;  // classes within classes

// What the redirected functions, which are called without a context, consult.
ExceptionClasses* current = nullptr;

bool is_exception_class(PyObject* object) {
  return PyType_Check(object) && PyExceptionClass_Check(object) &&
         PyType_HasFeature(reinterpret_cast<PyTypeObject*>(object), Py_TPFLAGS_HEAPTYPE);
}

// As PyErr_NewException() reads its argument: null, a class, or a tuple of classes.
bool has_bases(PyObject* type, PyObject* base) {
  PyObject* const bases = reinterpret_cast<PyTypeObject*>(type)->tp_bases;
  if (base == nullptr) base = PyExc_Exception;
  if (!PyTuple_Check(base)) {
    return PyTuple_GET_SIZE(bases) == 1 && PyTuple_GET_ITEM(bases, 0) == base;
  }
  if (PyTuple_GET_SIZE(bases) != PyTuple_GET_SIZE(base)) return false;
  for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(base); ++i) {
    if (PyTuple_GET_ITEM(bases, i) != PyTuple_GET_ITEM(base, i)) return false;
  }
  return true;
}

}  // namespace

ExceptionClasses::ExceptionClasses()
    : create_("PyErr_NewException", reinterpret_cast<const void*>(&ExceptionClasses::create)),
      create_with_doc_("PyErr_NewExceptionWithDoc",
                       reinterpret_cast<const void*>(&ExceptionClasses::create_with_doc)) {
  current = this;
}

ExceptionClasses::~ExceptionClasses() {
  current = nullptr;  // the libraries get their own imports back next
}

void ExceptionClasses::keep_those_in(PyObject* dict, int depth) {
  PyObject *key = nullptr, *value = nullptr;
  Py_ssize_t at = 0;
  while (PyDict_Next(dict, &at, &key, &value) != 0) {
    if (!PyType_Check(value)) continue;
    auto* const type = reinterpret_cast<PyTypeObject*>(value);
    if (is_exception_class(value)) {
      const std::string module = string_attribute(value, "__module__");
      const std::string name = string_attribute(value, "__name__");
      classes_.emplace(module + "." + name, Ref::borrow(value));
    } else if (depth < k_deepest && PyType_HasFeature(type, Py_TPFLAGS_HEAPTYPE) &&
               type->tp_dict != nullptr) {
      keep_those_in(type->tp_dict, depth + 1);
    }
  }
}

void ExceptionClasses::keep_those_of(PyObject* module) {
  if (PyModule_Check(module)) keep_those_in(PyModule_GetDict(module), 0);
}

Status ExceptionClasses::serve(const LoadedLibrary& fresh) {
  REHOOK_TRY(create_.redirect(fresh));
  return create_with_doc_.redirect(fresh);
}

// The running class, or null when a new one has to be made: what a class dictionary would add
// cannot be taken back.
PyObject* ExceptionClasses::find(const char* name, PyObject* base, PyObject* dict) const {
  if (name == nullptr || (dict != nullptr && (!PyDict_Check(dict) || PyDict_Size(dict) > 0))) {
    return nullptr;
  }
  const auto found = classes_.find(name);
  if (found == classes_.end() || !has_bases(found->second.get(), base)) return nullptr;
  return found->second.get();
}

PyObject* ExceptionClasses::create(const char* name, PyObject* base, PyObject* dict) {
  PyObject* const known = current == nullptr ? nullptr : current->find(name, base, dict);
  return known == nullptr ? PyErr_NewException(name, base, dict) : Py_NewRef(known);
}

PyObject* ExceptionClasses::create_with_doc(const char* name, const char* doc, PyObject* base,
                                            PyObject* dict) {
  PyObject* const known = current == nullptr ? nullptr : current->find(name, base, dict);
  if (known == nullptr) return PyErr_NewExceptionWithDoc(name, doc, base, dict);
  if (doc != nullptr) current->served_.push_back({Ref::borrow(known), from_string(doc)});
  return Py_NewRef(known);
}

void ExceptionClasses::commit() {
  for (const Served& served : served_) {
    PyObject_SetAttrString(served.type.get(), "__doc__", served.doc.get());
    PyErr_Clear();
  }
  served_.clear();
}

}  // namespace rehook
