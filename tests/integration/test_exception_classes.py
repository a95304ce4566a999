"""An exception class made by C code is the same class object in every build."""

import pytest

from support.project import Project
from support.sources import c_module, cmake_lists

pytestmark = pytest.mark.compile

CMAKE = cmake_lists(
    "trouble",
    """
    Python_add_library(trouble MODULE WITH_SOABI trouble.c)
    set_target_properties(trouble PROPERTIES LIBRARY_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}")
    """,
)

PYBIND11_CMAKE = """\
cmake_minimum_required(VERSION 3.18...3.30)
project(trouble LANGUAGES CXX)
find_package(pybind11 CONFIG REQUIRED)
pybind11_add_module(trouble MODULE NO_EXTRAS trouble.cpp)
"""

PYBIND11_SOURCE = """\
#include <pybind11/pybind11.h>
#include <stdexcept>
namespace py = pybind11;
struct Trouble : std::runtime_error { using std::runtime_error::runtime_error; };
struct Deep : Trouble { using Trouble::Trouble; };
PYBIND11_MODULE(trouble, m) {
  auto& trouble = py::register_exception<Trouble>(m, "Trouble", PyExc_LookupError);
  py::register_exception<Deep>(m, "Deep", trouble.ptr());
  m.def("make", [] { throw Trouble("first"); });
  m.def("dig", [] { throw Deep("first"); });
  if (false) throw std::runtime_error("no module today");
}
"""

HELD = """
import rehook
rehook.install(projects=[ROOT])
import trouble
Trouble, Deep = trouble.Trouble, trouble.Deep
def caught(function):
    try:
        function()
    except Deep as error:
        return ["Deep", str(error)]
    except Trouble as error:
        return ["Trouble", str(error)]
    except Exception as error:
        return [type(error).__name__, str(error)]
try:
    trouble.dig()
except Trouble as error:
    old = error
"""


@pytest.fixture
def pybind11_project(tmp_path):
    files = {"CMakeLists.txt": PYBIND11_CMAKE, "trouble.cpp": PYBIND11_SOURCE}
    return Project.of_files(tmp_path, "trouble", files)


def test_old_except_clauses_catch_what_new_code_raises(pybind11_project):
    result = pybind11_project.run(
        HELD
        + """
results = []
for word in ("second", "third"):
    text = Path(ROOT, "trouble.cpp").read_text()
    write("trouble.cpp", text.replace('"first"', f'"{word}"').replace('"second"', f'"{word}"'))
    rehook.reload()
    results.append([caught(trouble.make), caught(trouble.dig)])
import pickle
same = trouble.Trouble is Trouble, trouble.Deep is Deep, trouble.Deep.__mro__[1] is Trouble
copy = pickle.loads(pickle.dumps(Trouble("x")))
results.append([*same, isinstance(old, trouble.Deep), copy.args])
print(json.dumps(results))
"""
    ).json
    assert result == [
        [["Trouble", "second"], ["Deep", "second"]],
        [["Trouble", "third"], ["Deep", "third"]],
        [True, True, True, True, ["x"]],
    ]


def test_a_class_with_another_base_is_a_new_class(pybind11_project):
    result = pybind11_project.run(
        HELD
        + """
text = Path(ROOT, "trouble.cpp").read_text()
was = Trouble("raised before")
write("trouble.cpp", text.replace("PyExc_LookupError", "PyExc_ArithmeticError"))
rehook.reload()
new = trouble.Trouble
print(json.dumps([new is Trouble, new.__bases__[0].__name__, caught(trouble.make)[0],
                  trouble.Deep is Deep, trouble.Deep.__bases__[0] is new,
                  type(was) is new, type(was).__bases__[0].__name__]))
"""
    ).json
    assert result == [True, "ArithmeticError", "Trouble", True, True, False, "LookupError"]


def test_a_failing_initialisation_leaves_the_classes_alone(pybind11_project):
    result = pybind11_project.run(
        HELD
        + """
text = Path(ROOT, "trouble.cpp").read_text()
write("trouble.cpp", text.replace('"first"', '"second"').replace("if (false)", "if (true)"))
try:
    rehook.reload()
    failed = False
except rehook.ReloadError:
    failed = True
same = trouble.Trouble is Trouble
print(json.dumps([failed, same, caught(trouble.make), caught(trouble.dig)]))
"""
    ).json
    assert result == [True, True, ["Trouble", "first"], ["Deep", "first"]]


def test_hand_written_modules_keep_theirs_and_get_the_new_doc_string(tmp_path):
    body = """
      PyObject* type = PyErr_NewExceptionWithDoc("trouble.Trouble", "first", NULL, NULL);
      if (type == NULL || PyModule_AddObjectRef(module, "Trouble", type) < 0) return -1;
      Py_DECREF(type);
    """
    source = c_module("trouble", {"answer": "1"}, body=body)
    project = Project.of_files(tmp_path, "trouble", {"CMakeLists.txt": CMAKE, "trouble.c": source})
    result = project.run(
        """
import rehook, sys
rehook.install(projects=[ROOT])
import trouble
Trouble, answer = trouble.Trouble, trouble.answer
write("trouble.c", Path(ROOT, "trouble.c").read_text().replace('"first"', '"second"'))
rehook.reload()
print(json.dumps([trouble.Trouble is Trouble, Trouble.__doc__]))
"""
    ).json
    assert result == [True, "second"]
