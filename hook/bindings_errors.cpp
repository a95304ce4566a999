#include "hook/bindings_errors.hpp"

#include "builder/diagnostics.hpp"

namespace py = pybind11;

namespace rehook {
namespace {

const char* kind_of(ErrorCode code) {
  switch (code) {
    case ErrorCode::failed_build:
    case ErrorCode::busy:
    case ErrorCode::not_found:
      return "build";
    case ErrorCode::failed_load:
    case ErrorCode::unsupported:
    case ErrorCode::canceled:
      return "reload";
    case ErrorCode::io:
    case ErrorCode::corrupt:
    case ErrorCode::unsafe:
      return "store";
    case ErrorCode::invalid:
      return "config";
  }
  return "rehook";
}

}  // namespace

py::str text(std::string_view value) {
  return py::reinterpret_steal<py::str>(from_string(value).release());
}

py::list diagnostics_of(const std::string& output) {
  py::list list;
  for (const Diagnostic& diagnostic : parse_diagnostics(output)) {
    py::dict item;
    item["file"] = text(diagnostic.file);
    item["line"] = diagnostic.line;
    item["column"] = diagnostic.column;
    item["severity"] = text(diagnostic.severity);
    item["text"] = text(diagnostic.text);
    item["excerpt"] = text(diagnostic.excerpt);
    list.append(item);
  }
  return list;
}

void raise_error(const Error& error, SavedError cause) {
  if (cause && PyErr_GivenExceptionMatches(cause.value(), PyExc_KeyboardInterrupt) != 0) {
    std::move(cause).restore();
    throw py::error_already_set();
  }
  const bool is_reload = error.code == ErrorCode::unsafe &&
                         static_cast<bool>(error.hint.find("restart") != std::string::npos);
  const py::object make = py::module_::import("rehook.errors").attr("make");
  py::object exception =
      make(is_reload ? "reload" : kind_of(error.code), text(error.message), text(error.hint),
           "", text(error.detail), diagnostics_of(error.detail));
  if (cause) {
    Ref value = Ref::borrow(cause.value());
    PyException_SetCause(exception.ptr(), value.release());  // steals
  }
  PyErr_SetObject(reinterpret_cast<PyObject*>(Py_TYPE(exception.ptr())), exception.ptr());
  throw py::error_already_set();
}

}  // namespace rehook
