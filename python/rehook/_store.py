"""What `rehook store` and `rehook log` do: ask the store, without a session, and show it."""

from __future__ import annotations

import json
import os
import sys
import time
from typing import TYPE_CHECKING, Any

import click
from rich.table import Table
from rich.text import Text

from rehook import _console, _trust
from rehook.config import resolve
from rehook.errors import ConfigError, RehookError
from rehook.project_settings import find_project

if TYPE_CHECKING:
    from collections.abc import Callable

    from rehook._native import Store
    from rehook.config import Settings

    _Entry = dict[str, Any]

__all__ = ["log", "store"]

_OK, _FAILED = 0, 1
_folder = click.Path(exists=True, file_okay=False)
_json_option = click.option("--json", "as_json", is_flag=True, help="Print data, for programs.")
_SHORT = 12  # digits of a digest that are shown
_STEP = 1024  # from one unit of size to the next


@click.group()
def store() -> None:
    """Look at what is stored, check it, and remove what nobody needs."""


@store.command("ls")
@_json_option
def _list(*, as_json: bool) -> int:
    """List the projects of the store, and what takes its room."""
    return _ask(lambda opened: opened.contents(), _print_contents, as_json=as_json)


@store.command("show")
@click.argument("what", metavar="PROJECT|MODULE|DIGEST")
@_json_option
def _show(what: str, *, as_json: bool) -> int:
    """Show one project's builds, or one stored file and who uses it.

    Names a project by its folder, builds and files by the first digits of their digest.
    """
    return _ask(lambda opened: _find(opened.contents(), what), _print_found, as_json=as_json)


@store.command("verify")
@_json_option
def _verify(*, as_json: bool) -> int:
    """Read everything that is stored; remove what is damaged. Exit code 1 if anything was."""
    damaged: list[_Entry] = []

    def work(opened: Store) -> dict[str, object]:
        damaged.extend(opened.verify())
        return {"damaged": damaged}

    return _ask(work, _print_damaged, as_json=as_json) or (_FAILED if damaged else _OK)


@store.command("gc")
@click.option("-n", "--dry-run", is_flag=True, help="Only tell what would be removed.")
@click.option("--size", metavar="SIZE", help="Keep at most so much; default: store-size.")
@click.option("--age", metavar="DAYS", help="Remove what was unused for so long; store-age.")
@_json_option
def _collect(*, dry_run: bool, size: str | None, age: str | None, as_json: bool) -> int:
    """Remove what is too old or too much; never what a living process runs."""
    given: dict[str, object] = {}
    if size is not None:
        given["store-size"] = size
    if age is not None:
        given["store-age"] = age

    def work(opened: Store) -> _Entry:
        limits = _settings(given).values
        return opened.collect(limits["store-size"], limits["store-age"], dry_run=dry_run)

    return _ask(work, _print_collection, as_json=as_json)


@click.command()
@click.argument("projects", nargs=-1, metavar="[PROJECT]...", type=_folder)
@click.option("-n", "--number", type=click.IntRange(min=1), help="Only the last so many builds.")
@_json_option
def log(projects: tuple[str, ...], *, number: int | None, as_json: bool) -> int:
    """Show the builds of a project, the newest first: commit, time it took, and why."""

    def work(opened: Store) -> list[_Entry]:
        roots = [os.path.abspath(one) for one in projects] or _own_project()
        builds = [build for root in roots for build in opened.log(root)]
        builds.reverse()  # within one second the order is that of the log
        builds.sort(key=lambda one: str(one["time"]), reverse=True)
        return builds[:number]

    return _ask(work, _print_log, as_json=as_json)


def _settings(arguments: _Entry | None = None) -> Settings:
    settings = resolve(arguments)
    for line in _trust.leave_to_user(settings):
        _console.print_message(line)
    return settings


def _own_project() -> list[str]:
    found = find_project(os.getcwd())
    if not found:
        message = f"no CMake project in {os.getcwd()} or above"
        raise ConfigError(message, hint="name the folder of a project")
    return [found]


def _ask(work: Callable[[Store], Any], show: Callable[[Any], None], *, as_json: bool) -> int:
    """Open the store, have `work` ask it, and print that; failures as everywhere."""
    try:
        from rehook._native import Store  # noqa: PLC0415 - needs the compiled part

        result = work(Store(_settings().text("store-dir")))
    except RehookError as error:
        if as_json:
            _print_json({"error": _console.error_record(error)})
        else:
            _console.print_error(error)
        return _FAILED
    except ImportError as error:  # the compiled part is missing
        _console.print_message(str(error))
        return _FAILED
    if as_json:
        _print_json(result)
    else:
        show(result)
    return _OK


def _print_json(value: object) -> None:
    click.echo(json.dumps(value, indent=2, ensure_ascii=False, default=str))


# ------------------------------------------------------------ what was asked for


def _find(contents: _Entry, what: str) -> _Entry:
    """Give the projects, builds and files of `contents` that `what` names."""
    projects = [one for one in contents["projects"] if _is_named(one, what)]
    builds, objects = [], []
    digits = what.lower()
    if _is_digest(digits):
        for one in contents["projects"]:
            builds += [
                {
                    **build,
                    "root": one["root"],
                    "current": build["fingerprint"] == one["fingerprint"],
                }
                for build in one["builds"]
                if build["fingerprint"].startswith(digits)
            ]
        objects = [
            {**one, **_users(contents, name)}
            for one in contents["objects"]
            if (name := os.path.basename(one["file"])).startswith(digits)
        ]
    if not projects and not builds and not objects:
        message = f"nothing in {contents['root']} is called {what}"
        raise ConfigError(message, hint="see what there is: rehook store ls")
    return {"projects": projects, "builds": builds, "objects": objects}


def _builds(project: _Entry) -> list[_Entry]:
    """Give the builds of a project, each with whose it is and whether it is the current one."""
    current = project["fingerprint"]
    return [
        {**build, "root": project["root"], "current": build["fingerprint"] == current}
        for build in project["builds"]
    ]


def _is_named(project: _Entry, what: str) -> bool:
    if what in project["modules"] or project["folder"].endswith(os.sep + what):
        return True
    return bool(project["root"]) and os.path.realpath(what) == os.path.realpath(project["root"])


def _is_digest(text: str) -> bool:
    return len(text) >= 4 and all(one in "0123456789abcdef" for one in text)  # noqa: PLR2004


def _users(contents: _Entry, name: str) -> _Entry:
    """Tell which builds need an object, and which living processes run it."""
    used_by = [
        f"{one['root']} ({build['fingerprint'][:_SHORT]})"
        for one in contents["projects"]
        for build in one["builds"]
        if name in build["objects"]
    ]
    current = [one["root"] for one in contents["projects"] if name in one["objects"]]
    running = [
        session["pid"]
        for session in contents["sessions"]
        if session["live"]
        for file in session["files"]
        if file["artifact"] and name.startswith(file["artifact"])
    ]
    return {"current_in": current, "used_by": used_by, "run_by": sorted(set(running))}


# ------------------------------------------------------------ for people


def _size(count: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < _STEP:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= _STEP
    return f"{count:.1f} TiB"


def _since(stamp: float) -> str:
    """Give how long ago something was, in the largest unit that fits."""
    passed = max(0.0, time.time() - stamp)
    for unit, length in (("day", 86400), ("hour", 3600), ("minute", 60)):
        count = int(passed // length)
        if count:
            return f"{count} {unit}{'' if count == 1 else 's'} ago"
    return "just now"


def _clock(stamp: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(stamp)) if stamp else ""


def _table(*headings: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", show_header=bool(headings))
    for heading in headings:
        table.add_column(heading, overflow="fold")
    return table


def _row(table: Table, *cells: object) -> None:
    table.add_row(*(Text(str(one)) for one in cells))


def _bytes(entries: list[_Entry]) -> int:
    return sum(one["bytes"] for one in entries)


def _print_contents(contents: _Entry) -> None:
    out = _console.standard_output()
    out.print(Text(f"{contents['root']}  {_size(contents['bytes'])}", style="bold"))
    if contents["projects"]:
        table = _table("project", "configuration", "state", "builds", "size", "last used")
        for one in contents["projects"]:
            state = "being built" if one["busy"] else one["state"]
            gone = " (gone)" if one["source_gone"] else ""
            _row(
                table,
                (one["root"] or one["id"]) + gone,
                one["configuration"],
                state,
                len(one["builds"]),
                _size(one["bytes"] + _bytes(one["builds"])),
                _since(one["last_used"]),
            )
        out.print(table)
    table = _table()
    for name in ("objects", "sessions", "bridges", "orphans"):
        entries = contents[name]
        mapped = sum(1 for one in entries if one.get("mapped"))
        note = f"{mapped} in use by processes that live" if mapped else ""
        if name == "sessions":
            live = [one["pid"] for one in entries if one["live"]]
            note = f"live: {', '.join(live)}" if live else ""
        _row(table, name, len(entries), _size(_bytes(entries)), note)
    out.print(table)


def _print_found(found: _Entry) -> None:
    out = _console.standard_output()
    for one in found["projects"]:
        out.print(Text(one["root"] or one["id"], style="bold"))
        table = _table()
        _row(table, "  state", one["state"])
        _row(table, "  modules", ", ".join(one["modules"]))
        _row(table, "  folder", one["folder"])
        _row(table, "  size", _size(one["bytes"]))
        out.print(table)
        _print_builds(
            [
                {**build, "current": build["fingerprint"] == one["fingerprint"]}
                for build in one["builds"]
            ]
        )
    if found["builds"]:
        _print_builds(found["builds"])
        for name in sorted({name for one in found["builds"] for name in one["objects"]}):
            out.print(Text(f"  {name}"))
    for one in found["objects"]:
        out.print(Text(f"{one['file']}  {_size(one['bytes'])}", style="bold"))
        for title, key in (("current in", "current_in"), ("used by", "used_by")):
            for user in one[key]:
                out.print(Text(f"  {title} {user}"))
        if one["run_by"]:
            out.print(Text(f"  copied by process {', '.join(one['run_by'])}"))
        if one["mapped"]:
            out.print(Text("  mapped by a process that lives"))
        if not (one["current_in"] or one["used_by"] or one["run_by"] or one["mapped"]):
            out.print(Text("  used by nobody"))


def _print_builds(builds: list[_Entry]) -> None:
    table = _table("build", "made", "took", "last used", "modules")
    for build in sorted(builds, key=lambda one: -float(one["built_at"])):
        _row(
            table,
            build["fingerprint"][:_SHORT] + (" (current)" if build["current"] else ""),
            "damaged" if build["damaged"] else _clock(build["built_at"]),
            f"{build['build_seconds']:.2f} s",
            _since(build["last_used"]),
            ", ".join(build["modules"]),
        )
    _console.standard_output().print(table)


def _print_damaged(result: _Entry) -> None:
    if not result["damaged"]:
        _console.print_text("everything is whole")
        return
    for one in result["damaged"]:
        _console.print_text(f"{one['file']}: {one['problem']}; removed, it will be built again")


def _print_collection(done: _Entry) -> None:
    out = _console.standard_output()
    if not done["items"]:
        out.print(Text(f"nothing to remove; the store holds {_size(done['bytes_before'])}"))
        return
    table = _table()
    for one in done["items"]:
        _row(table, one["kind"], _size(one["bytes"]), one["path"], one["reason"])
    out.print(table)
    verb = "would free" if done["dry_run"] else "freed"
    left = done["bytes_before"] - done["bytes_freed"]
    out.print(Text(f"{verb} {_size(done['bytes_freed'])}, leaving {_size(left)}", style="bold"))
    for failure in done["failures"]:
        print(f"rehook: not removed: {failure}", file=sys.stderr)


def _print_log(builds: list[_Entry]) -> None:
    if not builds:
        _console.print_text("nothing was built yet")
        return
    table = _table("time", "build", "commit", "took", "in the store", "reason")
    for one in builds:
        where = " ".join(part for part in (one["branch"], one["commit"][:10]) if part)
        dirty = " with changes" if one["dirty"] and one["commit"] else ""
        _row(
            table,
            one["time"],
            one["fingerprint"][:_SHORT],
            where + dirty,
            "from the store" if one["result"] == "reused" else f"{one['seconds']:.2f} s",
            "yes" if one["stored"] else "no",
            one["reason"],
        )
    _console.standard_output().print(table)
