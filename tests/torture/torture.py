"""Crash safety and many processes: kill -9 at random moments, many reloads at once, power cuts.

    torture.py [--only kill|many|power] [--kills N] [--processes N] [--edits N] [--cuts N]
               [--seed N] [--folder FOLDER]

kill   Processes that import, reload, rebuild and collect garbage are killed, some with all that
       they started. The next start has to answer what the sources say; nothing of the dead stays.
many   All reload at once after each edit: one compiler runs, everybody has the same file.
power  The store is on a file system that is cut off from its disk in the middle of builds.

Exit status 1 when anything was wrong; the folders, in build/torture, are kept.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import time
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if __name__ == "__main__":  # instead of this folder, in which a module has the folder's name
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from support.environment import ROOT
from torture.kills import KIND_TEXTS, Count, Kills
from torture.many import Many
from torture.power_cut import PowerCuts, obstacle
from torture.workbench import Box

if TYPE_CHECKING:
    from collections.abc import Iterator

STOP_AFTER = 10  # things that are wrong
FOLDER = ROOT / "build" / "torture"


def fresh_folder(above: Path, name: str) -> Path:
    folder = above / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder / "home"


def kill(home: Path, kills: int, seed: int) -> Count:
    """Kill so many processes, then see what stays when all is quiet."""
    run = Kills(Box(home), seed)
    start = time.monotonic()
    told = 0
    while run.count.total() < kills and len(run.count.wrong) < STOP_AFTER:
        run.round()
        if run.count.total() // 50 > told:
            told = run.count.total() // 50
            print(f"  {run.count.total()} kills, {time.monotonic() - start:.0f} s", flush=True)
    run.finish()
    return run.count


def many(home: Path, processes: int, edits: int, seed: int) -> Many:
    """Have so many processes reload after each of so many edits."""
    run = Many(Box(home), processes, seed)
    for number in range(1, edits + 1):
        if len(run.wrong) >= STOP_AFTER:
            break
        run.edit(number)
    run.end()
    return run


def power(home: Path, cuts: int, seed: int) -> PowerCuts:
    """Cut the power so often."""
    run = PowerCuts(home, seed)
    try:
        while run.number < cuts and len(run.wrong) < STOP_AFTER:
            run.cut()
    finally:
        run.end()
    return run


def print_counter(title: str, counter: Counter[str]) -> None:
    print(f"  {title}")
    for name, number in counter.most_common():
        print(f"    {name:<44}{number:>6}")


def print_kills(count: Count) -> None:
    kinds = Counter({KIND_TEXTS[kind]: number for kind, number in count.kills.items()})
    print(f"  {count.total()} kills")
    print_counter("of", count.roles)
    print_counter("of what", kinds)
    print_counter("where it was", count.places)
    print_counter("counted besides", count.seen)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", action="append", choices=("kill", "many", "power"))
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--processes", type=int, default=8)
    parser.add_argument("--edits", type=int, default=60)
    parser.add_argument("--cuts", type=int, default=50)
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where it all happens")
    parser.add_argument("--seed", type=int, help="of an earlier run, which printed it")
    arguments = parser.parse_args()
    seed = random.SystemRandom().randrange(10**6) if arguments.seed is None else arguments.seed
    folder = arguments.folder.resolve()
    parts = arguments.only or ["kill", "many", "power"]
    wrong: list[str] = []
    print(f"--seed {seed}", flush=True)

    if "kill" in parts:
        with part("kill", f"{arguments.kills} times kill -9"):
            count = kill(fresh_folder(folder, "kill"), arguments.kills, seed)
            print_kills(count)
            wrong += tell(count.wrong, folder / "kill")
    if "many" in parts:
        text = f"{arguments.processes} processes, {arguments.edits} edits"
        with part("many", text):
            reloads = many(fresh_folder(folder, "many"), arguments.processes, arguments.edits, seed)
            print_counter("counted", reloads.seen)
            wrong += tell(reloads.wrong, folder / "many")
    if "power" in parts:
        with part("power", f"{arguments.cuts} power cuts"):
            if why := obstacle():
                print(f"  not run: {why}")
            else:
                cuts = power(fresh_folder(folder, "power"), arguments.cuts, seed)
                print_counter("counted", cuts.seen)
                wrong += tell(cuts.wrong, folder / "power")
    sys.exit(bool(wrong))


@contextmanager
def part(name: str, text: str) -> Iterator[None]:
    start = time.monotonic()
    print(f"{name}: {text}", flush=True)
    yield
    print(f"  {time.monotonic() - start:.0f} s", flush=True)


def tell(wrong: list[str], folder: Path) -> list[str]:
    """Print what was wrong, and where to look."""
    for one in wrong:
        print(f"  WRONG: {one}")
    print(f"  see {folder}" if wrong else "  nothing wrong", flush=True)
    return wrong


if __name__ == "__main__":
    main()
