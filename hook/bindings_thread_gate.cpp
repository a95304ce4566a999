#include "hook/bindings_thread_gate.hpp"

#include "hook/thread_gate.hpp"

namespace py = pybind11;

namespace rehook {
namespace {

std::size_t run_gated(const py::list& file_names, long limit, const py::object& callback,
                      long longest_stop) {
  std::vector<Ref> names;
  for (const py::handle name : file_names) {
    if (!PyUnicode_Check(name.ptr())) throw py::type_error("a file name is not a str");
    names.push_back(Ref::borrow(name.ptr()));
  }
  ThreadGate gate(std::move(names), std::chrono::milliseconds(longest_stop));
  callback(gate.close(std::chrono::milliseconds(limit)));
  return gate.open();
}

}  // namespace

void bind_thread_gate(py::module_& m) {
  m.def("_thread_gate", &run_gated, py::arg("file_names"), py::arg("limit"),
        py::arg("callback"), py::arg("longest_stop"),
        "For tests: close a gate, call callback(threads inside), open it; times are in ms. "
        "Gives the number of threads that went on before it was opened.");
}

}  // namespace rehook
