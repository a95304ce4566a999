"""The settings of a scikit-build-core project: its own reader's, or an own reading of them.

scikit-build-core is often absent where the package runs (pip installs it into a build environment
that it deletes again), so `[tool.scikit-build]` is read here as well. Differences are tested for.
Not evaluated by the own reading: `[tool.scikit-build.config-setting]` (its defaults hold) and
configuration that other distributions contribute by entry points.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rehook._versions import satisfies

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["ScikitBuild", "ask_scikit_build_core", "read_table", "tool_table"]

# How long scikit-build-core may take to read the settings; a version provider may run git.
_TIMEOUT = 60.0

# Settings that may come from the environment: variable -> (path in the table, how to read it).
_VARIABLES: dict[str, tuple[tuple[str, ...], str]] = {
    "SKBUILD_BACKPORT_FIND_PYTHON": (("backport", "find-python"), "text"),
    "SKBUILD_BUILD_TARGETS": (("build", "targets"), "list"),
    "SKBUILD_CMAKE_ARGS": (("cmake", "args"), "list"),
    "SKBUILD_CMAKE_BUILD_TYPE": (("cmake", "build-type"), "text"),
    "SKBUILD_CMAKE_DEFINE": (("cmake", "define"), "table"),
    "SKBUILD_CMAKE_PYTHON_HINTS": (("cmake", "python-hints"), "flag"),
    "SKBUILD_CMAKE_SOURCE_DIR": (("cmake", "source-dir"), "text"),
    "SKBUILD_CMAKE_TARGETS": (("cmake", "targets"), "list"),
    "SKBUILD_CMAKE_TOOLCHAIN_FILE": (("cmake", "toolchain-file"), "text"),
    "SKBUILD_SEARCH_SITE_PACKAGES": (("search", "site-packages"), "flag"),
    "SKBUILD_WHEEL_INSTALL_DIR": (("wheel", "install-dir"), "text"),
    "SKBUILD_WHEEL_PACKAGES": (("wheel", "packages"), "list"),
    "SKBUILD_WHEEL_PLATLIB": (("wheel", "platlib"), "flag"),
    "SKBUILD_WHEEL_PY_API": (("wheel", "py-api"), "text"),
}


@dataclass
class ScikitBuild:
    """The settings that decide how a scikit-build-core project is configured."""

    source_dir: str = "."
    args: list[str] = field(default_factory=list)
    define: dict[str, str] = field(default_factory=dict)
    build_type: str = "Release"
    toolchain: str = ""
    python_hints: bool = True
    env: dict[str, str] = field(default_factory=dict)
    managed_env: list[str] = field(default_factory=list)
    packages: dict[str, str] | list[str] | None = None
    install_dir: str = ""
    targets: list[str] = field(default_factory=list)
    py_api: str = ""
    platlib: bool | None = None
    site_packages: bool = True
    find_python: str = "3.26.1"
    # [[generate]]: path, template and location ("install", "build" or "source") of each.
    generates: list[list[str]] = field(default_factory=list)
    # Of the scikit-build-core that answered; empty when it was not asked.
    core_version: str = ""
    core_site: str = ""
    core_find_python: str = ""
    version: str = ""


def tool_table(pyproject: Mapping[str, Any]) -> dict[str, Any]:
    """Give the scikit-build table of a parsed pyproject.toml, hatch's plugin table on top."""
    tool = pyproject.get("tool", {})
    table: dict[str, Any] = tool.get("scikit-build", {})
    build = tool.get("hatch", {}).get("build", {})
    for hooks in (
        build.get("targets", {}).get("wheel", {}).get("hooks", {}),
        build.get("hooks", {}),
    ):
        if isinstance(hooks, dict) and "scikit-build" in hooks:
            table = _merged(table, hooks["scikit-build"])
            break
    return table


def ask_scikit_build_core(root: str, *, want_version: bool) -> tuple[ScikitBuild | None, str]:
    """Ask the scikit-build-core of this environment for the settings of the project at `root`.

    Gives them, or None and why not (empty: it is not installed). It runs in a process of its own
    and never raises.
    """
    from importlib.machinery import PathFinder  # noqa: PLC0415

    if not sys.executable or PathFinder.find_spec("scikit_build_core") is None:
        return None, ""
    reader = os.path.join(os.path.dirname(os.path.abspath(__file__)), "_skbuild_reader.py")
    command = [sys.executable, "-P", reader, *(["version"] if want_version else [])]
    try:
        done = subprocess.run(
            command,
            cwd=root,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_TIMEOUT,
            check=False,
        )
        if done.returncode == 0:
            return ScikitBuild(**json.loads(done.stdout)), ""
    except (OSError, ValueError, TypeError, subprocess.TimeoutExpired) as error:
        return None, str(error)
    lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
    return None, lines[-1] if lines else f"exit code {done.returncode}"


def read_table(root: str, table: Mapping[str, Any], core_version: str) -> ScikitBuild:
    """Read `[tool.scikit-build]` as scikit-build-core would for an editable install.

    Takes the project's folder, the table and the version of scikit-build-core to stand in for.
    Raises ValueError for what scikit-build-core would refuse.
    """
    merged = _with_overrides(root, dict(table), core_version)
    merged = _with_environment(merged)
    cmake, wheel = _sub(merged, "cmake"), _sub(merged, "wheel")
    build_type = cmake.get("build-type", os.environ.get("CMAKE_BUILD_TYPE") or "Release")
    if isinstance(build_type, list):
        build_type = build_type[0] if build_type else ""
    env, managed = _environment(_sub(merged, "env"))
    defines = {
        str(name): value
        for name, raw in _sub(cmake, "define").items()
        if (value := _define(raw)) is not None
    }
    return ScikitBuild(
        source_dir=str(cmake.get("source-dir", ".")),
        args=[str(one) for one in _list(cmake.get("args"), "cmake.args")],
        define=defines,
        build_type=str(build_type),
        toolchain=str(cmake.get("toolchain-file", "")),
        python_hints=bool(cmake.get("python-hints", True)),
        env=env,
        managed_env=managed,
        packages=_packages(wheel.get("packages")),
        install_dir=str(wheel.get("install-dir", "")),
        targets=[
            str(one)
            for one in _list(_sub(merged, "build").get("targets"), "build.targets")
            or _list(cmake.get("targets"), "cmake.targets")
        ],
        py_api=str(wheel.get("py-api", "")),
        platlib=wheel.get("platlib"),
        site_packages=bool(_sub(merged, "search").get("site-packages", True)),
        find_python=str(_sub(merged, "backport").get("find-python", "3.26.1")),
        generates=[_template(root, one) for one in _list(merged.get("generate"), "generate")],
    )


def _sub(table: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = table.get(key, {})
    if not isinstance(value, dict):
        message = f"{key} must be a table"
        raise ValueError(message)
    return value


def _list(value: object, key: str) -> list[Any]:
    if value is None:
        return []
    if not isinstance(value, list):
        message = f"{key} must be a list"
        raise ValueError(message)
    return value


def _packages(value: object) -> dict[str, str] | list[str] | None:
    if isinstance(value, dict):
        return {str(key): str(one) for key, one in value.items()}
    return None if value is None else [str(one) for one in _list(value, "wheel.packages")]


def _template(root: str, table: Mapping[str, Any]) -> list[str]:
    if "path" not in table or not {"template", "template-path"} & table.keys():
        message = "generate needs path and template or template-path"
        raise ValueError(message)
    if "template-path" in table:
        with open(os.path.join(root, table["template-path"]), encoding="utf-8") as stream:
            text = stream.read()
    else:
        text = str(table["template"])
    return [str(table["path"]), text, str(table.get("location", "install"))]


def _define(value: object) -> str | None:
    """Give the CMake text of a cmake.define value, or None when it is not to be defined."""
    if isinstance(value, dict):
        default = value.get("default")
        name = value.get("env")
        got: object = os.environ.get(str(name)) if name else None
        if got is None:
            got = default
        elif isinstance(default, bool):
            got = _truth(str(got))
        value = got
    if value is None:
        return None
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, list):
        return ";".join(str(one).replace(";", r"\;") for one in value)
    return str(value)


def _environment(table: Mapping[str, Any]) -> tuple[dict[str, str], list[str]]:
    """Give the variables of the env table that are to be set, and all it names."""
    result: dict[str, str] = {}
    current = dict(os.environ)
    for name, raw in table.items():
        entry = raw if isinstance(raw, dict) else {"default": raw}
        value = current.get(str(entry["env"])) if "env" in entry else None
        value = entry.get("default") if value is None else value
        if value is not None and (entry.get("force") is True or name not in current):
            current[name] = result[name] = str(value)
    return result, list(table)


def _truth(text: str) -> bool:
    return text.strip().lower() not in {"0", "false", "off", "no", ""}


def _with_environment(table: dict[str, Any]) -> dict[str, Any]:
    for name, (path, kind) in _VARIABLES.items():
        text = os.environ.get(name)
        if not text:
            continue
        value: Any = text
        if kind == "flag":
            value = _truth(text)
        elif kind == "list":
            value = [one.strip() for one in text.split(";")]
        elif kind == "table":
            pairs = (one.strip().partition("=") for one in text.split(";"))
            value = {key: one for key, _, one in pairs}
        for key in reversed(path):
            value = {key: value}
        table = _merged(table, value)
    return table


def _merged(low: Any, high: Any) -> Any:
    """Merge tables: keys of `high` win, tables in both are merged, lists are replaced."""
    if not isinstance(low, dict) or not isinstance(high, dict):
        return high
    result = dict(low)
    for key, value in high.items():
        result[key] = _merged(result[key], value) if key in result else value
    return result


# --- [[tool.scikit-build.overrides]] -------------------------------------------------------------


def _with_overrides(root: str, table: dict[str, Any], core_version: str) -> dict[str, Any]:
    for override in _list(table.pop("overrides", None), "overrides"):
        rest = dict(override)
        conditions = rest.pop("if", None)
        inherit = rest.pop("inherit", {})
        if not isinstance(conditions, dict) or not conditions:
            message = "every override needs a table 'if' with a condition"
            raise ValueError(message)
        if _conditions_hold(root, conditions, core_version):
            for key, value in rest.items():
                table[key] = _overridden(table.get(key), value, inherit.get(key, "none"))
    return table


def _overridden(old: Any, new: Any, inherit: Any) -> Any:
    if isinstance(new, dict):
        modes = inherit if isinstance(inherit, dict) else {}
        result = dict(old) if isinstance(old, dict) else {}
        for key, value in new.items():
            result[key] = _joined(result.get(key), value, modes.get(key, "none"))
        return result
    return _joined(old, new, inherit)


def _joined(old: Any, new: Any, mode: Any) -> Any:
    if mode not in {"none", "append", "prepend"}:
        message = f"an override's inherit must be none, append or prepend, not {mode!r}"
        raise ValueError(message)
    if mode == "none" or old is None:
        return new
    first, second = (old, new) if mode == "append" else (new, old)
    if isinstance(first, list) and isinstance(second, list):
        return [*first, *second]
    if isinstance(first, dict) and isinstance(second, dict):
        return {**first, **second}
    message = "an override can append and prepend to lists and tables only"
    raise ValueError(message)


def _conditions_hold(root: str, conditions: Mapping[str, Any], core_version: str) -> bool:
    rest = dict(conditions)
    some = rest.pop("any", None)
    none = rest.pop("not", None)
    if some is not None and not any(_each(root, some, core_version)):
        return False
    if none is not None and any(_each(root, none, core_version)):
        return False
    return all(_each(root, rest, core_version))


def _each(root: str, conditions: Mapping[str, Any], core_version: str) -> list[bool]:
    result: list[bool] = []
    for key, wanted in conditions.items():
        if key == "env":
            result.extend(_variable_matches(str(name), one) for name, one in wanted.items())
        elif key == "from-sdist":
            result.append(os.path.isfile(os.path.join(root, "PKG-INFO")) == wanted)
        elif key == "failed":
            result.append(wanted is False)
        elif key == "scikit-build-version":
            result.append(satisfies(core_version, str(wanted)))
        elif key in _TESTS:
            result.append(_TESTS[key](str(wanted)))
        elif key in {"cmake-wheel", "config-setting"}:
            result.append(key == "cmake-wheel" and wanted is True)
        else:
            message = f"unknown override condition {key!r}"
            raise ValueError(message)
    return result


def _variable_matches(name: str, wanted: object) -> bool:
    value = os.environ.get(name)
    if isinstance(wanted, bool):
        text = (value or "").lower()
        on = bool(int(text)) if text.isdigit() else text not in {"", "n", "no", "off", "false", "f"}
        return on == wanted
    return value is not None and re.search(str(wanted), value) is not None


def _implementation_version() -> str:
    info = sys.implementation.version
    suffix = "" if info.releaselevel == "final" else f"{info.releaselevel[0]}{info.serial}"
    return f"{info.major}.{info.minor}.{info.micro}{suffix}"


def _abi_flags() -> str:
    import sysconfig  # noqa: PLC0415

    return "".join(sorted(str(sysconfig.get_config_var("ABIFLAGS") or "")))


def _system_cmake(specifier: str) -> bool:
    from rehook._cmake_hints import cmake_version  # noqa: PLC0415

    version = cmake_version()
    return bool(version) and satisfies(version, specifier)


_TESTS: dict[str, Callable[[str], bool]] = {
    "python-version": lambda wanted: satisfies(
        f"{sys.version_info.major}.{sys.version_info.minor}", wanted
    ),
    "implementation-name": lambda wanted: bool(re.search(wanted, sys.implementation.name)),
    "implementation-version": lambda wanted: satisfies(_implementation_version(), wanted),
    "platform-system": lambda wanted: bool(re.search(wanted, sys.platform)),
    "platform-machine": lambda wanted: bool(re.search(wanted, platform.machine())),
    "platform-node": lambda wanted: bool(re.search(wanted, platform.node())),
    "abi-flags": lambda wanted: bool(re.search(wanted, _abi_flags())),
    "state": lambda wanted: bool(re.search(wanted, "editable")),
    "system-cmake": _system_cmake,
}


def split_arguments(text: str) -> list[str]:
    """Split the CMAKE_ARGS variable as scikit-build-core does, without what it ignores."""
    result: list[str] = []
    arguments = [one for one in shlex.split(text) if one]
    index = 0
    while index < len(arguments):
        pair = arguments[index] == "-D" and index + 1 < len(arguments)
        body = arguments[index + 1] if pair else arguments[index].removeprefix("-D")
        name = body.partition("=")[0].partition(":")[0].strip()
        step = 2 if pair else 1
        if name not in {"CMAKE_BUILD_TYPE", "CMAKE_INSTALL_PREFIX"}:
            result.extend(arguments[index : index + step])
        index += step
    return result
