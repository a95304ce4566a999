"""What differs between operating systems; the only Python file that may know."""

from __future__ import annotations

import os
import stat
import sys

__all__ = [
    "anyone_may_write",
    "file_system_of",
    "install_command",
    "is_own_alone",
    "user_cache_dir",
    "user_config_dir",
]

# What a tool is called by the package managers.
_PACKAGES: dict[str, dict[str, str]] = {
    "c++": {"apt-get": "g++", "dnf": "gcc-c++", "brew": "gcc"},
    "cmake": {"apt-get": "cmake", "dnf": "cmake", "brew": "cmake", "pip": "cmake"},
    "ninja": {"apt-get": "ninja-build", "dnf": "ninja-build", "brew": "ninja", "pip": "ninja"},
    "git": {"apt-get": "git", "dnf": "git", "brew": "git"},
    "Python.h": {"apt-get": "python3-dev", "dnf": "python3-devel"},
}
_COMMANDS = {
    "apt-get": "sudo apt-get install {}",
    "dnf": "sudo dnf install {}",
    "brew": "brew install {}",
    "pip": "python -m pip install {}",
}


def user_cache_dir(name: str) -> str:
    """Give the folder `name` in the user's cache folder; it need not exist."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(base):  # a relative one is to be ignored, says the specification
        if sys.platform == "darwin":
            base = os.path.expanduser("~/Library/Caches")
        elif sys.platform == "win32":
            base = os.environ.get("LOCALAPPDATA") or os.path.expanduser("~/AppData/Local")
        else:
            base = os.path.expanduser("~/.cache")
    return os.path.join(base, name)


def user_config_dir(name: str) -> str:
    """Give the folder `name` in the user's configuration folder; it need not exist."""
    base = os.environ.get("XDG_CONFIG_HOME", "")
    if not os.path.isabs(base):
        if sys.platform == "darwin":
            base = os.path.expanduser("~/Library/Application Support")
        elif sys.platform == "win32":
            base = os.environ.get("APPDATA") or os.path.expanduser("~/AppData/Roaming")
        else:
            base = os.path.expanduser("~/.config")
    return os.path.join(base, name)


def is_own_alone(path: str) -> bool:
    """Tell whether `path` belongs to the user, and nobody else may write to it."""
    if os.name != "posix":
        return True
    try:
        found = os.stat(path)
    except OSError:
        return False
    return found.st_uid == os.geteuid() and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def anyone_may_write(folder: str) -> bool:
    """Tell whether every user of the machine may put files into `folder`."""
    try:
        return os.name == "posix" and bool(os.stat(folder).st_mode & stat.S_IWOTH)
    except OSError:
        return False


def file_system_of(path: str) -> str:
    """Give the type of the file system that holds `path` ("ext4"), or "" when unknown."""
    if not sys.platform.startswith("linux"):
        return ""
    target = os.path.realpath(path)
    best, kind = "", ""
    try:
        with open("/proc/self/mounts", encoding="utf-8", errors="surrogateescape") as stream:
            for line in stream:
                fields = line.split()
                if len(fields) > 2:  # noqa: PLR2004 - device, mount point, type
                    point = fields[1].replace("\\040", " ").replace("\\011", "\t")
                    inside = target == point or target.startswith(point.rstrip("/") + "/")
                    if inside and len(point) >= len(best):
                        best, kind = point, fields[2]
    except OSError:
        return ""
    return kind


def install_command(tool: str) -> str:
    """Give the command that installs `tool` on this machine.

    When no package manager is found, the commands of the usual ones; "" for a tool nobody packages.
    """
    import shutil  # noqa: PLC0415 - only rehook doctor comes here

    names = _PACKAGES.get(tool, {})
    for manager, command in _COMMANDS.items():
        if manager in names and (manager == "pip" or shutil.which(manager)):
            return command.format(names[manager])
    return ", or ".join(_COMMANDS[manager].format(name) for manager, name in names.items())
