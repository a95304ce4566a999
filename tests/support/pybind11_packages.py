"""pybind11 of several versions: the installed one, others downloaded into build/."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

_CACHE = Path(__file__).resolve().parents[2] / "build" / "pybind11"
_CMAKE = Path("share", "cmake", "pybind11")


def installed() -> tuple[str, Path]:
    """Give version and CMake package of the pybind11 that the tests' interpreter imports."""
    script = "import pybind11; print(pybind11.__version__, pybind11.__file__)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        return "", Path()
    version, file = done.stdout.strip().split(" ", 1)
    return version, Path(file).parent / _CMAKE


def folder_of(version: str) -> Path:
    """Give the CMake package of one version; the test fails when it cannot be had."""
    here, installed_folder = installed()
    if here == version:
        return installed_folder
    folder = _CACHE / version
    found = folder / "pybind11" / _CMAKE
    if not found.is_dir():
        pip = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet", "-d", str(folder)]
        done = subprocess.run(
            [*pip, f"pybind11=={version}"], capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            pytest.fail(f"pybind11 {version} cannot be downloaded: {done.stderr.strip()[-200:]}")
        partial = folder / f"partial-{os.getpid()}"
        with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
            wheel.extractall(partial)
        (partial / "pybind11").rename(folder / "pybind11")
    return found
