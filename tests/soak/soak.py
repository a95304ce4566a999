"""A long life: many reloads in one interpreter, every generation keeping live instances.

    soak.py [--generations N] [--only NAME] [--json FILE]

Four builds of a module take turns; of each two that follow one another with the same layout the
instances are adopted, of the others they stay behind. After the first four reloads every build
comes from the store. Checked: each instance of each generation answers at the end what it has to,
held functions follow, memory per generation, the time of a reload, the exit status.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

if __name__ == "__main__":  # instead of this folder, in which a module has the folder's name
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from support.environment import ROOT
from support.project import Project
from support.subject import BINDINGS, STEP, Editor, install_library, make_subject

# The builds that take turns: edits of the source. Two of one layout follow one another.
TURNS = ((), ("step",), ("layout",), ("layout", "step"))
WARM_UP = 50  # generations after which memory and time are looked at
WINDOW = 50
RSS_LIMIT = 1.5  # resident memory a generation, in sizes of the mapped shadow copy
TIME_LIMIT = 2.0  # a reload at the end, in times of one at the beginning

GENERATIONS = {"pybind11-newest": 1200, "capi-multi-heap": 1200, "nanobind-3-newest": 300}


# ---------------------------------------------------------------- in the child


def resident_bytes() -> int:
    words = Path("/proc/self/statm").read_text(encoding="ascii").split()
    return int(words[1]) * os.sysconf("SC_PAGE_SIZE")


def mapped_bytes(file: str) -> int:
    """Give the size of a library's mappings in this process."""
    total = 0
    for line in Path("/proc/self/maps").read_text(encoding="utf-8").splitlines():
        words = line.split(maxsplit=5)
        if len(words) > 5 and words[5] == file:
            begin, end = (int(word, 16) for word in words[0].split("-"))
            total += end - begin
    return total


@dataclass
class Held:
    """An instance, and what was bound to it, of one generation."""

    generation: int
    thing: Any
    bound: Any
    mine: Any

    def answers(self) -> list[int]:
        return [self.thing.answer(), self.bound(), self.mine.more() - 1]


class Life:
    """The interpreter that reloads."""

    def __init__(self, root: str, binding: str) -> None:
        import rehook

        self.rehook: Any = rehook
        rehook.install(projects=[root])
        import subject  # type: ignore[import-not-found]

        self.subject: Any = subject
        self.editor = Editor(BINDINGS[binding].language, Project(Path(root)).write)
        self.value, self.first_class = subject.value, subject.Thing
        self.held: list[Held] = []
        self.own_bytes = self._measure_own()
        self.uncounted: list[int] = []  # generations whose report names no instance left behind
        self.stale: list[int] = []  # generations after which a held function ran old code
        self.seconds: list[float] = []
        self.cpu_seconds: list[float] = []  # tells a slow reload from a busy machine
        self.keep(1)

    def _measure_own(self) -> float:
        """Give what the things kept here take for each generation; they stay, as the others do."""
        many = 500
        before = resident_bytes()
        for _ in range(many):
            self.keep(0)
        self.spare, self.held = self.held, []
        return (resident_bytes() - before) / many

    def keep(self, generation: int) -> None:
        base = self.subject.Thing

        class Mine(base):  # type: ignore[misc,valid-type]
            def more(self) -> int:
                return int(self.answer()) + 1

        thing = base(generation)
        self.held.append(Held(generation, thing, thing.answer, Mine(generation)))

    def reload(self, generation: int) -> None:
        """Load generation `generation`, and keep instances of it."""
        turn = turn_of(generation)
        self.editor.become(*turn)
        start, cpu = time.perf_counter(), time.process_time()
        report = self.rehook.reload()
        self.cpu_seconds.append(time.process_time() - cpu)
        self.seconds.append(time.perf_counter() - start)
        if self.value() != step_of(generation):
            self.stale.append(generation)
        changed = ("layout" in turn) != ("layout" in turn_of(generation - 1))
        if changed and not any("Thing" in str(one.get("what")) for one in report.left):
            self.uncounted.append(generation)
        self.keep(generation)

    def wrong_answers(self, last: int) -> list[tuple[int, list[int], int]]:
        """Give the generations whose instances answer something else than they have to."""
        wrong = []
        for one in self.held:
            wanted = one.generation * 10 + step_of(end_of_layout(one.generation, last))
            found = one.answers()
            if found != [wanted] * len(found):
                wrong.append((one.generation, found, wanted))
        return wrong


def turn_of(generation: int) -> tuple[str, ...]:
    return TURNS[(generation - 1) % len(TURNS)]


def step_of(generation: int) -> int:
    return STEP if "step" in turn_of(generation) else 0


def end_of_layout(generation: int, last: int) -> int:
    """Give the last generation, up to `last`, that the instances of this one are adopted by."""
    while generation < last and ("layout" in turn_of(generation + 1)) == (
        "layout" in turn_of(generation)
    ):
        generation += 1
    return generation


def child(root: str, binding: str, generations: int) -> dict[str, Any]:
    """Live that long; tell what happened."""
    life = Life(root, binding)
    resident = 0
    warm_up = min(WARM_UP, generations // 2)
    for generation in range(2, generations + 1):
        life.reload(generation)
        if generation == warm_up:
            gc.collect()
            resident = resident_bytes()
    gc.collect()
    grown = (resident_bytes() - resident) / (generations - warm_up)
    current = [one for one in life.rehook.generations() if one["current"]]
    counters = life.rehook.status().counters
    return {
        "generations": len(life.rehook.generations()),
        "built": counters["built"],
        "reused": counters["reused"],
        "wrong": life.wrong_answers(generations),
        "stale": life.stale,
        "uncounted": life.uncounted,
        "resident": grown - life.own_bytes,
        "mapped": statistics.mean(mapped_bytes(one["file"]) for one in current),
        "seconds": life.seconds,
        "cpu_seconds": life.cpu_seconds,
    }


# ---------------------------------------------------------------- the runner


def prepare(binding: str, home: Path) -> Project:
    """Make the project; its library is kept in build/."""
    libraries = ROOT / "build" / "libraries"
    libraries.mkdir(parents=True, exist_ok=True)
    install_library(BINDINGS[binding], libraries)
    return make_subject(BINDINGS[binding], home, libraries)


def run(project: Project, binding: str, generations: int) -> tuple[dict[str, Any], list[str]]:
    """Run one life; give what it told, and what is wrong with it, in words."""
    command = [sys.executable, __file__, "--child", str(project.root), binding, str(generations)]
    environment = project.environment(path=[project.root])
    # Not a pipe: a crash then shows what was written before it.
    done = subprocess.run(
        command, env=environment, cwd=project.home, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        return {}, [f"exit status {done.returncode}: {done.stderr[-3000:]}"]
    told = json.loads(done.stdout.splitlines()[-1])
    return told, problems(told, generations)


def problems(told: dict[str, Any], generations: int) -> list[str]:
    """Give what is wrong, but for memory and time."""
    found = []
    if told["generations"] != generations:
        found.append(f"{told['generations']} generations instead of {generations}")
    if told["built"] > len(TURNS):
        found.append(f"{told['built']} builds for {len(TURNS)} states")
    for name, text in (
        ("wrong", "instances answer wrongly (generation, found, wanted)"),
        ("stale", "held functions ran old code after generation"),
        ("uncounted", "instances left behind are not in the report of generation"),
    ):
        if told[name]:
            few = ", ".join(map(str, told[name][:4]))
            found.append(f"{text}: {few}{' ...' if len(told[name]) > 4 else ''}")
    return found


def judge_budgets(told: dict[str, Any]) -> tuple[list[str], list[str]]:
    """Give the figures, and what is wrong with them."""
    from_store = told["seconds"][WARM_UP // 2 :]
    figures, wrong = [], []
    ratio = told["resident"] / told["mapped"]
    figures.append(
        f"memory a generation {told['resident'] / 1024:.0f} KiB, "
        f"its mapped copy {told['mapped'] / 1024:.0f} KiB: x{ratio:.2f} (limit {RSS_LIMIT})"
    )
    if ratio > RSS_LIMIT:
        wrong.append(f"resident memory x{ratio:.2f} of the mapped size")
    if len(from_store) >= 2 * WINDOW:
        for name, key in (("", "seconds"), (" (CPU)", "cpu_seconds")):
            times = told[key][WARM_UP // 2 :]
            early, late = (statistics.median(w) for w in (times[:WINDOW], times[-WINDOW:]))
            figures.append(
                f"a reload{name}: first {WINDOW} {early * 1000:.2f} ms, "
                f"last {WINDOW} {late * 1000:.2f} ms: x{late / early:.2f} (limit {TIME_LIMIT})"
            )
            if key == "seconds" and late > TIME_LIMIT * early:
                wrong.append(f"the time of a reload grew x{late / early:.2f}")
    return figures, wrong


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--generations", type=int, help="instead of each one's own number")
    parser.add_argument("--only", action="append", choices=BINDINGS)
    parser.add_argument("--json", type=Path, default=ROOT / "build" / "soak.json")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        root, binding, generations = arguments.child
        print(json.dumps(child(root, binding, int(generations))))
        return
    rows = []
    for binding in arguments.only or GENERATIONS:
        generations = arguments.generations or GENERATIONS.get(binding, 300)
        home = Path(tempfile.mkdtemp(prefix="rehook-soak-")).resolve()
        start = time.monotonic()
        try:
            told, wrong = run(prepare(binding, home), binding, generations)
        finally:
            shutil.rmtree(home, ignore_errors=True)
        print(f"{binding}, {generations} generations, {time.monotonic() - start:.0f} s")
        if told:
            figures, broken = judge_budgets(told)
            wrong += broken
            print(*(f"  {one}" for one in figures), sep="\n")
        print(*(f"  WRONG: {one}" for one in wrong), sep="\n") if wrong else print("  ok")
        rows.append({"binding": binding, "wrong": wrong, **told})
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    arguments.json.write_text(json.dumps(rows) + "\n", encoding="utf-8")
    sys.exit(any(row["wrong"] for row in rows))


if __name__ == "__main__":
    main()
