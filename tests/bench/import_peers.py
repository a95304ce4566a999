"""What rehook adds to an import when nothing changed, beside other tools that look for changes.

All build the same package of many headers. Every number is the wall time of a whole process, less
that of a process of the same interpreter that imports the built package without the tool; the
processes run in turn. A tool that cannot be installed, or does not run here, is told, and the rest
goes on.
"""

from __future__ import annotations

import functools
import os
import shutil
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench import peer_environment
from bench.header_package import PACKAGE, HeaderPackage
from bench.peer_environment import peer_problem, peer_version
from bench.row import Row
from support.project import Project

if TYPE_CHECKING:
    from collections.abc import Callable

SECONDS_OF_BUILD, SECONDS_OF_IMPORT = 600.0, 60.0
OURS, PLAIN, PLAIN_OF_PEERS = "rehook", "plain", "plain, the peers' interpreter"
REBUILD = "scikit-build-core editable.rebuild"
WARM_UP = 2  # imports of each, before any counts


class PeerError(Exception):
    """A peer does not do its work here; says why."""


@dataclass(frozen=True)
class Process:
    """A process that imports the package: its command, its environment, where it starts."""

    command: list[str]
    environment: dict[str, str]
    folder: Path

    def run(self, seconds: float) -> float:
        """Import; give the seconds that it took. The package must be right."""
        start = time.perf_counter()
        try:
            done = subprocess.run(
                self.command,
                env=self.environment,
                cwd=self.folder,
                capture_output=True,
                text=True,
                check=False,
                timeout=seconds,
            )
        except subprocess.TimeoutExpired:
            raise PeerError(f"took more than {seconds:.0f} s") from None
        took = time.perf_counter() - start
        if done.returncode:
            raise PeerError(f"does not run: {_last_line(done)}")
        return took


def _last_line(done: subprocess.CompletedProcess[str]) -> str:
    lines = (done.stderr.strip() or done.stdout.strip()).splitlines()
    return lines[-1] if lines else f"exit status {done.returncode}"


def importing(headers: int, before: str = "") -> str:
    """Give the code of a process that imports the package, and sees that it is the right one."""
    return f"{before}import {PACKAGE}; assert {PACKAGE}.count() == {headers}"


# ---------------------------------------------------------------- the peers


class Workshop:
    """The package, and a folder in which each peer gets its own."""

    def __init__(self, home: Path, package: HeaderPackage, headers: int) -> None:
        self.home = home
        self.package = package
        self.headers = headers
        # Setuptools reads the pyproject.toml of the folder in which it is started.
        self.nowhere = home / "nowhere"
        self.nowhere.mkdir()

    def environment(self, *path: Path) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("REHOOK_", "PYTHON"))}
        # A compiler launcher of the caller's would be part of one build and not of the other.
        kept = {k: v for k, v in kept.items() if not k.endswith("_COMPILER_LAUNCHER")}
        kept["HOME"] = str(self.home)
        if path:
            kept["PYTHONPATH"] = os.pathsep.join(map(str, path))
        return kept

    def interpreter(self, name: str) -> Path:
        """Make a virtual environment that sees the peers' packages; give its interpreter."""
        folder = self.home / f"venv-{name}"
        command = [sys.executable, "-m", "venv", "--without-pip", str(folder)]
        subprocess.run(command, check=True, capture_output=True)
        (own,) = folder.glob("lib/python*/site-packages")
        (own / "peers.pth").write_text(f"{peer_environment.site_packages()}\n", encoding="utf-8")
        return folder / "bin" / "python"

    def plain(self, artifact: Path) -> Path:
        """Make a folder that has the built package in it, without any tool."""
        folder = self.home / "installed"
        shutil.copytree(self.package.root / "src", folder)
        shutil.copy(artifact, folder / PACKAGE)
        return folder

    def process(self, python: Path, *path: Path, before: str = "") -> Process:
        command = [str(python), "-c", importing(self.headers, before)]
        return Process(command, self.environment(*path), self.nowhere)

    def editable(self, name: str, project: Path, *settings: str) -> Process:
        """Install the project in editable mode, into an environment of its own."""
        python = self.interpreter(name)
        # The packages are the peers', the scripts that find each other by PATH are, too.
        path = os.pathsep.join([str(peer_environment.PYTHON.parent), os.environ["PATH"]])
        environment = {**self.environment(), "PATH": path}
        words = ["install", "--disable-pip-version-check", "--no-build-isolation", "--no-deps"]
        options = [f"--config-settings={one}" for one in settings]
        log = peer_environment.ROOT / "build" / "logs" / f"bench-editable-{name}.log"
        with log.open("w", encoding="utf-8") as output:
            done = subprocess.run(
                [python, "-m", "pip", *words, *options, "--editable", project],
                env=environment,
                cwd=self.nowhere,
                stdout=output,
                stderr=subprocess.STDOUT,
                check=False,
                timeout=SECONDS_OF_BUILD,
            )
        if done.returncode:
            shown = log.relative_to(peer_environment.ROOT)
            raise PeerError(f"the package cannot be installed, see {shown}")
        process = self.process(python)
        process.environment["PATH"] = path
        return process


def _scikit_build_core(shop: Workshop) -> Process:
    build = shop.home / "build-scikit"
    settings = ("editable.rebuild=true", f"build-dir={build}")
    return shop.editable("scikit", shop.package.root, *settings)


def _meson_python(shop: Workshop) -> Process:
    project = shop.package.for_meson(shop.home / "meson")
    return shop.editable("meson", project, f"build-dir={shop.home / 'build-meson'}")


def _cppimport(shop: Workshop) -> Process:
    folder = shop.package.for_cppimport(shop.home / "cppimport")
    python = shop.interpreter("cppimport")
    return shop.process(python, folder, before="import cppimport.import_hook; ")


def _pyximport(shop: Workshop) -> Process:
    folder = shop.package.for_pyximport(shop.home / "pyximport")
    build = str(shop.home / "build-pyximport")
    hook = f"import pyximport; pyximport.install(build_dir={build!r}, language_level=3); "
    return shop.process(shop.interpreter("pyximport"), folder, before=hook)


# Name -> the packages that it comes in, the first being its own, and how it is set up.
PEERS: dict[str, tuple[tuple[str, ...], Callable[[Workshop], Process]]] = {
    REBUILD: (("scikit-build-core",), _scikit_build_core),
    "meson-python editable": (("meson-python", "ninja"), _meson_python),
    "cppimport": (("cppimport", "setuptools"), _cppimport),
    "pyximport": (("cython", "setuptools"), _pyximport),
}


def _ready(name: str, shop: Workshop) -> Process:
    """Give a process of the peer that has nothing left to build."""
    packages, set_up = PEERS[name]
    for package in packages:
        if problem := peer_problem(package):
            raise PeerError(problem if package == packages[0] else f"{package} {problem}")
    process = set_up(shop)
    process.run(SECONDS_OF_BUILD)
    return process


# ---------------------------------------------------------------- the numbers


def _built_by_rehook(project: Project, headers: int) -> tuple[Path, int]:
    """Build once; give the built module and the number of its inputs."""
    told = project.run(
        f"""
        import rehook
        rehook.install(projects=[ROOT])
        import {PACKAGE}
        assert {PACKAGE}.count() == {headers}
        build = rehook.status().projects[0]["build_dir"]
        print(json.dumps([build, rehook.explain("{PACKAGE}._core").inputs]))
        """
    ).json
    (artifact,) = Path(told[0]).glob("_core.*.so")
    return artifact, int(told[1])


def _measure(processes: dict[str, Process], rounds: int) -> dict[str, list[float] | str]:
    """Run each in turn; give the milliseconds of each, or why there are none."""
    told: dict[str, list[float] | str] = {name: [] for name in processes}
    for number in range(rounds + WARM_UP):
        for name, process in processes.items():
            times = told[name]
            if isinstance(times, str):
                continue
            try:
                took = process.run(SECONDS_OF_IMPORT)
            except PeerError as error:
                told[name] = str(error)
                continue
            if number >= WARM_UP:
                times.append(took * 1000)
    return told


def _added(times: list[float], base: list[float]) -> list[float]:
    return [one - other for one, other in zip(times, base, strict=True)]


def noop_import(headers: int, home: Path, rounds: int) -> Row:
    """Give what rehook adds to the import of an up-to-date package with so many headers."""
    package = HeaderPackage(home / PACKAGE, headers)
    project = Project(package.root)
    shop = Workshop(home, package, headers)
    artifact, inputs = _built_by_rehook(project, headers)
    plain = shop.plain(artifact)
    ours = Path(sys.executable)
    hook = f"import rehook; rehook.install(projects=[{str(package.root)!r}]); "
    hooked = shop.process(ours, before=hook)
    hooked.environment["REHOOK_STORE_DIR"] = str(project.store)
    processes = {OURS: hooked, PLAIN: shop.process(ours, plain)}
    problems: dict[str, str] = {}
    for name in PEERS:
        try:
            processes[name] = _ready(name, shop)
        except (PeerError, subprocess.SubprocessError, OSError) as error:
            problems[name] = str(error)
    if len(processes) > 2:
        processes[PLAIN_OF_PEERS] = shop.process(shop.interpreter("plain"), plain)
    told = _measure(processes, rounds)
    for name in (OURS, PLAIN):
        if isinstance(told[name], str):
            raise SystemExit(f"noop_import_{headers}: {name} {told[name]}")
    return _row(headers, inputs, told, problems)


def _row(
    headers: int, inputs: int, told: dict[str, list[float] | str], problems: dict[str, str]
) -> Row:
    measured = {name: times for name, times in told.items() if not isinstance(times, str)}
    added = {
        name: _added(times, measured[PLAIN if name == OURS else PLAIN_OF_PEERS])
        for name, times in measured.items()
        if name not in (PLAIN, PLAIN_OF_PEERS)
    }
    problems = {**problems, **{name: one for name, one in told.items() if isinstance(one, str)}}
    medians = {name: statistics.median(times) for name, times in added.items()}
    peers: dict[str, object] = {
        name: {"version": peer_version(PEERS[name][0][0]), "added_ms": medians[name]}
        if name in medians
        else problems[name]
        for name in PEERS
    }
    theirs = medians.get(REBUILD)
    against = f"{REBUILD}, added to the same import" if theirs else f"{REBUILD} {problems[REBUILD]}"
    ratio = None
    if theirs:
        ratio = statistics.median(a / b for a, b in zip(added[OURS], added[REBUILD], strict=True))
    return Row(
        f"noop_import_{headers}",
        medians[OURS],
        "ms",
        f"{against}; {inputs} inputs{_lines(peers)}",
        theirs,
        ratio,
        f"{3 + 0.002 * inputs:.1f} ms",
        {
            "own_headers": headers,
            "inputs": inputs,
            "peers": peers,
            "whole_process_ms": {
                name: statistics.median(times)
                for name, times in told.items()
                if not isinstance(times, str)
            },
            "rounds": len(added[OURS]),
        },
    )


def _lines(peers: dict[str, object]) -> str:
    """Give what the other peers add."""
    text = ""
    for name, one in peers.items():
        if name == REBUILD:
            continue
        text += f"\n{'':<24}{name:<24}"
        if isinstance(one, dict):
            text += f"{one['added_ms']:>8.1f} ms added, {one['version']}"
        else:
            text += f"{one}"
    return text


# Name -> how, pairs of runs, and with --quick.
BENCHMARKS: dict[str, tuple[Callable[[Path, int], Row], int, int]] = {
    f"noop_import_{headers}": (functools.partial(noop_import, headers), rounds, 2)
    for headers, rounds in ((55, 25), (500, 25), (5000, 15))
}
