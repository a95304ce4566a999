"""Run a program with the hook installed, as `python` would run it."""

from __future__ import annotations

import os
import runpy
import sys
from typing import TYPE_CHECKING

import rehook
from rehook import _console, _trust
from rehook.errors import RehookError
from rehook.project_settings import find_project

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["Program"]

# What a shell makes of a program that Ctrl-C ended: 128 + SIGINT.
_INTERRUPTED = 130


class Program:
    """A script, or a module with -m, and its arguments."""

    def __init__(self, module: str | None, arguments: list[str]) -> None:
        self.module = module
        self.arguments = arguments

    def run(self) -> int:
        """Run it to its end and give the exit code; SystemExit goes through.

        A failed build is shown with its diagnostics and without a traceback.
        """
        if not self.module and not os.path.exists(self.arguments[0]):
            _console.print_message(f"no such file: {self.arguments[0]}")
            return 2
        try:
            line = self._install()
        except RehookError as error:
            _console.print_error(error)
            return 1
        except ImportError as error:  # the compiled part is missing
            _console.print_message(str(error))
            return 1
        try:
            self._execute()
        except RehookError as error:
            if line is not None:
                line.clear()
            _flush()
            _console.print_error(error)
            return 1
        except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - shown as python shows it
            _flush()
            error.__traceback__ = _own_frames_removed(error.__traceback__)
            sys.excepthook(type(error), error, error.__traceback__)
            return _INTERRUPTED if isinstance(error, KeyboardInterrupt) else 1
        return 0

    def _install(self) -> _console.ProgressLine | None:
        # Whoever has a script run by rehook wants the project that it is in to be built.
        start = os.getcwd() if self.module else os.path.dirname(os.path.realpath(self.arguments[0]))
        project = find_project(start)
        if project:
            _trust.allow_for_now(project)
        rehook.install()
        line = _console.progress_callback()
        session = rehook._session
        if session is not None and line is not None:
            session.set_progress(line)
        return line

    def _execute(self) -> None:
        if self.module:
            self._set_first_path(os.getcwd())
            sys.argv = [self.module, *self.arguments]
            runpy.run_module(self.module, run_name="__main__", alter_sys=True)
            return
        script = self.arguments[0]
        if not os.path.isdir(script) and not script.endswith((".zip", ".pyz")):
            self._set_first_path(os.path.dirname(os.path.realpath(script)))
        sys.argv = list(self.arguments)
        runpy.run_path(script, run_name="__main__")

    @staticmethod
    def _set_first_path(folder: str) -> None:
        if not sys.flags.safe_path:
            sys.path[:1] = [folder]


def _flush() -> None:
    if sys.stdout is not None:
        sys.stdout.flush()


def _own_frames_removed(traceback: TracebackType | None) -> TracebackType | None:
    """Cut the frames of rehook's command line and of runpy off the start of a traceback."""
    here = os.path.dirname(os.path.abspath(__file__))
    rest = traceback
    while rest is not None:
        file = rest.tb_frame.f_code.co_filename
        name = rest.tb_frame.f_globals.get("__name__")
        if name != "runpy" and os.path.dirname(os.path.abspath(file)) != here:
            return rest
        rest = rest.tb_next
    return None  # nothing of the program's own ran: a syntax error
