"""What Python modules need when what they import got new content. Called by the compiled part."""

from __future__ import annotations

import ast
import contextlib
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType


def run_imports_again(news: list[str], importers: list[str]) -> None:
    """Let `from m import x` and `from m import *` at the top level of modules follow.

    Takes the names of modules with new content and of loaded Python modules that may import from
    them. Statements run in their own module's namespace; a module whose namespace changed counts
    as news for the others. Lets what the statements raise (an `ImportError` when a name is gone)
    pass: the caller puts everything back.
    """
    waiting = dict.fromkeys(news)
    while waiting:
        source = next(iter(waiting))
        del waiting[source]
        # Who imports from a package may write just dots; any other module's name is in the text.
        is_package = hasattr(sys.modules.get(source), "__path__")
        word = b"" if is_package else source.rpartition(".")[2].encode()
        for name in importers:
            if name == source:
                continue
            module = sys.modules.get(name)
            due = [one for one in _from_imports(name, word) if _reads(module, one, source)]
            if module is None or not due:
                continue
            before = dict(module.__dict__)
            for statement in due:
                _execute(module, statement)
            if _differs(before, module.__dict__):
                waiting[name] = None


def forget_bytecode(module: ModuleType) -> None:
    """Remove a module's cached bytecode, because its source is known to differ.

    The import system believes the cache when time stamp and size of the source are the recorded
    ones, as they are after an edit within one second that keeps the size.
    """
    cached = getattr(module, "__cached__", None)
    if isinstance(cached, str):
        with contextlib.suppress(OSError):
            os.unlink(cached)


class _Source:
    """One file, read once: parsing takes ten times as long as everything else in a reload."""

    def __init__(self, file: str, stamp: tuple[int, int, int, int]) -> None:
        self.file, self.stamp = file, stamp
        self.statements: list[ast.ImportFrom] | None = None
        try:
            with open(file, "rb") as source:
                self.text = source.read()
        except OSError:
            self.text = b""

    def from_imports(self) -> list[ast.ImportFrom]:
        if self.statements is None:
            try:
                self.statements = _top_level(ast.parse(self.text, self.file).body)
            except (SyntaxError, ValueError):
                self.statements = []
        return self.statements


_sources: dict[str, _Source] = {}


def _from_imports(name: str, word: bytes) -> list[ast.ImportFrom]:
    """Give the `from … import …` statements that a module's body runs, or none if unreadable.

    None as well when `word` is nowhere in its source.
    """
    file = getattr(sys.modules.get(name), "__file__", None)
    if not isinstance(file, str) or not file.endswith(".py"):
        return []
    try:
        now = os.stat(file)
    except OSError:
        return []
    stamp = (now.st_mtime_ns, now.st_ctime_ns, now.st_size, now.st_ino)
    source = _sources.get(file)
    if source is None or source.stamp != stamp:
        source = _sources[file] = _Source(file, stamp)
    return source.from_imports() if word in source.text else []


def _top_level(body: list[ast.stmt]) -> list[ast.ImportFrom]:
    found: list[ast.ImportFrom] = []
    for statement in body:
        if isinstance(statement, ast.ImportFrom):
            found.append(statement)
        elif isinstance(statement, ast.Try):
            # The branch that was taken is not known: only what stands before any failure.
            found += _top_level(statement.body)
    return found


def _reads(module: ModuleType | None, statement: ast.ImportFrom, source: str) -> bool:
    """Tell whether `from X import names` reads from the module `source`."""
    if module is None:
        return False
    base = _absolute_name(module, statement)
    if base == source:
        return True
    return any(f"{base}.{alias.name}" == source for alias in statement.names)


def _absolute_name(module: ModuleType, statement: ast.ImportFrom) -> str:
    if not statement.level:
        return statement.module or ""
    package = module.__name__
    if not hasattr(module, "__path__"):
        package = package.rpartition(".")[0]
    for _ in range(statement.level - 1):
        package = package.rpartition(".")[0]
    return f"{package}.{statement.module}" if statement.module else package


def _execute(module: ModuleType, statement: ast.ImportFrom) -> None:
    tree = ast.Module(body=[statement], type_ignores=[])
    exec(compile(tree, module.__file__ or "?", "exec"), module.__dict__)  # noqa: S102 - its own code


def _differs(before: dict[str, object], after: dict[str, object]) -> bool:
    missing = object()
    return any(after[key] is not before.get(key, missing) for key in after)
