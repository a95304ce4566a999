"""How long the first look at a large tree takes, whose stat data nobody knows any more.

100,000 headers of one extension, in a git repository. Then every file gets a new time stamp, as
after a clone or a copy, so that rehook and git alike must read each file again to see that
nothing changed. Both do that in a fresh process, with everything in the kernel's caches, in turn.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

from bench.header_package import PACKAGE, HeaderPackage
from bench.row import Row
from support.project import Project

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

HEADERS, FOLDERS, PADDING = 100_000, 1000, 2000
SCRIPT = """
import rehook
rehook.install(projects=[ROOT])
import {package}
assert {package}.count() == {headers}
"""


class LargeTree:
    """The tree, committed once, and built once by rehook."""

    def __init__(self, home: Path, headers: int, folders: int) -> None:
        self.package = HeaderPackage(home / PACKAGE, headers, folders=folders, padding=PADDING)
        self.project = Project(self.package.root)
        self.headers = headers
        self.environment = self.project.environment(
            env={
                # Neither somebody's settings, nor somebody's monitor.
                "GIT_CONFIG_GLOBAL": os.devnull,
                "GIT_CONFIG_NOSYSTEM": "1",
                "CMAKE_CXX_COMPILER_LAUNCHER": None,
            }
        )
        self.files = [one for one in self.package.root.rglob("*") if one.is_file()]
        self._git("init", "--quiet")
        self._git("config", "gc.auto", "0")  # it would work in the background
        self._git("add", ".")
        who = ("-c", "user.name=bench", "-c", "user.email=bench@localhost")
        self._git(*who, "commit", "--quiet", "-m", "Pebbles", "--no-gpg-sign")
        self.script = SCRIPT.format(package=PACKAGE, headers=headers)
        self.inputs = int(
            self.project.run(
                f"{self.script}\nprint(rehook.explain('{PACKAGE}._core').inputs)", timeout=900
            ).json
        )
        self.version = self._git("--version").split()[-1]

    def _git(self, *words: str) -> str:
        return subprocess.run(
            ["git", "-C", self.package.root, *words],
            env=self.environment,
            check=True,
            capture_output=True,
            text=True,
        ).stdout

    def touch(self) -> None:
        """Give every file a new time stamp."""
        for file in self.files:
            os.utime(file)
        # What is younger than the clock's grain is never believed, by nobody.
        time.sleep(0.1)

    def look(self) -> float:
        """Let rehook decide in a fresh process; give the seconds of the whole process."""
        script = self.script.replace("ROOT", repr(str(self.package.root)))
        self.project.clear_trace()
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", script], env=self.environment, check=True)
        return time.perf_counter() - start

    def decided(self) -> float:
        """Give the seconds that the decision itself took in the last look()."""
        (step,) = self.project.trace("decide")
        return float(step["ms"]) / 1000

    def git_status(self) -> float:
        start = time.perf_counter()
        told = self._git("status", "--porcelain")
        took = time.perf_counter() - start
        assert told == "", f"git sees changes:\n{told[:300]}"
        return took

    def counted(self) -> dict[str, int]:
        """Let rehook decide; give how many inputs it looked at, and how many it read."""
        told = self.project.run(f"{self.script}\nprint(json.dumps(rehook.status().counters))")
        return {name: told.json[name] for name in ("stats", "hashed")}


def first_look(home: Path, rounds: int) -> Row:
    """Give the time in which rehook sees that no file of a touched tree has changed."""
    tree = LargeTree(home, HEADERS, FOLDERS)
    tree.touch()
    counted = tree.counted()
    assert counted["hashed"] >= HEADERS, "not every file was looked into"
    times: dict[str, list[float]] = {
        name: [] for name in ("touched", "decide", "git", "again", "git again")
    }
    for number in range(rounds + 1):
        tree.touch()
        if number % 2:
            theirs, ours = tree.git_status(), tree.look()
        else:
            ours, theirs = tree.look(), tree.git_status()
        times["decide"].append(tree.decided())
        times["touched"].append(ours)
        times["git"].append(theirs)
        times["again"].append(tree.look())
        times["git again"].append(tree.git_status())
    medians = {name: statistics.median(one[1:]) * 1000 for name, one in times.items()}
    ratio = statistics.median(
        a / b for a, b in zip(times["touched"][1:], times["git"][1:], strict=True)
    )
    detail: dict[str, Any] = {
        "files": len(tree.files),
        "inputs": tree.inputs,
        **counted,
        "bytes": sum(one.stat().st_size for one in tree.files),
        "decision_ms": medians["decide"],
        "second_look_ms": medians["again"],
        "second_git_status_ms": medians["git again"],
        "git": tree.version,
        "rounds": rounds,
    }
    return Row(
        "first_look_100k",
        medians["touched"],
        "ms",
        f"git {tree.version} status on the same touched tree; both whole processes, the import too;"
        f" nothing touched since: {medians['again']:.0f} ms, git {medians['git again']:.0f} ms",
        medians["git"],
        ratio,
        "< x1",
        detail,
    )


BENCHMARKS: dict[str, tuple[Callable[[Path, int], Row], int, int]] = {
    "first_look_100k": (first_look, 7, 1),
}
