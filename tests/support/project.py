"""A throw-away copy of a fixture, and child interpreters that import it."""

from __future__ import annotations

import contextlib
import json
import os
import select
import shlex
import shutil
import subprocess
import sys
import textwrap
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures"


@dataclass(frozen=True)
class Run:
    """What a child interpreter did."""

    returncode: int
    stdout: str
    stderr: str

    @property
    def json(self) -> Any:
        """The last line of stdout, which the script printed with json.dumps."""
        lines = self.stdout.strip().splitlines()
        assert lines, f"the child printed nothing; stderr:\n{self.stderr}"
        return json.loads(lines[-1])


class Mailbox:
    """A pipe with a name: anything may write lines to it, the test reads them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        os.mkfifo(path)
        self._end = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        # With a writer of our own, no other one's leaving looks like the end.
        self._keep = os.open(path, os.O_WRONLY)

    def read(self, timeout: float = 60) -> str:
        """Wait for a line, and give it."""
        poll = select.poll()
        poll.register(self._end, select.POLLIN)
        text = b""
        while not text.endswith(b"\n"):
            assert poll.poll(timeout * 1000), f"nothing came to {self.path.name}"
            text += os.read(self._end, 1)
        return text.decode().strip()

    def close(self) -> None:
        os.close(self._end)
        os.close(self._keep)


class Gate:
    """Where compilers wait, so that a test can act in the middle of a compilation."""

    def __init__(self, started: Path, go: Path) -> None:
        self._started = Mailbox(started)
        self._go = go
        os.mkfifo(go)

    def wait(self, timeout: float = 60) -> list[int]:
        """Wait for a compiler to arrive; give the numbers of its processes."""
        return [int(word) for word in self._started.read(timeout).split()]

    def open(self) -> None:
        """Let the compiler that waits go on; no further one will wait."""
        writer = os.open(self._go, os.O_WRONLY)
        self.remove()
        os.close(writer)

    def remove(self) -> None:
        """Let no further compiler wait; for when the waiting one is dead."""
        self._go.unlink()
        self._started.close()
        self._started.path.unlink()


def wait_until_gone(pids: Sequence[int], timeout: float = 60) -> None:
    """Wait until none of these processes runs; fails after `timeout` seconds."""
    for pid in pids:
        try:
            handle = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        poll = select.poll()
        poll.register(handle, select.POLLIN)
        ended = poll.poll(timeout * 1000)
        os.close(handle)
        assert ended, f"process {pid} still runs"


class Project:
    """A copy of a fixture under `home`, with a store and a trace file of its own.

    home/<name>/       the project folder, `root`
    home/store/        REHOOK_STORE_DIR of the children
    home/config/       XDG_CONFIG_HOME of the children: what the user allowed
    home/trace.jsonl   REHOOK_TRACE of the children
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.home = root.parent
        self.store = self.home / "store"
        self.trace_file = self.home / "trace.jsonl"
        self.env: dict[str, str] = {}  # for every child, from now on
        self._compiler_log: Path | None = None
        self._children: list[subprocess.Popen[str]] = []

    @classmethod
    def copy_of(cls, fixture: str, home: Path, *, name: str | None = None) -> Project:
        """Copy fixtures/<fixture> to home/<name>, by default under its own name."""
        root = home / (name or fixture)
        shutil.copytree(FIXTURES / fixture, root, ignore=shutil.ignore_patterns("__pycache__"))
        return cls(root)

    @classmethod
    def of_files(cls, home: Path, name: str, files: Mapping[str, str]) -> Project:
        """Make a project home/<name> of these files: path in the project -> text."""
        project = cls(home / name)
        for file, text in files.items():
            project.write(file, textwrap.dedent(text))
        return project

    # ------------------------------------------------------------ files

    def path(self, file: str) -> Path:
        return self.root / file

    def read(self, file: str) -> str:
        return self.path(file).read_text(encoding="utf-8")

    def write(self, file: str, text: str) -> None:
        """Save a file as an editor does; its time stamp moves even on a coarse clock."""
        path = self.path(file)
        path.parent.mkdir(parents=True, exist_ok=True)
        before = path.stat().st_mtime_ns if path.exists() else 0
        path.write_text(text, encoding="utf-8")
        while path.stat().st_mtime_ns == before:
            time.sleep(0.001)
            os.utime(path)

    def edit(self, file: str, old: str, new: str) -> None:
        """Replace the one occurrence of `old`; fails when it is not there, or there twice."""
        text = self.read(file)
        assert text.count(old) == 1, f"{file} has {text.count(old)} times: {old!r}"
        self.write(file, text.replace(old, new))

    # ------------------------------------------------------------ children

    @property
    def source_paths(self) -> list[Path]:
        """Folders below the root that hold importable packages: src/, lib/ or the root itself."""
        folders = [self.root / "src", self.root / "lib", self.root]
        return [f for f in folders if f.is_dir() and any(f.glob("*/__init__.py"))]

    def environment(
        self,
        *,
        path: Sequence[str | Path] | None = None,
        env: Mapping[str, str | None] | None = None,
    ) -> dict[str, str]:
        """The children's environment; a value of None in `env` removes the variable.

        What is on PYTHONPATH here stays on it, behind `path`: rehook may be found there.
        """
        result = {k: v for k, v in os.environ.items() if not k.startswith(("REHOOK_", "PYTHON"))}
        entries = [self.home] if path is None else list(path)
        inherited = [one for one in os.environ.get("PYTHONPATH", "").split(os.pathsep) if one]
        result["PYTHONPATH"] = os.pathsep.join(map(str, [*entries, *inherited]))
        result["PYTHONFAULTHANDLER"] = "1"
        result["REHOOK_STORE_DIR"] = str(self.store)
        result["XDG_CONFIG_HOME"] = str(self.home / "config")
        result["REHOOK_TRACE"] = str(self.trace_file)
        for key, value in {**self.env, **(env or {})}.items():
            if value is None:
                result.pop(key, None)
            else:
                result[key] = value
        return result

    def run(
        self,
        script: str,
        *args: str,
        env: Mapping[str, str | None] | None = None,
        path: Sequence[str | Path] | None = None,
        check: bool = True,
        timeout: float = 480,
        flags: Sequence[str] = (),
        bare: bool = False,
    ) -> Run:
        """Run `script` (dedented source) in a fresh interpreter.

        The script finds the names ROOT (the project folder, a str), `json`, `os`, `sys`, and
        `edit(file, old, new)` and `write(file, text)`, which do to the project what these methods
        do here; `bare` leaves them and their imports out. sys.path starts with the project's
        parent, or with the entries of `path`. `check` fails the test, with both streams shown,
        when the child's exit code is not 0.
        """
        child = self.start(script, *args, env=env, path=path, flags=flags, bare=bare)
        return self.finish(child, check=check, timeout=timeout)

    def finish(
        self, child: subprocess.Popen[str], *, check: bool = True, timeout: float = 480
    ) -> Run:
        """Wait for a child of start(); `check` and `timeout` as in run()."""
        try:
            stdout, stderr = child.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            child.kill()
            stdout, stderr = child.communicate()
            message = f"the child took longer than {timeout} s\n{stdout}\n{stderr}"
            raise AssertionError(message) from None
        done = Run(child.returncode, stdout, stderr)
        if check:
            assert done.returncode == 0, (
                f"the child exited with {done.returncode}\n"
                f"--- stdout\n{done.stdout}\n--- stderr\n{done.stderr}\n--- project: {self.root}"
            )
        return done

    def start(
        self,
        script: str,
        *args: str,
        env: Mapping[str, str | None] | None = None,
        path: Sequence[str | Path] | None = None,
        flags: Sequence[str] = (),
        bare: bool = False,
    ) -> subprocess.Popen[str]:
        """Start `script` as run() does, without waiting; both streams are pipes, stdin too."""
        source = textwrap.dedent(script)
        if not bare:
            tests = str(Path(__file__).resolve().parents[1])
            source = _PRELUDE.format(support=tests, root=str(self.root)) + source
        child = subprocess.Popen(
            [sys.executable, *flags, "-c", source, *args],
            cwd=self.home,
            env=self.environment(path=path, env=env),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._children.append(child)
        return child

    def kill(self, child: subprocess.Popen[str]) -> None:
        """Kill a child of start() with SIGKILL, and wait until it is gone."""
        child.kill()
        child.communicate()

    def close(self) -> None:
        """Kill the children that a failed test left behind, and let their compilers go on."""
        for child in self._children:
            if child.returncode is None:
                self.kill(child)
        for name in ("go", "end"):
            gate = self.home / name
            if gate.is_fifo():
                with contextlib.suppress(OSError):  # nobody waits
                    os.close(os.open(gate, os.O_WRONLY | os.O_NONBLOCK))
                gate.unlink()

    # ------------------------------------------------------------ what happened

    def trace(self, step: str | None = None) -> list[dict[str, Any]]:
        """The steps that all children wrote so far, or those of one name."""
        if not self.trace_file.exists():
            return []
        lines = self.trace_file.read_text(encoding="utf-8").splitlines()
        steps = [json.loads(line) for line in lines]
        return [s for s in steps if step is None or s["step"] == step]

    def clear_trace(self) -> None:
        self.trace_file.unlink(missing_ok=True)

    def allow(self) -> None:
        """Let children build this project wherever they find it, as `rehook allow` does."""
        folder = self.home / "config" / "rehook"
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        (folder / "allowed").write_text(f"{self.root.resolve()}\n", encoding="utf-8")

    def builds(self) -> int:
        """How many builds the children ran so far, by their traces."""
        return len(self.trace("build"))

    def count_compilers(self) -> dict[str, str]:
        """Give an environment for run() under which compiles() knows each compiler CMake started.

        It becomes part of the configuration, so use it from the first run on.
        """
        self._compiler_log = self.home / "compiles.txt"
        launcher = self.home / "note_compile.sh"
        launcher.write_text(
            _LAUNCHER.format(
                sources=shlex.quote(f"{self.root}/"),
                log=shlex.quote(str(self._compiler_log)),
                **{one: shlex.quote(str(self.home / one)) for one in ("started", "go", "end")},
            ),
            encoding="utf-8",
        )
        launcher.chmod(0o755)
        return {f"CMAKE_{lang}_COMPILER_LAUNCHER": str(launcher) for lang in ("C", "CXX")}

    def hold_compilers(self, *, at_end: bool = False) -> Gate:
        """Let every compiler of the project's sources wait at a gate, before its work or after it.

        Works for children under count_compilers().
        """
        assert self._compiler_log is not None, "count_compilers() was not called"
        return Gate(self.home / "started", self.home / ("end" if at_end else "go"))

    def compiles(self) -> list[str]:
        """The project's sources compiled so far by children that ran with count_compilers()."""
        assert self._compiler_log is not None, "count_compilers() was not called"
        if not self._compiler_log.exists():
            return []
        lines = self._compiler_log.read_text(encoding="utf-8").splitlines()
        return [Path(line).name for line in lines]

    def forget(self) -> None:
        """Start counting anew: trace() and compiles() are empty again."""
        self.clear_trace()
        if self._compiler_log is not None:
            self._compiler_log.unlink(missing_ok=True)


_LAUNCHER = """\
#!/bin/sh
for last; do :; done
case "$last" in {sources}*) ;; *) exec "$@" ;; esac
echo "$last" >>{log}
hold() {{
  cat "$1" >/dev/null &
  echo "$$ $!" >{started}
  wait $!
}}
if [ -p {go} ]; then hold {go}; fi
if [ ! -p {end} ]; then exec "$@"; fi
"$@" || exit
hold {end}
"""

_PRELUDE = """\
import json, os, sys
from pathlib import Path
ROOT = {root!r}
sys.path.append({support!r})
from support.project import Project as _Project
_project = _Project(Path(ROOT))
edit, write = _project.edit, _project.write
sys.path.remove({support!r})
"""
