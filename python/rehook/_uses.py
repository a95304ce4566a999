"""What pieces of source read and bind, and how they use what they read."""

from __future__ import annotations

import ast
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = [
    "CALLS",
    "DERIVES",
    "HOLDS",
    "READS",
    "Use",
    "bound_names",
    "defaults_of",
    "global_reads",
    "top_level_walk",
    "uses_of",
]

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_DEFINITIONS = (*_FUNCTIONS, ast.ClassDef)
_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)

# How a statement uses a name while it runs.
HOLDS = "holds"  # puts the object somewhere: an alias, a display, a default, a base class
CALLS = "calls"  # calls it
DERIVES = "derives"  # makes a class with it as a base
READS = "reads"  # anything else: compares it, hands it to a function that may call it


class Use:
    """A name that a statement reads when it runs: `chain` ("m", "CONST") for `m.CONST`, and how."""

    __slots__ = ("chain", "how")

    def __init__(self, chain: tuple[str, ...], how: str) -> None:
        self.chain = chain
        self.how = how


class _Uses:
    """Collects what a statement reads when it runs."""

    def __init__(self) -> None:
        self.found: list[Use] = []

    def statement(self, node: ast.AST) -> None:
        if isinstance(node, _FUNCTIONS):
            self.function(node)
        elif isinstance(node, ast.ClassDef):
            self.class_(node)
        elif isinstance(node, ast.Expr):
            self.discarded(node.value)
        elif isinstance(node, (ast.Assign, ast.AnnAssign, ast.Return)):
            self.expression(node.value, HOLDS)
            for target in getattr(node, "targets", None) or [getattr(node, "target", None)]:
                self.expression(target, HOLDS)
            self.expression(getattr(node, "annotation", None), HOLDS)
        else:
            if isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name):
                self.found.append(Use((node.target.id,), READS))
            self.parts(node)

    def function(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        for decorator in node.decorator_list:
            self.decorator(decorator)
        for default in (*node.args.defaults, *node.args.kw_defaults):
            self.expression(default, HOLDS)
        for argument in ast.walk(node.args):
            if isinstance(argument, ast.arg):
                self.expression(argument.annotation, HOLDS)
        self.expression(node.returns, HOLDS)

    def class_(self, node: ast.ClassDef) -> None:
        for decorator in node.decorator_list:
            self.decorator(decorator)
        for base in node.bases:
            if chain := _chain(base):
                self.found.append(Use(chain, DERIVES))
            else:
                self.expression(base, HOLDS)
        for keyword in node.keywords:
            self.expression(keyword.value, HOLDS)
        for inner in node.body:
            self.statement(inner)

    def parts(self, node: ast.AST) -> None:
        """Look at the clauses of a compound statement, and the expressions in them."""
        if isinstance(node, ast.expr):
            self.expression(node, READS)
            return
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.stmt):
                self.statement(child)
            else:
                self.parts(child)

    def decorator(self, node: ast.expr) -> None:
        chain = _chain(node)
        if chain:
            self.found.append(Use(chain, CALLS))
        else:
            self.expression(node, READS)

    def discarded(self, node: ast.expr) -> None:
        """Look at a call whose result nobody takes: `registry.add(f)` would keep f twice."""
        if not isinstance(node, ast.Call):
            self.expression(node, READS)
            return
        self.expression(node.func, CALLS)
        for one in node.args:
            self.expression(one, HOLDS)
        for keyword in node.keywords:
            self.expression(keyword.value, HOLDS)

    def expression(self, node: ast.AST | None, how: str) -> None:
        if node is None or isinstance(node, ast.Constant):
            return
        chain = _chain(node)
        if chain:
            if len(chain) > 1 or isinstance(node.ctx, ast.Load):  # type: ignore[attr-defined]
                self.found.append(Use(chain, how))
        elif isinstance(node, ast.Call):
            self.expression(node.func, CALLS)
            for one in (*node.args, *(keyword.value for keyword in node.keywords)):
                self.expression(one, READS)
        elif isinstance(node, ast.Lambda):
            for default in (*node.args.defaults, *node.args.kw_defaults):
                self.expression(default, HOLDS)
        elif isinstance(node, (ast.List, ast.Tuple, ast.Set, ast.Dict, ast.Starred)):
            for child in ast.iter_child_nodes(node):
                self.expression(child, how)
        elif isinstance(node, ast.Attribute):
            self.expression(node.value, READS)
        else:
            for child in ast.iter_child_nodes(node):
                self.parts(child)


def uses_of(node: ast.AST) -> list[Use]:
    """Give what running a statement reads; the bodies of functions do not run."""
    collector = _Uses()
    collector.statement(node)
    return collector.found


def _chain(node: ast.AST) -> tuple[str, ...]:
    """Give ("a", "b", "c") for a.b.c, else ()."""
    names: list[str] = []
    while isinstance(node, ast.Attribute):
        names.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        return ()
    names.append(node.id)
    return tuple(reversed(names))


def global_reads(function: ast.AST) -> set[tuple[str, ...]]:
    """Give the global names, with their attributes, that a function reads when it is called."""
    body = function.body if isinstance(function.body, list) else [function.body]  # type: ignore[attr-defined]
    local: set[str] = set()
    arguments = function.args  # type: ignore[attr-defined]
    for one in ast.walk(arguments):
        if isinstance(one, ast.arg):
            local.add(one.arg)
    shared: set[str] = set()
    for statement in body:
        for node in top_level_walk(statement):
            if isinstance(node, (ast.Global, ast.Nonlocal)):
                shared.update(node.names)
    local.update(bound_names(body))
    local -= shared
    found: set[tuple[str, ...]] = set()
    for statement in body:
        _collect_reads(statement, local, found)
    return found


def _collect_reads(node: ast.AST, local: set[str], found: set[tuple[str, ...]]) -> None:
    chain = _chain(node)
    if chain:
        if chain[0] not in local:
            found.add(chain)
        return
    if isinstance(node, (*_FUNCTIONS, ast.Lambda)):
        found.update(one for one in global_reads(node) if one[0] not in local)
        for outside in defaults_of(node) if isinstance(node, _FUNCTIONS) else node.args.defaults:
            _collect_reads(outside, local, found)
        return
    if isinstance(node, ast.ImportFrom) and not node.level and node.module:
        found.update((node.module, alias.name) for alias in node.names)
    for child in ast.iter_child_nodes(node):
        _collect_reads(child, local, found)


def defaults_of(node: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[ast.AST]:
    """Give the expressions of a definition that run when it is made."""
    yield from node.decorator_list
    yield from node.args.defaults
    yield from (one for one in node.args.kw_defaults if one is not None)


def top_level_walk(node: ast.AST) -> Iterator[ast.AST]:
    """Walk what runs when the statement runs: not the bodies of functions."""
    yield node
    if isinstance(node, (*_FUNCTIONS, ast.Lambda)):
        return
    for child in ast.iter_child_nodes(node):
        yield from top_level_walk(child)


def bound_names(body: Iterable[ast.AST]) -> Iterator[str]:
    """Give the names that running these statements binds; some more than once."""
    for node in body:
        if isinstance(node, _DEFINITIONS):
            yield node.name
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            for alias in node.names:
                dotted = alias.asname or alias.name
                yield dotted.split(".")[0] if isinstance(node, ast.Import) else dotted
        elif isinstance(node, ast.Name):
            if not isinstance(node.ctx, ast.Load):
                yield node.id
        elif sys.version_info >= (3, 12) and isinstance(node, ast.TypeAlias):
            yield node.name.id  # and not its parameters
        elif isinstance(node, (*_COMPREHENSIONS, ast.Lambda)):
            yield from (
                inner.target.id
                for inner in ast.walk(node)
                if isinstance(inner, ast.NamedExpr) and isinstance(inner.target, ast.Name)
            )
        else:
            for name in (getattr(node, "name", None), getattr(node, "rest", None)):
                if isinstance(name, str):  # except … as name, patterns of match
                    yield name
            yield from bound_names(ast.iter_child_nodes(node))
