#include <pybind11/pybind11.h>

#include "hook/bindings_session.hpp"
#include "hook/bindings_store.hpp"
#include "hook/bindings_thread_gate.hpp"

namespace py = pybind11;

PYBIND11_MODULE(_core, m) {
  m.doc() = "The compiled part of rehook; see the package rehook for what is public.";
  m.attr("version") = REHOOK_VERSION;
  m.def(
      "versions",
      [] {
        py::dict versions;
        versions["rehook"] = REHOOK_VERSION;
        versions["libgit2"] = REHOOK_LIBGIT2_VERSION;
        versions["xxHash"] = REHOOK_XXHASH_VERSION;
        versions["pybind11"] = PYBIND11_TOSTRING(PYBIND11_VERSION_MAJOR) "." PYBIND11_TOSTRING(
            PYBIND11_VERSION_MINOR) "." PYBIND11_TOSTRING(PYBIND11_VERSION_PATCH);
        return versions;
      },
      "Versions of what the compiled part was built with.");
  rehook::bind_session(m);
  rehook::bind_store(m);
  rehook::bind_thread_gate(m);
}
