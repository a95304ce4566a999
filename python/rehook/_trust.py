"""Which projects may be built: those that the user's own call named, installed or allowed.

Building a project runs its CMakeLists.txt, that is, whatever its author wanted. Being in a folder,
or importing from it, is no wish for that. A project is built only if

- the user's call names it: `rehook.install(projects=[...])`, REHOOK_PROJECTS, `rehook build`,
  `rehook run` (the project that the script is in);
- it is the user's own folder, and is or lies above an entry that PYTHONPATH, a .pth file or the
  running program put on sys.path (not the current directory's or the script's);
- the user installed it as an editable package into the environment of this interpreter; or
- the user allowed its folder, or one above: `rehook allow FOLDER`, kept in a list in the user's
  configuration folder that no project can write itself into.

All else is left to the other finders, with one line that says how to change that. For the same
reason a pyproject.toml has no say in what only the user may decide (`_USER_KEYS`) unless its folder
is allowed or named.
"""

from __future__ import annotations

import os

from rehook import _platform
from rehook.config import DEFAULT, KEYS
from rehook.errors import ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from rehook.config import Settings

__all__ = ["allow", "allow_for_now", "allowed_folders", "allowed_for_now", "forget", "list_file"]

# What a pyproject.toml may set only where the user trusts it: other projects to build, and the
# folder that code is loaded from and that the garbage collector cleans.
_USER_KEYS = ("projects", "store-dir", "store-size", "store-age")
_HEADER = "# Folders whose CMake projects rehook may build; see: rehook allow --help\n"

_for_now: list[str] = []


def list_file() -> str:
    """Give the file that keeps the allowed folders; it need not exist."""
    return os.path.join(_platform.user_config_dir("rehook"), "allowed")


def allowed_folders() -> list[str]:
    """Give the folders that the user allowed; raises `ConfigError` for a list not to be trusted."""
    file = list_file()
    try:
        with open(file, encoding="utf-8", errors="surrogateescape") as stream:
            lines = stream.read().split("\n")[:-1]
    except FileNotFoundError:
        return []
    except OSError as error:
        message = f"{file}: cannot be read: {error.strerror}"
        raise ConfigError(message) from error
    for path in (file, os.path.dirname(file)):
        if not _platform.is_own_alone(path):
            message = f"{path}: other users may write to it, so it does not count"
            raise ConfigError(message, hint=f"look at it, then: chmod go-w '{path}'")
    return [line for line in lines if line.startswith("/")]


def allow(folder: str) -> str:
    """Put a folder on the list; give it as it is noted there. Raises `ConfigError`."""
    real = os.path.realpath(folder)
    if not os.path.isdir(real):
        message = f"{folder}: no such folder"
        raise ConfigError(message)
    if "\n" in real:
        message = f"{folder!r}: a folder with a line break in its name cannot be noted"
        raise ConfigError(message, hint="name it in REHOOK_PROJECTS or rehook.install(projects=)")
    folders = allowed_folders()
    if real not in folders:
        _write([*folders, real])
    return real


def forget(folder: str) -> bool:
    """Take a folder off the list; False when it is not on it. Raises `ConfigError`."""
    folders = allowed_folders()
    gone = {os.path.realpath(folder), os.path.abspath(folder)}  # it may not exist any more
    kept = [one for one in folders if one not in gone]
    if len(kept) == len(folders):
        return False
    _write(kept)
    return True


def allow_for_now(folder: str) -> None:
    """Allow a folder in this process: a command line named it."""
    _for_now.append(folder)


def allowed_for_now() -> list[str]:
    """Give the folders of `allow_for_now`."""
    return list(_for_now)


def leave_to_user(settings: Settings) -> list[str]:
    """Undo what a pyproject.toml set that only the user may; give a line for each such file."""
    named = settings.texts("projects") if settings.overrides("projects") else []
    refused: dict[str, list[str]] = {}
    for key in _USER_KEYS:
        file = settings.origins[key]
        if file == DEFAULT or settings.overrides(key):
            continue
        if not _is_trusted(os.path.dirname(file), named):
            settings.values[key] = KEYS[key][1]
            if key == "store-dir":
                settings.values[key] = _platform.user_cache_dir("rehook")
            settings.origins[key] = DEFAULT
            refused.setdefault(file, []).append(key)
    return [
        f"{file}: {', '.join(keys)} in [tool.rehook] left aside, for you have not allowed its "
        f"folder (if you trust it: rehook allow '{os.path.dirname(file)}')"
        for file, keys in refused.items()
    ]


def _is_trusted(folder: str, named: Iterable[str]) -> bool:
    real = os.path.realpath(folder)
    known = [os.path.realpath(one) for one in (*named, *_for_now)]
    try:  # noqa: SIM105 - install() imports no contextlib
        known += allowed_folders()
    except ConfigError:  # rehook allow --list tells
        pass
    return any(real == one or real.startswith(one.rstrip("/") + "/") for one in known)


def _write(folders: list[str]) -> None:
    """Replace the list: the old one or the new one, whatever happens meanwhile."""
    file = list_file()
    temporary = f"{file}.{os.getpid()}"
    try:
        os.makedirs(os.path.dirname(file), mode=0o700, exist_ok=True)
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
        with open(handle, "w", encoding="utf-8", errors="surrogateescape") as stream:
            stream.write(_HEADER + "".join(f"{one}\n" for one in folders))
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, file)
    except OSError as error:
        message = f"{file}: cannot be written: {error.strerror}"
        raise ConfigError(message) from error
