"""A generated package: one extension module that is made of as many headers as wanted.

The same sources serve every tool: CMake (rehook, scikit-build-core), Meson, cppimport, pyximport.
The extension is plain C API, so that nothing but our headers and Python's are its inputs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

PACKAGE = "pebbles"

_CMAKE = f"""\
cmake_minimum_required(VERSION 3.24)
project({PACKAGE} LANGUAGES CXX)
find_package(Python 3.11 REQUIRED COMPONENTS Interpreter Development.Module)
python_add_library(_core MODULE WITH_SOABI cpp/core.cpp)
target_include_directories(_core PRIVATE include)
install(TARGETS _core DESTINATION {PACKAGE})
"""
_SCIKIT_BUILD = f"""\
[build-system]
requires = ["scikit-build-core"]
build-backend = "scikit_build_core.build"

[project]
name = "{PACKAGE}"
version = "1"

[tool.scikit-build]
wheel.packages = ["src/{PACKAGE}"]
"""
_MESON = f"""\
project('{PACKAGE}', 'cpp', version: '1')
py = import('python').find_installation(pure: false)
py.install_sources('src/{PACKAGE}/__init__.py', subdir: '{PACKAGE}')
py.extension_module('_core', 'cpp/core.cpp', include_directories: 'include',
                    install: true, subdir: '{PACKAGE}')
"""
_MESON_PYTHON = f"""\
[build-system]
requires = ["meson-python"]
build-backend = "mesonpy"

[project]
name = "{PACKAGE}"
version = "1"
"""
_CORE = """\
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include "pebbles/all.hpp"

static PyObject *count(PyObject *, PyObject *) { return PyLong_FromLong(pebbles_count()); }
static PyMethodDef methods[] = {{"count", count, METH_NOARGS, nullptr}, {}};
static PyModuleDef definition = {PyModuleDef_HEAD_INIT, "_core", nullptr, -1, methods};
PyMODINIT_FUNC PyInit__core() { return PyModule_Create(&definition); }
"""
_CPPIMPORT = """\
/*
<%
cfg["include_dirs"] = [{include!r}]
cfg["dependencies"] = {headers!r}
%>
*/
"""
_PYX = """\
cdef extern from "pebbles/all.hpp":
    int pebbles_count()

def count():
    return pebbles_count()
"""
_PYXBLD = """\
def make_ext(modname, pyxfilename):
    from setuptools import Extension

    return Extension(modname, [pyxfilename], language="c++", include_dirs=[{include!r}])
"""


def _write(root: Path, name: str, text: str) -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


class HeaderPackage:
    """The package's sources in a folder of their own, for CMake and scikit-build-core.

    `folders` spreads the headers over so many folders, each with one that includes the others
    in it. `padding` gives the number of bytes that a header has beside its code.
    """

    def __init__(self, root: Path, headers: int, *, folders: int = 1, padding: int = 0) -> None:
        self.root = root
        self.headers: list[Path] = []
        _write(self.root, "CMakeLists.txt", _CMAKE)
        _write(self.root, "pyproject.toml", _SCIKIT_BUILD)
        _write(self.root, ".gitignore", "__pycache__/\n")
        _write(self.root, "cpp/core.cpp", _CORE)
        _write(self.root, f"src/{PACKAGE}/__init__.py", f"from {PACKAGE}._core import count\n")
        self._write_headers(headers, folders, padding)

    def _write_headers(self, count: int, folders: int, padding: int) -> None:
        comment = "Pebbles are rounder, and there are more of them, than one would think.\n"
        text = comment * (2 * padding // len(comment) + 1)
        per_folder = -(-count // folders)
        top = []
        # No guards: the compiler compares each guarded file with all that came before.
        for folder in range(folders):
            name = f"include/{PACKAGE}/group{folder}"
            listed = []
            for i in range(folder * per_folder, min(count, (folder + 1) * per_folder)):
                # From nothing to twice the padding, in an order that looks like none.
                rest = text[: (i * 7919) % (2 * padding + 1)]
                text_of_header = f"#define PEBBLE_{i} 1\n/* {rest} */\n"
                header = _write(self.root, f"{name}/h{i}.hpp", text_of_header)
                self.headers.append(header)
                listed.append(f'#include "h{i}.hpp"\n')
            self.headers.append(_write(self.root, f"{name}/all.hpp", "".join(listed)))
            top.append(f'#include "group{folder}/all.hpp"\n')
        top.append(f"static int pebbles_count() {{ return {count}; }}\n")
        self.headers.append(_write(self.root, f"include/{PACKAGE}/all.hpp", "".join(top)))

    @property
    def include(self) -> Path:
        return self.root / "include"

    def for_meson(self, root: Path) -> Path:
        """Write the same package as a Meson project that shares the headers; give its folder."""
        root.mkdir()
        (root / "include").symlink_to(self.include)
        for name, text in (
            ("meson.build", _MESON),
            ("pyproject.toml", _MESON_PYTHON),
            ("cpp/core.cpp", _CORE),
            (f"src/{PACKAGE}/__init__.py", f"from {PACKAGE}._core import count\n"),
        ):
            _write(root, name, text)
        return root

    def for_cppimport(self, root: Path) -> Path:
        """Write a package whose extension is one file with its dependencies listed."""
        headers = [str(one) for one in self.headers]
        tail = _CPPIMPORT.format(include=str(self.include), headers=headers)
        _write(root, f"{PACKAGE}/_core.cpp", f"// cppimport\n{_CORE}{tail}")
        _write(root, f"{PACKAGE}/__init__.py", f"from {PACKAGE}._core import count\n")
        return root

    def for_pyximport(self, root: Path) -> Path:
        """Write a package whose extension is a Cython file with its dependencies listed."""
        headers = "".join(f"{one}\n" for one in self.headers)
        _write(root, f"{PACKAGE}/_core.pyx", _PYX)
        _write(root, f"{PACKAGE}/_core.pyxdep", headers)
        _write(root, f"{PACKAGE}/_core.pyxbld", _PYXBLD.format(include=str(self.include)))
        _write(root, f"{PACKAGE}/__init__.py", f"from {PACKAGE}._core import count\n")
        return root
