"""What is known about a project besides its build: name, version, packages, installed modules."""

from __future__ import annotations

import json
import os
from importlib.machinery import EXTENSION_SUFFIXES
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from importlib.metadata import Distribution

__all__ = [
    "core_version_of",
    "discover_packages",
    "extension_suffixes",
    "find_distribution",
    "input_files",
    "installed_modules",
    "pkg_info_version",
    "setup_cfg_value",
]

# Folders at the top of a project that hold no package of it.
_NOT_PACKAGES = frozenset(
    {
        "bench",
        "benchmarks",
        "build",
        "ci",
        "cmake",
        "dist",
        "doc",
        "docs",
        "example",
        "examples",
        "extern",
        "external",
        "node_modules",
        "scripts",
        "site",
        "test",
        "testing",
        "tests",
        "third_party",
        "thirdparty",
        "tools",
        "venv",
    }
)
# Where packages may be, in the order of preference.
_PACKAGE_PARENTS = ("src", "python", "")


def extension_suffixes() -> list[str]:
    """Give the suffixes of extension modules, the longest first."""
    return sorted(EXTENSION_SUFFIXES, key=lambda one: (-len(one), one))


def find_distribution(name: str) -> Distribution | None:
    """Give the installed distribution of that name, or None."""
    from importlib.metadata import PackageNotFoundError, distribution  # noqa: PLC0415

    try:
        return distribution(name) if name else None
    except PackageNotFoundError:
        return None


def installed_modules(found: Distribution | None) -> dict[str, str]:
    """Give the extension modules a distribution installed: full name -> file."""
    result: dict[str, str] = {}
    for entry in (found.files if found is not None else None) or []:
        if ".." in entry.parts or entry.is_absolute():
            continue
        for suffix in extension_suffixes():
            if entry.name.endswith(suffix):
                parts = [*entry.parts[:-1], entry.name.removesuffix(suffix)]
                if all(part.isidentifier() for part in parts) and found is not None:
                    result[".".join(parts)] = os.path.abspath(str(found.locate_file(entry)))
                break
    return dict(sorted(result.items()))


def core_version_of(found: Distribution | None) -> str:
    """Give the version of the scikit-build-core that made an installed distribution, or ""."""
    text = found.read_text("WHEEL") if found is not None else None
    for line in (text or "").splitlines():
        key, _, value = line.partition(":")
        words = value.split()
        if key == "Generator" and words[:1] == ["scikit-build-core"] and len(words) > 1:
            return words[1]
    return ""


def pkg_info_version(root: str) -> str:
    """Give the version in PKG-INFO, which an unpacked source distribution has, or ""."""
    try:
        with open(os.path.join(root, "PKG-INFO"), encoding="utf-8", errors="replace") as stream:
            for line in stream:
                key, _, value = line.partition(":")
                if key == "Version":
                    return value.strip()
                if not line.strip():
                    break
    except OSError:
        pass
    return ""


def setup_cfg_value(root: str, key: str) -> str:
    """Give a plain value of [metadata] in setup.cfg, "" if there is none or it is computed."""
    import configparser  # noqa: PLC0415 - for old-style projects only

    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read(os.path.join(root, "setup.cfg"), encoding="utf-8")
        value = parser.get("metadata", key, fallback="").strip()
    except (configparser.Error, UnicodeDecodeError):
        return ""
    return "" if value.startswith(("attr:", "file:")) else value


def discover_packages(
    root: str, name: str, declared: dict[str, str] | list[str] | None
) -> dict[str, str]:
    """Give the packages of a project: dotted name -> folder.

    Takes the declared ones (folders, or names with folders; relative to `root`) and the project's
    name as written. Without any declared, those that have the project's name, else every package
    in src, python or the root, in this order of preference.
    """
    if declared is not None:
        pairs = (
            declared.items()
            if isinstance(declared, dict)
            else ((os.path.basename(os.path.normpath(one)), one) for one in declared)
        )
        return {
            key.strip("/").replace("/", "."): os.path.normpath(os.path.join(root, folder))
            for key, folder in pairs
        }
    for parent in _PACKAGE_PARENTS:
        found = _named_package(os.path.join(root, parent), name)
        if found:
            return found
    for parent in _PACKAGE_PARENTS:
        folder = os.path.join(root, parent) if parent else root
        found = {one: os.path.join(folder, one) for one in _package_names(folder)}
        if found:
            return found
    return {}


def _named_package(folder: str, name: str) -> dict[str, str]:
    parts = [part.replace("-", "_") for part in name.split(".") if part]
    if not parts:
        return {}
    flat = "_".join(parts)
    for entry in _folders(folder):
        if entry.lower() == flat.lower() and _is_package(os.path.join(folder, entry)):
            return {entry: os.path.join(os.path.normpath(folder), entry)}
    nested = os.path.join(os.path.normpath(folder), *parts)
    return {".".join(parts): nested} if len(parts) > 1 and _is_package(nested) else {}


def _package_names(folder: str) -> Iterator[str]:
    for entry in _folders(folder):
        if entry not in _NOT_PACKAGES and _is_package(os.path.join(folder, entry)):
            yield entry


def _folders(folder: str) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return sorted(one.name for one in entries if one.name.isidentifier() and one.is_dir())
    except OSError:
        return []


def _is_package(folder: str) -> bool:
    return any(
        os.path.isfile(os.path.join(folder, name)) for name in ("__init__.py", "__init__.pyi")
    )


def setuptools_packages(pyproject: Mapping[str, Any]) -> dict[str, str] | None:
    """Give the packages `[tool.setuptools]` names with their folders, or None: find them."""
    table = pyproject.get("tool", {}).get("setuptools", {})
    folders = table.get("package-dir", {})
    names = table.get("packages")
    if not isinstance(names, list) or not isinstance(folders, dict):
        return None
    result = {}
    for name in names:
        if isinstance(name, str) and "." not in name:
            inside = os.path.join(str(folders.get("", "")), name)
            result[name] = str(folders.get(name, inside))
    return result


def input_files(root: str, source_dir: str) -> list[str]:
    """Give the existing files that decide how the project is configured, sorted."""
    result = {
        os.path.join(root, name)
        for name in ("pyproject.toml", "setup.py", "setup.cfg")
        if os.path.isfile(os.path.join(root, name))
    }
    pending = [
        os.path.join(source_dir, name) for name in ("CMakePresets.json", "CMakeUserPresets.json")
    ]
    seen: set[str] = set()
    while pending:
        file = os.path.normpath(pending.pop())
        if file in seen or not os.path.isfile(file):
            continue
        seen.add(file)
        pending.extend(_preset_includes(file, source_dir))
    return sorted(result | seen)


def _preset_includes(file: str, source_dir: str) -> list[str]:
    try:
        with open(file, encoding="utf-8-sig") as stream:
            content = json.load(stream)
    except (OSError, ValueError):
        return []  # CMake will say what is wrong with it
    names = content.get("include", []) if isinstance(content, dict) else []
    folder = os.path.dirname(file)
    result = []
    for name in names if isinstance(names, list) else []:
        text = str(name).replace("${sourceDir}", source_dir).replace("${fileDir}", folder)
        if "$" not in text:
            result.append(os.path.join(folder, text))
    return result
