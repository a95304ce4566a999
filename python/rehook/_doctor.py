"""What `rehook doctor` looks at."""

from __future__ import annotations

import os
import platform
import shlex
import shutil
import stat
import subprocess
import sys
import sysconfig
from typing import Any

from rehook import _platform, is_installed
from rehook.config import KEYS, Settings, resolve
from rehook.errors import RehookError

__all__ = ["examine"]

# Below this a build or a store is likely to run out of space.
_LOW_SPACE = 1024**3


def examine() -> dict[str, Any]:
    """Look at the tools, the store, the settings and the hook of this interpreter.

    Gives a dict of "versions", "store", "settings" (key -> value and origin), "hook" and
    "problems" (each with the command that repairs it, "" if there is none). Raises nothing.
    """
    problems: list[dict[str, str]] = []
    try:
        settings = resolve()
    except RehookError as error:
        problems.append({"problem": error.message, "fix": error.hint})
        settings = Settings()
    return {
        "versions": _versions(problems),
        "store": _store(settings.text("store-dir"), problems),
        "settings": {
            key: {"value": settings.values[key], "origin": settings.origins[key]} for key in KEYS
        },
        "hook": _hook(),
        "problems": problems,
    }


def _versions(problems: list[dict[str, str]]) -> dict[str, str]:
    result = {
        "python": f"{platform.python_version()} ({sys.executable})",
        "system": platform.platform(),
    }
    try:
        from rehook import _native  # noqa: PLC0415 - what is wrong with it is the question
    except ImportError as error:
        result["rehook"] = "not usable"
        problems.append(
            {"problem": str(error), "fix": "python -m pip install --force-reinstall rehook"}
        )
    else:
        result["rehook"] = _native.version
        for name, text in _native.versions().items():
            result.setdefault(name, text)
    compiler = shlex.split(os.environ.get("CXX", "")) or ["c++"]
    result["compiler"] = _tool(compiler, "c++", problems)
    result["cmake"] = _tool(["cmake"], "cmake", problems)
    result["ninja"] = _tool([_ninja()], "ninja", problems)
    result["git"] = _tool(["git"], "git", [])
    for package in ("pybind11", "nanobind", "scikit-build-core"):
        result[f"{package} package"] = _distribution(package)
    if not os.path.isfile(os.path.join(sysconfig.get_path("include"), "Python.h")):
        problem = "Python.h is missing: extensions cannot be compiled for this Python"
        problems.append({"problem": problem, "fix": _platform.install_command("Python.h")})
    return result


def _ninja() -> str:
    from rehook._cmake_hints import generator_and_tool  # noqa: PLC0415

    return generator_and_tool("Ninja")[1] or "ninja"


def _tool(command: list[str], name: str, problems: list[dict[str, str]]) -> str:
    path = shutil.which(command[0])
    if path is None:
        problem = f"{command[0]} is not on PATH"
        problems.append({"problem": problem, "fix": _platform.install_command(name)})
        return "missing"
    try:
        done = subprocess.run(
            [path, *command[1:], "--version"],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=30,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        problems.append({"problem": f"{path} cannot be run: {error}", "fix": ""})
        return "cannot be run"
    lines = done.stdout.strip().splitlines()
    return f"{lines[0] if lines else '?'} ({path})"


def _distribution(name: str) -> str:
    from importlib.metadata import PackageNotFoundError, version  # noqa: PLC0415

    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def _store(folder: str, problems: list[dict[str, str]]) -> dict[str, str]:
    existing = folder
    while not os.path.isdir(existing) and os.path.dirname(existing) != existing:
        existing = os.path.dirname(existing)
    result = {"folder": folder + ("" if existing == folder else " (not made yet)")}
    result["file system"] = _platform.file_system_of(existing) or "unknown"
    try:
        free = shutil.disk_usage(existing).free
        status = os.stat(existing)
    except OSError as error:
        problems.append({"problem": f"the store cannot be used: {error}", "fix": ""})
        return result
    result["free"] = f"{free / 1024**3:.1f} GiB"
    if free < _LOW_SPACE:
        problem = f"little space for the store: {result['free']}"
        problems.append({"problem": problem, "fix": "set store-dir to a folder with more space"})
    result["permissions"] = stat.filemode(status.st_mode)
    if not os.access(existing, os.W_OK | os.X_OK):
        problem = f"the store cannot be written to: {existing}"
        problems.append(
            {"problem": problem, "fix": "set store-dir (REHOOK_STORE_DIR) to your own folder"}
        )
    if existing == folder and hasattr(os, "getuid"):
        if status.st_uid != os.getuid():
            problem = f"the store {folder} belongs to another user"
            problems.append({"problem": problem, "fix": "set store-dir to a folder of your own"})
        elif status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            problem = f"others may write to the store {folder}"
            problems.append({"problem": problem, "fix": f"chmod 700 {shlex.quote(folder)}"})
    return result


def _hook() -> dict[str, object]:
    finders = [
        getattr(one, "__name__", None) or f"{type(one).__module__}.{type(one).__qualname__}"
        for one in sys.meta_path
    ]
    return {"installed": is_installed(), "finders": ", ".join(str(one) for one in finders)}
