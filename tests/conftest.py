"""Fixtures for every test, and the header that says what the tests ran against."""

import platform
import re
import shutil
import signal
import subprocess

import pytest

from support.project import Project


def _version(*command: str) -> str:
    if shutil.which(command[0]) is None:
        return "missing"
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = re.search(r"\d+(\.\d+)+", done.stdout + done.stderr)
    return found[0] if found else "unknown"


# Started in the background of a script, we would ignore Ctrl-C, and so would every child we start;
# the tests that interrupt one need it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_report_header() -> str:
    tools = {
        "c++": ("c++", "-dumpfullversion", "-dumpversion"),
        "cmake": ("cmake", "--version"),
        "ninja": ("ninja", "--version"),
    }
    versions = [f"{name} {_version(*command)}" for name, command in tools.items()]
    return f"rehook: python {platform.python_version()}, " + ", ".join(versions)


# First, so that pytest-xdist's own hook finds the marks.
@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Keep what shares a build in one process: a file's tests, the zoo's of one pybind11."""
    for item in items:
        group = item.path.stem
        if group.startswith("test_zoo"):
            group = "zoo-2.13.6" if "2.13.6" in item.name else "zoo"
        item.add_marker(pytest.mark.xdist_group(group))


@pytest.fixture
def project(tmp_path):
    """Return a function that copies a fixture: project("hello_ext") -> Project."""
    made = []

    def make(fixture, *, name=None):
        made.append(Project.copy_of(fixture, tmp_path / f"p{len(made)}", name=name))
        return made[-1]

    return make


_MODULES = {"demo": "pondlife"}  # what a fixture is imported as, if it is not its name


class _Workshop:
    """Projects that were built once; a test gets a copy of that moment at the same path."""

    def __init__(self, folder):
        self.folder = folder
        self.names = {}

    def take(self, fixture, files, env, prepare):
        key = (fixture, *(tuple(sorted(one.items())) for one in (files, env)), prepare)
        name = self.names.setdefault(key, f"{fixture}-{len(self.names)}")
        home, snapshot = self.folder / name, self.folder / f"{name}.snapshot"
        if home.exists():  # a test that was interrupted
            shutil.rmtree(home)
        if snapshot.exists():
            subprocess.run(["cp", "-a", snapshot, home], check=True)
            project = Project(home / fixture)
            project.env.update(env)
            project.env.update(project.count_compilers())
            return project
        if files:
            project = Project.of_files(home, fixture, files)
        else:
            project = Project.copy_of(fixture, home)
        project.env.update(env)
        project.env.update(project.count_compilers())
        module = _MODULES.get(fixture, fixture)
        project.run(f"import rehook; rehook.install(projects=[ROOT])\nimport {module}\n" + prepare)
        project.forget()
        subprocess.run(["cp", "-a", home, snapshot], check=True)
        return project


@pytest.fixture(scope="session")
def workshop(tmp_path_factory):
    return _Workshop(tmp_path_factory.mktemp("built"))


@pytest.fixture
def built(workshop, tmp_path):
    """Return a function that gives a fixture after its first build: built("hello_ext") -> Project.

    The build is made once per session and copied for each test, store and all. `files` gives the
    text of each file where there is no such fixture; `env` is for the children, that build's
    included; `prepare` is code to run after its import. Compilers are counted. After the test
    everything is moved to its tmp_path.
    """
    taken = []

    def make(fixture, *, files=None, env=None, prepare=""):
        taken.append(workshop.take(fixture, files or {}, env or {}, prepare))
        return taken[-1]

    yield make
    for project in taken:
        project.close()
        shutil.move(project.home, tmp_path)
        print(f"the project is kept in {tmp_path / project.home.name}")
