"""Arguments of cmake as texts: what they define, and what some settings become in them."""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig

__all__ = ["install_dir", "stable_abi", "value_of", "with_class_layouts", "without_generator"]

_INCLUDES = "CMAKE_PROJECT_TOP_LEVEL_INCLUDES"


def install_dir(setting: str) -> tuple[str, str]:
    """Split wheel.install-dir: the tree it names, if not the main one, and the folder in it."""
    head, _, rest = setting.strip("/").partition("/")
    tree = ""
    if setting.startswith("${SKBUILD_"):
        tree = head.removeprefix("${SKBUILD_").removesuffix("_DIR}").lower()
    elif setting.startswith("/"):
        tree = head
    else:
        return "", setting.strip("/")
    return ("", rest) if tree in {"platlib", "purelib"} else (tree, rest)


def stable_abi(py_api: str) -> dict[str, str]:
    """Give the SKBUILD variables about the ABI that wheel.py-api asks for, if it can be had."""
    free_threaded = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
    suffix = "t" if free_threaded else ""
    minor = next(
        (
            int(digits)
            for part in py_api.split(".")
            if part.startswith("cp3")
            and part.endswith(suffix)
            and (digits := part.removeprefix("cp3").removesuffix(suffix)).isdigit()
        ),
        None,
    )
    own = str(sysconfig.get_config_var("EXT_SUFFIX")).rsplit(".", 1)[0].lstrip(".")
    stable = (
        minor is not None
        and sys.implementation.name == "cpython"
        and minor <= sys.version_info.minor
    )
    if not stable:
        return {"SKBUILD_SOABI": own, "SKBUILD_SABI_COMPONENT": "", "SKBUILD_SABI_VERSION": ""}
    return {
        "SKBUILD_SOABI": f"abi3{suffix}",
        "SKBUILD_SABI_COMPONENT": "Development.SABIModule",
        "SKBUILD_SABI_VERSION": f"3.{minor}",
        **({"Py_TARGET_ABI3T": "1"} if free_threaded else {}),
    }


def without_generator(arguments: list[str]) -> tuple[list[str], str]:
    """Take the generator out of the arguments: the last -G, else the last CMAKE_GENERATOR."""
    rest: list[str] = []
    chosen, defined = "", ""
    index = 0
    while index < len(arguments):
        one = arguments[index]
        if one == "-G" and index + 1 < len(arguments):
            index += 1
            chosen = arguments[index].strip()
        elif one.startswith("-G") and one != "-G":
            chosen = one[2:].strip()
        elif one.startswith(("-DCMAKE_GENERATOR=", "-DCMAKE_GENERATOR:")):
            defined = one.partition("=")[2]
        else:
            rest.append(one)
        index += 1
    return rest, chosen or defined


def value_of(arguments: list[str], name: str) -> str:
    """Give the value that the last definition of `name` sets, or ""."""
    value = ""
    for index, one in enumerate(arguments):
        body = one[2:] if one.startswith("-D") else ""
        if one == "-D" and index + 1 < len(arguments):
            body = arguments[index + 1]
        key, equals, text = body.strip().partition("=")
        if equals and key.partition(":")[0].strip() == name:
            value = text
    return value


def with_class_layouts(arguments: list[str]) -> list[str]:
    """Make a build keep what the layouts of its C++ classes are read from.

    Debug information is added (see cmake/class_layouts.cmake), and `strip`, which pybind11 runs
    on modules, does nothing unless the arguments name one. Includes that the arguments have stay.
    """
    ours = os.path.join(os.path.dirname(os.path.abspath(__file__)), "cmake", "class_layouts.cmake")
    includes = ";".join(filter(None, [value_of(arguments, _INCLUDES), ours.replace("\\", "/")]))
    no_strip = shutil.which("true")
    kept = [f"-DCMAKE_STRIP:FILEPATH={no_strip}"] if no_strip else []
    return [*kept, *arguments, f"-D{_INCLUDES}:STRING={includes}"]
