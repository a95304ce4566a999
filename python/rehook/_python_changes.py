"""Which values, functions and classes of a reload changed, and which statements read them."""

from __future__ import annotations

import ast
import types

from rehook._statements import Statement, absolute_name, compare, same
from rehook._uses import CALLS, DERIVES, HOLDS, READS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rehook._member import Member

__all__ = ["CallableChange", "Changes", "class_change", "is_same_constant"]

# What makes the instances: when one of these changed, `OBJ = C()` gives another object.
_CONSTRUCTION = frozenset(
    {
        "__class_getitem__",
        "__init__",
        "__init_subclass__",
        "__new__",
        "__post_init__",
        "__set_name__",
    }
)
# Classes that call what they are given; other classes are taken to keep it.
_CONSUMERS = frozenset({dict, filter, frozenset, list, map, set, sorted, tuple, type(None), zip})
_CONSTANTS = (int, float, complex, str, bytes, bool, types.NoneType, types.EllipsisType, range)


class CallableChange:
    """A function or class whose code is another one, or calls some that is.

    The object itself stays, so whoever holds it follows; what was computed with it may not.
    """

    __slots__ = ("construction", "inherited", "is_class", "members", "obj", "values")

    def __init__(self, obj: object, *, is_class: bool) -> None:
        self.obj = obj  # keeps its id from being used again
        self.is_class = is_class
        self.members: set[str] = set()  # of a class: methods with other code
        self.values: set[str] = set()  # of a class: attributes with another value
        self.construction = not is_class
        # Of a class: those that derive from it are made differently now.
        self.inherited = False

    def add_members(self, names: set[str]) -> None:
        """Add methods with other code."""
        self.members |= names
        self.construction = self.construction or bool(names & _CONSTRUCTION)

    def take(self, other: CallableChange) -> None:
        """Add what changed in another class, or is known of it from elsewhere."""
        self.members |= other.members
        self.values |= other.values
        self.construction = self.construction or other.construction

    def concerns(self, rest: tuple[str, ...], how: str) -> bool:
        """Tell whether reading it, or its attributes `rest`, in that way gives another result."""
        if how == DERIVES:
            return self.inherited and not rest
        if not self.is_class:
            return how != HOLDS
        if rest:
            return rest[0] in self.values or (rest[0] in self.members and how != HOLDS)
        return how == CALLS and self.construction


def class_change(old: ast.ClassDef, new: ast.ClassDef, obj: object) -> CallableChange:
    """Compare two class statements of one name."""
    change = CallableChange(obj, is_class=True)
    header = (old.bases, old.keywords, old.decorator_list)
    if not same(list(header), [new.bases, new.keywords, new.decorator_list]):
        change.construction = change.inherited = True
    before = [Statement(one, _key(one)) for one in old.body]
    after = [Statement(one, _key(one)) for one in new.body]
    kept: set[int] = set()
    for one, was in compare(before, after):
        if was is not None:
            kept.add(id(was))
            if same(was.node, one.node):
                continue
        _note_member(change, one, decorated=bool(new.decorator_list))
    for was in before:
        if id(was) not in kept:
            _note_member(change, was, decorated=bool(new.decorator_list))
    return change


def _key(node: ast.stmt) -> str:
    return (
        ""
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))
        else (ast.dump(node))
    )


def _note_member(change: CallableChange, statement: Statement, *, decorated: bool) -> None:
    # A member that was added, removed or has other content.
    is_function = isinstance(statement.node, (ast.FunctionDef, ast.AsyncFunctionDef))
    if "__init_subclass__" in statement.binds or any(
        "abstract" in ast.dump(one) for one in getattr(statement.node, "decorator_list", ())
    ):
        change.inherited = True
    (change.members if is_function else change.values).update(statement.binds)
    if statement.binds & _CONSTRUCTION or (decorated and not is_function):
        change.construction = True


def is_same_constant(one: object, other: object) -> bool:
    """Tell whether two plain immutable values are the same to every program."""
    kind = type(one)
    if kind is not type(other):
        return False
    if kind in {tuple, frozenset}:
        assert isinstance(one, (tuple, frozenset))
        assert isinstance(other, (tuple, frozenset))
        if kind is frozenset:
            return one == other and all(type(x) in _CONSTANTS for x in one)
        return len(one) == len(other) and all(
            a is b or is_same_constant(a, b) for a, b in zip(one, other, strict=True)
        )
    return kind in _CONSTANTS and (one is other or (one == other and repr(one) == repr(other)))


class Changes:
    """What is known to have changed so far in one reload."""

    def __init__(self, members: dict[str, Member]) -> None:
        self._members = members
        self.names: dict[str, set[str]] = {}  # module -> names with another value, new or gone
        self._callables: dict[int, CallableChange | None] = {}
        self._under_way: set[int] = set()
        self._complete: set[int] = set()  # those of which all that they call has been looked at

    def add_name(self, module: str, name: str) -> None:
        self.names.setdefault(module, set()).add(name)

    def add_callable(self, change: CallableChange) -> None:
        self._callables[id(change.obj)] = change

    def forget_negative_answers(self) -> None:
        """Look again at what was found unchanged: it may read what changed since."""
        self._callables = {key: one for key, one in self._callables.items() if one is not None}
        self._complete.clear()

    def known(self, obj: object) -> CallableChange | None:
        return self._callables.get(id(obj))

    def affects(self, member: Member, statement: Statement) -> bool:
        """Tell whether running the statement would read something that changed."""
        if self._imports_change(member, statement):
            return True
        consumed = _is_consumed(member, statement)
        return any(
            self._use_is_affected(member, use.chain, consumed.get(id(use), use.how))
            for use in statement.uses
        )

    def _imports_change(self, member: Member, statement: Statement) -> bool:
        node = statement.node
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Assign, ast.Expr)):
            return False
        for one in statement.from_imports:
            names = self.names.get(absolute_name(member.name, one, is_package=member.is_package))
            if names and any(alias.name == "*" or alias.name in names for alias in one.names):
                return True
        return False

    def _use_is_affected(self, member: Member, chain: tuple[str, ...], how: str) -> bool:
        found = self.find(member, chain)
        if found is None:
            return False
        change, rest = found
        return change is None or change.concerns(rest, how)

    def find(
        self, member: Member, chain: tuple[str, ...]
    ) -> tuple[CallableChange | None, tuple[str, ...]] | None:
        """Follow `m.C.attr` from a module: the change it comes to and what is left of the chain.

        (None, …) stands for a name whose value is another one; None for nothing that changed.
        """
        for at, name in enumerate(chain):
            if name in self.names.get(member.name, ()):
                return None, chain[at + 1 :]
            value = member.value(name)
            other = self._member_of(value)
            if other is not None:
                member = other
                continue
            change = self.change_of(value)
            return None if change is None else (change, chain[at + 1 :])
        return None

    def _member_of(self, value: object) -> Member | None:
        if not isinstance(value, types.ModuleType):
            return None
        return self._members.get(value.__dict__.get("__name__", ""))

    def change_of(self, obj: object) -> CallableChange | None:
        """Give the change of a function or class; also one that calls, or derives from, such."""
        key = id(obj)
        known = self._callables.get(key)
        if key in self._under_way or (known is not None and not known.is_class):
            return known
        if key in self._complete:
            return known
        definition = self.definition_of(obj)
        if definition is None:
            return known
        self._under_way.add(key)
        try:
            change = self._taint(obj, *definition)
        finally:
            self._under_way.discard(key)
        if known is not None and change is not None:
            known.take(change)
            change = known
        change = change if change is not None else known
        if not self._under_way:
            self._complete.add(key)
            self._callables[key] = change
        elif change is not None:
            self._callables[key] = change
        return change

    def definition_of(self, obj: object) -> tuple[Member, Statement] | None:
        """Find the statement that defined a function or class of a module of this reload."""
        name = getattr(obj, "__qualname__", None)
        module = getattr(obj, "__module__", None)
        if not isinstance(name, str) or not isinstance(module, str):
            return None
        member = self._members.get(module)
        statement = member.definitions.get(name) if member is not None else None
        if member is None or statement is None or member.value(name) is not obj:
            return None
        return member, statement

    def _taint(self, obj: object, member: Member, statement: Statement) -> CallableChange | None:
        change = CallableChange(obj, is_class=isinstance(obj, type))
        tainted = False
        for name, chains in statement.body_reads.items():
            if not any(self._use_is_affected(member, chain, CALLS) for chain in chains):
                continue
            tainted = True
            if name:
                change.members.add(name)
                change.construction = change.construction or name in _CONSTRUCTION
        if isinstance(obj, type):
            for base in obj.__mro__[1:]:
                inherited = self.change_of(base)
                if inherited is None:
                    continue
                tainted = True
                change.take(inherited)
        return change if tainted else None


def _is_consumed(member: Member, statement: Statement) -> dict[int, str]:
    """Arguments of a class's constructor are kept, not called, but for those of `map` and such."""
    node = getattr(statement.node, "value", None)
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
        return {}
    callee = member.value(node.func.id)
    if not isinstance(callee, type) or callee in _CONSUMERS:
        return {}
    return {id(use): HOLDS for use in statement.uses if use.how == READS}
