#include "hook/python_batch.hpp"

#include "shadow_store/base/trace.hpp"

namespace rehook {
namespace {

Ref bytes(const std::string& text) {
  return Ref::steal(
      PyBytes_FromStringAndSize(text.data(), static_cast<Py_ssize_t>(text.size())));
}

// A built-in function for the Python half to ask whether a class can stay.
PyObject* class_obstacle(PyObject* /*self*/, PyObject* arguments) {
  PyObject *before = nullptr, *after = nullptr;
  if (PyArg_ParseTuple(arguments, "O!O!", &PyType_Type, &before, &PyType_Type, &after) == 0) {
    return nullptr;
  }
  return from_string(python_class_obstacle(reinterpret_cast<PyTypeObject*>(before),
                                           reinterpret_cast<PyTypeObject*>(after)))
      .release();
}

PyMethodDef class_obstacle_definition = {
    "class_obstacle", class_obstacle, METH_VARARGS,
    "Why an old class object cannot serve a new class's code; empty when it can."};

std::set<std::string> strings_in(PyObject* iterable) {
  std::set<std::string> found;
  const Ref list = iterable != nullptr ? Ref::steal(PySequence_List(iterable)) : Ref();
  for (Py_ssize_t i = 0; list && i < PyList_GET_SIZE(list.get()); ++i) {
    found.insert(to_string(PyList_GET_ITEM(list.get(), i)));
  }
  PyErr_Clear();
  return found;
}

}  // namespace

PythonBatch::PythonBatch(std::vector<PythonReload> modules, std::vector<std::string> compiled,
                         const PythonSources& sources)
    : requests_(std::move(modules)), compiled_names_(std::move(compiled)), sources_(&sources) {}

PythonBatch::~PythonBatch() {
  if (!batch_ || !has_run_) return;
  SavedError pending = SavedError::take();
  std::ignore = ask("undo");
  PyErr_Clear();
  if (pending) std::move(pending).restore();
}

Status PythonBatch::failure(const std::string& what) {
  cause_ = SavedError::take();
  return Error{ErrorCode::failed_load, what + ": " + cause_.text(),
               "the code that ran before goes on, unchanged; fix the module and reload again"};
}

Ref PythonBatch::ask(const char* method) const {
  return Ref::steal(PyObject_CallMethod(batch_.get(), method, nullptr));
}

Status PythonBatch::prepare() {
  const TraceStep step("python.prepare");
  const Ref requests = Ref::steal(PyList_New(0));
  std::string names;
  for (const PythonReload& one : requests_) {
    const Ref module = loaded_module(one.name);
    const PythonSources::Source* const known = sources_->find(one.name);
    const bool has_old = known != nullptr && known->has_text;
    const Ref old = has_old ? bytes(known->text) : Ref::borrow(Py_None);
    const Ref fresh = bytes(one.saved.text);
    const Ref file = from_string(one.saved.file.name), name = from_string(one.name);
    const Ref request =
        Ref::steal(PyTuple_Pack(6, name.get(), module.get(), file.get(), old.get(), fresh.get(),
                                one.whole ? Py_True : Py_False));
    if (!request || PyList_Append(requests.get(), request.get()) < 0) {
      return failure("preparing " + one.name);
    }
    names += (names.empty() ? "" : ", ") + one.name;
  }
  const Ref others = Ref::steal(PyDict_New());
  for (const std::string& name : sources_->names()) {
    const PythonSources::Source* const source = sources_->find(name);
    const Ref module = loaded_module(name);
    if (!source->has_text || !module || !PyModule_Check(module.get())) continue;
    const Ref text = bytes(source->text), file = from_string(source->file.name);
    const Ref entry = Ref::steal(PyTuple_Pack(3, module.get(), file.get(), text.get()));
    if (!entry || PyDict_SetItemString(others.get(), name.c_str(), entry.get()) < 0) {
      PyErr_Clear();
    }
  }
  const Ref compiled = Ref::steal(PyList_New(0));
  for (const std::string& name : compiled_names_) {
    PyList_Append(compiled.get(), from_string(name).get());
  }
  const Ref obstacle = Ref::steal(PyCFunction_New(&class_obstacle_definition, nullptr));
  const Ref module = Ref::steal(PyImport_ImportModule("rehook._python_batch"));
  batch_ = module
               ? Ref::steal(PyObject_CallMethod(module.get(), "Batch", "OOOO", requests.get(),
                                                compiled.get(), others.get(), obstacle.get()))
               : Ref();
  if (!batch_ || !ask("prepare")) {
    return failure("the saved source of " + names + " cannot be taken over");
  }
  return ok_status();
}

Status PythonBatch::run(const std::vector<Compiled>& compiled) {
  const TraceStep step("python.run");
  compiled_ = compiled;
  has_run_ = true;
  const Ref staged = Ref::steal(PyDict_New());
  for (const Compiled& one : compiled) {
    const Ref pair = Ref::steal(PyTuple_Pack(2, one.module.get(), one.fresh.get()));
    if (!pair || PyDict_SetItemString(staged.get(), one.name.c_str(), pair.get()) < 0) {
      return failure("running changed modules");
    }
  }
  if (!Ref::steal(PyObject_CallMethod(batch_.get(), "run", "O", staged.get()))) {
    SavedError raised = SavedError::take();
    const Ref current = Ref::steal(PyObject_GetAttrString(batch_.get(), "running"));
    PyErr_Clear();
    std::move(raised).restore();
    const std::string where = to_string(current.get());
    return failure("running " + (where.empty() ? std::string("changed modules") : where) +
                   " again failed");
  }
  const Ref namespaces = ask("namespaces"), classes = ask("class_members"),
            definitions = ask("definition_names"), ran = ask("ran"),
            decorated = ask("decorated_names");
  if (!namespaces || !classes || !definitions || !ran || !decorated)
    return failure("taking stock");
  for (Py_ssize_t i = 0; i < PyList_GET_SIZE(namespaces.get()); ++i) {
    PyObject* const entry = PyList_GET_ITEM(namespaces.get(), i);
    PatchModule module;
    PyObject* const name = PyTuple_GET_ITEM(entry, 0);
    module.name = to_string(name);
    module.before = Ref::borrow(PyTuple_GET_ITEM(entry, 1));
    module.after = Ref::borrow(PyTuple_GET_ITEM(entry, 2));
    auto names = std::make_shared<PythonNames>();
    names->before = Ref::borrow(PyTuple_GET_ITEM(entry, 3));
    names->decorated = strings_in(PyDict_GetItemWithError(decorated.get(), name));
    names->definitions = strings_in(PyDict_GetItemWithError(definitions.get(), name));
    PyObject* const its_classes = PyDict_GetItemWithError(classes.get(), name);
    PyObject *key = nullptr, *value = nullptr;
    Py_ssize_t at = 0;
    while (its_classes != nullptr && PyDict_Next(its_classes, &at, &key, &value) != 0) {
      names->classes[to_string(key)] = strings_in(value);
    }
    module.python = std::move(names);
    modules_.push_back(std::move(module));
  }
  PyObject *key = nullptr, *value = nullptr;
  Py_ssize_t at = 0;
  while (PyDict_Next(ran.get(), &at, &key, &value) != 0) {
    ran_[to_string(key)] = PyLong_AsSize_t(value);
  }
  PyErr_Clear();
  return ok_status();
}

std::vector<PatchModule> PythonBatch::modules() const {
  return modules_;
}

PythonPatch PythonBatch::patch() const {
  PythonPatch patch;
  patch.look_everywhere = sources_->has_left_functions();
  const Ref codes = Ref::steal(PyObject_GetAttrString(batch_.get(), "codes"));
  for (Py_ssize_t i = 0; codes && i < PyList_GET_SIZE(codes.get()); ++i) {
    PyObject* const entry = PyList_GET_ITEM(codes.get(), i);
    patch.codes.push_back(
        {Ref::borrow(PyTuple_GET_ITEM(entry, 0)), Ref::borrow(PyTuple_GET_ITEM(entry, 1)),
         static_cast<int>(PyLong_AsLong(PyTuple_GET_ITEM(entry, 2))),
         Ref::borrow(PyTuple_GET_ITEM(entry, 3)),
         PyTuple_GET_ITEM(entry, 4) == Py_None ? Ref()
                                               : Ref::borrow(PyTuple_GET_ITEM(entry, 4))});
  }
  for (const PythonReload& one : requests_) {
    const Ref module = loaded_module(one.name);
    if (module && PyModule_Check(module.get())) {
      patch.namespaces.push_back(PyModule_GetDict(module.get()));
    }
  }
  if (modules_.empty()) return patch;
  for (const PatchModule& module : modules_) {
    patch.stand_ins.emplace_back(module.after, module.before);
    patch.stand_ins.emplace_back(Ref::borrow(PyModule_GetDict(module.after.get())),
                                 Ref::borrow(PyModule_GetDict(module.before.get())));
  }
  for (const Compiled& one : compiled_) patch.stand_ins.emplace_back(one.fresh, one.module);
  const Ref shadow_builtins = Ref::steal(PyObject_GetAttrString(batch_.get(), "builtins"));
  patch.stand_ins.emplace_back(shadow_builtins, Ref::borrow(PyEval_GetBuiltins()));
  const Ref closed = ask("is_closed");
  patch.is_closed = closed && closed.get() == Py_True;
  PyErr_Clear();
  return patch;
}

std::vector<Ref> PythonBatch::files() const {
  std::vector<Ref> files;
  const Ref list = batch_ ? ask("files") : Ref();
  for (Py_ssize_t i = 0; list && i < PyList_GET_SIZE(list.get()); ++i) {
    files.push_back(Ref::borrow(PyList_GET_ITEM(list.get(), i)));
  }
  PyErr_Clear();
  return files;
}

std::unordered_set<const PyObject*> PythonBatch::own_containers() const {
  std::unordered_set<const PyObject*> own;
  for (const PatchModule& module : modules_) {
    own.insert(PyModule_GetDict(module.after.get()));
    own.insert(module.python->before.get());
  }
  if (!batch_) return own;
  const Ref its = ask("own_containers");
  for (Py_ssize_t i = 0; its && i < PyList_GET_SIZE(its.get()); ++i) {
    own.insert(PyList_GET_ITEM(its.get(), i));
  }
  PyErr_Clear();
  return own;
}

void PythonBatch::commit() {
  if (!batch_) return;
  has_run_ = false;
  if (!ask("commit")) PyErr_WriteUnraisable(batch_.get());
  modules_.clear();
  batch_ = Ref();
}

}  // namespace rehook
