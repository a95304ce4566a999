"""What CMake is told about the running Python and the packages installed for it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from functools import lru_cache
from importlib.machinery import PathFinder
from typing import TYPE_CHECKING

from rehook._versions import release

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "Hints",
    "cmake_version",
    "compilers",
    "define",
    "generator_and_tool",
    "numpy_include_dir",
    "package_folder",
    "python_hints",
    "search_hints",
]

# Where the CMake packages of binding libraries are, for those that offer no entry point.
_CMAKE_FOLDERS = {"pybind11": ("share", "cmake", "pybind11"), "nanobind": ("cmake",)}

# The first CMake where the ABI hint for free-threaded Python does not break Development.Module.
_ABI_HINT_SINCE = (4, 1, 2)


def define(name: str, value: str, kind: str = "") -> str:
    """Give the cmake argument that defines `name`; `kind` is the type of the cache entry."""
    return f"-D{name}:{kind}={value}" if kind else f"-D{name}={value}"


@lru_cache(maxsize=1)
def cmake_version() -> str:
    """Give the version of the cmake on PATH, "3.25.1", or "" when there is none."""
    cmake = shutil.which("cmake")
    if cmake is None:
        return ""
    try:
        done = subprocess.run(
            [cmake, "--version"], capture_output=True, text=True, timeout=30, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    words = done.stdout.split()
    return words[2] if words[:2] == ["cmake", "version"] and len(words) > 2 else ""  # noqa: PLR2004


def generator_and_tool(requested: str) -> tuple[str, str]:
    """Give the generator to use and the path of its build tool, "" where cmake shall find out.

    Ninja if it is there (also as the wheel `ninja`, outside of PATH), unless one is requested.
    """
    if requested and "Ninja" not in requested:
        return requested, ""
    ninja = shutil.which("ninja") or shutil.which("ninja-build") or _ninja_of_wheel()
    if ninja:
        return requested or "Ninja", ninja
    make = shutil.which("make") or shutil.which("gmake")
    return (requested or "Unix Makefiles", make) if make else (requested, "")


def _ninja_of_wheel() -> str:
    name = "ninja.exe" if os.name == "nt" else "ninja"
    folder = package_folder("ninja")
    places = [os.path.join(folder, "data", "bin")] if folder else []
    places.append(sysconfig.get_path("scripts"))
    for place in places:
        file = os.path.join(place, name)
        if os.access(file, os.X_OK) and os.path.isfile(file):
            return file
    return ""


def compilers(managed: Iterable[str]) -> dict[str, str]:
    """Give CC and CXX as Python was built with, where neither the user nor `managed` sets them.

    A compiler that this machine has not is left out: CMake then finds one by itself.
    """
    result = {}
    for name in ("CC", "CXX"):
        if name in os.environ or name in managed:
            continue
        words = []
        for word in str(sysconfig.get_config_var(name) or "").split():
            if word.startswith("-"):
                break
            words.append(word)
        if words and all(shutil.which(word) for word in words):
            result[name] = " ".join(words)
    return result


def package_folder(name: str) -> str:
    """Give the folder of an installed package, "" if there is none; nothing is imported."""
    spec = PathFinder.find_spec(name)
    places = list(spec.submodule_search_locations or []) if spec is not None else []
    return os.path.abspath(places[0]) if places else ""


def numpy_include_dir() -> str:
    """Give numpy's include folder without importing numpy, "" if it is not installed."""
    folder = package_folder("numpy")
    for core in ("_core", "core"):
        include = os.path.join(folder, core, "include")
        if folder and os.path.isdir(include):
            return include
    return ""


def python_hints(*, everything: bool) -> list[str]:
    """Give the arguments that make CMake use the running interpreter.

    With `everything`, the include folder, the library and numpy's headers too, as scikit-build-core
    does; otherwise just the interpreter, from which FindPython derives the rest.
    """
    if not sys.executable:
        return []
    result = [define("PYTHON_EXECUTABLE", sys.executable, "PATH")]
    include = sysconfig.get_path("include")
    if everything:
        result.append(define("PYTHON_INCLUDE_DIR", include, "PATH"))
        library = _python_library()
        if library:
            result.append(define("PYTHON_LIBRARY", library, "PATH"))
    numpy = numpy_include_dir() if everything else ""
    free_threaded = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
    for prefix in ("Python", "Python3"):
        result.append(define(f"{prefix}_EXECUTABLE", sys.executable, "PATH"))
        if not everything:
            continue
        result.append(define(f"{prefix}_ROOT_DIR", sys.base_exec_prefix, "PATH"))
        result.append(define(f"{prefix}_INCLUDE_DIR", include, "PATH"))
        result.append(define(f"{prefix}_FIND_REGISTRY", "NEVER", "STRING"))
        if free_threaded and release(cmake_version()) >= _ABI_HINT_SINCE:
            result.append(define(f"{prefix}_FIND_ABI", "ANY;ANY;ANY;ON", "STRING"))
        if numpy:
            result.append(define(f"{prefix}_NumPy_INCLUDE_DIR", numpy, "PATH"))
    return result


def _python_library() -> str:
    folder = str(sysconfig.get_config_var("LIBDIR") or "")
    if not folder or not os.path.isdir(folder):
        return ""
    multiarch = str(sysconfig.get_config_var("multiarchsubdir") or "").lstrip(os.sep)
    if sysconfig.get_config_var("MULTIARCH") and multiarch:
        inner = os.path.join(folder, multiarch)
        folder = inner if os.path.isdir(inner) else folder
    for name in ("LDLIBRARY", "LIBRARY"):
        file = os.path.join(folder, str(sysconfig.get_config_var(name) or ""))
        if os.path.isfile(file):
            return file
    return ""


class Hints:
    """Where installed distributions say that their CMake files are."""

    def __init__(self) -> None:
        self.modules: list[str] = []
        self.prefixes: list[str] = []
        self.roots: dict[str, list[str]] = {}
        self.notes: list[str] = []

    def arguments(self) -> list[str]:
        """Give the cmake arguments for all of it."""
        result = []
        if self.modules:
            result.append(define("CMAKE_MODULE_PATH", ";".join(self.modules), "PATH"))
        if self.prefixes:
            result.append(define("CMAKE_PREFIX_PATH", ";".join(self.prefixes), "PATH"))
            result.append(define("CMAKE_FIND_ROOT_PATH_MODE_PACKAGE", "BOTH", "PATH"))
        for name, folders in self.roots.items():
            text = ";".join(folders)
            result.append(define(f"{name}_ROOT", text, "PATH"))
            if name != name.upper():
                result.append(define(f"{name.upper()}_ROOT", text, "PATH"))
        return result


def search_hints(*, binding_libraries: bool) -> Hints:
    """Collect the entry points cmake.module, cmake.prefix and cmake.root of this environment.

    With `binding_libraries`, also the folders of pybind11 and nanobind, which newer releases do
    not announce. Nothing is imported for it.
    """
    hints = Hints()
    for _, folder in _entry_points("cmake.module", hints):
        hints.modules.append(folder)
    for _, folder in _entry_points("cmake.prefix", hints):
        hints.prefixes.append(folder)
    for name, folder in _entry_points("cmake.root", hints):
        hints.roots[name] = [folder]
    if binding_libraries:
        for name, inner in _CMAKE_FOLDERS.items():
            package = package_folder(name)
            folder = os.path.join(package, *inner)
            announced = package and any(one.startswith(package) for one in hints.prefixes)
            if package and not announced and os.path.isdir(folder):
                hints.prefixes.append(folder)
    return hints


def _entry_points(group: str, hints: Hints) -> list[tuple[str, str]]:
    """Give (name, folder) of the entry points of a group; each name once, sorted."""
    from importlib.metadata import entry_points  # noqa: PLC0415

    result: dict[str, str] = {}
    for point in entry_points(group=group):
        parts = point.value.partition(":")[0].strip().split(".")
        package = package_folder(parts[0])
        folder = os.path.join(package, *parts[1:])
        if package and os.path.isdir(folder):
            result[point.name] = folder
        else:
            hints.notes.append(f"entry point {group} {point.name} = {point.value}: no such folder")
    return sorted(result.items())
