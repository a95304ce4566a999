"""A module's source as top-level statements: what each binds, and how two of them differ.

Everything here looks at source text alone; nothing is imported or run.
"""

from __future__ import annotations

import ast
import difflib

from rehook._uses import bound_names, global_reads, top_level_walk, uses_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from rehook._uses import Use

__all__ = [
    "Source",
    "Statement",
    "absolute_name",
    "compare",
    "same",
    "same_but_bodies",
]

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_DEFINITIONS = (*_FUNCTIONS, ast.ClassDef)


class Statement:
    """One top-level statement. What it binds and uses is worked out when somebody asks."""

    __slots__ = ("_binds", "_imports", "_reads", "_uses", "key", "node", "text")

    def __init__(self, node: ast.stmt, text: str) -> None:
        self.node = node
        self.text = text
        self.key: tuple[str, str] = (
            (type(node).__name__, node.name) if isinstance(node, _DEFINITIONS) else ("", text)
        )
        self._binds: frozenset[str] | None = None
        self._imports: list[ast.ImportFrom] | None = None
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
            self._binds = frozenset(bound_names([self.node]))
        return self._binds

    @property
    def from_imports(self) -> list[ast.ImportFrom]:
        """The `from … import` statements inside, but for those in functions."""
        if self._imports is None:
            self._imports = [
                one for one in top_level_walk(self.node) if isinstance(one, ast.ImportFrom)
            ]
        return self._imports

    @property
    def uses(self) -> list[Use]:
        """What running the statement itself reads; the bodies of functions do not run."""
        if self._uses is None:
            self._uses = uses_of(self.node)
        return self._uses

    @property
    def body_reads(self) -> dict[str, set[tuple[str, ...]]]:
        """What the functions of a definition read when called: "" or a class's member -> chains."""
        if self._reads is None:
            node = self.node
            if isinstance(node, ast.ClassDef):
                self._reads = {
                    one.name: global_reads(one) for one in node.body if isinstance(one, _FUNCTIONS)
                }
            elif isinstance(node, _FUNCTIONS):
                self._reads = {"": global_reads(node)}
            else:
                # `f = lambda: …`, or definitions inside an `if`.
                inner = [
                    one for one in ast.walk(node) if isinstance(one, (*_FUNCTIONS, ast.Lambda))
                ]
                self._reads = {"": set().union(*(global_reads(one) for one in inner))}
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
        self.marshaled: bytes | None = None  # its code, see _function_codes
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
            for node in top_level_walk(one.node):
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
        if not bodies and isinstance(one, _FUNCTIONS):
            # The names of arguments are part of the code object, their defaults are not.
            return _same_header(one, other)  # type: ignore[arg-type]
        for name in one._fields:
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


def _class_members(body: Iterable[ast.AST], prefix: str) -> Iterator[tuple[str, frozenset[str]]]:
    for node in body:
        if isinstance(node, ast.ClassDef):
            qualname = prefix + node.name
            yield qualname, frozenset(bound_names(node.body))
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
