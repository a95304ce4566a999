"""One live interpreter: build, edit, reload, break, repair, undo. Run by `make demo`.

Everything shown after >>> is executed as shown; the project is a fresh copy of fixtures/demo. The
exit code is 1 when something did not come out as it should.
"""

from __future__ import annotations

import ast
import contextlib
import io
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

FIXTURE = Path(__file__).resolve().parents[2] / "fixtures" / "demo"
WIDTH = 96


class DemoFailedError(Exception):
    """The session did not go as promised."""


class Session:
    """Types into this interpreter, and shows what it answers."""

    def __init__(self, folder: Path) -> None:
        self.names: dict[str, Any] = {"__name__": "__demo__"}
        self.folder = folder
        self.seconds = 0.0  # of the last line typed

    def say(self, text: str = "") -> None:
        print(text, flush=True)

    def type(self, source: str, *, gives: object = None) -> Any:
        """Run a statement, or show the value of an expression and check it against `gives`."""
        self.say(f">>> {source}")
        tree = ast.parse(source)
        printed, value = io.StringIO(), None
        start = time.perf_counter()
        try:
            with contextlib.redirect_stdout(printed):
                if len(tree.body) == 1 and isinstance(tree.body[0], ast.Expr):
                    value = eval(compile(source, "<demo>", "eval"), self.names)  # noqa: S307
                else:
                    exec(compile(source, "<demo>", "exec"), self.names)
        finally:
            self.seconds = time.perf_counter() - start
        self.show(printed.getvalue() + ("" if value is None else repr(value)))
        if gives is not None and value != gives:
            message = f"expected {gives!r}, got {value!r}"
            raise DemoFailedError(message)
        return value

    def type_failing(self, source: str) -> ImportError:
        """Run what must raise a BuildError, and show its message."""
        try:
            self.type(source)
        except ImportError as error:
            if type(error).__name__ != "BuildError":
                raise
            self.show(f"BuildError: {error}", lines=8)
            return error
        message = "the broken source was accepted"
        raise DemoFailedError(message)

    def show(self, text: str, lines: int = 6) -> None:
        """Print an answer, without the folder's own path in it."""
        text = text.replace(f"{self.folder}/", "").rstrip()
        for line in text.splitlines()[:lines]:
            self.say(line if len(line) <= WIDTH else line[: WIDTH - 3] + "...")

    def save(self, file: str, old: str, new: str, what: str) -> None:
        """Edit a source as a person would, and show the difference."""
        path = self.folder / file
        text = path.read_text(encoding="utf-8")
        if text.count(old) != 1:
            message = f"{file} does not have, once: {old}"
            raise DemoFailedError(message)
        path.write_text(text.replace(old, new), encoding="utf-8")
        self.say(f"\n# {what}: {file}, line {text[: text.index(old)].count(chr(10)) + 1}")
        self.say(f"  - {old}")
        self.say(f"  + {new}")

    def took(self, what: str) -> None:
        self.say(f"    {_time(self.seconds)}: {what}")

    def reload_with_report(self) -> None:
        """Reload with rehook's own call, and show where the time went."""
        self.type('report = rehook.reload("pondlife")')
        spent = self.names["report"].durations
        parts = [f"{name} {_time(spent[name])}" for name in ("decide", "build", "load")]
        self.say(f"    {_time(self.seconds)}: {', '.join(parts)}")
        self.type("print(report)")

    def check(self, holds: bool, message: str) -> None:
        if not holds:
            raise DemoFailedError(message)


def _time(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds >= 1 else f"{seconds * 1000:.1f} ms"


LEAP_1 = "return 30.0 + weather::rainfall(hours_of_rain);"
LEAP_2 = "return 45.0 + 2 * weather::rainfall(hours_of_rain);"
LEAP_BROKEN = "return 45.0 + 2 * weather::rainfal(hours_of_rain);"
LEAP_3 = "return 60.0 + hours_of_rain;"
ALGO = "pondlife/cpp/algo.cpp"


def play(s: Session) -> None:
    """Go through the whole session."""
    s.say("# One interpreter, from the first line to the last. pondlife/ is a CMake project:")
    s.say("# three C++ files, a static library, two generated headers, a little Python.\n")
    s.type("import importlib, random, rehook")
    s.type('rehook.install(projects=["pondlife"])')
    s.type("import pondlife")
    s.took("never built before, so: configure, compile, link, load")
    s.type("soundings = [random.gauss(120, 15) for _ in range(1_000_000)]")
    s.took("the data of the day; a restart would lose it")
    s.type('fergus = pondlife.Frog("Fergus")')
    s.type("round(pondlife.depth(soundings))", gives=120)
    s.type("fergus.leap(rain=2)", gives=35.0)
    data = s.names["soundings"]

    s.save(ALGO, LEAP_1, LEAP_2, "edit")
    s.type("importlib.reload(pondlife)")
    s.took("one file compiled, the module linked and taken over")
    s.type('pondlife.Frog("Freda").leap(rain=2)   # a new frog, the new code', gives=55.0)
    s.type("fergus.leap(rain=2)   # the same frog, and he knows the new leap", gives=55.0)
    s.type("round(pondlife.depth(soundings))   # the data never moved", gives=120)

    s.save(ALGO, LEAP_2, LEAP_BROKEN, "a slip of the finger")
    error = s.type_failing("importlib.reload(pondlife)")
    diagnostics = getattr(error, "diagnostics", [])
    s.check(
        any(Path(one.file).name == "algo.cpp" and one.line > 0 for one in diagnostics),
        "the error does not tell where in algo.cpp it is",
    )
    s.type('pondlife.Frog("Fred").leap(rain=2)   # what worked goes on working', gives=55.0)

    s.save(ALGO, LEAP_BROKEN, LEAP_3, "repair")
    s.reload_with_report()
    s.check(s.names["report"].built >= 1, "nothing was built")
    s.type("pondlife.leap_length(2)", gives=62.0)

    s.save(ALGO, LEAP_3, LEAP_1, "undo, all the way back to the first version")
    s.reload_with_report()
    s.check(s.names["report"].built == 0, "an earlier state was compiled again")
    s.type("pondlife.leap_length(2)   # from the store, no compiler was started", gives=35.0)

    s.say("\n# nothing changed")
    s.reload_with_report()
    s.check(not s.names["report"].modules, "something was reloaded although nothing changed")
    s.type("fergus.travelled", gives=90.0)
    s.check(s.names["soundings"] is data and len(data) == 1_000_000, "the data is gone")
    s.say("\n# Fergus and a million soundings lived through three builds, a mistake and an undo.")


def main() -> int:
    folder = Path(tempfile.mkdtemp(prefix="rehook-demo-")).resolve()
    shutil.copytree(FIXTURE, folder / "pondlife")
    os.environ["REHOOK_STORE_DIR"] = str(folder / "store")
    os.chdir(folder)
    try:
        play(Session(folder))
    except DemoFailedError as failure:
        print(f"\ndemo FAILED: {failure}", flush=True)
        return 1
    finally:
        os.chdir("/")
        shutil.rmtree(folder, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
