"""The numbers that matter while working: what rehook adds to an import, to a build, to nothing.

    bench.py [--json FILE] [--only NAME] [--quick]

Every number is the median of paired runs, interleaved A B A B, so that a busy machine disturbs both
sides alike. The other side is measured in the same run: the same import without rehook, the bare
compile and link commands. The JSON file is a list of objects with name, value, unit, against (what
the other side is, or null), against_value (its median in the same unit), ratio (median of
the pairs' ratios), budget and, for some, detail: what was measured, as it was.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from bench import cached_return, import_peers, large_tree, python_reload
from bench.live_project import ALGO, Live, run_child, timed
from bench.row import Row, median_row
from support.project import Project

MANY_HEADERS = 500


# ---------------------------------------------------------------- the work, in child interpreters


class Bare:
    """The commands of the edited file, run by hand in a copy of the build folder."""

    def __init__(self, build: Path, folder: Path) -> None:
        self.folder = folder
        shutil.copytree(build, folder, symlinks=True)
        listing = self._ninja(build, "-t", "targets", "all")
        outputs = [line.rpartition(":")[0] for line in listing.splitlines()]
        compile_, link = (
            next(name for name in outputs if Path(name).name.startswith(start))
            for start in ("algo.cpp.o", "_core.cpython")
        )
        self.commands = [
            self._ninja(build, "-t", "commands", "-s", name)
            .strip()
            .replace(str(build), str(folder))
            for name in (compile_, link)
        ]

    def _ninja(self, build: Path, *arguments: str) -> str:
        command = ["ninja", "-C", str(build), *arguments]
        listing = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        return "".join(
            line for line in listing.splitlines(keepends=True) if not line.startswith("ninja: ")
        )

    def run(self) -> None:
        for command in self.commands:
            subprocess.run(["/bin/sh", "-c", command], cwd=self.folder, check=True)


def child_prepare(project: Project, _rounds: int) -> dict[str, Any]:
    """Build once; tell where the built module is and how many inputs it has."""
    live = Live(project)
    (artifact,) = live.build_dir.glob("_core.*.so")
    return {"artifact": str(artifact), "inputs": live.inputs()}


def child_edit(project: Project, rounds: int) -> dict[str, Any]:
    """Edit -> live, against the bare commands for another such edit."""
    live = Live(project)
    bare = Bare(live.build_dir, project.home / "bare")
    ours, theirs = [], []
    for i in range(rounds + 1):
        live.edit(1000 + 2 * i)
        ours.append(timed(live.reload))
        live.edit(1001 + 2 * i)
        theirs.append(timed(bare.run))
    return {"a": ours[1:], "b": theirs[1:]}  # the first pair warms the disk cache


def child_noop(project: Project, rounds: int) -> dict[str, Any]:
    """Reload with nothing changed."""
    live = Live(project)
    times = [timed(live.rehook.reload) for _ in range(rounds + 5)][5:]
    return {"a": times, "inputs": live.inputs()}


def child_return(project: Project, rounds: int) -> dict[str, Any]:
    """Undo -> live, against building an edit of the same size."""
    live = Live(project)
    back, built = [], []
    for i in range(rounds + 1):
        live.edit(2000 + i)
        built.append(timed(live.reload))
        live.edit(30)
        back.append(timed(live.reload))
    return {"a": back[1:], "b": built[1:]}


def child_pause(project: Project, rounds: int) -> dict[str, Any]:
    """Take over an earlier build among a million live objects, and among few."""
    live = Live(project)
    times: dict[bool, list[float]] = {True: [], False: []}
    other = length = 3000
    live.edit(length)
    live.reload()
    for _ in range(rounds + 1):
        for crowded in (True, False):
            heap = _many_objects() if crowded else []
            gc.collect()
            length = 30 if length == other else other
            live.edit(length)
            times[crowded].append(live.rehook.reload("pondlife").durations["load"])
            del heap
    return {"a": times[True][1:], "b": times[False][1:]}


def _many_objects() -> list[Any]:
    """Give about a million objects that the collector knows: tuples, lists, dicts, instances."""

    class Point:
        def __init__(self, x: int) -> None:
            self.x = [x]

    mixed: list[Any] = []
    for i in range(100_000):
        mixed += [(i, [i]), ((i,), [i]), {"a": [i]}, Point(i), [[i]]]
    return mixed


def child_call(project: Project, rounds: int) -> dict[str, Any]:
    """Call a function that was held through reloads, and one of a process without reloads."""
    live = Live(project)
    held = live.package.leap_length
    before = [timed(lambda: _call(held)) for _ in range(rounds)]
    for length in (4000, 4001, 4002):
        live.edit(length)
        live.reload()
    assert held(0) == live.length, "the held function does not follow"
    after = [timed(lambda: _call(held)) for _ in range(rounds)]
    calls = 100_000
    return {"a": [t / calls for t in after], "b": [t / calls for t in before]}


def _call(function: Callable[[int], object]) -> None:
    for _ in range(100_000):
        function(0)


CHILDREN = {
    f.__name__: f
    for f in (child_prepare, child_edit, child_noop, child_return, child_pause, child_call)
}


# ---------------------------------------------------------------- the numbers


def noop_import(home: Path, rounds: int) -> Row:
    """Give what rehook adds to the import of an up-to-date package in a fresh process."""
    project = Project.copy_of("demo", home)
    told = run_child(project, child_prepare, 0)
    plain = home / "installed"  # the same module file, in place, without rehook
    shutil.copytree(project.path("src"), plain, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(told["artifact"], plain / "pondlife")

    hooked = f"import rehook; rehook.install(projects=[{str(project.root)!r}]); import pondlife"
    environment = project.environment()
    del environment["REHOOK_TRACE"]
    without = {**environment, "PYTHONPATH": str(plain)}

    def start(code: str, env: dict[str, str]) -> None:
        subprocess.run([sys.executable, "-c", code], env=env, check=True)

    with_hook, without_hook = [], []
    for _ in range(rounds + 2):
        with_hook.append(timed(lambda: start(hooked, environment)))
        without_hook.append(timed(lambda: start("import pondlife", without)))
    a, b = with_hook[2:], without_hook[2:]
    return Row(
        "noop_import",
        statistics.median(x - y for x, y in zip(a, b, strict=True)) * 1000,
        "ms",
        f"added to a process that imports it without rehook; {told['inputs']} inputs",
        statistics.median(b) * 1000,
        statistics.median(x / y for x, y in zip(a, b, strict=True)),
        f"{3 + 0.002 * told['inputs']:.1f} ms",
    )


def edit_to_live(home: Path, rounds: int) -> Row:
    """Give the seconds from a saved edit of one file to the new code being live."""
    times = run_child(Project.copy_of("demo", home), child_edit, rounds)
    floor = statistics.median(times["b"])
    budget = f"{min(floor * 1.05, floor + 0.06):.2f} s"
    return median_row(
        "edit_to_live", "s", times["a"], times["b"], "bare compile + link commands", budget
    )


def noop_row(name: str, project: Project, rounds: int) -> Row:
    told = run_child(project, child_noop, rounds)
    value = statistics.median(told["a"]) * 1000
    return Row(name, value, "ms", f"nothing; {told['inputs']} inputs", None, None, "2 ms at 500")


def noop_reload(home: Path, rounds: int) -> Row:
    """Give the time of rehook.reload() when nothing changed."""
    return noop_row("noop_reload", Project.copy_of("demo", home), rounds)


def noop_reload_500(home: Path, rounds: int) -> Row:
    """Give the same with 500 headers more."""
    project = Project.copy_of("demo", home)
    for i in range(MANY_HEADERS):
        project.write(f"include/pondlife/many/h{i}.hpp", f"#pragma once\ninline int h{i} = {i};\n")
    includes = "".join(f'#include "pondlife/many/h{i}.hpp"\n' for i in range(MANY_HEADERS))
    project.edit(ALGO, "#include <numeric>\n", f"#include <numeric>\n{includes}")
    return noop_row("noop_reload_500", project, rounds)


def return_to_earlier(home: Path, rounds: int) -> Row:
    """Give the time from undoing an edit to the earlier code being live."""
    times = run_child(Project.copy_of("demo", home), child_return, rounds)
    return median_row(
        "return_to_earlier", "ms", times["a"], times["b"], "building such an edit", "50 ms"
    )


def pause(home: Path, rounds: int) -> Row:
    """Give how long a reload holds the GIL for each million live objects."""
    times = run_child(Project.copy_of("demo", home), child_pause, rounds)
    few = statistics.median(times["b"]) * 1000
    return Row(
        "pause_per_million",
        statistics.median(x - y for x, y in zip(times["a"], times["b"], strict=True)) * 1000,
        "ms",
        "loading and taking over with few objects",
        few,
        None,
        "50 ms",
    )


def call(home: Path, rounds: int) -> Row:
    """Give the time of a call to a function that was held through three reloads."""
    times = run_child(Project.copy_of("demo", home), child_call, rounds)
    return median_row(
        "call_after_reload", "ns", times["a"], times["b"], "the same call before", "+ 0 ns"
    )


# Name -> how, pairs of runs, and with --quick.
BENCHMARKS: dict[str, tuple[Callable[[Path, int], Row], int, int]] = {
    "noop_import": (noop_import, 25, 5),
    **import_peers.BENCHMARKS,
    **large_tree.BENCHMARKS,
    "edit_to_live": (edit_to_live, 7, 2),
    "noop_reload": (noop_reload, 200, 20),
    "noop_reload_500": (noop_reload_500, 200, 20),
    "return_to_earlier": (return_to_earlier, 7, 2),
    **cached_return.BENCHMARKS,
    "pause_per_million": (pause, 7, 2),
    "call_after_reload": (call, 15, 3),
    **python_reload.BENCHMARKS,
}


def machine() -> str:
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [
            line.partition(":")[2].strip()
            for line in cpuinfo.read_text(encoding="utf-8").splitlines()
            if line.startswith("model name")
        ]
        model = names[0] if names else model
    compiler = subprocess.run(["c++", "--version"], capture_output=True, text=True, check=False)
    first_line = (compiler.stdout.splitlines() or ["no compiler"])[0]
    return f"{model}, {os.cpu_count()} cores; Python {platform.python_version()}; {first_line}"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", type=Path, help="write the numbers here")
    parser.add_argument("--only", choices=BENCHMARKS, action="append")
    parser.add_argument("--quick", action="store_true", help="fewer runs: is it still alive?")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        name, root, rounds = arguments.child
        print(json.dumps(CHILDREN[name](Project(Path(root)), int(rounds))))
        return

    print(machine())
    print(f"{'':<18}{'value':>9} {'':<3}{'against':>10}{'ratio':>9}  {'budget':<12}  against what")
    rows = []
    for name, (measure, rounds, quick) in BENCHMARKS.items():
        if arguments.only and name not in arguments.only:
            continue
        home = Path(tempfile.mkdtemp(prefix="rehook-bench-")).resolve()
        try:
            row = measure(home, quick if arguments.quick else rounds)
        finally:
            shutil.rmtree(home, ignore_errors=True)
        print(row.line(), flush=True)
        rows.append(row)
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps([asdict(row) for row in rows], indent=2)
        arguments.json.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
