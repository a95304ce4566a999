"""The layouts of C++ classes are known by default, whatever the binding library does to modules."""

import hashlib
import importlib.util
import shutil
import struct
import subprocess
import sys

import pytest

from support.project import Project

pytestmark = pytest.mark.compile

CLASSES = """
namespace geo {{
struct Inner {{ double a; }};
struct Shape {{ int sides; Inner* inside; {member} }};
}}
"""
CAPI = """
#include <Python.h>
{classes}
static PyObject* sides(PyObject*, PyObject*) {{
  static geo::Inner inner{{1.5}};
  geo::Shape shape{{4, &inner}};
  return PyLong_FromLong(shape.sides + static_cast<int>(shape.inside->a));
}}
static PyMethodDef methods[] = {{{{"sides", sides, METH_NOARGS, nullptr}}, {{}}}};
static PyModuleDef module = {{PyModuleDef_HEAD_INIT, "shapes", nullptr, -1, methods}};
PyMODINIT_FUNC PyInit_shapes() {{ return PyModule_Create(&module); }}
"""
BOUND = """
{include}
{classes}
{macro}(shapes, m) {{
  m.def("sides", [] {{
    geo::Inner inner{{1.5}};
    geo::Shape shape{{4, &inner}};
    return shape.sides + static_cast<int>(shape.inside->a);
  }});
}}
"""
HEAD = """
cmake_minimum_required(VERSION 3.18)
project(shapes LANGUAGES CXX)
set(CMAKE_CXX_STANDARD 17)
find_package(Python REQUIRED COMPONENTS Interpreter Development.Module)
"""
PLAIN = HEAD + "Python_add_library(shapes MODULE WITH_SOABI shapes.cpp)\n"
PYBIND11 = HEAD + "find_package(pybind11 CONFIG REQUIRED)\npybind11_add_module(shapes shapes.cpp)\n"
NANOBIND = HEAD + "find_package(nanobind CONFIG REQUIRED)\nnanobind_add_module(shapes shapes.cpp)\n"


def source(kind, member=""):
    classes = CLASSES.format(member=member)
    if kind == "capi":
        return CAPI.format(classes=classes)
    include = {
        "pybind11": "#include <pybind11/pybind11.h>",
        "nanobind": "#include <nanobind/nanobind.h>",
    }[kind]
    macro = {"pybind11": "PYBIND11_MODULE", "nanobind": "NB_MODULE"}[kind]
    return BOUND.format(include=include, classes=classes, macro=macro)


@pytest.fixture
def make(tmp_path):
    def work(cmake, kind, settings=""):
        files = {"CMakeLists.txt": cmake, "shapes.cpp": source(kind)}
        if settings:
            files["pyproject.toml"] = settings
        return Project.of_files(tmp_path, "shapes", files)

    return work


class Layouts:
    """What shadow_store/class_layout.hpp writes."""

    def __init__(self, data):
        assert data[:8] == b"rehookly"
        self._data, self._at = data, 8
        assert self._number() == 1
        self.gap = self._text()
        self.classes = {}
        for _ in range(self._number()):
            name = self._text()
            self._at += 2
            lines = [self._text() for _ in range(self._number())]
            reached = self._number()
            self._at += 4 * reached + 16
            self.classes[name] = lines

    def _number(self):
        (value,) = struct.unpack_from("<I", self._data, self._at)
        self._at += 4
        return value

    def _text(self):
        size = self._number()
        self._at += size
        return self._data[self._at - size : self._at].decode()


def stored(project):
    """All layouts in the project's store, the newest last."""
    files = sorted(
        project.store.glob("objects/*/*-class-layouts"), key=lambda file: file.stat().st_mtime_ns
    )
    return [Layouts(file.read_bytes()) for file in files]


def build(project):
    told = project.run("""
        import rehook; rehook.install(projects=[ROOT])
        import shapes
        print(json.dumps(shapes.sides()))
    """)
    assert told.json == 5


def has(module):
    return importlib.util.find_spec(module) is not None


BINDINGS = [
    pytest.param(PLAIN, "capi", id="plain"),
    pytest.param(PYBIND11, "pybind11", id="pybind11"),
    pytest.param(
        NANOBIND,
        "nanobind",
        id="nanobind",
        marks=pytest.mark.skipif(not has("nanobind"), reason="nanobind is missing"),
    ),
]


@pytest.mark.parametrize(("cmake", "kind"), BINDINGS)
def test_layouts_are_known_by_default(make, cmake, kind):
    project = make(cmake, kind)
    build(project)
    (layouts,) = stored(project)
    assert layouts.gap == ""
    assert layouts.classes["geo::Shape"] == [
        "size 16",
        "member sides @0 int:4",
        "member inside @8 geo::Inner*",
    ]
    assert layouts.classes["geo::Inner"] == ["size 8", "member a @0 double:8"]


def test_each_build_has_its_own(make):
    project = make(PLAIN, "capi")
    told = project.run("""
        import rehook; rehook.install(projects=[ROOT])
        import shapes
        edit("shapes.cpp", "Inner* inside; ", "Inner* inside; char more = 'x';")
        rehook.reload("shapes")
        print(json.dumps(shapes.sides()))
    """)
    assert told.json == 5
    before, after = stored(project)
    assert "member more @16 char:1" in after.classes["geo::Shape"]
    assert before.classes["geo::Inner"] == after.classes["geo::Inner"]


# What the project says about debug information is its own business.
@pytest.mark.parametrize(
    ("line", "known"),
    [
        ('set(CMAKE_CXX_FLAGS_RELEASE "-O2 -g0")\n', False),
        ("add_compile_options(-g1)\n", False),
        ('set(CMAKE_CXX_FLAGS "-Wall")\n', True),
        ("add_compile_options($<$<CONFIG:Debug>:-g0>)\n", True),
        ("add_link_options(-s)\n", False),
    ],
)
def test_flags_of_the_project_are_respected(make, line, known):
    project = make(PLAIN.replace("find_package", line + "find_package", 1), "capi")
    build(project)
    (layouts,) = stored(project)
    assert (layouts.gap == "") is known
    assert ("geo::Shape" in layouts.classes) is known


def test_flags_after_the_target_are_respected(make):
    project = make(PLAIN + "target_compile_options(shapes PRIVATE -ggdb3)\n", "capi")
    build(project)
    (layouts,) = stored(project)
    assert "geo::Shape" in layouts.classes
    commands = next(project.store.glob("projects/*/*/build/build.ninja")).read_text()
    assert "-ggdb3" in commands
    assert "-fno-var-tracking" not in commands


def test_a_build_folder_of_the_users_own_is_left_alone(make):
    project = make(PLAIN, "capi", '[tool.rehook]\nbuild-dir = "out"\n')
    build(project)
    commands = (project.root / "out" / "build.ninja").read_text()
    assert "-fno-var-tracking" not in commands
    (layouts,) = stored(project)
    assert layouts.gap != ""
    assert layouts.classes == {}


def test_includes_of_the_user_stay(make):
    project = make(
        PLAIN,
        "capi",
        '[tool.rehook]\ncmake-args = ["-DCMAKE_PROJECT_TOP_LEVEL_INCLUDES=mine.cmake"]\n',
    )
    project.write("mine.cmake", 'file(WRITE "${CMAKE_BINARY_DIR}/mine.txt" "here")\n')
    build(project)
    (layouts,) = stored(project)
    assert "geo::Shape" in layouts.classes
    assert list(project.store.glob("projects/*/*/build/mine.txt"))


@pytest.mark.parametrize(("cmake", "kind"), BINDINGS)
def test_what_is_loaded_is_the_same_with_and_without(make, tmp_path, cmake, kind):
    project = make(cmake, kind)
    build(project)
    # The same configuration once more, with nothing kept.
    (with_layouts,) = project.store.glob("projects/*/*/build")
    cache = (with_layouts / "CMakeCache.txt").read_text().splitlines()
    without = tmp_path / "without"
    kept = ("CMAKE_BUILD_TYPE", "CMAKE_INTERPROCEDURAL", "CMAKE_PREFIX_PATH", "Python", "pybind11")
    arguments = [f"-D{line}" for line in cache if line.startswith((*kept, "nanobind"))]
    subprocess.run(
        ["cmake", "-S", project.root, "-B", without, "-G", "Ninja", *arguments],
        check=True,
        capture_output=True,
    )
    subprocess.run(["cmake", "--build", without], check=True, capture_output=True)
    (one,) = with_layouts.glob("shapes*.so")
    (other,) = without.glob("shapes*.so")
    assert one.stat().st_size > other.stat().st_size
    assert loaded_part(one, tmp_path) == loaded_part(other, tmp_path)


def loaded_part(file, tmp_path):
    """Digest of what a program's code and data are made of; debug information is none of it."""
    copy = tmp_path / f"stripped-{file.parent.name}.so"
    subprocess.run(
        ["objcopy", "--strip-all", "--remove-section=.note.gnu.build-id", file, copy], check=True
    )
    return hashlib.sha256(copy.read_bytes()).hexdigest()


def test_tools_are_there():
    assert shutil.which("objcopy"), "binutils come with the compiler"
    assert sys.version_info >= (3, 11)
