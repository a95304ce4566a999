"""What the parts of the torture share: the project, its states, its processes, what they leave."""

from __future__ import annotations

import ctypes
import json
import os
import re
import select
import signal
import subprocess
import sys
import sysconfig
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from support.project import Project
from support.sources import c_module

if TYPE_CHECKING:
    from collections.abc import Iterator

CHILD = Path(__file__).resolve().with_name("child.py")
PR_SET_CHILD_SUBREAPER = 36
PATIENCE = 120.0  # seconds after which a process counts as stuck
GRACE = 10.0  # seconds that what a killed process had started may go on

_TEMPORARY = re.compile(r"\.tmp-(\d+)-[0-9a-f]{16}")

# ---------------------------------------------------------------- the project

# find_package(Python) would take most of the time of a configuration.
CMAKE_LISTS = f"""\
cmake_minimum_required(VERSION 3.18...3.30)
project(box LANGUAGES C)
add_library(_core MODULE core.c other.c)
target_include_directories(_core SYSTEM PRIVATE "{sysconfig.get_path("include")}")
set_target_properties(_core PROPERTIES
  PREFIX "" SUFFIX "{sysconfig.get_config_var("EXT_SUFFIX")}" POSITION_INDEPENDENT_CODE ON)
"""


@dataclass(frozen=True)
class State:
    """What the sources say. Two files are compiled, both read a header."""

    value: int = 1
    other: int = 1
    scale: int = 1
    comment: int = 0  # in CMakeLists.txt

    def answer(self) -> list[int]:
        return [self.value, self.other, self.scale, self.scale]

    def files(self) -> dict[str, str]:
        functions = {"value": str(self.value), "other": "other_file()", "scale": "SCALE"}
        functions["other_scale"] = "scale_there()"
        head = '#include "shape.h"\nlong other_file(void);\nlong scale_there(void);'
        return {
            "CMakeLists.txt": CMAKE_LISTS + f"# {self.comment}\n",
            "core.c": c_module("_core", functions, head=head),
            "other.c": '#include "shape.h"\n'
            f"long other_file(void) {{ return {self.other}; }}\n"
            "long scale_there(void) { return SCALE; }\n",
            "shape.h": f"#define SCALE {self.scale}\n",
            "box/__init__.py": "from . import _core\n",
        }


@dataclass(frozen=True)
class Step:
    """A line of the trace: what a process has ended."""

    pid: int
    name: str
    length: int  # of the line, in bytes


class Box(Project):
    """The project, and the state that its sources are in."""

    def __init__(self, home: Path) -> None:
        super().__init__(home / "box")
        self.state = State()
        self._stamps: dict[tuple[str, str], int] = {}
        self._fresh = 1
        for file, text in self.state.files().items():
            self.write(file, text)

    def become(self, state: State, *, old_stamps: bool = False) -> None:
        """Save the files that differ; `old_stamps`: with the times that they had at first."""
        before = self.state.files()
        for file, text in state.files().items():
            if before[file] == text:
                continue
            self._stamps.setdefault((file, before[file]), self.path(file).stat().st_mtime_ns)
            # Beside the project, and moved: whoever is killed, no source is half written.
            draft = self.home / "draft"
            draft.write_text(text, encoding="utf-8")
            if old_stamps and (file, text) in self._stamps:
                stamp = self._stamps[file, text]
                os.utime(draft, ns=(stamp, stamp))
            draft.replace(self.path(file))
        self.state = state

    def fresh(self, kind: str) -> State:
        """Give the state with something new in it: kind is a field of State."""
        self._fresh += 1
        return replace(self.state, **{kind: self._fresh})

    def grow_old(self, days: float) -> None:
        """Let all that the garbage collector looks at be that old."""
        then = time.time() - days * 86400
        wanted = ("state", "collected")
        for path in self.store_files():
            if path.name in wanted or path.parent.name in {"records", "bridges"}:
                os.utime(path, (then, then))

    def store_files(self) -> Iterator[Path]:
        """Everything in the store that is no folder, what vanishes meanwhile included."""
        for folder, _, names in os.walk(self.store):
            for name in names:
                yield Path(folder, name)

    def trace_from(self, begin: int) -> list[Step]:
        """Give the steps in the trace behind that many bytes."""
        try:
            with self.trace_file.open("rb") as stream:
                stream.seek(begin)
                lines = stream.read().split(b"\n")[:-1]
        except FileNotFoundError:
            return []
        found = []
        for line in lines:
            told = json.loads(line)
            found.append(Step(told["pid"], told["step"], len(line) + 1))
        return found

    def orphans(self) -> list[Path]:
        """Give the temporary files of processes that are gone."""
        found = []
        for path in self.store_files():
            name = _TEMPORARY.fullmatch(path.name)
            if name and not Path("/proc", name[1]).exists():
                found.append(path)
        return found


# ---------------------------------------------------------------- processes


def adopt_orphans() -> None:
    """Let what a killed child leaves running become a child of this process, which sees it so."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")


def descendants(top: int) -> dict[int, str]:
    """Give what that process started, by id: how each is called. Looks at nobody else's."""
    found: dict[int, str] = {}
    rest = [top]
    while rest:
        folder = Path("/proc", str(rest.pop()))
        with suppress(OSError):
            for task in (folder / "task").iterdir():
                for word in (task / "children").read_text(encoding="ascii").split():
                    with suppress(OSError):
                        name = Path("/proc", word, "comm").read_text(encoding="utf-8").strip()
                        found[int(word)] = name
                        rest.append(int(word))
    return found


def left_of(child: int) -> dict[int, str]:
    """Give what lives of the session of a child of ours, and end the zombies that it left to us."""
    found = {}
    for pid, name in descendants(os.getpid()).items():
        try:
            stat = Path("/proc", str(pid), "stat").read_text(encoding="utf-8")
            state, parent, _, session = stat.rpartition(")")[2].split()[:4]
        except OSError:  # gone meanwhile
            continue
        if int(session) != child:
            continue
        if state != "Z":
            found[pid] = name
        elif pid != child and int(parent) == os.getpid():
            with suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
    return found


def wait_for_end_of(child: int, patience: float = GRACE) -> dict[int, str]:
    """Wait until nothing of that session lives; give what does when patience is over."""
    end = time.monotonic() + patience
    while (left := left_of(child)) and time.monotonic() < end:
        time.sleep(0.02)
    return left


class Child:
    """A process of child.py, in a session of its own, which tells what it started."""

    def __init__(self, box: Box, role: str, name: str) -> None:
        self.role, self.name = role, name
        self.errors = box.home / f"{name}.txt"
        with self.errors.open("w", encoding="utf-8") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-P", str(CHILD), role, str(box.root), str(box.store)],
                cwd=box.home,
                env=box.environment(path=[box.root]),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                start_new_session=True,
            )
        self._rest = b""
        self._lines: list[Any] = []

    @property
    def pid(self) -> int:
        return self.process.pid

    def send(self) -> bool:
        """Ask for the next answer; False when nobody is there to read it."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(b"\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            return False
        return True

    def hear(self, patience: float) -> Any:
        """Give the next line that it prints; None when none came in time, or it has ended."""
        assert self.process.stdout is not None
        poll = select.poll()
        poll.register(self.process.stdout, select.POLLIN)
        end = time.monotonic() + patience
        while not self._lines:
            if not poll.poll(max(0.0, end - time.monotonic()) * 1000):
                return None
            piece = os.read(self.process.stdout.fileno(), 65536)
            if not piece:
                return None
            *lines, self._rest = (self._rest + piece).split(b"\n")
            self._lines += [json.loads(line[2:]) for line in lines if line.startswith(b"> ")]
        return self._lines.pop(0)

    def kill(self, signal_number: int = signal.SIGKILL) -> None:
        self.process.send_signal(signal_number)

    def end(self, patience: float = PATIENCE) -> int | None:
        """Let it come to its end; give the exit status, None when it did not end."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with suppress(BrokenPipeError):
            self.process.stdin.close()
        try:
            status = self.process.wait(patience)
        except subprocess.TimeoutExpired:
            return None
        self.process.stdout.close()
        return status

    def said(self) -> str:
        return self.errors.read_text(encoding="utf-8", errors="replace")
