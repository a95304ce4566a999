"""What reloading a Python module costs: the reload, the pause of other threads, calls afterwards.

A peer that cannot be installed, or does not run here, is told in the table, and the rest goes on.
"""

from __future__ import annotations

import functools
import gc
import importlib
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from bench import peer_environment, reload_peers
from bench.peer_environment import peer_problem
from bench.reload_peers import PEERS, many_objects
from bench.row import Row

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

OURS = "rehook"
# A peer that takes longer than this for some edits makes no more of them, and one whose child
# takes longer than that is given up.
SECONDS_OF_RELOADS, SECONDS_OF_PEER, SECONDS_OF_CHILD = 20.0, 90.0, 900.0
CHILDREN = 2  # of each peer, in turn
MILLION = 1_000_000

# The steps of the trace in which the reload keeps the GIL, whatever other threads wait for.
STEPS_OF_PAUSE = frozenset({"plan", "patch", "swap", "patch.settle"})


# ---------------------------------------------------------------- children


def _child(command: Sequence[str | Path], folder: Path, seconds: float) -> dict[str, Any] | str:
    """Run a child; give the JSON of its last line, or why there is none."""
    environment = {**os.environ, "REHOOK_TRACE": str(folder / "trace.jsonl")}
    environment["REHOOK_STORE_DIR"] = str(folder / "store")
    folder.mkdir(parents=True)
    try:
        done = subprocess.run(
            command,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=seconds,
        )
    except subprocess.TimeoutExpired:
        return f"took more than {seconds:.0f} s"
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        return f"does not run: {last}"
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def _run_here(work: Callable[..., dict[str, Any]], home: Path, *arguments: int) -> dict[str, Any]:
    """Run one of the functions below in a fresh interpreter."""
    words = [str(one) for one in arguments]
    folder = home / f"{work.__name__}-{'-'.join(words)}"
    told = _child(
        [sys.executable, __file__, work.__name__, str(folder), *words], folder, SECONDS_OF_CHILD
    )
    if isinstance(told, str):
        raise SystemExit(f"{work.__name__}: {told}")
    return told


def _run_peer(
    name: str, home: Path, objects: int, rounds: int, number: int
) -> dict[str, Any] | str:
    package = PEERS[name].package
    python = Path(sys.executable)
    if name != OURS and package:
        if problem := peer_problem(package):
            return problem
        python = peer_environment.PYTHON
    folder = home / f"{name.replace(' ', '-')}-{number}"
    script = reload_peers.__file__
    words = [str(objects), str(rounds), str(SECONDS_OF_RELOADS)]
    told = _child([python, script, name, folder, *words], folder, SECONDS_OF_PEER)
    if isinstance(told, dict) and not told["module"]:
        return "does not run: the edited code is not there after the reload"
    return told


# ---------------------------------------------------------------- reloading, beside the peers


def python_reload(objects: int, home: Path, rounds: int) -> Row:
    """Give the time of reloading an edited module among so many other objects, beside the peers."""
    told: dict[str, dict[str, Any] | str] = {}
    for number in range(CHILDREN if rounds > 1 else 1):
        for name in PEERS:
            earlier = told.get(name)
            if isinstance(earlier, str):
                continue
            if earlier is not None and len(earlier["ms"]) < rounds:
                continue  # too slow for another turn
            fresh = _run_peer(name, home, objects, rounds, number)
            if isinstance(fresh, dict) and earlier is not None:
                fresh["ms"] = earlier["ms"] + fresh["ms"]
                fresh["cpu_ms"] = earlier["cpu_ms"] + fresh["cpu_ms"]
            told[name] = fresh
    mine = told[OURS]
    if isinstance(mine, str):
        raise SystemExit(f"python_reload: {mine}")
    assert mine["instances"], "the instances do not follow"
    assert mine["references"], "held references do not follow"
    medians = {
        name: statistics.median(one["ms"]) for name, one in told.items() if isinstance(one, dict)
    }
    patching = [
        name
        for name, one in told.items()
        if name != OURS and isinstance(one, dict) and one["instances"] and one["references"]
    ]
    fastest = min(patching, key=lambda name: medians[name], default=None)
    value = medians[OURS]
    other = None if fastest is None else medians[fastest]
    return Row(
        f"python_reload_{_short(objects)}",
        value,
        "ms",
        "no peer that patches references" if fastest is None else f"{fastest}; {_lines(told)}",
        other,
        None if other is None else value / other,
        "< x1",
        {"objects": objects, "peers": told},
    )


def _short(objects: int) -> str:
    return f"{objects:.0e}".replace("e+0", "e") if objects else "0"


def _lines(told: dict[str, dict[str, Any] | str]) -> str:
    """Give what each peer took, and what followed."""
    text = "median/best ms of each, * patches references"
    for name, one in told.items():
        text += f"\n{'':<24}{name:<18}"
        if isinstance(one, str):
            text += f"{'':>18}  {one}"
            continue
        mark = "*" if one["references"] and one["instances"] else " "
        text += f"{statistics.median(one['ms']):>9.1f}{min(one['ms']):>9.1f} {mark}"
        text += f" {one['version']}, {len(one['ms'])} edits"
        missing = [key for key in ("instances", "references") if not one[key]]
        if missing:
            text += f"; left behind: {', '.join(missing)}"
    return text


# ---------------------------------------------------------------- the pause


class Flipping:
    """A module whose names are functions and classes in turn, and a list that holds them."""

    def __init__(self, folder: Path, count: int) -> None:
        self.file = folder / "flipping.py"
        self.count = count
        self.is_class = False
        self.save()
        sys.path.insert(0, str(folder))
        self.module: Any = importlib.import_module("flipping")
        self.held = [getattr(self.module, f"n{i}") for i in range(count)]

    def save(self) -> None:
        text = (
            "class n{i}:\n    pass\n\n\n" if self.is_class else "def n{i}():\n    return {i}\n\n\n"
        )
        self.file.write_text("".join(text.format(i=i) for i in range(self.count)))

    def flip(self) -> None:
        self.is_class = not self.is_class
        self.save()

    def check(self) -> None:
        for i, one in enumerate(self.held):
            assert isinstance(one, type) == self.is_class, "a held reference does not follow"
            assert one is getattr(self.module, f"n{i}")


def child_pause(folder: Path, count: int, rounds: int) -> dict[str, Any]:
    """Time the reloads of names that become other kinds of objects, among few and many objects.

    Everything that a reload does after its statements have run is done with the GIL held, in one
    go: planning, patching, the pass over the heap, hash tables. The trace times these steps. What
    does not depend on the number of objects is the same among N and 2 N objects; the
    difference of the two is the pause of N.
    """
    import rehook

    rehook.install()
    flipping = Flipping(folder, count)
    trace = Path(os.environ["REHOOK_TRACE"])
    base = many_objects(MILLION)
    gc.collect()
    pauses: dict[str, dict[str, list[float]]] = {
        "to class": {"few": [], "many": []},
        "to function": {"few": [], "many": []},
    }
    objects = 0
    for _ in range(rounds + 1):
        for size in ("few", "many"):
            before = len(gc.get_objects())
            crowd = many_objects(MILLION) if size == "many" else []
            gc.collect()
            objects = len(gc.get_objects()) - before
            for times in pauses.values():
                flipping.flip()
                seen = trace.stat().st_size if trace.exists() else 0
                rehook.reload("flipping")
                flipping.check()
                with trace.open() as lines:
                    lines.seek(seen)
                    steps = [json.loads(line) for line in lines]
                times[size].append(sum(one["ms"] for one in steps if one["step"] in STEPS_OF_PAUSE))
            del crowd
    del base
    for times in pauses.values():
        del times["few"][0], times["many"][0]
    return {"objects": objects, **pauses}


def patch_pause(count: int, home: Path, rounds: int) -> Row:
    """Give how long the GIL is held for each million objects when so many names are replaced."""
    told = _run_here(child_pause, home, count, rounds)
    scale = MILLION / told["objects"]
    added, few = {}, {}
    for way in ("to class", "to function"):
        pairs = zip(told[way]["many"], told[way]["few"], strict=True)
        added[way] = statistics.median(many - few for many, few in pairs) * scale
        few[way] = statistics.median(told[way]["few"])
    worse = max(added, key=lambda way: added[way])
    kinds = " and ".join(f"{way} {value:.1f}" for way, value in added.items())
    return Row(
        f"patch_pause_{count}",
        added[worse],
        "ms",
        f"the whole pause among a million; names that change their kind: {kinds} ms",
        few[worse],
        None,
        "50 ms",
        told,
    )


# ---------------------------------------------------------------- calls

_CALLED = """
class Counter:
    step = 1

    def add(self, value):
        return value + self.step + {version}


def add(value, more=1):
    return value + more + {version}
"""
CALLS = 100_000


class Called:
    """A module of one function and one method that are held."""

    def __init__(self, folder: Path, name: str) -> None:
        self.file = folder / f"{name}.py"
        self.version = 0
        self.save()
        self.module: Any = importlib.import_module(name)
        self.function, self.object = self.module.add, self.module.Counter()

    def save(self) -> None:
        self.file.write_text(_CALLED.format(version=self.version))

    def call(self) -> float:
        """Give the seconds of a call: half of them functions, half of them methods."""
        function, counter = self.function, self.object
        start = time.perf_counter()
        for _ in range(CALLS // 2):
            function(1)
            counter.add(1)
        return (time.perf_counter() - start) / CALLS


def child_calls(folder: Path, rounds: int) -> dict[str, Any]:
    """Time calls of what was held through three reloads, and of a twin that was never reloaded.

    The twin is called in turn with it, before and after the reloads: what the machine, or the
    places of the objects, do to one of them is known from before.
    """
    import rehook

    rehook.install()
    sys.path.insert(0, str(folder))
    ours, twin = Called(folder, "called"), Called(folder, "twin")
    result: dict[str, Any] = {}
    for when in ("before", "after"):
        if when == "after":
            for ours.version in (1, 2, 3):
                ours.save()
                rehook.reload("called")
            assert ours.function(1) == 5, "the held function does not follow"
            assert ours.object.add(1) == 5, "the held object does not follow"
        ours.call()
        twin.call()
        pairs = [(ours.call(), twin.call()) for _ in range(rounds)]
        result[when] = {"ours": [a for a, _ in pairs], "twin": [b for _, b in pairs]}
    return result


def call_overhead(home: Path, rounds: int) -> Row:
    """Give the time of a call after three reloads, over that of a call before any."""
    told = _run_here(child_calls, home, rounds)
    ratio = {
        when: statistics.median(
            a / b for a, b in zip(told[when]["ours"], told[when]["twin"], strict=True)
        )
        for when in ("before", "after")
    }
    return Row(
        "call_overhead",
        statistics.median(told["after"]["ours"]) * 1e9,
        "ns",
        "the same calls before any reload",
        statistics.median(told["before"]["ours"]) * 1e9,
        ratio["after"] / ratio["before"],
        "+ 0 ns",
        told,
    )


# Name -> how, edits or pairs of runs, and with --quick.
BENCHMARKS: dict[str, tuple[Callable[[Path, int], Row], int, int]] = {
    "python_reload_0": (functools.partial(python_reload, 0), 7, 1),
    "python_reload_1e6": (functools.partial(python_reload, MILLION), 5, 1),
    "python_reload_1e7": (functools.partial(python_reload, 10 * MILLION), 3, 1),
    "patch_pause_1": (functools.partial(patch_pause, 1), 7, 2),
    "patch_pause_100": (functools.partial(patch_pause, 100), 7, 2),
    "patch_pause_1000": (functools.partial(patch_pause, 1000), 7, 2),
    "call_overhead": (call_overhead, 15, 3),
}


def main() -> None:
    work, folder, *numbers = sys.argv[1:]
    children = {one.__name__: one for one in (child_pause, child_calls)}
    print(json.dumps(children[work](Path(folder), *(int(one) for one in numbers))))


if __name__ == "__main__":
    main()
