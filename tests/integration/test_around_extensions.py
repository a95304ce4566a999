"""What lies around an extension: generated files, dependants by name, translators, fallbacks."""

import importlib.util
import shlex
import sys

import pytest

from support.pybind11_packages import folder_of

pytestmark = pytest.mark.compile

MODULE_C = """
#include <Python.h>
static PyObject* value(PyObject* self, PyObject* unused) { return PyLong_FromLong(1); }
static PyMethodDef methods[] = {{"value", value, METH_NOARGS, 0}, {0}};
static PyModuleDef definition = {PyModuleDef_HEAD_INIT, "_core", 0, -1, methods};
PyMODINIT_FUNC PyInit__core(void) { return PyModule_Create(&definition); }
"""
CMAKE_C = """
cmake_minimum_required(VERSION 3.18...3.30)
project(box LANGUAGES C)
find_package(Python 3.11 REQUIRED COMPONENTS Interpreter Development.Module)
python_add_library(_core MODULE WITH_SOABI core.c)
install(TARGETS _core DESTINATION box)
"""


# ------------------------------------------------------------ scikit-build-core's generate


PYPROJECT = """
[build-system]
requires = ["scikit-build-core"]
build-backend = "scikit_build_core.build"

[project]
name = "box"
version = "1.2.3"

[[tool.scikit-build.generate]]
path = "box/_made.py"
template = "version = '${version}'"
"""


def test_generated_modules_of_scikit_build_core(built):
    """They are importable, although the source tree has no such file and gets none."""
    files = {
        "CMakeLists.txt": CMAKE_C,
        "core.c": MODULE_C,
        "box/__init__.py": "from ._core import value\nfrom . import _made\n",
        "pyproject.toml": PYPROJECT,
    }
    box = built("box", files=files)
    told = box.run(
        """
        import rehook
        rehook.install(projects=[ROOT])
        import box
        first = [box._made.version, box.value()]
        edit("core.c", "PyLong_FromLong(1)", "PyLong_FromLong(2)")
        rehook.reload("box")
        sources = sorted(path.name for path in Path(ROOT, "box").glob("*.py"))
        print(json.dumps([first, [box._made.version, box.value()], sources]))
        """
    ).json
    assert told == [["1.2.3", 1], ["1.2.3", 2], ["__init__.py"]]
    again = box.run(
        """
        import rehook
        rehook.install(projects=[ROOT])
        edit("pyproject.toml", "1.2.3", "1.2.4")
        import box
        print(json.dumps(box._made.version))
        """
    ).json
    assert again == "1.2.4"


# ------------------------------------------------------------ Cython: cimport


SHAPES_PXD = """
cdef class Shape:
    cdef public int side
    cpdef int area(self)
"""
SHAPES_PYX = """
cdef class Shape:
    def __init__(self, int side):
        self.side = side
    cpdef int area(self):
        return self.side * self.side
"""
USERS_PYX = """
from cyth.shapes cimport Shape

cdef class Tile(Shape):
    def twice(self):
        return 2 * self.area()

def total(Shape shape):
    return shape.area() + shape.side
"""
CMAKE_CYTHON = f"""
cmake_minimum_required(VERSION 3.18...3.30)
project(cyth LANGUAGES C)
find_package(Python 3.11 REQUIRED COMPONENTS Interpreter Development.Module)
foreach(name shapes users)
  add_custom_command(
    OUTPUT ${{name}}.c
    COMMAND "{sys.executable}" -m cython -3 ${{CMAKE_CURRENT_SOURCE_DIR}}/cyth/${{name}}.pyx
            -o ${{CMAKE_CURRENT_BINARY_DIR}}/${{name}}.c -I ${{CMAKE_CURRENT_SOURCE_DIR}}
    DEPENDS cyth/${{name}}.pyx cyth/shapes.pxd)
  python_add_library(${{name}} MODULE WITH_SOABI ${{CMAKE_CURRENT_BINARY_DIR}}/${{name}}.c)
  target_compile_options(${{name}} PRIVATE -O0)
  install(TARGETS ${{name}} DESTINATION cyth)
endforeach()
"""


@pytest.mark.skipif(importlib.util.find_spec("Cython") is None, reason="Cython is missing")
def test_what_cimports_a_reloaded_module_is_reloaded_too(built):
    """Its functions check for the class they cimported; without a reload they know the old one."""
    files = {
        "CMakeLists.txt": CMAKE_CYTHON,
        "cyth/__init__.py": "",
        "cyth/__init__.pxd": "",
        "cyth/shapes.pxd": SHAPES_PXD,
        "cyth/shapes.pyx": SHAPES_PYX,
        "cyth/users.pyx": USERS_PYX,
    }
    project = built("cyth", files=files)
    told = project.run(
        """
        import rehook
        rehook.install(projects=[ROOT])
        from cyth import shapes, users
        before = [users.total(shapes.Shape(3)), users.Tile(3).twice()]
        edit("cyth/shapes.pyx", "self.side * self.side", "self.side * self.side + 100")
        report = rehook.reload()
        reasons = {one["name"]: one["reason"] for one in report.modules}
        print(json.dumps([before, [users.total(shapes.Shape(3)), users.Tile(3).twice()],
                          isinstance(users.Tile(1), shapes.Shape), reasons]))
        """
    ).json
    before, after, is_shape, reasons = told
    assert (before, after, is_shape) == ([12, 18], [112, 218], True)
    assert sorted(reasons) == ["cyth.shapes", "cyth.users"]
    assert "cyth.shapes" in reasons["cyth.users"]


# ------------------------------------------------------------ pybind11's own translator


CMAKE_PYBIND11 = """
cmake_minimum_required(VERSION 3.18...3.30)
project(thrower LANGUAGES CXX)
find_package(Python 3.11 REQUIRED COMPONENTS Interpreter Development.Module)
find_package(pybind11 CONFIG REQUIRED)
set(CMAKE_CXX_FLAGS_RELEASE "-O0")
pybind11_add_module(_core MODULE NO_EXTRAS core.cpp)
install(TARGETS _core DESTINATION thrower)
"""
THROWER = """
#include <pybind11/pybind11.h>
#include <stdexcept>
namespace py = pybind11;
PYBIND11_MODULE(_core, m) {
  m.def("fail", [] { throw std::runtime_error("build 1"); });
  m.def("index", [] { throw py::index_error("build 1"); });
  m.def(
      "walk", [](const py::list& list) { return py::make_iterator(list.begin(), list.end()); },
      py::keep_alive<0, 1>());
}
"""


@pytest.mark.parametrize("version", ["2.13.6", "3.1.0"])
def test_the_default_translator_outlives_the_module_that_brought_it(built, version):
    """The first pybind11 module of a process registers it, for all; here it is the reloaded one."""
    files = {
        "CMakeLists.txt": CMAKE_PYBIND11,
        "core.cpp": THROWER,
        "thrower/__init__.py": "from ._core import fail, index, walk\n",
    }
    env = {"REHOOK_CMAKE_ARGS": shlex.quote(f"-Dpybind11_DIR={folder_of(version)}")}
    told = built("thrower", files=files, env=env).run(
        """
        import rehook
        rehook.install(projects=[ROOT])
        import thrower
        def raised(function):
            try:
                function()
            except BaseException as error:
                return [type(error).__name__, str(error)]
        old, walk = thrower.fail, thrower.walk([1, 2])
        results = [raised(thrower.fail), raised(thrower.index), list(thrower.walk([1, 2]))]
        for number in (2, 3):
            text = Path(ROOT, "core.cpp").read_text()
            write("core.cpp", text.replace(f"build {number - 1}", f"build {number}"))
            rehook.reload()
            results += [raised(thrower.fail), raised(thrower.index), list(thrower.walk([1, 2]))]
        results.append([list(walk), raised(old)[0]])
        print(json.dumps(results))
        """,
        env={"PYTHONMALLOC": "debug"},
    )
    expected = []
    for number in (1, 2, 3):
        text = f"build {number}"
        expected += [["RuntimeError", text], ["IndexError", text], [1, 2]]
    assert told.json == [*expected, [[1, 2], "RuntimeError"]]
    assert told.stderr == ""


# ------------------------------------------------------------ a package with a fallback


def test_a_swallowed_build_error_warns_once_per_import(built):
    """Packages that fall back to Python catch every ImportError: one line says what happened."""
    body = """\
fast = []
for name in ("_core", "_core", "_other", "_core"):
    try:
        fast.append(__import__(f"box.{name}", fromlist=["value"]).value())
    except ImportError:
        fast.append(None)
"""
    files = {
        "CMakeLists.txt": CMAKE_C,
        "core.c": MODULE_C,
        "box/__init__.py": body,
    }
    box = built("box", files=files)
    box.edit("core.c", "return PyLong_FromLong(1);", "return nonsense;")
    script = """
        import rehook
        rehook.install(projects=[ROOT])
        import box
        print(json.dumps([box.fast, len(rehook.errors())]))
        """
    told = box.run(script)
    assert told.json == [[None] * 4, 1]
    warnings = [line for line in told.stderr.splitlines() if line.startswith("rehook:")]
    assert len(warnings) == 1, told.stderr
    assert "box cannot be built" in warnings[0]
    assert "rehook errors" in warnings[0]
    assert box.compiles() == ["core.c"]  # nor is it built four times
    # the next process says it again, and none once it is mended
    assert "box cannot be built" in box.run(script).stderr
    box.edit("core.c", "return nonsense;", "return PyLong_FromLong(1);")
    mended = box.run(script)
    assert mended.json == [[1, 1, None, 1], 0]
    assert mended.stderr == ""
