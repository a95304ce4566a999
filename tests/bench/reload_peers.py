"""One way of reloading an edited Python module, timed in an interpreter of its own.

    reload_peers.py NAME FOLDER OBJECTS ROUNDS SECONDS

The module has 60 functions and 30 classes of 10 methods; every edit changes all of their bodies
and one constant. 1,000 instances, functions and methods are held elsewhere, among OBJECTS other
objects that the collector knows. Prints one JSON object: the milliseconds of each reload, and what
followed. The interpreter may be one without rehook; nothing but the peer itself is imported.
"""

from __future__ import annotations

import gc
import importlib
import importlib.metadata
import json
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

    _Begin = Callable[[ModuleType, Path], Callable[[], object]]

SUBJECT = "edited_module"
FUNCTIONS, CLASSES, METHODS, INSTANCES = 60, 30, 10, 1000
OBJECTS_OF_A_HANDFUL = 10

_FUNCTION = '''
def f{i}(value, scale=2):
    """Scale a value."""
    total = 0
    for step in range(3):
        total += value * scale + step
    return total, {version}
'''
_CLASS = '''
class C{i}:
    """One of many."""

    limit = {i}

    def __init__(self, value=0):
        self.value = value
        self.made_by = {version}
'''
_METHOD = """
    def m{i}(self, other):
        result = [self.value, other]
        if other > self.limit:
            result.append(f{i}(other))
        return result[0], {version}
"""


def source(version: int) -> str:
    """Give the module's text after that many edits."""
    parts = [f'"""A module under work."""\n\nimport os\n\nVERSION = {version}\n']
    parts += [_FUNCTION.format(i=i, version=version) for i in range(FUNCTIONS)]
    for i in range(CLASSES):
        parts.append(_CLASS.format(i=i, version=version))
        parts += [_METHOD.format(i=j, version=version) for j in range(1, METHODS)]
    return "".join(parts)


def many_objects(count: int) -> list[Any]:
    """Give about `count` objects that the collector knows: tuples, lists, dicts, instances."""

    class Point:
        def __init__(self, x: int) -> None:
            self.x = [x]

    mixed: list[Any] = []
    gc.disable()  # looking for garbage in between would take most of the time
    for i in range(count // OBJECTS_OF_A_HANDFUL):
        mixed += [(i, [i]), ((i,), [i]), {"a": [i]}, Point(i), [[i]]]
    gc.enable()
    return mixed


# ---------------------------------------------------------------- the peers
# Each is called before the module is imported, gives what is to be called once it is, and that
# gives what is to be called after an edit.


def _rehook() -> _Begin:
    import rehook

    rehook.install()
    return lambda module, _file: lambda: rehook.reload(module)


def _importlib() -> _Begin:
    return lambda module, _file: lambda: importlib.reload(module)


def _autoreload(mode: str) -> _Begin:
    from IPython.core.interactiveshell import InteractiveShell
    from IPython.extensions.autoreload import AutoreloadMagics

    def begin(module: ModuleType, _file: Path) -> Callable[[], object]:
        del module
        shell = InteractiveShell.instance()
        magics = AutoreloadMagics(shell)
        magics.autoreload(mode)
        cell = SimpleNamespace(transformed_cell="")

        def run_cell() -> None:
            """Do what the extension does before and after a cell."""
            magics.pre_run_cell(cell)
            magics.post_execute_hook()

        run_cell()  # it keeps the sources that it will compare with
        return run_cell

    return begin


def _jurigged() -> _Begin:
    import jurigged
    from jurigged.live import conservative_logger

    # What its watcher calls, without the watcher.
    watcher = jurigged.watch(f"{Path.cwd()}/*.py", logger=conservative_logger, autostart=False)
    return lambda _module, file: lambda: watcher.refresh(str(file))


def _reimport() -> _Begin:
    from reimport import reimport

    return lambda module, _file: lambda: reimport(module.__name__)


@dataclass(frozen=True)
class Peer:
    """A way of reloading, and the package that it comes in; "" is Python itself."""

    package: str
    start: Callable[[], _Begin]


PEERS: dict[str, Peer] = {
    "rehook": Peer("rehook", _rehook),
    "importlib.reload": Peer("", _importlib),
    "autoreload 2": Peer("ipython", lambda: _autoreload("2")),
    "autoreload 2-": Peer("ipython", lambda: _autoreload("2-")),
    "jurigged": Peer("jurigged", _jurigged),
    "reimport-ng": Peer("reimport-ng", _reimport),
}


# ---------------------------------------------------------------- one run


class Subject:
    """The edited module, and what the program holds of it."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / f"{SUBJECT}.py"
        self.version = 0
        self.save()
        self.module = importlib.import_module(SUBJECT)
        classes = [getattr(self.module, f"C{i}") for i in range(CLASSES)]
        self.instances = [classes[i % CLASSES](i) for i in range(INSTANCES)]
        self.held = [getattr(self.module, f"f{i}") for i in range(FUNCTIONS)]
        self.held += [self.instances[0].m1, self.instances[-1].m9]

    def save(self) -> None:
        """Write the version, with a time of its own: some compare whole seconds."""
        self.file.write_text(source(self.version), encoding="utf-8")
        second = 1_600_000_000 + 10 * self.version
        os.utime(self.file, (second, second))

    def edit(self) -> None:
        self.version += 1
        self.save()

    def followers(self) -> dict[str, bool]:
        """Tell whether the new code is there for those who ask the module, and who holds what."""
        # Some put another module in the place of the old one.
        module = sys.modules[SUBJECT]
        fresh = [getattr(module, f"f{i}")(1) for i in range(FUNCTIONS)]
        fresh += [getattr(module, f"C{i}")(1).m1(2) for i in range(CLASSES)]
        old = [one.m9(1) for one in self.instances]
        held = [one(1) for one in self.held]
        return {
            "module": self.version == module.VERSION and self._is_new(fresh),
            "instances": self._is_new(old),
            "references": self._is_new(held),
        }

    def _is_new(self, results: list[tuple[Any, int]]) -> bool:
        return all(version == self.version for _, version in results)


def run(name: str, folder: Path, objects: int, rounds: int, seconds: float) -> dict[str, Any]:
    """Edit and reload `rounds` times, or until the reloads took so many seconds."""
    sys.path.insert(0, str(folder))
    sys.dont_write_bytecode = True
    begin = PEERS[name].start()
    subject = Subject(folder)
    reload = begin(subject.module, subject.file)
    crowd = many_objects(objects)
    gc.collect()
    times: list[float] = []
    cpu: list[float] = []
    followers: list[dict[str, bool]] = []
    for _ in range(rounds + 1):
        subject.edit()
        start, cpu_start = time.perf_counter(), time.process_time()
        reload()
        times.append((time.perf_counter() - start) * 1000)
        cpu.append((time.process_time() - cpu_start) * 1000)
        followers.append(subject.followers())
        if sum(times) > seconds * 1000:
            break
    del crowd
    package = PEERS[name].package
    return {
        "first": times[0],
        "ms": times[1:] or times,
        "cpu_ms": cpu[1:] or cpu,
        "version": importlib.metadata.version(package) if package else sys.version.split()[0],
        **{key: all(one[key] for one in followers) for key in followers[0]},
    }


def main() -> None:
    name, folder, objects, rounds, seconds = sys.argv[1:]
    os.chdir(folder)
    print(json.dumps(run(name, Path(folder), int(objects), int(rounds), float(seconds))))


if __name__ == "__main__":
    main()
