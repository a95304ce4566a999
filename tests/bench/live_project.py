"""The demo project in a live interpreter, for what is timed from inside."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.project import Project

ALGO = "cpp/algo.cpp"


def timed(work: Callable[[], object]) -> float:
    """Give the seconds that it takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


class Live:
    """The live interpreter: rehook installed, the demo project built and imported."""

    def __init__(self, project: Project) -> None:
        import rehook

        self.project = project
        self.rehook: Any = rehook
        self.length = 30
        rehook.install(projects=[project.root])
        import pondlife  # type: ignore[import-not-found]

        self.package: Any = pondlife

    @property
    def build_dir(self) -> Path:
        return Path(self.rehook.status().projects[0]["build_dir"])

    def inputs(self) -> int:
        return int(self.rehook.explain("pondlife._core").inputs)

    def edit(self, length: int) -> None:
        """Save another constant in one translation unit."""
        self.project.edit(ALGO, f"return {self.length}.0 +", f"return {length}.0 +")
        self.length = length

    def reload(self) -> None:
        """Make what is saved live, and see that it is."""
        self.rehook.reload("pondlife")
        assert self.package.leap_length(0) == self.length, "the new code is not live"


def run_child(project: Project, work: Callable[[Project, int], Any], rounds: int) -> dict[str, Any]:
    """Run a function of a script that takes `--child NAME ROOT ROUNDS`, in a fresh interpreter."""
    script = work.__code__.co_filename
    command = [sys.executable, script, "--child", work.__name__, str(project.root), str(rounds)]
    environment = project.environment(env={"CMAKE_CXX_COMPILER_LAUNCHER": None})
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{work.__name__} failed:\n{done.stdout}{done.stderr}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result
