"""The module `subject._core` of fixtures/matrix: its libraries, and how it is edited."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from support.project import FIXTURES, Project

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

STEP = 1000  # what the edit "step" adds to whatever the module answers


@dataclass(frozen=True)
class Language:
    """A folder of fixtures/matrix, and its edits: name -> (line as it is, line after the edit)."""

    folder: str
    source: str
    edits: dict[str, tuple[str, str]]
    has_enum: bool


_CPP = {
    "step": ("constexpr int STEP = 0;", f"constexpr int STEP = {STEP};"),
    "layout": ("  int n;\n", "  double more[2] = {7, 7};\n  int n;\n"),
    "broken": ('  m.attr("READY") = true;\n', '  throw std::runtime_error("no start");\n'),
}
PYBIND11 = Language("pybind11", "core.cpp", _CPP, has_enum=True)
NANOBIND = Language("nanobind", "core.cpp", _CPP, has_enum=True)
CYTHON = Language(
    "cython",
    "core.pyx",
    {
        "step": ("    STEP = 0\n", f"    STEP = {STEP}\n"),
        "layout": ("    cdef public int n\n", "    cdef double more[2]\n    cdef public int n\n"),
        "broken": ("READY = True\n", 'raise RuntimeError("no start")\n'),
    },
    has_enum=True,
)
CAPI = Language(
    "capi",
    "core.c",
    {
        "step": ("enum { STEP = 0 };", f"enum {{ STEP = {STEP} }};"),
        "layout": ("  int n;\n", "  double more[2];\n  int n;\n"),
        "broken": (
            '  return PyModule_AddIntConstant(module, "READY", 1);\n',
            '  PyErr_SetString(PyExc_RuntimeError, "no start");\n  return -1;\n',
        ),
    },
    has_enum=False,
)


@dataclass(frozen=True)
class Binding:
    """A library in one version, as a way to build the fixture.

    `pythons` are the (first, last) minor versions of Python 3 that this version of the library
    can be compiled for; None where there is no bound.
    """

    name: str
    language: Language
    requirement: str = ""  # for pip; nothing for the C API
    definitions: tuple[str, ...] = ()  # for CMake; {library} is where pip installed it
    pythons: tuple[int | None, int | None] = field(default=(None, None))

    def exists_for(self, minor: int) -> bool:
        """Tell whether this version supports Python 3.`minor`."""
        first, last = self.pythons
        return (first is None or first <= minor) and (last is None or minor <= last)


def _pybind11(name: str, requirement: str, last: int | None = None) -> Binding:
    definition = "-Dpybind11_DIR={library}/pybind11/share/cmake/pybind11"
    return Binding(name, PYBIND11, requirement, (definition,), (None, last))


def _nanobind(name: str, requirement: str, *, stable_abi: bool = False) -> Binding:
    definitions: tuple[str, ...] = ("-Dnanobind_DIR={library}/nanobind/cmake",)
    if not stable_abi:
        return Binding(name, NANOBIND, requirement, definitions)
    definitions = (*definitions, "-DSUBJECT_STABLE_ABI=ON")
    return Binding(name, NANOBIND, requirement, definitions, (12, None))


def _cython(name: str, requirement: str, last: int | None = None) -> Binding:
    return Binding(name, CYTHON, requirement, ("-DSUBJECT_CYTHON={library}",), (None, last))


def _capi(name: str, *options: str) -> Binding:
    return Binding(name, CAPI, "", tuple(f"-DSUBJECT_{option}=ON" for option in options))


MATRIX = {
    one.name: one
    for one in (
        _pybind11("pybind11-2.10", "pybind11==2.10.4", 12),
        _pybind11("pybind11-2.11", "pybind11==2.11.1", 12),
        _pybind11("pybind11-2.12", "pybind11==2.12.0", 12),
        _pybind11("pybind11-2.13", "pybind11==2.13.6"),
        _pybind11("pybind11-3.0", "pybind11==3.0.*"),
        _pybind11("pybind11-newest", "pybind11>=3"),
        _nanobind("nanobind-2.2", "nanobind==2.2.0"),
        _nanobind("nanobind-2.4", "nanobind==2.4.0"),
        _nanobind("nanobind-2-newest", "nanobind>=2,<3"),
        _nanobind("nanobind-3-newest", "nanobind>=3,<4"),
        _nanobind("nanobind-2-newest-stable", "nanobind>=2,<3", stable_abi=True),
        _nanobind("nanobind-3-newest-stable", "nanobind>=3,<4", stable_abi=True),
        _cython("cython-0.29", "cython==0.29.37", 12),
        _cython("cython-3-newest", "cython>=3,<4"),
        _capi("capi-single-static", "SINGLE_PHASE", "STATIC_TYPE"),
        _capi("capi-single-heap", "SINGLE_PHASE"),
        _capi("capi-multi-static", "STATIC_TYPE"),
        _capi("capi-multi-heap"),
    )
}
# The last one is whichever pybind11 CMake finds: that of this environment.
BINDINGS = {**MATRIX, "pybind11-installed": Binding("pybind11-installed", PYBIND11)}


class LibraryError(Exception):
    """The library cannot be had."""


def install_library(binding: Binding, folder: Path, python: str = sys.executable) -> str:
    """Install the library into a folder of its own below `folder`, once; give its version."""
    if not binding.requirement:
        return ""
    target = folder / _library_folder(binding)
    if not target.is_dir():
        partial = folder / f"partial-{os.getpid()}"
        shutil.rmtree(partial, ignore_errors=True)
        # Cython 0.29 has wheels for no newer Python than 3.11, but one of pure Python.
        command = [python, "-m", "pip", "install", "--quiet", "--no-deps", "--no-compile"]
        done = subprocess.run(
            [*command, "--target", partial, binding.requirement],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            message = f"{binding.requirement} cannot be installed: {done.stderr.strip()[-300:]}"
            raise LibraryError(message)
        partial.rename(target)
    name = binding.language.folder
    infos = sorted(one.name.lower() for one in target.glob("*.dist-info"))
    return next(one for one in infos if one.startswith(name)).split("-")[1].removesuffix(".dist")


def _library_folder(binding: Binding) -> str:
    return "".join(c if c.isalnum() or c in ".-" else "_" for c in binding.requirement)


def make_subject(binding: Binding, home: Path, libraries: Path) -> Project:
    """Copy the fixture to home/subject, set to be built with this library of `libraries`."""
    project = Project.copy_of(f"matrix/{binding.language.folder}", home, name="subject")
    library = libraries / _library_folder(binding)
    definitions = [one.format(library=library) for one in binding.definitions]
    if definitions:
        project.env["REHOOK_CMAKE_ARGS"] = shlex.join(definitions)
    return project


class Editor:
    """Changes the source of a subject, always starting from how it is in the fixture."""

    def __init__(self, language: Language, write: Callable[[str, str], None]) -> None:
        self._language = language
        self._write = write
        fixture = FIXTURES / "matrix" / language.folder / language.source
        self._original = fixture.read_text(encoding="utf-8")
        for old, _ in language.edits.values():
            assert self._original.count(old) == 1, f"{language.source} has not one {old!r}"

    def become(self, *edits: str) -> None:
        """Save the original with these edits; with none, undo everything."""
        text = self._original
        for name in edits:
            text = text.replace(*self._language.edits[name])
        self._write(self._language.source, text)
