"""Back to an earlier state: rehook's store beside ninja with a compiler cache.

Without rehook, an undo means: save, let ninja find the object in ccache and link it, start a new
interpreter, import. The interpreter's own start is not counted against that side, nor the data
that it would have to load again.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import statistics
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from bench.live_project import Live, run_child, timed
from bench.row import Row
from support.project import Project

if TYPE_CHECKING:
    from collections.abc import Callable

FIRST, OTHER = 30, 5000
_ENTRY = re.compile(r"^([^#/:=][^:=]*):(BOOL|FILEPATH|PATH|STRING|UNINITIALIZED)=(.*)$")
_IMPORT = """
import time
start = time.perf_counter()
import pondlife
took = time.perf_counter() - start
assert pondlife.leap_length(0) == {length}, pondlife.leap_length(0)
print(took)
"""


class Cached:
    """The project configured like rehook's build, with ccache in front of the compiler."""

    def __init__(self, live: Live, folder: Path) -> None:
        self.live = live
        self.build = folder / "build"
        self.environment = {**os.environ, "CCACHE_DIR": str(folder / "ccache")}
        folder.mkdir()
        settings = folder / "settings.cmake"
        settings.write_text(_settings(live.build_dir), encoding="utf-8")
        command = [
            "cmake",
            "-G",
            "Ninja",
            "-C",
            str(settings),
            "-DCMAKE_CXX_COMPILER_LAUNCHER=ccache",
        ]
        self._run(*command, "-S", live.project.root, "-B", self.build)
        self.ninja()
        # The package as it would be installed; the module is the one that ninja links.
        self.installed = folder / "installed"
        sources = live.project.path("src")
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(sources, self.installed, ignore=ignored)
        (artifact,) = self.build.glob("_core.*.so")
        (self.installed / "pondlife" / artifact.name).symlink_to(artifact)

    def _run(self, *command: str | Path) -> str:
        done = subprocess.run(
            command, env=self.environment, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise SystemExit(f"{command[0]} failed:\n{done.stdout}{done.stderr}")
        return done.stdout

    def ninja(self) -> float:
        return timed(lambda: self._run("ninja", "-C", self.build))

    def load(self) -> float:
        """Import in a fresh interpreter; give the seconds of the import alone."""
        environment = {**self.environment, "PYTHONPATH": str(self.installed)}
        done = subprocess.run(
            [sys.executable, "-c", _IMPORT.format(length=self.live.length)],
            env=environment,
            check=True,
            capture_output=True,
            text=True,
        )
        return float(done.stdout)

    def misses(self) -> int:
        lines = self._run("ccache", "--print-stats").splitlines()
        return int(dict(line.split("\t") for line in lines)["cache_miss"])


def _settings(build: Path) -> str:
    """Give the settings in a build folder's cache, as a script that makes them."""
    lines = (build / "CMakeCache.txt").read_text(encoding="utf-8").splitlines()
    found = [match.groups() for match in map(_ENTRY.match, lines) if match]
    return "".join(
        f'set({name} [==[{value}]==] CACHE {kind if kind != "UNINITIALIZED" else "STRING"} "")\n'
        for name, kind, value in found
    )


def child_cached_return(project: Project, rounds: int) -> dict[str, Any]:
    """Undo -> live, by rehook and by ninja; ccache knows both states."""
    live = Live(project)
    cached = Cached(live, project.home / "cached")
    times: dict[str, list[float]] = {"a": [], "ninja": [], "load": []}
    misses = 0
    for number in range(rounds + 1):
        live.edit(OTHER)
        live.reload()
        cached.ninja()
        if number == 0:
            misses = cached.misses()
        live.edit(FIRST)
        if number % 2:
            times["ninja"].append(cached.ninja())
            times["load"].append(cached.load())
            times["a"].append(timed(live.reload))
        else:
            times["a"].append(timed(live.reload))
            times["ninja"].append(cached.ninja())
            times["load"].append(cached.load())
    told: dict[str, Any] = {name: one[1:] for name, one in times.items()}
    told["misses"] = cached.misses() - misses
    return told


def child_return_alone(project: Project, rounds: int) -> dict[str, Any]:
    """Undo -> live, by rehook alone."""
    live = Live(project)
    back = []
    for _ in range(rounds + 1):
        live.edit(OTHER)
        live.reload()
        live.edit(FIRST)
        back.append(timed(live.reload))
    return {"a": back[1:]}


def return_to_earlier_ccache(home: Path, rounds: int) -> Row:
    """Give the time from an undo to the earlier code being live, beside a compiler cache."""
    name, budget = "return_to_earlier_ccache", "50 ms"
    project = Project.copy_of("demo", home)
    if shutil.which("ccache") is None:
        told = run_child(project, child_return_alone, rounds)
        value = statistics.median(told["a"]) * 1000
        against = "ccache is not installed (apt-get install ccache)"
        return Row(name, value, "ms", against, None, None, budget)
    told = run_child(project, child_cached_return, rounds)
    assert told["misses"] == 0, "ccache compiled: nothing to compare with"
    theirs = [ninja + load for ninja, load in zip(told["ninja"], told["load"], strict=True)]
    parts = {part: statistics.median(told[part]) * 1000 for part in ("ninja", "load")}
    return Row(
        name,
        statistics.median(told["a"]) * 1000,
        "ms",
        f"ninja with a ccache hit ({parts['ninja']:.0f} ms) and an import"
        f" ({parts['load']:.0f} ms) in an interpreter whose start is not counted",
        statistics.median(theirs) * 1000,
        statistics.median(a / b for a, b in zip(told["a"], theirs, strict=True)),
        budget,
        {"ninja_ms": parts["ninja"], "import_ms": parts["load"], "rounds": rounds},
    )


BENCHMARKS: dict[str, tuple[Callable[[Path, int], Row], int, int]] = {
    "return_to_earlier_ccache": (return_to_earlier_ccache, 9, 2),
}
CHILDREN = {one.__name__: one for one in (child_cached_return, child_return_alone)}


def main() -> None:
    _flag, name, root, rounds = sys.argv[1:]
    print(json.dumps(CHILDREN[name](Project(Path(root)), int(rounds))))


if __name__ == "__main__":
    main()
