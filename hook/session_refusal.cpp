// What Session does about projects that nobody allowed rehook to build.
#include "hook/session.hpp"

namespace rehook {
namespace {

constexpr int k_warning = 30;

Error not_allowed(const std::string& module, const Path& root) {
  return {ErrorCode::invalid,
          module + " belongs to the CMake project " + root.string() +
              ", which you have not allowed rehook to build",
          "if you trust it: rehook allow '" + root.string() +
              "', or rehook.install(projects=[\"" + root.string() + "\"])"};
}

}  // namespace

Error Session::no_project_for(const std::string& module, const char* else_what) {
  if (const Path root = projects_->refused(module.substr(0, module.find('.'))); !root.empty()) {
    return not_allowed(module, root);
  }
  return {ErrorCode::invalid,
          module + else_what + " does not belong to a CMake project that rehook knows",
          "name the project's folder: rehook.install(projects=[\"path/to/project\"])"};
}

// A module of a project that nobody allowed rehook to build. Others may find it, built by hand:
// then they serve it, and a line says that it is not kept up to date.
Result<Ref> Session::refuse(const std::string& name, PyObject* path) {
  const Path root = projects_->refused(name.substr(0, name.find('.')));
  if (root.empty()) return Ref();
  const Error refusal = not_allowed(name, root);
  if (refusals_told_.insert(root).second) {
    log(k_warning,
        refusal.message + ": its modules are not kept up to date (" + refusal.hint + ")");
  }
  if (!projects_->makes_module(root, name.substr(name.rfind('.') + 1))) return Ref();
  const Inside inside;
  const Ref finder = Ref::steal(PyImport_ImportModule("_frozen_importlib_external"));
  const Ref type = optional_attribute(finder.get(), "PathFinder");
  const Ref module = from_string(name);
  const Ref spec = Ref::steal(PyObject_CallMethod(type.get(), "find_spec", "OO", module.get(),
                                                  path == nullptr ? Py_None : path));
  if (!spec) PyErr_Clear();
  if (spec && spec.get() != Py_None) return Ref();
  return refusal;
}

}  // namespace rehook
