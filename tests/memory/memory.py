"""The core scenarios under a tool that watches every access to memory.

    memory.py valgrind | asan  [--only SCENARIO] [--binding NAME]

valgrind: rehook as it is installed. asan: rehook's core compiled with the address and
undefined-behaviour sanitizers (in build/asan), once with the module as it is and once with the
module compiled with the address sanitizer, too. Exit status 1 on any report, a crash, or a promise
that was not kept. Uninitialised values and leaks are not looked for: the interpreter has plenty of
its own.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if __name__ == "__main__":  # instead of this folder, in which a module has the folder's name
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from memory.valgrind_report import read_errors
from support.environment import ROOT, install_rehook
from support.subject import BINDINGS, install_library, make_subject

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from support.project import Project

HERE = Path(__file__).resolve().parent
DEFAULT_BINDINGS = ("pybind11-newest", "nanobind-3-newest", "capi-multi-heap")
NAMES = ("reload", "rollback", "adoption", "layout", "functions", "migration")
TIMEOUT = 1800


@dataclass(frozen=True)
class Outcome:
    """What one interpreter did."""

    returncode: int
    errors: str  # its standard error
    reports: tuple[str, ...]  # of the tool, one text each

    def problems(self) -> list[str]:
        """Give what is wrong, in words; nothing when all is well."""
        found = list(self.reports)
        if self.returncode:
            found.append(f"exit status {self.returncode}: {self.errors.strip()[-2000:]}")
        return found


class Tool(Protocol):
    """A way to run an interpreter under watch."""

    name: str

    def prepare(self, project: Project, binding: str) -> None:
        """Make ready what all scenarios of this project share."""

    def run(self, project: Project, binding: str, scenario: str) -> Outcome:
        """Run one scenario."""


def run_scenario(
    project: Project,
    binding: str,
    scenario: str,
    *,
    before: Sequence[str | Path] = (),
    env: Mapping[str, str | None] | None = None,
    path: Sequence[Path] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run scenarios.py, behind the words of `before`."""
    script = HERE / "scenarios.py"
    return subprocess.run(
        [*before, sys.executable, script, project.root, binding, scenario],
        env=project.environment(path=path or [project.root], env=env),
        cwd=project.home,
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT,
    )


class Valgrind:
    """Memcheck, without what the same program reports without rehook."""

    name = "valgrind"

    def __init__(self) -> None:
        if shutil.which("valgrind") is None:
            raise SystemExit("valgrind is not installed; on Debian: apt-get install valgrind")
        self._known: dict[Path, set[tuple[str, ...]]] = {}

    def prepare(self, project: Project, binding: str) -> None:
        """Build everything natively, and note what a program without rehook reports."""
        project.run("import rehook; rehook.install(projects=[ROOT])\nimport subject")
        (module,) = project.store.glob("projects/*/*/build/_core*.so")
        plain = project.home / "plain"
        shutil.copytree(project.path("subject"), plain / "subject")
        shutil.copy(module, plain / "subject")
        for name in NAMES:
            run_scenario(project, binding, name)  # what fails here fails again, and is told then
        self._known[project.root] = set()
        done = self._run(project, binding, "plain", [plain])
        if done.returncode:
            raise SystemExit(f"the plain import failed under valgrind:\n{done.errors}")

    def run(self, project: Project, binding: str, scenario: str) -> Outcome:
        return self._run(project, binding, scenario, [project.root])

    def _run(self, project: Project, binding: str, scenario: str, path: Sequence[Path]) -> Outcome:
        xml = project.home / f"{scenario}.xml"
        command: list[str | Path] = ["valgrind", "--tool=memcheck", "--show-leak-kinds=none"]
        command += ["--undef-value-errors=no", "--error-limit=no", "--num-callers=24"]
        command += ["--fair-sched=yes", "--xml=yes", f"--xml-file={xml}"]
        command += [f"--suppressions={HERE / 'python.supp'}"]
        # The interpreter's own allocator would hide a block that was freed.
        env = {"PYTHONMALLOC": "malloc"}
        done = run_scenario(project, binding, scenario, before=command, env=env, path=path)
        known = self._known[project.root]
        errors = read_errors(xml)
        if scenario == "plain":
            known.update(one.signature for one in errors)
            return Outcome(done.returncode, done.stderr, ())
        fresh = tuple(str(one) for one in errors if one.signature not in known)
        return Outcome(done.returncode, done.stderr, fresh)


class Asan:
    """The address and undefined-behaviour sanitizers in rehook, and if so told in the module."""

    def __init__(self, *, module_too: bool) -> None:
        self.name = "asan, module too" if module_too else "asan"
        self._module_too = module_too
        self._site = ROOT / "build" / "asan" / "site"
        log = ROOT / "build" / "logs" / "asan.log"
        install_rehook(
            Path(sys.executable),
            ROOT / "build" / "asan" / "core",
            log,
            target=self._site,
            sanitize="address,undefined",
        )

    def prepare(self, project: Project, binding: str) -> None:
        """Make sure that it is the sanitized core that will run; scenarios build what they need."""
        path = [project.root, self._site]
        code = "import rehook._core; print(json.dumps(rehook._core.__file__))"
        core = project.run(code, path=path, env=self._preload()).json
        if not (core.startswith(str(self._site)) and _is_sanitized(Path(core))):
            raise SystemExit(f"{binding}: {core} is not the sanitized build of rehook")

    def run(self, project: Project, binding: str, scenario: str) -> Outcome:
        reports = project.home / f"reports-{scenario}"
        reports.mkdir()
        log = f"log_path={reports}/report"
        env = {
            **self._preload(),
            "ASAN_OPTIONS": f"detect_leaks=0:detect_odr_violation=0:exitcode=99:{log}",
            "UBSAN_OPTIONS": f"print_stacktrace=1:{log}",
            "PYTHONMALLOC": "malloc",
        }
        if self._module_too:
            flags = "-fsanitize=address -fno-omit-frame-pointer"
            env |= {"CFLAGS": flags, "CXXFLAGS": flags, "LDFLAGS": "-fsanitize=address"}
        path = [project.root, self._site]
        done = run_scenario(project, binding, scenario, env=env, path=path)
        texts = [one.read_text(errors="replace") for one in sorted(reports.iterdir())]
        modules = list(project.store.glob("projects/*/*/build/_core*.so"))
        if self._module_too and not any(_is_sanitized(one) for one in modules):
            texts.append("the module was not compiled with the sanitizer")
        return Outcome(done.returncode, done.stderr, tuple(texts))

    def _preload(self) -> dict[str, str | None]:
        # An interpreter that is not sanitized itself needs the library first, and libstdc++
        # beside it, or the first exception thrown finds nobody to catch it.
        libraries = [_library("libasan.so"), _library("libstdc++.so.6")]
        return {"LD_PRELOAD": " ".join(libraries), "ASAN_OPTIONS": "detect_leaks=0"}


def _is_sanitized(library: Path) -> bool:
    return b"__asan_" in library.read_bytes()


def _library(name: str) -> str:
    """Give the path of a library of the compiler."""
    command = ["c++", f"-print-file-name={name}"]
    path = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    if os.sep not in path:
        raise SystemExit(f"the compiler has no {name}")
    return os.path.realpath(path)


def watch(tool: Tool, binding: str, names: Sequence[str], folder: Path) -> int:
    """Run the scenarios, print a line for each and what was found; give how many failed."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    libraries = ROOT / "build" / "libraries"
    libraries.mkdir(parents=True, exist_ok=True)
    install_library(BINDINGS[binding], libraries)
    project = make_subject(BINDINGS[binding], folder, libraries)
    tool.prepare(project, binding)
    failed = 0
    for name in names:
        start = time.monotonic()
        outcome = tool.run(project, binding, name)
        problems = outcome.problems()
        seconds = time.monotonic() - start
        verdict = "ok" if not problems else f"{len(outcome.reports)} reports"
        if outcome.returncode:
            verdict += f", exit status {outcome.returncode}"
        print(f"{tool.name:<18}{binding:<22}{name:<12}{seconds:5.0f} s  {verdict}", flush=True)
        for one in problems:
            print("    " + one.rstrip().replace("\n", "\n    "), flush=True)
        failed += bool(problems)
    return failed


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("tool", choices=("valgrind", "asan"))
    parser.add_argument("--only", action="append", choices=NAMES)
    parser.add_argument("--binding", action="append", choices=BINDINGS)
    arguments = parser.parse_args()
    tools: list[Tool] = (
        [Valgrind()]
        if arguments.tool == "valgrind"
        else [Asan(module_too=False), Asan(module_too=True)]
    )
    failed = total = 0
    for number, tool in enumerate(tools):
        for binding in arguments.binding or DEFAULT_BINDINGS:
            folder = ROOT / "build" / "memory" / f"{arguments.tool}-{number}-{binding}"
            names = arguments.only or NAMES
            failed += watch(tool, binding, names, folder)
            total += len(names)
    print(f"{total - failed} of {total} without a report")
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
