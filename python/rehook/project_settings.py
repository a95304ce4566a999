"""How a project is configured: as its own build backend would, plus what rehook adds.

Called when a project must be configured, never to find out that nothing changed.

For scikit-build-core the arguments are those of an editable install. Files that
`[[tool.scikit-build.generate]]` makes go to the build folder; the source tree is never written to.
"""

from __future__ import annotations

import os
import string
import sysconfig
from typing import TYPE_CHECKING, Any

from rehook import _cmake_arguments, _cmake_hints, _metadata, _scikit_build, _versions
from rehook._cmake_hints import define
from rehook._setup_py import SetupPy, read_setup_py
from rehook.config import read_toml, tool_table
from rehook.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rehook.config import Settings

__all__ = ["describe_project", "find_project"]

# Stands for the build folder, which is chosen later, in arguments.
BUILD = "@BUILD@"

# Link-time optimisation makes the link of a one-file edit up to 79 times slower and changes no
# behaviour. pybind11 turns it on for Release. First of all arguments: the project may disagree.
_NO_LTO = define("CMAKE_INTERPROCEDURAL_OPTIMIZATION", "OFF", "BOOL")

# The scikit-build-core to stand in for when neither it nor what it installed is there to ask.
_CORE_VERSION = "1.0.0"

# Trees of a wheel that scikit-build-core offers as SKBUILD_<NAME>_DIR.
_WHEEL_TREES = ("data", "headers", "scripts", "null", "metadata")


def describe_project(root: str, overrides: Settings) -> dict[str, Any]:
    """Find out how to configure and name a project.

    Takes the project's folder and the settings of the session: what they hold from the environment
    and from arguments goes before the project's own `[tool.rehook]`.

    Gives a dict: root, name, version, backend ("scikit-build-core", "meson-python", "setuptools",
    "plain"), cmake_source_dir, cmake_args (in order; "@BUILD@" stands for the build folder),
    build_type, build_dir ("" for rehook's own), generator, env (variables to set), targets,
    packages (name -> folder), install_dir, suffixes, installed (module -> file),
    extension_modules (names that setup.py tells), inputs, missing_requirements, exclude and notes
    (remarks for the log), and generated (path below "@BUILD@", text, module or "" of each file to
    write before CMake runs).

    Raises `ConfigError` for a pyproject.toml that is unreadable or wrong, naming file and line,
    and for a folder without a CMakeLists.txt. Nothing of the project is run, except for a version
    provider of scikit-build-core, in a process of its own.
    """
    return _Description(os.path.abspath(root), overrides).result()


def find_project(start: str) -> str:
    """Give the project that a folder belongs to, "" if there is none.

    That is the nearest folder upwards with a pyproject.toml or setup.py and a CMakeLists.txt in
    it or below it, else the topmost one of the folders upwards that have a CMakeLists.txt.
    """
    folder = os.path.abspath(start)
    topmost = ""
    while True:
        has_cmake = os.path.isfile(os.path.join(folder, "CMakeLists.txt"))
        if has_cmake:
            topmost = folder
        if any(os.path.isfile(os.path.join(folder, one)) for one in ("pyproject.toml", "setup.py")):
            if has_cmake or _subfolders_with_cmake(folder):
                return folder
            if not topmost:
                return ""
        parent = os.path.dirname(folder)
        if parent == folder or os.path.exists(os.path.join(folder, ".git")):
            return topmost
        folder = parent


class _Description:
    """The facts about one project, gathered in the order they depend on each other."""

    def __init__(self, root: str, overrides: Settings) -> None:
        self.root = root
        self.notes: list[str] = []
        self.file = os.path.join(root, "pyproject.toml")
        self.pyproject = self._read_pyproject()
        self.settings = overrides.with_project(self.file, tool_table(self.file, self.pyproject))
        self.backend = self._find_backend()
        self.setup = self._read_setup("")
        self.raw_name = self._find_name()
        self.distribution = _metadata.find_distribution(_versions.normalized(self.raw_name))
        self.version = self._static_version()
        self.skbuild = self._find_skbuild()
        if not self.version:
            self.version = self.skbuild.version or "0.0.0"
        if self.backend == "setuptools":
            self.setup = self._read_setup(self.version)
        self.env: dict[str, str] = {}

    def result(self) -> dict[str, Any]:
        source_dir = self._source_dir()
        arguments, requested = _cmake_arguments.without_generator(self._arguments())
        requested = requested or os.environ.get("CMAKE_GENERATOR", "")
        generator, tool = _cmake_hints.generator_and_tool(requested)
        if tool and not _cmake_arguments.value_of(arguments, "CMAKE_MAKE_PROGRAM"):
            arguments.insert(1, define("CMAKE_MAKE_PROGRAM", tool, "FILEPATH"))
        build_dir = self.settings.text("build-dir")
        if not build_dir:  # a folder of the user's own is configured as he does it
            arguments = _cmake_arguments.with_class_layouts(arguments)
        packages = self._packages()
        return {
            "root": self.root,
            "name": _versions.normalized(self.raw_name),
            "version": self.version,
            "backend": self.backend,
            "cmake_source_dir": source_dir,
            "cmake_args": arguments,
            "build_type": _cmake_arguments.value_of(arguments, "CMAKE_BUILD_TYPE"),
            "build_dir": os.path.join(self.root, os.path.expanduser(build_dir))
            if build_dir
            else "",
            "generator": generator,
            "env": self.env,
            "targets": self.settings.texts("targets") or list(self.skbuild.targets),
            "packages": packages,
            "install_dir": _cmake_arguments.install_dir(self.skbuild.install_dir)[1],
            "suffixes": _metadata.extension_suffixes(),
            "installed": _metadata.installed_modules(self.distribution),
            "extension_modules": sorted(set(self.setup.extensions)),
            "inputs": _metadata.input_files(self.root, source_dir),
            "missing_requirements": _versions.missing(self._requirements()),
            "exclude": self.settings.texts("exclude"),
            "generated": self._generated(),
            "notes": self.notes,
        }

    def _generated(self) -> list[tuple[str, str, str]]:
        """Give what [[tool.scikit-build.generate]] asks for and the sources do not hold."""
        project = self.pyproject.get("project", {})
        known = {key: value for key, value in project.items() if isinstance(value, str)}
        known |= {"name": self.raw_name, "version": self.version}
        tree = "purelib" if self.skbuild.platlib is False else "platlib"
        base, inner = _cmake_arguments.install_dir(self.skbuild.install_dir)
        wheel = "/".join(part for part in ("wheel", base or tree, inner) if part)
        result = []
        for path, template, location in self.skbuild.generates:
            text = string.Template(template).safe_substitute(known)
            if location == "build":
                result.append((path, text, ""))
                continue
            stem, ending = os.path.splitext(os.path.normpath(path))
            if location == "source":
                if os.path.isfile(os.path.join(self.root, path)):
                    continue
                self.notes.append(
                    f"{path} is generated into the build folder, not into the sources"
                )
                for name, folder in self._packages().items():
                    below = os.path.relpath(os.path.join(self.root, stem), folder)
                    if not below.startswith(".."):
                        stem = os.path.join(name, below)
            elif inner:
                stem = os.path.join(inner, stem)
            module = stem.replace(os.sep, ".").removesuffix(".__init__") if ending == ".py" else ""
            result.append((f"{wheel}/{path}", text, module))
        return result

    # --- what the project says about itself ------------------------------------------------------

    def _read_pyproject(self) -> dict[str, Any]:
        try:
            with open(self.file, "rb") as stream:
                document = read_toml(self.file, stream.read())
        except FileNotFoundError:
            return {}
        except OSError as error:
            message = f"{self.file}: cannot be read: {error.strerror}"
            raise ConfigError(message, hint="make it readable") from error
        for key in ("project", "build-system", "tool"):
            if not isinstance(document.get(key, {}), dict):
                message = f"{self.file}: {key} must be a table, [{key}]"
                raise ConfigError(message)
        return document

    def _find_backend(self) -> str:
        system = self.pyproject.get("build-system", {})
        backend = str(system.get("build-backend", ""))
        if backend.startswith("scikit_build_core.setuptools"):
            return "setuptools"
        if backend.startswith("scikit_build_core") or _hatch_plugin(self.pyproject):
            return "scikit-build-core"
        if backend.startswith("mesonpy"):
            return "meson-python"
        if backend.startswith("setuptools"):
            return "setuptools"
        if not backend and os.path.isfile(os.path.join(self.root, "setup.py")):
            return "setuptools"
        return "plain"

    def _read_setup(self, version: str) -> SetupPy:
        file = os.path.join(self.root, "setup.py")
        if self.backend != "setuptools" or not os.path.isfile(file):
            return SetupPy()
        try:
            return read_setup_py(file, version)
        except (SyntaxError, OSError, ValueError) as error:
            self.notes.append(f"{file} cannot be read: {error}")
            return SetupPy()

    def _find_name(self) -> str:
        name = self.pyproject.get("project", {}).get("name")
        if isinstance(name, str) and name:
            return name
        if self.backend == "setuptools":
            found = _metadata.setup_cfg_value(self.root, "name") or self.setup.name
            if found:
                return found
        return os.path.basename(self.root) or "project"

    def _static_version(self) -> str:
        version = self.pyproject.get("project", {}).get("version")
        if isinstance(version, str) and version.strip():
            return version.strip()
        if self.backend == "setuptools":
            found = _metadata.setup_cfg_value(self.root, "version") or self.setup.version
            if found:
                return found
        found = _metadata.pkg_info_version(self.root)
        if not found and self.distribution is not None:
            found = self.distribution.version
        return found

    def _find_skbuild(self) -> _scikit_build.ScikitBuild:
        if self.backend != "scikit-build-core":
            return _scikit_build.ScikitBuild()
        asked, why = _scikit_build.ask_scikit_build_core(self.root, want_version=not self.version)
        if asked is None and why and not self.version:
            # A version provider may be what failed: ask for the settings alone.
            asked, why = _scikit_build.ask_scikit_build_core(self.root, want_version=False)
        if asked is not None:
            found = asked
        else:
            if why:
                self.notes.append(f"scikit-build-core cannot read the settings: {why}")
            version = _metadata.core_version_of(self.distribution) or _CORE_VERSION
            found = self._own_reading(version)
            found.core_version = version
        return found

    def _own_reading(self, version: str) -> _scikit_build.ScikitBuild:
        try:
            table = _scikit_build.tool_table(self.pyproject)
            return _scikit_build.read_table(self.root, table, version)
        except (ValueError, AttributeError, TypeError) as error:
            message = f"{self.file}: [tool.scikit-build]: {error}"
            raise ConfigError(message, hint="see scikit-build-core's list of settings") from error

    def _requirements(self) -> list[str]:
        requires = self.pyproject.get("build-system", {}).get("requires", [])
        return (
            [one for one in requires if isinstance(one, str)] if isinstance(requires, list) else []
        )

    def _packages(self) -> dict[str, str]:
        declared: dict[str, str] | list[str] | None = self.skbuild.packages
        if self.backend == "setuptools":
            declared = _metadata.setuptools_packages(self.pyproject)
        found = _metadata.discover_packages(self.root, self.raw_name, declared)
        return {name: folder for name, folder in found.items() if os.path.isdir(folder)}

    # --- where CMake starts ----------------------------------------------------------------------

    def _source_dir(self) -> str:
        if self.backend == "scikit-build-core":
            folder = os.path.normpath(os.path.join(self.root, self.skbuild.source_dir))
            return self._checked(folder, "cmake.source-dir of [tool.scikit-build] names it")
        named = os.path.normpath(os.path.join(self.root, self.setup.source_dir))
        if self.setup.source_dir and os.path.isfile(os.path.join(named, "CMakeLists.txt")):
            return named
        if os.path.isfile(os.path.join(self.root, "CMakeLists.txt")):
            return self.root
        found = [
            folder
            for folder in _subfolders_with_cmake(self.root)
            if self.backend != "setuptools" or self._setup_names(folder)
        ] or _subfolders_with_cmake(self.root)
        if len(found) == 1:
            return found[0]
        return self._checked(self.root, "rehook builds CMake projects")

    def _setup_names(self, folder: str) -> bool:
        name = os.path.basename(folder)
        return any(os.path.basename(os.path.normpath(one)) == name for one in self.setup.texts)

    def _checked(self, folder: str, hint: str) -> str:
        if not os.path.isfile(os.path.join(folder, "CMakeLists.txt")):
            message = f"{folder}: there is no CMakeLists.txt"
            raise ConfigError(message, hint=hint)
        return folder

    # --- the arguments of cmake ------------------------------------------------------------------

    def _arguments(self) -> list[str]:
        arguments = [_NO_LTO]
        if self.backend == "scikit-build-core":
            arguments += self._scikit_build_arguments()
        else:
            arguments += self._plain_arguments()
        build_type = self.settings.text("build-type")
        if build_type:
            arguments.append(define("CMAKE_BUILD_TYPE", build_type, "STRING"))
        return [*arguments, *self.settings.texts("cmake-args")]

    def _plain_arguments(self) -> list[str]:
        # A project that asks for only one of the Python variables is no reason for a warning.
        arguments = ["--no-warn-unused-cli", *_cmake_hints.python_hints(everything=False)]
        hints = _cmake_hints.search_hints(binding_libraries=True)
        self.notes += hints.notes
        if self.setup.classic_scikit_build:
            arguments.append(define("SKBUILD", "TRUE", "BOOL"))
            modules = os.path.join(_cmake_hints.package_folder("skbuild"), "resources", "cmake")
            if os.path.isdir(modules):
                hints.modules.append(modules)
        arguments += hints.arguments()
        arguments.append(define("CMAKE_BUILD_TYPE", "Release", "STRING"))
        arguments += self.setup.arguments
        if self.setup.reads_cmake_args or self.setup.classic_scikit_build:
            arguments += _scikit_build.split_arguments(os.environ.get("CMAKE_ARGS", ""))
        return arguments

    def _scikit_build_arguments(self) -> list[str]:
        found = self.skbuild
        self.env = {**_cmake_hints.compilers({*found.managed_env, *found.env}), **found.env}
        hints = _cmake_hints.search_hints(binding_libraries=not found.site_packages)
        self.notes += hints.notes
        if found.site_packages:
            hints.prefixes.append(sysconfig.get_path("purelib"))
            if found.core_site and found.core_site != hints.prefixes[-1]:
                hints.prefixes.append(found.core_site)
        if found.core_find_python and _versions.release(
            _cmake_hints.cmake_version()
        ) < _versions.release(found.find_python):
            hints.modules.append(found.core_find_python)
        tree = "purelib" if found.platlib is False else "platlib"
        base, inner = _cmake_arguments.install_dir(found.install_dir)
        prefix = "/".join(part for part in (BUILD, "wheel", base or tree, inner) if part)
        arguments = [*self._scikit_build_variables(tree), *hints.arguments()]
        if found.build_type:
            arguments.append(define("CMAKE_BUILD_TYPE", found.build_type, "STRING"))
        if found.toolchain:
            toolchain = os.path.join(self.root, found.toolchain)
            arguments.append(define("CMAKE_TOOLCHAIN_FILE", toolchain, "FILEPATH"))
        arguments.append(define("CMAKE_INSTALL_PREFIX", prefix, "PATH"))
        arguments += [define(name, value) for name, value in found.define.items()]
        arguments += found.args
        # The env table is part of the environment that CMAKE_ARGS is looked up in.
        variable = self.env.get("CMAKE_ARGS", os.environ.get("CMAKE_ARGS", ""))
        return arguments + _scikit_build.split_arguments(variable)

    def _scikit_build_variables(self, tree: str) -> list[str]:
        found = self.skbuild
        values = {
            "SKBUILD": "2",
            "SKBUILD_CORE_VERSION": found.core_version or _CORE_VERSION,
            "SKBUILD_PROJECT_NAME": self.raw_name.replace("-", "_").replace(".", "_"),
            "SKBUILD_PROJECT_VERSION": _versions.capped_release(self.version),
            "SKBUILD_PROJECT_VERSION_FULL": self.version,
            "SKBUILD_STATE": "editable",
            **_cmake_arguments.stable_abi(found.py_api),
        }
        result = [define(name, value, "STRING") for name, value in values.items()]
        result += [
            define(f"SKBUILD_{name.upper()}_DIR", f"{BUILD}/wheel/{name}", "PATH")
            for name in (tree, *_WHEEL_TREES)
        ]
        return result + (_cmake_hints.python_hints(everything=True) if found.python_hints else [])


def _hatch_plugin(pyproject: Mapping[str, Any]) -> bool:
    backend = str(pyproject.get("build-system", {}).get("build-backend", ""))
    if not backend.startswith("hatchling"):
        return False
    build = pyproject.get("tool", {}).get("hatch", {}).get("build", {})
    hooks = [build.get("hooks", {}), build.get("targets", {}).get("wheel", {}).get("hooks", {})]
    return any("scikit-build" in one for one in hooks)


def _subfolders_with_cmake(folder: str) -> list[str]:
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        return []
    return [
        os.path.join(folder, name)
        for name in names
        if not name.startswith(".")
        and name not in {"build", "dist", "extern", "external", "third_party"}
        and os.path.isfile(os.path.join(folder, name, "CMakeLists.txt"))
    ]
