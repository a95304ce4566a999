#pragma once

#include <functional>
#include <string>
#include <vector>

#include "hook/interpreter.hpp"

namespace rehook {

// Which functions and classes the reloaded modules made themselves. A module may show what
// others made (`m.attr("sqrt") = math.sqrt`); such an object is nobody's to change.
class Ownership final {
 public:
  // `is_code` says whether an address lies in one of the builds concerned, old or new.
  Ownership(std::vector<std::string> modules, std::function<bool(const void*)> is_code)
      : modules_(std::move(modules)), is_code_(std::move(is_code)) {}

  [[nodiscard]] bool owns_function(PyObject* function) const;
  [[nodiscard]] bool owns_class(PyTypeObject* type) const;
  [[nodiscard]] bool owns(PyObject* object) const;

 private:
  [[nodiscard]] bool is_ours(PyObject* object) const;  // by its __module__

  std::vector<std::string> modules_;
  std::function<bool(const void*)> is_code_;
};

}  // namespace rehook
