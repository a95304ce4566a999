"""A module's source as top-level statements: what each binds, what it reads, which functions it holds.

Everything here looks at source text alone; nothing is imported or run.
"""

from __future__ import annotations

import ast
import difflib
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["Function", "Source", "Statement", "Use", "compare", "same", "same_but_bodies"]

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_DEFINITIONS = (*_FUNCTIONS, ast.ClassDef)
_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
_SCOPES: dict[type, str] = {
    ast.ListComp: "listcomp",
    ast.SetComp: "setcomp",
    ast.DictComp: "dictcomp",
    ast.GeneratorExp: "genexpr",
}

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


class Function:
    """A function in the source: its qualified name and first line, as its code object tells them."""

    __slots__ = ("line", "node", "qualname")

    def __init__(self, qualname: str, line: int, node: ast.AST) -> None:
        self.qualname = qualname
        self.line = line
        self.node = node


class Statement:
    """One top-level statement. What it binds and uses is worked out when somebody asks."""

    __slots__ = ("_binds", "_reads", "_uses", "key", "node", "text")

    def __init__(self, node: ast.stmt, text: str) -> None:
        self.node = node
        self.text = text
        self.key: tuple[str, str] = (
            (type(node).__name__, node.name) if isinstance(node, _DEFINITIONS) else ("", text)
        )
        self._binds: frozenset[str] | None = None
        self._uses: list[Use] | None = None
        self._reads: dict[str, set[tuple[str, ...]]] | None = None

    @property
    def name(self) -> str:
        """The name that a `def` or a `class` statement binds, or ""."""
        return self.node.name if isinstance(self.node, _DEFINITIONS) else ""

    @property
    def is_class(self) -> bool:
        return isinstance(self.node, ast.ClassDef)

    @property
    def binds(self) -> frozenset[str]:
        """The module's names that running it binds; "*" for a star import."""
        if self._binds is None:
            self._binds = frozenset(_bound_names([self.node]))
        return self._binds

    @property
    def uses(self) -> list[Use]:
        """What running the statement itself reads; the bodies of functions do not run."""
        if self._uses is None:
            collector = _Uses()
            collector.statement(self.node)
            self._uses = collector.found
        return self._uses

    @property
    def body_reads(self) -> dict[str, set[tuple[str, ...]]]:
        """What the functions of a definition read when called: "" or a class's member -> chains."""
        if self._reads is None:
            node = self.node
            if isinstance(node, ast.ClassDef):
                self._reads = {
                    one.name: _global_reads(one) for one in node.body if isinstance(one, _FUNCTIONS)
                }
            elif isinstance(node, _FUNCTIONS):
                self._reads = {"": _global_reads(node)}
            else:
                # `f = lambda: …`, or definitions inside an `if`.
                inner = [one for one in ast.walk(node) if isinstance(one, (*_FUNCTIONS, ast.Lambda))]
                self._reads = {"": set().union(*(_global_reads(one) for one in inner))}
        return self._reads


class Source:
    """A parsed module. Raises `SyntaxError` (a `ValueError` for null bytes becomes one)."""

    def __init__(self, text: bytes, file: str) -> None:
        self.file = file
        try:
            self.tree = ast.parse(text, file)
        except ValueError as error:
            raise SyntaxError(str(error), (file, 1, 1, "")) from error
        self.text = text
        lines = text.splitlines(keepends=True)
        self.statements = []
        for node in self.tree.body:
            first = _first_line(node) - 1
            segment = lines[first : node.end_lineno]
            if len(segment) == 1 or node.col_offset:
                # Several statements on a line.
                one = segment[-1][: node.end_col_offset]
                segment = [*segment[:-1], one]
                segment[0] = segment[0][node.col_offset if not _decorated(node) else 0 :]
            joined = b"".join(segment).rstrip()
            self.statements.append(Statement(node, joined.decode("utf-8", "surrogateescape")))

    @property
    def future_flags(self) -> int:
        """The compiler's flags for the module's `from __future__` imports."""
        import __future__  # noqa: PLC0415 - only when something is compiled

        flags = 0
        for one in self.statements:
            node = one.node
            if isinstance(node, ast.ImportFrom) and node.module == "__future__":
                for alias in node.names:
                    feature = getattr(__future__, alias.name, None)
                    flags |= feature.compiler_flag if feature is not None else 0
        return flags

    def functions(self) -> list[Function]:
        """Every function and lambda, in the order of the source."""
        return list(_functions(self.tree, ""))

    def binds(self) -> set[str]:
        """Every name that the module's own statements bind."""
        return set().union(*(one.binds for one in self.statements)) if self.statements else set()

    def class_lines(self) -> dict[str, int]:
        """Give the first line of each class outside of functions, by its qualified name."""
        return dict(_class_lines(self.tree.body, ""))

    def class_members(self) -> dict[str, frozenset[str]]:
        """Give what each class's body binds, by the class's qualified name."""
        return dict(_class_members(self.tree.body, ""))

    def imports(self, module: str, *, is_package: bool) -> set[str]:
        """Give the names of modules that its top level imports, or imports from."""
        found: set[str] = set()
        for one in self.statements:
            for node in _top_level_walk(one.node):
                if isinstance(node, ast.Import):
                    for alias in node.names:
                        parts = alias.name.split(".")
                        found.update(".".join(parts[: i + 1]) for i in range(len(parts)))
                elif isinstance(node, ast.ImportFrom):
                    base = absolute_name(module, node, is_package=is_package)
                    found.add(base)
                    found.update(f"{base}.{alias.name}" for alias in node.names)
        return found


def absolute_name(module: str, node: ast.ImportFrom, *, is_package: bool) -> str:
    """Give the full name of the module that a `from … import` statement reads."""
    if not node.level:
        return node.module or ""
    package = module if is_package else module.rpartition(".")[0]
    for _ in range(node.level - 1):
        package = package.rpartition(".")[0]
    return f"{package}.{node.module}" if node.module else package


# ---------------------------------------------------------------- comparing


def compare(old: list[Statement], new: list[Statement]) -> list[tuple[Statement, Statement | None]]:
    """Pair each new statement with the old one it stands for, or None.

    Definitions are paired by kind and name, everything else by its text; the order decides
    between several. What only moved is paired, too.
    """
    pairs: dict[int, int] = {}
    old_keys, new_keys = [one.key for one in old], [one.key for one in new]
    if old_keys == new_keys:
        return list(zip(new, old, strict=True))
    matcher = difflib.SequenceMatcher(None, old_keys, new_keys, autojunk=False)
    for block in matcher.get_matching_blocks():
        for i in range(block.size):
            pairs[block.b + i] = block.a + i
    left: dict[tuple[str, str], list[int]] = {}
    taken = set(pairs.values())
    for i, key in enumerate(old_keys):
        if i not in taken:
            left.setdefault(key, []).append(i)
    for j, key in enumerate(new_keys):
        if j not in pairs and left.get(key):
            pairs[j] = left[key].pop(0)
    _pair_reworded(old, new, pairs)
    return [(one, old[pairs[j]] if j in pairs else None) for j, one in enumerate(new)]


def _pair_reworded(old: list[Statement], new: list[Statement], pairs: dict[int, int]) -> None:
    """Pair statements whose text differs but not their meaning: a comment, a line break."""
    taken = set(pairs.values())
    rest = [i for i in range(len(old)) if i not in taken and not old[i].name]
    for j, one in enumerate(new):
        if j in pairs or one.name:
            continue
        for i in rest:
            if same_but_bodies(old[i].node, one.node):
                pairs[j] = i
                rest.remove(i)
                break


def same(one: object, other: object) -> bool:
    """Tell whether two pieces of syntax are the same, wherever they stand."""
    return _same(one, other, bodies=True)


def same_but_bodies(one: object, other: object) -> bool:
    """Tell whether they are the same but for the bodies of functions."""
    return _same(one, other, bodies=False)


def _same(one: object, other: object, *, bodies: bool) -> bool:
    kind = type(one)
    if kind is not type(other):
        return False
    if isinstance(one, ast.AST):
        fields = kind._fields
        if not bodies and isinstance(one, _FUNCTIONS):
            # The names of arguments are part of the code object, their defaults are not.
            return _same_header(one, other)  # type: ignore[arg-type]
        for name in fields:
            a, b = getattr(one, name, None), getattr(other, name, None)
            if a is b:
                continue
            if not _same(a, b, bodies=bodies):
                return False
        return True
    if isinstance(one, list):
        assert isinstance(other, list)
        return len(one) == len(other) and all(
            _same(a, b, bodies=bodies) for a, b in zip(one, other, strict=True)
        )
    # 1 and 1.0 and True are equal, but not the same constant; nor are 0.0 and -0.0.
    return one == other and (not isinstance(one, float) or repr(one) == repr(other))


def _same_header(
    one: ast.FunctionDef | ast.AsyncFunctionDef, other: ast.FunctionDef | ast.AsyncFunctionDef
) -> bool:
    a, b = one.args, other.args
    if one.name != other.name:
        return False
    parts = [
        (one.decorator_list, other.decorator_list),
        (a.defaults, b.defaults),
        (a.kw_defaults, b.kw_defaults),
        (one.returns, other.returns),
        (_annotations(a), _annotations(b)),
        (getattr(one, "type_params", []), getattr(other, "type_params", [])),
        ([k.arg for k in a.kwonlyargs], [k.arg for k in b.kwonlyargs]),
    ]
    return all(_same(x, y, bodies=True) for x, y in parts)


def _annotations(arguments: ast.arguments) -> list[object]:
    every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    every += [one for one in (arguments.vararg, arguments.kwarg) if one is not None]
    return [(one.arg, one.annotation) for one in every if one.annotation is not None]


# ---------------------------------------------------------------- looking inside


def _decorated(node: ast.AST) -> bool:
    return bool(getattr(node, "decorator_list", None))


def _first_line(node: ast.stmt) -> int:
    decorators = getattr(node, "decorator_list", None)
    return decorators[0].lineno if decorators else node.lineno


def _functions(node: ast.AST, prefix: str) -> Iterator[Function]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, _FUNCTIONS):
            for outside in _header(child):
                yield from _functions_in_expression(outside, prefix)
            qualname = prefix + child.name
            yield Function(qualname, _first_line(child), child)
            for inner in child.body:
                yield from _functions_of(inner, qualname + ".<locals>.")
        elif isinstance(child, ast.ClassDef):
            for outside in (*child.decorator_list, *child.bases, *child.keywords):
                yield from _functions_in_expression(outside, prefix)
            for inner in child.body:
                yield from _functions_of(inner, prefix + child.name + ".")
        else:
            yield from _functions_in_expression(child, prefix)


def _functions_of(node: ast.AST, prefix: str) -> Iterator[Function]:
    yield from _functions(ast.Module(body=[node], type_ignores=[]), prefix)  # type: ignore[list-item]


def _functions_in_expression(node: ast.AST, prefix: str) -> Iterator[Function]:
    if isinstance(node, ast.Lambda):
        yield from _lambda(node, prefix)
    elif isinstance(node, _COMPREHENSIONS):
        yield from _comprehension(node, prefix)
    else:
        yield from _functions(node, prefix)


def _comprehension(
    node: ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp, prefix: str
) -> Iterator[Function]:
    # The first iterable is worked out outside; since 3.12 all of it is, but for generators.
    if not isinstance(node, ast.GeneratorExp) and sys.version_info >= (3, 12):
        inside = prefix
    else:
        inside = f"{prefix}<{_SCOPES[type(node)]}>."
    yield from _functions_in_expression(node.generators[0].iter, prefix)
    first, *others = node.generators
    parts: list[ast.AST] = [first.target, *first.ifs, *others]
    parts += [one for one in ast.iter_child_nodes(node) if one not in node.generators]
    for one in parts:
        yield from _functions_in_expression(one, inside)


def _lambda(node: ast.Lambda, prefix: str) -> Iterator[Function]:
    qualname = prefix + "<lambda>"
    yield Function(qualname, node.lineno, node)
    yield from _functions_in_expression(node.body, qualname + ".<locals>.")


def _header(node: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[ast.AST]:
    yield from node.decorator_list
    yield from node.args.defaults
    yield from (one for one in node.args.kw_defaults if one is not None)


def _class_members(
    body: Iterable[ast.AST], prefix: str
) -> Iterator[tuple[str, frozenset[str]]]:
    for node in body:
        if isinstance(node, ast.ClassDef):
            qualname = prefix + node.name
            yield qualname, frozenset(_bound_names(node.body))
            yield from _class_members(node.body, qualname + ".")
        elif not isinstance(node, _FUNCTIONS):
            yield from _class_members(ast.iter_child_nodes(node), prefix)


def _class_lines(body: Iterable[ast.AST], prefix: str) -> Iterator[tuple[str, int]]:
    for node in body:
        if isinstance(node, ast.ClassDef):
            qualname = prefix + node.name
            yield qualname, _first_line(node)
            yield from _class_lines(node.body, qualname + ".")
        elif not isinstance(node, _FUNCTIONS):
            yield from _class_lines(ast.iter_child_nodes(node), prefix)


def _top_level_walk(node: ast.AST) -> Iterator[ast.AST]:
    """Walk what runs when the statement runs: not the bodies of functions."""
    yield node
    if isinstance(node, (*_FUNCTIONS, ast.Lambda)):
        return
    for child in ast.iter_child_nodes(node):
        yield from _top_level_walk(child)


def _bound_names(body: Iterable[ast.AST]) -> Iterator[str]:
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
        elif isinstance(node, _COMPREHENSIONS) or isinstance(node, ast.Lambda):
            yield from (
                inner.target.id
                for inner in ast.walk(node)
                if isinstance(inner, ast.NamedExpr) and isinstance(inner.target, ast.Name)
            )
        else:
            for name in (getattr(node, "name", None), getattr(node, "rest", None)):
                if isinstance(name, str):  # except … as name, patterns of match
                    yield name
            yield from _bound_names(ast.iter_child_nodes(node))


class _Uses:
    """Collects what a statement reads when it runs."""

    def __init__(self) -> None:
        self.found: list[Use] = []

    def statement(self, node: ast.AST) -> None:
        if isinstance(node, _FUNCTIONS):
            for one in node.decorator_list:
                self.decorator(one)
            for one in (*node.args.defaults, *node.args.kw_defaults):
                self.expression(one, HOLDS)
            for one in ast.walk(node.args):
                if isinstance(one, ast.arg):
                    self.expression(one.annotation, HOLDS)
            self.expression(node.returns, HOLDS)
        elif isinstance(node, ast.ClassDef):
            for one in node.decorator_list:
                self.decorator(one)
            for one in node.bases:
                chain = _chain(one)
                if chain:
                    self.found.append(Use(chain, DERIVES))
                else:
                    self.expression(one, HOLDS)
            for keyword in node.keywords:
                self.expression(keyword.value, HOLDS)
            for inner in node.body:
                self.statement(inner)
        elif isinstance(node, ast.Expr):
            self.discarded(node.value)
        elif isinstance(node, (ast.Assign, ast.AnnAssign, ast.Return)):
            self.expression(node.value, HOLDS)
            for target in getattr(node, "targets", None) or [getattr(node, "target", None)]:
                self.expression(target, HOLDS)
            self.expression(getattr(node, "annotation", None), HOLDS)
        elif isinstance(node, ast.stmt):
            if isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name):
                self.found.append(Use((node.target.id,), READS))
            for child in ast.iter_child_nodes(node):
                if isinstance(child, ast.stmt):
                    self.statement(child)
                else:
                    self.part(child)
        else:
            self.part(node)

    def part(self, node: ast.AST) -> None:
        """A clause of a compound statement, or an expression in one."""
        if isinstance(node, ast.expr):
            self.expression(node, READS)
            return
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.stmt):
                self.statement(child)
            else:
                self.part(child)

    def decorator(self, node: ast.expr) -> None:
        chain = _chain(node)
        if chain:
            self.found.append(Use(chain, CALLS))
        else:
            self.expression(node, READS)

    def discarded(self, node: ast.expr) -> None:
        """A call whose result nobody takes: `registry.add(f)` keeps f, and would do so twice."""
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
            for one in (*node.args.defaults, *node.args.kw_defaults):
                self.expression(one, HOLDS)
        elif isinstance(node, (ast.List, ast.Tuple, ast.Set, ast.Dict, ast.Starred)):
            for child in ast.iter_child_nodes(node):
                self.expression(child, how)
        elif isinstance(node, ast.Attribute):
            self.expression(node.value, READS)
        else:
            for child in ast.iter_child_nodes(node):
                if isinstance(child, ast.expr):
                    self.expression(child, READS)
                else:
                    self.part(child)


def _chain(node: ast.AST) -> tuple[str, ...]:
    """("a", "b", "c") for a.b.c, else ()."""
    names: list[str] = []
    while isinstance(node, ast.Attribute):
        names.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        return ()
    names.append(node.id)
    return tuple(reversed(names))


def _global_reads(function: ast.AST) -> set[tuple[str, ...]]:
    """Give the global names, with their attributes, that a function reads when it is called."""
    body = function.body if isinstance(function.body, list) else [function.body]  # type: ignore[attr-defined]
    local: set[str] = set()
    arguments = function.args  # type: ignore[attr-defined]
    for one in ast.walk(arguments):
        if isinstance(one, ast.arg):
            local.add(one.arg)
    shared: set[str] = set()
    for statement in body:
        for node in _top_level_walk(statement):
            if isinstance(node, (ast.Global, ast.Nonlocal)):
                shared.update(node.names)
    local.update(_bound_names(body))
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
        found.update(one for one in _global_reads(node) if one[0] not in local)
        for outside in _header(node) if isinstance(node, _FUNCTIONS) else node.args.defaults:
            _collect_reads(outside, local, found)
        return
    if isinstance(node, ast.ImportFrom) and not node.level and node.module:
        found.update((node.module, alias.name) for alias in node.names)
    for child in ast.iter_child_nodes(node):
        _collect_reads(child, local, found)
