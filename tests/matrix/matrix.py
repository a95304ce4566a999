"""Every binding library in every version, with every Python: does everything held follow?

    matrix.py [--only NAME] [--python 3.12] [--json FILE] [--jobs N]

For each Python that is found a virtual environment is made in build/matrix/ and rehook installed
into it; each version of a library gets a folder of its own. A cell is one interpreter that goes
through scenario.py: "ok", or the short names of the promises that were not kept, or "-" for what
does not exist. Exit status 1 when a cell fails.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if __name__ == "__main__":  # instead of this folder, in which a module has the folder's name
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from matrix.promises import expected_names
from support import environment
from support.environment import ROOT
from support.subject import MATRIX, Binding, LibraryError, install_library, make_subject

if TYPE_CHECKING:
    from collections.abc import Sequence

MINORS = (11, 12, 13)
FOLDER = ROOT / "build" / "matrix"
LOGS = ROOT / "build" / "logs"
TIMEOUT = 900


@dataclass
class Cell:
    """What became of one library version with one Python."""

    binding: str
    python: str
    version: str  # of the library
    failed: dict[str, str]  # short name of the promise -> what was wrong
    exists: bool = True

    def text(self) -> str:
        """Give what stands in the table."""
        if not self.exists:
            return "-"
        return ", ".join(self.failed) if self.failed else "ok"


def run_cell(binding: Binding, minor: int, python: Path) -> Cell:
    """Go through the scenario in an interpreter of this Python."""
    cell = Cell(binding.name, f"3.{minor}", "", {})
    if not binding.exists_for(minor):
        cell.exists = False
        return cell
    libraries = FOLDER / f"py3.{minor}" / "libraries"
    libraries.mkdir(parents=True, exist_ok=True)
    try:
        cell.version = install_library(binding, libraries, str(python))
    except LibraryError as error:
        cell.failed["library"] = str(error)
        return cell
    home = FOLDER / f"py3.{minor}" / "work" / binding.name
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    project = make_subject(binding, home, libraries)
    child_environment = project.environment(path=[project.root])
    child_environment["PATH"] = f"{python.parent}{os.pathsep}{child_environment['PATH']}"
    try:
        done = subprocess.run(
            [python, Path(__file__).with_name("scenario.py"), project.root, binding.name],
            env=child_environment,
            cwd=home,
            capture_output=True,
            text=True,
            check=False,
            timeout=TIMEOUT,
        )
    except subprocess.TimeoutExpired:
        cell.failed["timeout"] = f"longer than {TIMEOUT} s"
        return cell
    (home / "output.txt").write_text(f"{done.stdout}\n{done.stderr}", encoding="utf-8")
    cell.failed.update(judge(binding, done.stdout, done.returncode, done.stderr))
    return cell


def judge(binding: Binding, output: str, code: int, errors: str) -> dict[str, str]:
    """Give the broken promises of one interpreter's output and exit status."""
    failed: dict[str, str] = {}
    seen = set()
    for line in output.splitlines():
        if line.startswith("["):
            name, problem = json.loads(line)
            seen.add(name)
            if problem is not None:
                failed[name] = problem
    if code < 0:
        name = signal.Signals(-code).name
        failed[f"crash:{name}"] = f"after {sorted(seen)}; {errors[-1500:]}"
    elif code:
        failed["exit"] = f"status {code}; {errors[-1500:]}"
    # After the failure of a step, what it should have shown was not looked at; one name is enough.
    missing = [name for name in expected_names(binding.language) if name not in seen]
    if missing and not failed:
        failed["incomplete"] = f"never looked at: {', '.join(missing)}"
    return failed


def print_table(cells: Sequence[Cell], bindings: Sequence[Binding], minors: Sequence[int]) -> None:
    """Print a row for each version of a library, a column for each Python, then what failed."""
    by_place = {(one.binding, one.python): one for one in cells}
    columns = [f"3.{minor}" for minor in minors]
    rows = []
    for binding in bindings:
        row = [by_place[binding.name, column] for column in columns]
        version = next((one.version for one in row if one.version), "")
        label = f"{binding.name} ({version})" if version else binding.name
        rows.append((label, *(_short(one.text()) for one in row)))
    header = ("", *(f"Python {column}" for column in columns))
    widths = [max(len(row[i]) for row in (header, *rows)) for i in range(len(header))]
    print()
    for one in (header, *rows):
        print(
            "  ".join(text.ljust(width) for text, width in zip(one, widths, strict=True)).rstrip()
        )
    for cell in cells:
        if cell.failed:
            print(f"\n{cell.binding}, Python {cell.python}")
            for name, problem in cell.failed.items():
                print(textwrap.indent(f"{name}: {problem}", "  "))


def _short(text: str) -> str:
    limit = 60
    return text if len(text) <= limit else f"{text[: limit - 4]} ..."


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", action="append", metavar="NAME", help="names that start so")
    parser.add_argument("--python", action="append", metavar="3.N", help="this Python")
    parser.add_argument("--json", type=Path, default=ROOT / "build" / "matrix.json")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    arguments = parser.parse_args()

    bindings = [
        one
        for one in MATRIX.values()
        if not arguments.only or one.name.startswith(tuple(arguments.only))
    ]
    wanted = [int(one.split(".")[1]) for one in arguments.python or []] or list(MINORS)
    pythons = environment.find_pythons(wanted)
    missing = sorted(set(wanted) - set(pythons))
    if missing:
        print("not found:", ", ".join(f"Python 3.{minor}" for minor in missing))
    if not bindings or not pythons or (arguments.python and missing):
        names = ", ".join(MATRIX)
        raise SystemExit(f"nothing to do; the names are {names}")
    interpreters = {minor: prepare(minor, python) for minor, python in pythons.items()}
    cells = []
    with ThreadPoolExecutor(arguments.jobs) as pool:
        places = [(one, minor) for one in bindings for minor in pythons]

        def run_place(place: tuple[Binding, int]) -> Cell:
            binding, minor = place
            return run_cell(binding, minor, interpreters[minor])

        for cell in pool.map(run_place, places):
            print(f"{cell.binding:<26} 3.{cell.python[2:]}  {_short(cell.text())}", flush=True)
            cells.append(cell)
    print_table(cells, bindings, sorted(pythons))
    rows = [{**vars(cell), "cell": cell.text()} for cell in cells]
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    arguments.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
    sys.exit(any(cell.failed for cell in cells))


def prepare(minor: int, python: Path) -> Path:
    """Give the interpreter of a virtual environment with rehook."""
    folder = FOLDER / f"py3.{minor}"
    log = LOGS / f"matrix-3.{minor}.log"
    ours = environment.make_venv(python, folder / "venv", log)
    environment.install_rehook(ours, folder / "core", log)
    return ours


if __name__ == "__main__":
    main()
