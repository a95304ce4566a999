"""One Python module of a reload: its source as it ran and as it is saved, and its shadow."""

from __future__ import annotations

import ast
import builtins

TYPE_CHECKING = False
if TYPE_CHECKING:
    import types

    from rehook._statements import Source, Statement

__all__ = ["MISSING", "Member", "has_docstring"]

MISSING = object()
_MODES = ("full", "package", "statements")


class Member:
    """One Python module that takes part: its source as it ran and as it is saved, its shadow."""

    def __init__(  # noqa: PLR0913 - what is known of a module
        self,
        name: str,
        module: types.ModuleType,
        file: str,
        old: Source | None,
        new: Source,
        *,
        whole: bool,
    ) -> None:
        self.name = name
        self.module = module
        self.file = file
        self.old = old
        self.new = new
        self.whole = whole
        self.is_package = hasattr(module, "__path__")
        self.namespace: dict[str, object] = module.__dict__  # its shadow's, once there is one
        self.before: dict[str, object] = {}
        self.due: set[int] = set()  # ids of the statements whose own text changed
        self.ran: set[int] = set()
        self.is_dropped = False
        self.flags = new.future_flags
        self._definitions: dict[str, Statement] | None = None

    @property
    def definitions(self) -> dict[str, Statement]:
        """Top-level statements that bind one function or class, by its name."""
        if self._definitions is None:
            found: dict[str, Statement] = {}
            for one in self.new.statements:
                name = one.name or _lambda_name(one.node)
                if name:
                    found[name] = one
            self._definitions = found
        return self._definitions

    def binders(self) -> dict[str, list[int]]:
        """Give the names that several statements bind, with the statements' places."""
        found: dict[str, list[int]] = {}
        for at, one in enumerate(self.new.statements):
            for name in one.binds:
                found.setdefault(name, []).append(at)
        return {name: places for name, places in found.items() if len(places) > 1 and name != "*"}

    def keep(self) -> set[str]:
        """Give the names of `__rehook_keep__`. Raises `TypeError` for one that makes no sense."""
        names = self.namespace.get("__rehook_keep__", ())
        if isinstance(names, str):
            return {names}
        if not isinstance(names, (tuple, list, set, frozenset)):
            message = f"{self.name}.__rehook_keep__ takes names, not {type(names).__name__}"
            raise TypeError(message)
        return {one for one in names if isinstance(one, str)}

    def value(self, name: str) -> object:
        """Give what the name stands for in the module, or a value that nothing equals."""
        value = self.namespace.get(name, MISSING)
        return getattr(builtins, name, MISSING) if value is MISSING else value

    def check_mode(self) -> None:
        """Look at `__rehook_mode__`. Raises `ValueError` for one that there is not."""
        mode = self.namespace.get("__rehook_mode__")
        if mode is not None and mode not in _MODES:
            message = f"{self.name}.__rehook_mode__ is {mode!r}; it can be {', '.join(_MODES)}"
            raise ValueError(message)


def _lambda_name(node: ast.stmt) -> str:
    if (
        isinstance(node, ast.Assign)
        and len(node.targets) == 1
        and isinstance(node.targets[0], ast.Name)
        and isinstance(node.value, ast.Lambda)
    ):
        return node.targets[0].id
    return ""


def has_docstring(source: Source) -> bool:
    """Tell whether a module begins with a text."""
    first = source.statements[0].node if source.statements else None
    return (
        isinstance(first, ast.Expr)
        and isinstance(first.value, ast.Constant)
        and isinstance(first.value.value, str)
    )
