"""What rehook tells about itself: records a person can print and a program can read.

Each record is a dict, so it goes to JSON as it is, with its keys as attributes too.
"""

from __future__ import annotations

from rehook.errors import Diagnostic, describe_failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    _Dict = dict[str, Any]
    _Defaults = tuple[tuple[str, object], ...]
    _List = list[dict[str, Any]]
else:
    _Dict = dict
    _List = list

__all__ = ["Explanation", "Failure", "Generations", "ReloadReport", "Status"]


# What a reload patched, as the compiled part calls it -> one, several.
_FOLLOWERS = {
    "function": ("function", "functions"),
    "method": ("method", "methods"),
    "property": ("property", "properties"),
    "class": ("class", "classes"),
    "instance": ("instance", "instances"),
    "replaced": ("replaced object", "replaced objects"),
}


class _Record(_Dict):
    """A dict whose keys are attributes; a record always has the keys its class names."""

    __slots__ = ()

    _defaults: _Defaults = ()

    def __init__(self, values: Mapping[str, object]) -> None:
        super().__init__(values)
        for key, default in self._defaults:
            if self.get(key) is None:
                self[key] = default.copy() if isinstance(default, (list, dict)) else default

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            message = f"{type(self).__name__!r} object has no attribute {name!r}"
            raise AttributeError(message) from None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {dict(self)}>"


class Generations(_List):
    """The builds that this process loaded: a list of dicts. `str()` of it is meant for people.

    Each has module, generation (1 for the first), current (else it is retired), file, artifact,
    loaded_at, mapped (bytes), mappings, and libraries (private copies that it runs: dicts with
    name, file). A library that several builds run is counted in the first. `totals` holds what
    is limited, by name: dicts with used and limit, None for none.
    """

    __slots__ = ("totals",)

    def __init__(self, builds: list[dict[str, Any]], totals: Mapping[str, Any]) -> None:
        super().__init__(builds)
        self.totals = dict(totals)

    def __str__(self) -> str:
        lines = []
        for one in self:
            state = "current" if one.get("current") else "retired"
            libraries = ", ".join(library["name"] for library in one.get("libraries", ()))
            lines.append(
                f"{one['module']}  generation {one['generation']}  {state}  "
                f"{one.get('mapped', 0) / 1024:.0f} KiB"
                + (f"  with {libraries}" if libraries else "")
            )
        for name, total in self.totals.items():
            limit = "no limit" if total["limit"] is None else f"of {total['limit']}"
            lines.append(f"{name}: {total['used']} {limit}")
        return "\n".join(lines)


class ReloadReport(_Record):
    """What one reload did. `str()` of it is meant for people.

    Attributes: `modules` (what was reloaded: dicts with name, kind "extension" or "python",
    old_generation, new_generation, reason, seconds), `unchanged` (names), `stale` (what still runs
    older code than the saved source: dicts with module, error), `left` (what could not be
    updated: dicts with what, why, count), `patched` (how many objects of each kind run the new
    code: "function", "method", "property", "class", "instance", "replaced"), `reused` and `built`
    (how many builds came from the store, how many were made) and `durations` (seconds of "decide",
    "build", "load", "total").
    """

    __slots__ = ()

    _defaults: _Defaults = (
        ("modules", []),
        ("unchanged", []),
        ("stale", []),
        ("left", []),
        ("patched", {}),
        ("reused", 0),
        ("built", 0),
        ("durations", {}),
    )

    @property
    def names(self) -> list[str]:
        """The names of the modules that were reloaded."""
        return [str(one.get("name", "")) for one in self["modules"]]

    @property
    def changed(self) -> bool:
        """Whether anything was reloaded."""
        return bool(self["modules"])

    @property
    def seconds(self) -> float:
        """How long all of it took."""
        return float(self["durations"].get("total", 0.0))

    def __str__(self) -> str:
        lines = [self._headline()]
        lines.extend(_table([_module_row(one) for one in self["modules"]]))
        if followers := self._patched():
            lines.append(f"  {followers}")
        if self["left"]:
            lines.append("left on the old code:")
            lines.extend(f"  {_left_line(one)}" for one in self["left"])
        if self["stale"]:
            lines.append("not up to date, the older code is running:")
            lines.extend(f"  {_stale_line(one)}" for one in self["stale"])
            lines.append("see: rehook errors")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        """Give what a notebook shows."""
        import html  # noqa: PLC0415 - in notebooks only

        rows = [_module_row(one) for one in self["modules"]]
        table = "".join(
            "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>"
            for row in rows
        )
        parts = [f"<b>{html.escape(self._headline())}</b>"]
        if table:
            parts.append(f"<table>{table}</table>")
        if followers := self._patched():
            parts.append(f"<div>{html.escape(followers)}</div>")
        for title, lines in (
            ("left on the old code", [_left_line(one) for one in self["left"]]),
            (
                "not up to date, the older code is running",
                [_stale_line(one) for one in self["stale"]],
            ),
        ):
            if lines:
                items = "".join(f"<li>{html.escape(line)}</li>" for line in lines)
                parts.append(f"<div>{title}:<ul>{items}</ul></div>")
        return "\n".join(parts)

    def _patched(self) -> str:
        """Give "follow: 2 functions, 1 class"."""
        counts = [
            f"{self['patched'][kind]} {nouns[self['patched'][kind] != 1]}"
            for kind, nouns in _FOLLOWERS.items()
            if self["patched"].get(kind)
        ]
        return f"run the new code: {', '.join(counts)}" if counts else ""

    def _headline(self) -> str:
        if not self["modules"]:
            checked = len(self["unchanged"])
            return "nothing changed" + (
                f" ({_count(checked, 'module')} checked)" if checked else ""
            )
        parts = [
            f"{label} {_seconds(self['durations'][key])}"
            for key, label in (("build", "build"), ("load", "load"))
            if self["durations"].get(key, 0.0) > 0.0
        ]
        if self["built"]:
            parts.append(f"{self['built']} built")
        if self["reused"]:
            parts.append(f"{self['reused']} from the store")
        detail = f" ({', '.join(parts)})" if parts else ""
        took = f" in {_seconds(self.seconds)}" if "total" in self["durations"] else ""
        unchanged = len(self["unchanged"])
        rest = f"; {unchanged} unchanged" if unchanged else ""
        return f"reloaded {_count(len(self['modules']), 'module')}{took}{detail}{rest}"


class Status(_Record):
    """What is loaded and what it was built from. `str()` of it is meant for people.

    Attributes: `modules` (dicts with name, project, generation, file, loaded, stale, error,
    running_equals_saved), `projects` (dicts with root, source, build_dir, state, commit, branch,
    dirty) and `counters` (built, reused, waited, configured, reloaded, skipped, stats, hashed).
    """

    __slots__ = ()

    _defaults: _Defaults = (("modules", []), ("projects", []), ("counters", {}))

    def __str__(self) -> str:
        lines = []
        for project in self["projects"]:
            where = _commit(project)
            lines.append(f"{project.get('root')}: {project.get('state')}{where}")
        rows: list[tuple[str, ...]] = [
            (
                str(one.get("name")),
                f"generation {one.get('generation')}" if one.get("loaded", True) else "not loaded",
                _module_state(one),
            )
            for one in self["modules"]
        ]
        lines.extend(_table(rows))
        if not lines:
            return "no project found yet, nothing loaded"
        return "\n".join(lines)


class Explanation(_Record):
    """Why a module was or was not rebuilt. `str()` of it is meant for people.

    Attributes: `module`, `project`, `decision`, `reason`, `inputs` (how many), `changes` (dicts
    with name, kind, before, after), `target` and `artifact`.
    """

    __slots__ = ()

    _defaults: _Defaults = (
        ("module", ""),
        ("project", ""),
        ("decision", ""),
        ("reason", ""),
        ("inputs", 0),
        ("changes", []),
        ("target", ""),
        ("artifact", ""),
    )

    def __str__(self) -> str:
        reason = f": {self['reason']}" if self["reason"] else ""
        lines = [f"{self['module']}: {self['decision']}{reason}"]
        for label, key in (("project", "project"), ("target", "target"), ("file", "artifact")):
            if self[key]:
                lines.append(f"  {label} {self[key]}")
        lines.append(f"  {_count(self['inputs'], 'input')}, {len(self['changes'])} changed")
        for one in self["changes"]:
            before, after = one.get("before") or "nothing", one.get("after") or "nothing"
            lines.append(f"    {one.get('name')} ({one.get('kind')}): {before} -> {after}")
        return "\n".join(lines)


class Failure(_Record):
    """A failure that has not been repaired yet. `str()` of it is meant for people.

    Attributes: `project`, `modules` (names that are stale because of it), `kind`, `message`,
    `hint`, `text` (the tool's own output), `diagnostics` (dicts) and `time` (text).
    """

    __slots__ = ()

    _defaults: _Defaults = (
        ("project", ""),
        ("modules", []),
        ("kind", "rehook"),
        ("message", ""),
        ("hint", ""),
        ("text", ""),
        ("diagnostics", []),
        ("time", ""),
    )

    def __str__(self) -> str:
        diagnostics = [Diagnostic.of(one) for one in self["diagnostics"]]
        lines = describe_failure(self["message"], self["text"], diagnostics)
        if self["hint"]:
            lines.append(f"hint: {self['hint']}")
        return "\n".join(lines)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _seconds(value: float) -> str:
    """Give "2.31 s", or "4 ms" for less than a tenth."""
    return f"{value:.2f} s" if value >= 0.1 else f"{value * 1000:.1f} ms"  # noqa: PLR2004


def _module_row(one: Mapping[str, Any]) -> tuple[str, ...]:
    old, new = one.get("old_generation"), one.get("new_generation")
    if one.get("kind") == "python":
        what = "Python module"
    elif not old:
        what = f"generation {new}"
    else:
        what = f"generation {old} -> {new}"
    return (
        str(one.get("name")),
        what,
        _seconds(float(one.get("seconds") or 0.0)),
        str(one.get("reason") or ""),
    )


def _left_line(one: Mapping[str, Any]) -> str:
    count = one.get("count") or 0
    number = f" ({count})" if count else ""
    why = f": {one['why']}" if one.get("why") else ""
    return f"{one.get('what', '?')}{number}{why}"


def _stale_line(one: Mapping[str, Any]) -> str:
    error = str(one.get("error") or "not built").splitlines()[0]
    return f"{one.get('module', '?')}: {error}"


def _module_state(one: Mapping[str, Any]) -> str:
    if one.get("error"):
        return "stale: " + str(one["error"]).splitlines()[0]
    if one.get("stale"):
        return "stale: the saved source is newer"
    if not one.get("loaded", True):
        return ""
    return "" if one.get("running_equals_saved", True) else "running code differs from the source"


def _commit(project: Mapping[str, Any]) -> str:
    if not project.get("commit"):
        return ""
    dirty = ", with changes" if project.get("dirty") else ""
    branch = f"{project['branch']} " if project.get("branch") else ""
    return f" ({branch}{str(project['commit'])[:10]}{dirty})"


def _table(rows: list[tuple[str, ...]]) -> list[str]:
    """Indent rows and align their columns."""
    if not rows:
        return []
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        (
            "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
