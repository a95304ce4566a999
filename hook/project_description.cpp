#include "hook/project_description.hpp"

namespace rehook {
namespace {

PyObject* item(const Ref& dict, const char* key) {
  PyObject* value = PyDict_GetItemString(dict.get(), key);  // borrowed
  return value == Py_None ? nullptr : value;
}

std::string text(const Ref& dict, const char* key) {
  return to_string(item(dict, key));
}

std::vector<std::string> texts(const Ref& dict, const char* key) {
  std::vector<std::string> out;
  PyObject* value = item(dict, key);
  const Ref list = value == nullptr ? Ref() : Ref::steal(PySequence_List(value));
  for (Py_ssize_t i = 0; list && i < PyList_GET_SIZE(list.get()); ++i) {
    out.push_back(to_string(PyList_GET_ITEM(list.get(), i)));
  }
  PyErr_Clear();
  return out;
}

template <typename Each>
void pairs(const Ref& dict, const char* key, Each each) {
  PyObject* value = item(dict, key);
  if (value == nullptr || !PyDict_Check(value)) return;
  PyObject *name = nullptr, *content = nullptr;
  Py_ssize_t at = 0;
  while (PyDict_Next(value, &at, &name, &content) != 0) each(to_string(name), content);
}

}  // namespace

Result<ProjectDescription> describe_in_python(PyObject* function, const Path& root,
                                              SavedError& cause) {
  const Ref argument = from_string(root.native());
  const Ref dict = Ref::steal(PyObject_CallOneArg(function, argument.get()));
  if (!dict || !PyDict_Check(dict.get())) {
    cause = SavedError::take();
    const std::string kind = cause ? Py_TYPE(cause.value())->tp_name : "";
    const bool is_config = kind.find("ConfigError") != std::string::npos;
    std::string message = string_attribute(cause.value(), "message");
    if (message.empty()) {
      message = "the project " + root.string() + " could not be described: " + cause.text();
    }
    return Error{is_config ? ErrorCode::invalid : ErrorCode::failed_build, message,
                 string_attribute(cause.value(), "hint")};
  }
  ProjectDescription project;
  project.root = root;
  project.source_dir = text(dict, "cmake_source_dir");
  if (project.source_dir.empty()) project.source_dir = root;
  project.cmake_args = texts(dict, "cmake_args");
  project.generator = text(dict, "generator");
  project.build_type = text(dict, "build_type");
  pairs(dict, "env", [&](const std::string& name, PyObject* value) {
    project.environment.emplace_back(
        name, value == Py_None ? std::nullopt : std::optional(to_string(value)));
  });
  project.targets = texts(dict, "targets");
  project.naming.extension_suffixes = texts(dict, "suffixes");
  project.naming.install_dir = text(dict, "install_dir");
  pairs(dict, "packages", [&](const std::string& name, PyObject* value) {
    project.naming.packages[name] = to_string(value);
  });
  pairs(dict, "installed", [&](const std::string& name, PyObject* value) {
    project.naming.installed[name] = Path(to_string(value)).filename().string();
  });
  // Names that setup.py gives its extensions tell the package part as well as an installed file
  // does.
  for (const std::string& module : texts(dict, "extension_modules")) {
    const auto& suffixes = project.naming.extension_suffixes;
    const std::string last = module.substr(module.rfind('.') + 1);
    project.naming.installed.try_emplace(module,
                                         last + (suffixes.empty() ? ".so" : suffixes.front()));
  }
  project.build_dir = text(dict, "build_dir");
  for (const std::string& input : texts(dict, "inputs")) project.inputs.emplace_back(input);
  project.missing_requirements = texts(dict, "missing_requirements");
  project.exclude = texts(dict, "exclude");
  PyObject* const files = item(dict, "generated");
  for (Py_ssize_t i = 0; files != nullptr && PyList_Check(files) && i < PyList_GET_SIZE(files);
       ++i) {
    const char *path = nullptr, *content = nullptr, *module = nullptr;
    if (!PyArg_ParseTuple(PyList_GET_ITEM(files, i), "sss", &path, &content, &module)) break;
    project.generated.push_back({path, content, module});
  }
  PyErr_Clear();
  return project;
}

}  // namespace rehook
