"""What the main script, or a notebook, has imported from modules that were reloaded.

Its statements never run again; only the names that its `from m import X` bound follow.
"""

from __future__ import annotations

import ast
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["follow"]


def follow(changed: Mapping[str, Mapping[str, tuple[object, object]]]) -> None:
    """Bind what `__main__` imported to the new values.

    Takes module -> name -> (old value, new value). A name that stands for something else by now
    is left alone, and so is one that no import statement of the script or of a cell explains.
    """
    main = sys.modules.get("__main__")
    if main is None or not changed:
        return
    space = main.__dict__
    for node in _imports(space):
        values = changed.get(node.module or "") if not node.level else None
        for alias in node.names if values else ():
            old, new = values.get(alias.name, (None, None)) if values else (None, None)
            name = alias.asname or alias.name
            if old is not new and space.get(name) is old:
                space[name] = new


def _imports(space: dict[str, object]) -> Iterator[ast.ImportFrom]:
    for text in _texts(space):
        try:
            tree = ast.parse(text)
        except (SyntaxError, ValueError):  # a cell with a magic, say
            continue
        for node in tree.body:
            if isinstance(node, ast.ImportFrom):
                yield node


def _texts(space: dict[str, object]) -> Iterator[str | bytes]:
    file = space.get("__file__")
    if isinstance(file, str) and file.endswith(".py"):
        try:
            with open(file, "rb") as source:
                yield source.read()
        except OSError:
            pass
    cells = space.get("In")  # IPython's history of the session
    if isinstance(cells, list):
        yield from (one for one in cells if isinstance(one, str) and "import" in one)
