"""A stand-in for the compiled part, and a fresh `rehook` that uses it."""

import importlib
import os
import sys
import types
from pathlib import Path

import pytest

PYTHON = Path(__file__).resolve().parents[2] / "python"

# Also the text of the fake for child interpreters.
FAKE_CORE = """
class ModuleFinder:
    def find_spec(self, fullname, path=None, target=None):
        return None

    def invalidate_caches(self):
        pass


ModuleFinder.__module__ = "rehook._core"


class Store:
    pass


class Session:
    instances = []
    answers = {}

    def __init__(self, options):
        self.options = options
        self.finder = ModuleFinder()
        self.calls = []
        self.closed = False
        self.progress = options["on_progress"]
        Session.instances.append(self)

    def _answer(self, name, *arguments):
        self.calls.append((name, *arguments))
        answer = Session.answers.get(name)
        if isinstance(answer, BaseException):
            raise answer
        return answer(self, *arguments) if callable(answer) else answer

    def reload(self, names):
        return self._answer("reload", names) or {}

    def modified(self, path):
        return self._answer("modified", path) or []

    def status(self):
        return self._answer("status") or {}

    def explain(self, module):
        return self._answer("explain", module) or {}

    def errors(self):
        return self._answer("errors") or []

    def retry(self):
        return self._answer("retry") or {}

    def generations(self):
        return self._answer("generations") or []

    def budgets(self):
        return self._answer("budgets") or {}

    def build(self, targets, force):
        return self._answer("build", targets, force) or []

    def is_reloading(self):
        return bool(self._answer("is_reloading"))

    def set_progress(self, callback):
        self.progress = callback

    def close(self):
        self.closed = True


version = "0.0.test"


def versions():
    return {"rehook": version, "libgit2": "1.5.0", "xxHash": "0.8.1", "pybind11": "3.0.1"}
"""


def make_fake_core():
    module = types.ModuleType("rehook._core")
    exec(FAKE_CORE, module.__dict__)
    return module


def _ours(name):
    return name == "rehook" or name.startswith("rehook.")


@pytest.fixture
def fake_core():
    """A fresh fake in place of rehook._core; whatever rehook was imported comes back afterwards."""
    saved = {name: sys.modules.pop(name) for name in list(sys.modules) if _ours(name)}
    meta_path, path = list(sys.meta_path), list(sys.path)
    if str(PYTHON) not in sys.path:
        sys.path.insert(0, str(PYTHON))
    core = make_fake_core()
    sys.modules["rehook._core"] = core
    yield core
    for name in [name for name in sys.modules if _ours(name)]:
        del sys.modules[name]
    sys.modules.update(saved)
    sys.meta_path[:] = meta_path
    sys.path[:] = path


@pytest.fixture
def rehook(fake_core, clean_environment, tmp_path, monkeypatch):
    """A freshly imported rehook on the fake core, in an empty working directory."""
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    return importlib.import_module("rehook")


@pytest.fixture
def clean_environment(monkeypatch, tmp_path):
    """An environment without anything that settings are read from."""
    for name in list(os.environ):
        if name.startswith(("REHOOK_", "SKBUILD", "CMAKE_")) or name in {"CC", "CXX"}:
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


@pytest.fixture
def sessions(fake_core):
    """The sessions that were opened, the oldest first."""
    return fake_core.Session.instances


@pytest.fixture
def child_environment(clean_environment, tmp_path):
    """An environment for child interpreters in which rehook works, on the fake core."""
    package = tmp_path / "fake" / "rehook_fake_core"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(FAKE_CORE)
    (tmp_path / "fake" / "sitecustomize.py").write_text(
        "import sys\n"
        "import rehook_fake_core as core\n"
        "core.__name__ = 'rehook._core'\n"
        "sys.modules['rehook._core'] = core\n"
    )
    paths = [str(tmp_path / "fake"), str(PYTHON)]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
