"""Fixtures for every test, and the header that says what the tests ran against."""

import platform
import re
import shutil
import subprocess

import pytest

from support.project import Project


def _version(*command: str) -> str:
    if shutil.which(command[0]) is None:
        return "missing"
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = re.search(r"\d+(\.\d+)+", done.stdout + done.stderr)
    return found[0] if found else "unknown"


def pytest_report_header() -> str:
    tools = {
        "c++": ("c++", "-dumpfullversion", "-dumpversion"),
        "cmake": ("cmake", "--version"),
        "ninja": ("ninja", "--version"),
    }
    versions = [f"{name} {_version(*command)}" for name, command in tools.items()]
    return f"rehook: python {platform.python_version()}, " + ", ".join(versions)


@pytest.fixture
def project(tmp_path):
    """Return a function that copies a fixture: project("hello_ext") -> Project."""
    made = []

    def make(fixture, *, name=None):
        made.append(Project.copy_of(fixture, tmp_path / f"p{len(made)}", name=name))
        return made[-1]

    return make
