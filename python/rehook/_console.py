"""How the command line looks: everything it prints for people."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from rehook.config import resolve
from rehook.errors import Diagnostic, RehookError
from rehook.report import Failure, Status

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rehook._native import Session

_SEVERITY = {"error": "bold red", "warning": "yellow", "note": "cyan"}


# Wide enough for any path: what is not read on a terminal is not folded.
_WIDE = 1000


def _out() -> Console:
    return Console(highlight=False, width=None if sys.stdout.isatty() else _WIDE)


def standard_output() -> Console:
    """Give what the other files of the command line print with."""
    return _out()


def _err() -> Console:
    terminal = sys.stderr is not None and sys.stderr.isatty()
    return Console(highlight=False, stderr=True, width=None if terminal else _WIDE)


def version(ctx: click.Context, _parameter: click.Parameter, value: bool) -> None:
    """Print the version and stop: the callback of --version."""
    if not value:
        return
    try:
        from rehook import _native  # noqa: PLC0415 - may be missing

        click.echo(f"rehook {_native.version}")
    except ImportError as error:
        raise click.ClickException(str(error)) from error
    ctx.exit()


def print_text(value: object) -> None:
    """Print a record as it describes itself."""
    _out().print(Text(str(value)))


def print_message(text: str) -> None:
    """Print a line on standard error."""
    _err().print(Text(f"rehook: {text}"))


def print_error(error: RehookError) -> None:
    """Print a failure on standard error: every diagnostic, the first error first."""
    console = _err()
    if error.diagnostics:
        _print_diagnostics(console, error.diagnostics)
        if not any(one.text and one.text in error.message for one in error.diagnostics):
            console.print(Text(error.message, style="bold"))
        if error.hint:
            console.print(Text(f"hint: {error.hint}"))
    else:
        console.print(Text(str(error)))


def error_record(error: RehookError) -> dict[str, object]:
    """Give a failure as plain data."""
    return {
        "kind": type(error).__name__,
        "message": error.message,
        "reason": error.reason,
        "hint": error.hint,
        "text": error.text,
        "diagnostics": [one.as_dict() for one in error.diagnostics],
    }


def print_builds(builds: list[dict[str, Any]]) -> None:
    """Print what `rehook build` did."""
    if not builds:
        print_text("nothing to build")
        return
    table = Table(box=None, show_header=False, pad_edge=False)
    for one in builds:
        result = str(one.get("result") or "built")
        table.add_row(
            Text(str(one.get("project") or "?")),
            Text("from the store" if result == "reused" else result, style="green"),
            Text(f"{one.get('seconds') or 0.0:.2f} s"),
            Text(", ".join(one.get("modules") or ())),
            Text(str(one.get("reason") or ""), style="dim"),
        )
    _out().print(table)


def print_status(status: Status) -> None:
    """Print projects and modules as tables."""
    console = _out()
    if not status.projects and not status.modules:
        console.print("no project found here")
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("project", "state", "commit", "found by", "build folder"):
        table.add_column(heading, overflow="fold")
    for one in status.projects:
        state = str(one.get("state") or "")
        commit = " ".join(
            part
            for part in (
                str(one.get("branch") or ""),
                str(one.get("commit") or "")[:10],
                "with changes" if one.get("dirty") else "",
            )
            if part
        )
        table.add_row(
            Text(str(one.get("root"))),
            Text(state, style="green" if state == "up-to-date" else "yellow"),
            Text(commit),
            Text(str(one.get("source") or "")),
            Text(str(one.get("build_dir") or "")),
        )
    console.print(table)
    if status.modules:
        console.print()
        console.print(Text(str(Status({"modules": status.modules}))))


def print_failures(failures: list[Failure]) -> None:
    """Print failures in full, each with what is stale because of it."""
    console = _out()
    if not failures:
        console.print("no errors")
        return
    for number, one in enumerate(failures):
        if number:
            console.print()
        modules = ", ".join(one.modules) or "no module"
        console.print(Text(f"{one.project}  {one.time}".rstrip(), style="bold"))
        console.print(Text(f"stale because of it: {modules}"))
        diagnostics = [Diagnostic.of(entry) for entry in one.diagnostics]
        if diagnostics:
            _print_diagnostics(console, diagnostics)
            if not any(entry.text and entry.text in one.message for entry in diagnostics):
                console.print(Text(one.message))
        else:
            console.print(Text(f"{one.message}\n{one.text}".rstrip()))
        if one.hint:
            console.print(Text(f"hint: {one.hint}"))


def print_findings(findings: dict[str, Any]) -> None:
    """Print what `rehook doctor` found."""
    console = _out()
    for title in ("versions", "store", "hook", "settings"):
        console.print(Text(title, style="bold"))
        table = Table(box=None, show_header=False, pad_edge=False)
        for name, value in findings[title].items():
            if title == "settings":
                table.add_row(
                    f"  {name}", Text(_shown(value["value"])), Text(value["origin"], "dim")
                )
            else:
                table.add_row(f"  {name}", Text(str(value)))
        console.print(table)
    problems = findings["problems"]
    if not problems:
        console.print(Text("no problems found", style="green"))
    for one in problems:
        console.print(Text(f"problem: {one['problem']}", style="bold red"))
        if one["fix"]:
            console.print(Text(f"  {one['fix']}"))


def _shown(value: object) -> str:
    return " ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def _print_diagnostics(console: Console, diagnostics: list[Diagnostic]) -> None:
    errors = [one for one in diagnostics if one.severity == "error"]
    for one in [*errors, *(one for one in diagnostics if one.severity != "error")]:
        line = Text(f"{one.place}: " if one.place else "", style="bold")
        line.append(f"{one.severity}: ", _SEVERITY.get(one.severity, ""))
        line.append(one.text)
        console.print(line)
        if one.excerpt.strip():
            console.print(Text(one.excerpt.rstrip()))


class ProgressLine:
    """One line on standard error that builds rewrite, for a terminal only."""

    def __init__(self) -> None:
        self._console = _err()
        self._shown = False

    def __call__(self, event: dict[str, Any]) -> None:
        """Show an event of the compiled part."""
        done, total = event.get("done", 0), event.get("total", 0)
        if event.get("phase") == "load" or (event.get("phase") == "build" and 0 < total <= done):
            self.clear()
            return
        text = Text().append("rehook ", style="bold cyan")
        if total:
            text.append(f"[{done}/{total}] ", style="cyan")
        text.append(str(event.get("text") or event.get("phase") or ""))
        text.truncate(max(20, self._console.width - 1), overflow="ellipsis")
        self._write(text)
        self._shown = True

    def clear(self) -> None:
        """Take the line away."""
        if self._shown:
            self._shown = False
            self._write(Text(""))

    def _write(self, text: Text) -> None:
        with contextlib.suppress(OSError, ValueError):  # the terminal may go away meanwhile
            self._console.file.write("\r\x1b[K")
            self._console.print(text, end="\r" if text.plain else "")
            self._console.file.flush()


def progress_callback() -> ProgressLine | None:
    """Give what shows progress, or None: no terminal, or the settings say no."""
    stream = sys.stderr
    if stream is None or not stream.isatty() or os.environ.get("TERM") == "dumb":
        return None
    settings = resolve()
    if settings.origins["progress"] != "default" and not settings.flag("progress"):
        return None
    return ProgressLine()


@contextlib.contextmanager
def progress(session: Session) -> Iterator[None]:
    """Show the progress of the session's builds meanwhile, if there is a terminal."""
    line = progress_callback()
    set_progress: Callable[[Any], None] = session.set_progress
    if line is None:
        yield
        return
    set_progress(line)
    try:
        yield
    finally:
        line.clear()
        set_progress(None)
