"""Ask scikit-build-core itself what a project's settings are.

Run as a program of its own, in the project's folder, by the interpreter of the session: reading
the settings wants a working directory, may end the process and may run a project's own version
provider, none of which a running program should see. It must not import rehook.

Takes one argument, "version" to have the project's version computed too. Prints one JSON object
with the fields of `rehook._scikit_build.ScikitBuild`.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import tomllib
from typing import Any


def main() -> None:
    """Read pyproject.toml of the working directory and print its settings."""
    answer = sys.stdout
    sys.stdout = sys.stderr  # scikit-build-core prints warnings to stdout
    core = importlib.import_module("scikit_build_core")
    with open("pyproject.toml", "rb") as stream:
        pyproject = tomllib.load(stream)
    settings = _read(pyproject)
    result = _plain(settings)
    result["core_version"] = core.__version__
    package = os.path.dirname(os.path.abspath(str(core.__file__)))
    result["core_site"] = os.path.dirname(package)
    find_python = os.path.join(package, "resources", "find_python")
    result["core_find_python"] = find_python if os.path.isdir(find_python) else ""
    if "version" in sys.argv[1:]:
        result["version"] = _version(pyproject, settings)
    answer.write(json.dumps(result))
    answer.flush()


def _read(pyproject: dict[str, Any]) -> Any:
    module = importlib.import_module("scikit_build_core.settings.skbuild_read_settings")
    keywords: dict[str, Any] = {"state": "editable"}
    hatch = _hatch_table(pyproject)
    if hatch:
        keywords["extra_settings"] = hatch
    try:
        reader = module.SettingsReader(pyproject, {}, **keywords)
    except TypeError:  # there were no states before 0.8
        reader = module.SettingsReader(pyproject, {})
    reader.validate_may_exit()
    return reader.settings


def _hatch_table(pyproject: dict[str, Any]) -> dict[str, Any]:
    build = pyproject.get("tool", {}).get("hatch", {}).get("build", {})
    for hooks in (
        build.get("targets", {}).get("wheel", {}).get("hooks", {}),
        build.get("hooks", {}),
    ):
        if "scikit-build" in hooks:
            return dict(hooks["scikit-build"])
    return {}


def _plain(settings: Any) -> dict[str, Any]:
    cmake, wheel = settings.cmake, settings.wheel
    build = getattr(settings, "build", None)
    build_type = cmake.build_type
    if not isinstance(build_type, str):
        build_type = build_type[0] if build_type else ""
    packages = wheel.packages
    if packages is not None:
        packages = (
            {key: str(value) for key, value in packages.items()}
            if isinstance(packages, dict)
            else [str(one) for one in packages]
        )
    search = getattr(settings, "search", None)
    backport = getattr(settings, "backport", None)
    toolchain = getattr(cmake, "toolchain_file", None)
    return {
        "source_dir": str(cmake.source_dir),
        "args": list(cmake.args),
        "define": {key: _text(value) for key, value in cmake.define.items()},
        "build_type": build_type,
        "toolchain": str(toolchain) if toolchain else "",
        "python_hints": getattr(cmake, "python_hints", True),
        "env": _environment(getattr(settings, "env", {})),
        "managed_env": list(getattr(settings, "env", {})),
        "packages": packages,
        "install_dir": wheel.install_dir,
        "targets": list(getattr(build, "targets", None) or getattr(cmake, "targets", None) or []),
        "py_api": wheel.py_api,
        "platlib": getattr(wheel, "platlib", None),
        "site_packages": getattr(search, "site_packages", True),
        "find_python": str(getattr(backport, "find_python", "0")),
        "generates": [_template(one) for one in getattr(settings, "generate", [])],
    }


def _template(one: Any) -> list[str]:
    text = one.template_path.read_text("utf-8") if one.template_path else one.template
    return [one.path.as_posix(), text, one.location]


def _text(value: Any) -> str:
    if isinstance(value, bool):  # before 0.11 they were not yet texts here
        return "TRUE" if value else "FALSE"
    return str(value)


def _environment(table: Any) -> dict[str, str]:
    result: dict[str, str] = {}
    current = dict(os.environ)
    for name, value in table.items():
        resolved = value.resolve(current)
        if resolved is not None and (value.force or name not in current):
            current[name] = result[name] = resolved
    return result


def _version(pyproject: dict[str, Any], settings: Any) -> str:
    try:
        module = importlib.import_module("scikit_build_core.build.metadata")
    except ImportError:  # where it was before 1.0
        module = importlib.import_module("scikit_build_core.settings.metadata")
    metadata = module.get_standard_metadata(pyproject, settings)
    return str(getattr(metadata, "raw_version", None) or metadata.version or "")


if __name__ == "__main__":
    main()
