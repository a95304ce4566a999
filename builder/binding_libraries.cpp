#include "builder/binding_libraries.hpp"

namespace rehook {

BindingLibraries binding_libraries_in(std::string_view bytes) {
  // nanobind may be inside of the module; or in a shared library (NB_SHARED), when type names
  // of its namespace are left; or in a backend module (3.0), when a message is.
  constexpr std::array k_nanobind_marks = {"__nb_internals_", "8nanobind",
                                           "the nanobind backend module"};
  BindingLibraries found;
  if (bytes.find("__pybind11_internals_v") != std::string_view::npos) {
    found.add(BindingLibrary::pybind11);
  }
  for (const std::string_view mark : k_nanobind_marks) {
    if (bytes.find(mark) == std::string_view::npos) continue;
    found.add(BindingLibrary::nanobind);
    break;
  }
  return found;
}

}  // namespace rehook
