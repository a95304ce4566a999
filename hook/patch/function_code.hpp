#pragma once

#include <string>
#include <utility>
#include <vector>

#include "hook/patch/journal.hpp"

namespace rehook {

// The code that a function definition of a module's source gets, by where the old source has
// it.
struct CodeReplacement {
  Ref file;      // str, as in co_filename
  Ref qualname;  // str, as in co_qualname
  int line = 0;  // co_firstlineno
  Ref code;
  Ref old_code = {};  // itself, where several have the same place
};

// Gives Python functions the code of their definitions' new source: all functions of a
// definition, wherever they are held: closures, methods, what decorators wrap.
//
//   FunctionCode functions(journal, replacements);
//   functions.find(modules);  // looks; nothing is changed
//   functions.replace();      // writes; no Python code runs
class FunctionCode final {
 public:
  FunctionCode(Journal& journal, std::vector<CodeReplacement> replacements)
      : journal_(&journal), replacements_(std::move(replacements)) {}

  // Looks for the functions in the namespaces of `modules`; goes over the heap only when
  // somebody else holds code that was found there, or some code was not found. The collector
  // must be off. `everywhere`: in any case, because an earlier replacement left some out.
  void find(const std::vector<PyObject*>& namespaces, bool everywhere);
  void replace();

  [[nodiscard]] std::size_t count() const { return functions_.size(); }
  // Objects that the search looked at: 0 when no look at the heap was needed.
  [[nodiscard]] std::size_t objects() const { return objects_; }
  // What could not be carried over: (what, why).
  [[nodiscard]] const std::vector<std::pair<std::string, std::string>>& left() const {
    return left_;
  }

 private:
  struct Target {
    Ref function;
    std::size_t replacement = 0;
  };
  void look_at(PyObject* object, int depth);
  void look_at_function(PyObject* function);
  void look_at_class(PyTypeObject* type, int depth);
  [[nodiscard]] bool is_all() const;
  // Index of the replacement for this code, or -1.
  [[nodiscard]] long match(PyCodeObject* code) const;
  void replace_one(const Target& target);
  [[nodiscard]] Ref closure_for(PyFunctionObject* function, PyCodeObject* code,
                                std::string& missing) const;

  Journal* journal_;
  std::vector<CodeReplacement> replacements_;
  std::vector<Target> functions_;
  std::vector<PyObject*> namespaces_;
  std::vector<std::size_t> found_;  // how many functions of each replacement
  std::size_t objects_ = 0;
  std::vector<std::pair<std::string, std::string>> left_;
};

}  // namespace rehook
