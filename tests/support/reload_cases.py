"""Cases of a reload of Python modules: each runs in an interpreter of its own, which starts fast.

A test file makes a `Cases` and decorates functions with it; each is one pytest item. An interpreter
per file has everything imported and forks for each case, so a crash is the failure of the case that
ran, and all cases may use the same module names.

    case = Cases(__file__)

    @case(m="def f(): return 1", u="from m import f")
    def an_alias_follows(t, m, u):           # the modules are imported in this order
        t.edit("m", "return 1", "return 2")  # saved and reloaded
        assert u.f() == 2

    test_functions = case.as_test()
"""

from __future__ import annotations

import ast
import contextlib
import faulthandler
import importlib
import importlib.util
import json
import linecache
import os
import select
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
import traceback
import types
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import pytest

_TESTS = Path(__file__).resolve().parents[1]
_SECONDS = 120  # that one case may take


def file_of(name: str) -> str:
    """Give the file of a module's short name: "m" is m.py, paths stay as they are."""
    return name if name.endswith(".py") or "/" in name else f"{name}.py"


def module_of(file: str) -> str:
    """Give the full name of the module in this file."""
    return file.removesuffix(".py").replace("/", ".").removesuffix(".__init__")


class Folder:
    """A folder on sys.path whose files are saved as an editor does: every save is a later one."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._clock = time.time() - 100_000

    def path(self, name: str) -> Path:
        return self.root / file_of(name)

    def read(self, name: str) -> str:
        return self.path(name).read_text(encoding="utf-8")

    def write(self, sources: Mapping[str, str | None]) -> list[str]:
        """Save these files, a None removes one; give the names of their modules."""
        self._clock += 10
        for name, text in sources.items():
            path = self.path(name)
            if text is None:
                path.unlink()
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            clean = textwrap.dedent(text).strip("\n")
            path.write_text(f"{clean}\n" if clean else "", encoding="utf-8")
            os.utime(path, (self._clock, self._clock))
        importlib.invalidate_caches()
        return [module_of(file_of(name)) for name in sources]

    def replace(self, name: str, old: str, new: str) -> None:
        """Save a file with the one occurrence of `old` replaced."""
        text = self.read(name)
        assert text.count(old) == 1, f"{name} has {text.count(old)} times: {old!r}"
        self.write({name: text.replace(old, new)})


class Case(Folder):
    """What a case works with: its files, and the reload of what it saved."""

    def save(self, files: Mapping[str, str | None] | None = None, /, **sources: str | None) -> Any:
        """Save these files and reload their modules in one batch; give the report."""
        import rehook

        return rehook.reload(*self.write({**(files or {}), **sources}))

    def edit(self, name: str, old: str, new: str) -> Any:
        """Replace the one occurrence of `old` in a file and reload its module."""
        import rehook

        self.replace(name, old, new)
        return rehook.reload(module_of(file_of(name)))

    def load(self, *names: str) -> Any:
        """Import modules by their full names; give the one, or all."""
        modules = [importlib.import_module(name) for name in names]
        return modules[0] if len(modules) == 1 else modules

    @contextlib.contextmanager
    def raises(
        self, kind: type[BaseException] | tuple[type[BaseException], ...]
    ) -> Iterator[types.SimpleNamespace]:
        """Expect an exception; gives a namespace whose `error` is set at the end."""
        caught = types.SimpleNamespace(error=None)
        try:
            yield caught
        except kind as error:
            caught.error = error
        else:
            message = f"no {kind} was raised"
            raise AssertionError(message)

    @contextlib.contextmanager
    def fails(self, cause: type[BaseException] | None = None) -> Iterator[types.SimpleNamespace]:
        """Expect a ReloadError, because of an exception of the given kind.

        Gives a namespace whose `error` and `cause` are set at the end.
        """
        import rehook

        caught = types.SimpleNamespace(error=None, cause=None)
        try:
            yield caught
        except rehook.ReloadError as error:
            caught.error, caught.cause = error, error.__cause__
            if cause is not None and not isinstance(error.__cause__, cause):
                message = f"the cause is {error.__cause__!r}, not a {cause.__name__}"
                raise AssertionError(message) from error
        else:
            message = "the reload did not fail"
            raise AssertionError(message)


@dataclass(frozen=True)
class _Scenario:
    files: dict[str, str]
    body: Callable[..., None]
    install: bool


class Cases:
    """The cases of one test file."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.scenarios: dict[str, _Scenario] = {}

    def __call__(
        self, files: Mapping[str, str] | None = None, /, *, install: bool = True, **sources: str
    ) -> Callable[[Callable[..., None]], Callable[..., None]]:
        """Decorate a case: its files, by path or short name; with `install` the hook is there."""

        def keep(body: Callable[..., None]) -> Callable[..., None]:
            name = body.__name__
            assert name not in self.scenarios, f"two cases are called {name}"
            self.scenarios[name] = _Scenario({**(files or {}), **sources}, body, install)
            return body

        return keep

    def as_test(self) -> Callable[..., None]:
        """Make the test that runs them all, an item for each."""
        if "pytest" not in sys.modules:  # in a child, nobody asks
            return lambda: None
        import pytest

        @pytest.mark.parametrize("name", list(self.scenarios))
        def run(name: str, request: pytest.FixtureRequest) -> None:
            _server_of(self.file, request).run(name)

        return run


# ------------------------------------------------------------ in pytest

_servers: dict[str, _Server] = {}


class _Server:
    """The interpreter that forks for each case of a file."""

    def __init__(self, file: str, home: Path) -> None:
        self._home = home
        env = {k: v for k, v in os.environ.items() if not k.startswith(("REHOOK_", "PYTHON"))}
        env["PYTHONPATH"] = os.environ.get("PYTHONPATH", "")
        env["PYTHONMALLOC"] = "debug"
        env["REHOOK_STORE_DIR"] = str(home / "store")
        if "REHOOK_SEEDS" in os.environ:
            env["REHOOK_SEEDS"] = os.environ["REHOOK_SEEDS"]
        script = (
            f"import sys; sys.path.insert(0, {str(_TESTS)!r})\n"
            "from support.reload_cases import serve\n"
            f"del sys.path[0]\nserve({file!r}, {str(home)!r})\n"
        )
        self._child = subprocess.Popen(
            [sys.executable, "-c", script],
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, name: str) -> None:
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        assert self._child.poll() is None, "the interpreter of these cases is gone"
        self._child.stdin.write(f"{name}\n")
        self._child.stdin.flush()
        ready, _, _ = select.select([self._child.stdout], [], [], _SECONDS + 30)
        assert ready, f"{name}: no answer"
        answer = json.loads(self._child.stdout.readline())
        output = Path(answer["output"]).read_text(encoding="utf-8", errors="replace")
        if answer["signal"]:
            ended = f"killed by {signal.Signals(answer['signal']).name}"
        else:
            ended = f"exit code {answer['code']}"
        fine = not answer["signal"] and answer["code"] == 0
        if not (fine and answer["finished"]):
            raise AssertionError(f"{name}: {ended}, files in {answer['folder']}\n{output}")

    def close(self) -> None:
        self._child.kill()
        self._child.communicate()


def _server_of(file: str, request: pytest.FixtureRequest) -> _Server:
    server = _servers.get(file)
    if server is None:
        factory = request.getfixturevalue("tmp_path_factory")
        server = _servers[file] = _Server(file, factory.mktemp("cases"))

        def close() -> None:
            server.close()
            _servers.pop(file, None)

        request.session.addfinalizer(close)
    return server


# ------------------------------------------------------------ in the child


def serve(file: str, home: str) -> None:
    """Run the cases whose names come on stdin, each in a fork; answer with a line of JSON."""
    spec = importlib.util.spec_from_file_location("the_cases", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["the_cases"] = module
    spec.loader.exec_module(module)
    import rehook._native  # noqa: F401 - once, for all cases

    (cases,) = (one for one in vars(module).values() if isinstance(one, Cases))
    # sys.stdin would read ahead, and the forks share its place in the pipe.
    while name := _read_line(0):
        folder = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=home))
        output = f"{folder}.txt"
        done = Path(f"{folder}.done")
        child = os.fork()
        if child == 0:
            _enter(folder, output)
            _run(cases.scenarios[name], folder, file)
            done.touch()
            return  # and the interpreter ends as any other
        _, status = os.waitpid(child, 0)
        code = os.waitstatus_to_exitcode(status)
        answer = {
            "code": max(code, 0),
            "signal": max(-code, 0),
            "output": output,
            "folder": str(folder),
            "finished": done.exists(),
        }
        print(json.dumps(answer), flush=True)


def _read_line(descriptor: int) -> str:
    text = b""
    while not text.endswith(b"\n"):
        more = os.read(descriptor, 1)
        if not more:
            return ""
        text += more
    return text.decode().strip()


def _enter(folder: Path, output: str) -> None:
    stream = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(stream, 1)
    os.dup2(stream, 2)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    faulthandler.enable()
    faulthandler.dump_traceback_later(_SECONDS - 5)
    signal.alarm(_SECONDS)
    os.chdir(folder)
    sys.path.insert(0, str(folder))


def _run(scenario: _Scenario, folder: Path, file: str) -> None:
    import rehook

    if scenario.install:
        rehook.install()
    case = Case(folder)
    case.write(scenario.files)
    code = scenario.body.__code__
    names = code.co_varnames[1 : code.co_argcount]
    try:
        scenario.body(case, *map(importlib.import_module, names))
    except BaseException as error:  # noqa: BLE001 - SystemExit and all are failures
        traceback.print_exc()
        for line in explain(error, file):
            print(line, file=sys.stderr)
        sys.exit(1)
    faulthandler.cancel_dump_traceback_later()
    signal.alarm(0)


def explain(error: BaseException, file: str) -> list[str]:
    """Say what stood on the sides of the comparison whose assertion failed, if it was one."""
    if not isinstance(error, AssertionError) or error.args:
        return []
    entry = error.__traceback__
    frame, number = None, 0
    while entry is not None:
        if entry.tb_frame.f_code.co_filename == file:
            frame, number = entry.tb_frame, entry.tb_lineno
        entry = entry.tb_next
    if frame is None:
        return []
    tree = ast.parse("".join(linecache.getlines(file)))
    lines = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Assert) and node.lineno <= number <= (node.end_lineno or 0):
            for part in ast.walk(node.test):
                if isinstance(part, ast.Compare):
                    for side in [part.left, *part.comparators]:
                        if isinstance(side, ast.Constant):
                            continue
                        text = ast.unparse(side)
                        try:
                            value = repr(eval(text, frame.f_globals, frame.f_locals))  # noqa: S307
                        except Exception as problem:  # noqa: BLE001 - it is what we tell
                            value = repr(problem)
                        lines.append(f"  {text} = {value}")
    return lines
