#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "hook/interpreter.hpp"
#include "hook/patch/imported_function.hpp"

namespace rehook {

// Lets the exceptions that C code creates keep their classes over a reload, so that every
// `except` clause, every handler table and every pickle goes on meaning the same class. The
// class cannot be exchanged afterwards (the new build has stored its address in places nobody
// else knows), so it is handed out at the source: while this object lives, PyErr_NewException()
// and PyErr_NewExceptionWithDoc(), called by a new build, answer with the running class of the
// same name and the same bases. pybind11, nanobind and hand-written modules all create them
// that way.
//
// One at a time, with the GIL held.
class ExceptionClasses final {
 public:
  ExceptionClasses();
  ~ExceptionClasses();
  ExceptionClasses(const ExceptionClasses&) = delete;
  ExceptionClasses& operator=(const ExceptionClasses&) = delete;

  // Remembers the exception classes that a running module and the classes in it hold.
  void keep_those_of(PyObject* module);
  // Makes a library that has not run its initialisation yet use them.
  Status serve(const LoadedLibrary& fresh);
  // New doc strings, written only now as nothing could undo them.
  void commit();

 private:
  struct Served {
    Ref type, doc;
  };
  static PyObject* create(const char* name, PyObject* base, PyObject* dict);
  static PyObject* create_with_doc(const char* name, const char* doc, PyObject* base,
                                   PyObject* dict);
  [[nodiscard]] PyObject* find(const char* name, PyObject* base, PyObject* dict) const;
  void keep_those_in(PyObject* dict, int depth);

  std::map<std::string, Ref> classes_;  // "pkg._core.Error"
  std::vector<Served> served_;
  ImportedFunction create_, create_with_doc_;
};

}  // namespace rehook
