"""Make the session of the compiled part from the settings."""

from __future__ import annotations

import os
import sys

from rehook import _native, _trust

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from rehook.config import Settings

__all__ = ["BUILD_ONLY", "make_log", "open_session"]

# As in the logging module, which is not imported for it.
_WARNING = 30

# The switches of install() that make a session for the command line: it builds and answers, and
# serves no import.
BUILD_ONLY: dict[str, object] = {
    "enable_reloading": False,
    "enable_project_importer": True,
    "force_rebuild": False,
    "show_warnings": True,
}


def open_session(settings: Settings, switches: dict[str, object]) -> _native.Session:
    """Open a session of the compiled part.

    Takes the resolved settings and the switches: enable_reloading, enable_project_importer,
    force_rebuild and show_warnings. Raises `ImportError` when the compiled part is missing, and
    what the session raises (`StoreError`, `ConfigError`).
    """

    def describe(root: str) -> dict[str, Any]:
        from rehook.project_settings import describe_project  # noqa: PLC0415 - to configure only

        return describe_project(root, settings)

    show_warnings = bool(switches["show_warnings"])
    log = make_log(show_warnings=show_warnings, threshold=settings.log_level)
    for line in _trust.leave_to_user(settings):
        log(_WARNING, line)
    options: dict[str, object] = {
        "store_dir": settings.text("store-dir"),
        "projects": settings.texts("projects"),
        "settings": settings.for_session(),
        "settings_key": settings.build_key(),
        "enable_reloading": bool(switches["enable_reloading"]),
        "enable_project_importer": bool(switches["enable_project_importer"]),
        "force_rebuild": bool(switches["force_rebuild"]),
        "lock_timeout": settings.number("lock-timeout"),
        "show_warnings": show_warnings,
        "describe_project": describe,
        "on_progress": show_progress if settings.flag("progress") else None,
        "log": log,
        "allowed_list": _trust.list_file(),
        "allowed": _trust.allowed_for_now(),
        "bridge_dir": _bridge_dir(),
        "trace_file": settings.trace_file,
    }
    return _native.Session(options)


def make_log(*, show_warnings: bool, threshold: int) -> Callable[[int, str], None]:
    """Make the function that takes the log lines of the compiled part.

    A reminder (level 30) goes to standard error if `show_warnings`, as does every line of at least
    `threshold`, unless that is 0. All others go to `logging.getLogger("rehook")`, if the program
    has imported logging: rehook does not do that for it.
    """

    def log(level: int, line: str) -> None:
        shown = level == _WARNING and show_warnings
        if shown or (threshold and level >= threshold):
            _print(f"rehook: {line}")
            return
        logging = sys.modules.get("logging")
        # Both are missing while the program is in the middle of importing logging.
        get_logger = getattr(logging, "getLogger", None)
        null_handler = getattr(logging, "NullHandler", None)
        if get_logger is None or null_handler is None:
            return
        logger = get_logger("rehook")
        if not logger.handlers:
            # Without any, logging would print warnings by itself.
            logger.addHandler(null_handler())
        logger.log(level, "%s", line)

    return log


def show_progress(event: dict[str, Any]) -> None:
    """Show one step of a build as a line on standard error, overwriting the last one."""
    stream = sys.stderr
    if stream is None or not stream.isatty():
        return
    done, total = event.get("done", 0), event.get("total", 0)
    finished = event.get("phase") == "load" or (total and done >= total)
    steps = f"[{done}/{total}] " if total else ""
    line = "" if finished else f"rehook: {steps}{event.get('text') or event.get('phase')}"[:78]
    try:
        stream.write(f"\r\033[K{line}\r")
        stream.flush()
    except (OSError, ValueError):  # the terminal is gone, or the stream was closed
        return


def _print(line: str) -> None:
    stream = sys.stderr
    if stream is None:
        return
    try:
        stream.write(line + "\n")
        stream.flush()
    except (OSError, ValueError):
        return


def _bridge_dir() -> str:
    """Give the folder with the sources of the bridges: installed, or in rehook's source tree."""
    here = os.path.dirname(os.path.abspath(__file__))
    package = sys.modules[__name__.rpartition(".")[0]]
    for folder in [*package.__path__, here]:
        found = os.path.join(folder, "bridge")
        if os.path.isdir(found):
            return found
    source = os.path.join(os.path.dirname(os.path.dirname(here)), "hook", "registry")
    return source if os.path.isdir(source) else os.path.join(here, "bridge")
