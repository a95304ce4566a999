"""Where the peers are installed: a virtual environment of their own below build/.

A package that cannot be installed is told in the table, and the rest goes on.
"""

from __future__ import annotations

import functools
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
VENV = ROOT / "build" / "bench-peers"
PYTHON = VENV / "bin" / "python"
# There while something is being installed: what is left of a run that was stopped is not usable.
UNFINISHED = VENV / "unfinished"


@functools.cache
def peer_problem(package: str) -> str:
    """Install a package of the peers; give why it cannot be had, or ""."""
    log = ROOT / "build" / "logs" / f"bench-peer-{package}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    requirement = {"ipython": "ipython>=9"}.get(package, package)
    commands: list[list[str | Path]] = [
        [PYTHON, "-m", "pip", "install", "--disable-pip-version-check", requirement]
    ]
    if not _is_usable(PYTHON):
        shutil.rmtree(VENV, ignore_errors=True)
        commands.insert(0, [sys.executable, "-m", "venv", VENV])
    elif peer_version(package):
        return ""
    with log.open("w", encoding="utf-8") as output:
        for command in commands:
            VENV.mkdir(exist_ok=True)
            UNFINISHED.touch()
            done = subprocess.run(
                command, stdout=output, stderr=subprocess.STDOUT, check=False, cwd=ROOT
            )
            UNFINISHED.unlink()
            if done.returncode:
                return f"cannot be installed, see {log.relative_to(ROOT)}"
    return ""


def peer_version(package: str) -> str:
    """Give the installed version of a package of the peers, or ""."""
    ask = f"import importlib.metadata; print(importlib.metadata.version({package!r}))"
    done = subprocess.run([PYTHON, "-c", ask], capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""


def site_packages() -> Path:
    """Give the folder of the installed packages."""
    ask = "import sysconfig; print(sysconfig.get_path('purelib'))"
    done = subprocess.run([PYTHON, "-c", ask], capture_output=True, text=True, check=True)
    return Path(done.stdout.strip())


def _is_usable(python: Path) -> bool:
    """Tell whether the environment is there, in its place and of this Python."""
    if not python.exists() or UNFINISHED.exists():
        return False
    ask = "import sys; print(sys.prefix, sys.version_info[:2])"
    done = subprocess.run([python, "-c", ask], capture_output=True, text=True, check=False)
    return done.stdout.strip() == f"{VENV} {sys.version_info[:2]}"
