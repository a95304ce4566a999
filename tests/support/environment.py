"""Python interpreters on this machine, virtual environments, and rehook installed into them."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ("CMakeLists.txt", "pyproject.toml", "shadow_store", "builder", "hook", "python")

_USABLE = (
    "import ensurepip, os, sys, sysconfig, venv;"
    "assert os.path.exists(os.path.join(sysconfig.get_path('include'), 'Python.h'));"
    "assert not sysconfig.get_config_var('Py_GIL_DISABLED');"
    "print('%d.%d.%d' % sys.version_info[:3], sys.base_prefix)"
)


def find_pythons(minors: Sequence[int]) -> dict[int, Path]:
    """Give the interpreter of each Python 3.`minor` that has headers and venv, by minor version.

    Looks at PATH (past a virtual environment's folder) and at pyenv's versions; of several, the
    first one found.
    """
    found: dict[int, Path] = {}
    for minor in minors:
        for candidate in _candidates(minor):
            told = _ask(candidate)
            if told is not None and told[0].startswith(f"3.{minor}."):
                prefix = Path(told[1])
                path = prefix / "bin" / f"python3.{minor}"
                found[minor] = path if path.exists() else candidate
                break
    return found


def _candidates(minor: int) -> Iterator[Path]:
    for folder in os.environ.get("PATH", "").split(os.pathsep):
        path = Path(folder) / f"python3.{minor}"
        if path.exists():
            yield path
    versions = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    pattern = re.compile(rf"3\.{minor}\.\d+")
    names = [one for one in versions.glob(f"3.{minor}.*") if pattern.fullmatch(one.name)]
    for one in sorted(names, key=lambda path: int(path.name.split(".")[2]), reverse=True):
        yield one / "bin" / "python"


def _ask(python: Path) -> tuple[str, str] | None:
    done = subprocess.run(
        [python, "-c", _USABLE], capture_output=True, text=True, check=False, cwd="/"
    )
    words = done.stdout.split(maxsplit=1)
    return (words[0], words[1].strip()) if done.returncode == 0 and len(words) == 2 else None


def run_logged(what: str, command: Sequence[str | Path], log: Path) -> None:
    """Run a command with its output in a file; when it fails, show that and end the program."""
    print(f"{what} ... ", end="", flush=True)
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w", encoding="utf-8") as output:
        done = subprocess.run(
            command, stdout=output, stderr=subprocess.STDOUT, check=False, cwd=ROOT
        )
    print("failed" if done.returncode else "ok", flush=True)
    if done.returncode:
        print(log.read_text(encoding="utf-8")[-4000:])
        raise SystemExit(f"{what} failed; its output is in {log}")


def make_venv(python: Path, folder: Path, log: Path) -> Path:
    """Make a virtual environment with what rehook needs, once; give its interpreter."""
    ours = folder / "bin" / "python"
    listing = [sys.executable, str(ROOT / "tests" / "tools" / "requirements.py")]
    wanted = subprocess.run(listing, capture_output=True, text=True, check=True).stdout
    stamp = folder / "stamp"
    content = f"{python}\n{folder}\n{wanted}"
    if stamp.exists() and stamp.read_text(encoding="utf-8") == content:
        return ours
    shutil.rmtree(folder, ignore_errors=True)
    name = f"virtual environment of {python.name}"
    run_logged(name, [python, "-m", "venv", folder], log)
    packages = ["pip>=23.1", "setuptools", *wanted.split("\n")[:-1]]
    run_logged(f"its packages ({python.name})", [ours, "-m", "pip", "install", *packages], log)
    stamp.write_text(content, encoding="utf-8")
    return ours


def install_rehook(
    python: Path, build: Path, log: Path, *, target: Path | None = None, sanitize: str = ""
) -> None:
    """Build rehook and install it for `python`, or into the folder `target`.

    The build folder is kept, so the second time is incremental; without a change nothing is done.
    """
    stamp = build / "installed"
    content = f"{python}\n{target}\n{sanitize}\n{_tree_digest()}"
    if stamp.exists() and stamp.read_text(encoding="utf-8") == content:
        return
    stamp.unlink(missing_ok=True)
    command: list[str | Path] = [python, "-m", "pip", "install", "-v", "--no-deps"]
    command += ["--no-build-isolation", "--force-reinstall"]
    command += [f"--config-settings=build-dir={build}"]
    if sanitize:
        command += [f"--config-settings=cmake.define.REHOOK_SANITIZE={sanitize}"]
        # Compiles in a third of the time of -O2, and every line of a report is the right one.
        command += ["--config-settings=cmake.build-type=Debug"]
        command += ["--config-settings=cmake.define.CMAKE_CXX_FLAGS_DEBUG=-O0 -g1"]
        command += ["--config-settings=install.strip=false"]
    if target is not None:
        shutil.rmtree(target, ignore_errors=True)
        command += ["--target", target]
    run_logged(f"rehook for {python.parent.parent.name}", [*command, "."], log)
    stamp.write_text(content, encoding="utf-8")


def _tree_digest() -> str:
    digest = hashlib.sha256()
    for source in SOURCES:
        top = ROOT / source
        for path in sorted(top.rglob("*")) if top.is_dir() else [top]:
            if path.is_file() and "__pycache__" not in path.parts:
                digest.update(f"{path.relative_to(ROOT)}\0".encode())
                digest.update(path.read_bytes())
    return digest.hexdigest()
