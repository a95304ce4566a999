"""Which code a function gets when its definition's source changed."""

from __future__ import annotations

import marshal
import types

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rehook._statements import Source

    # (file, qualified name, first line) of the old code, the new code, and the old code itself
    # where that alone tells it from others.
    Replacement = tuple[str, str, int, types.CodeType, types.CodeType | None]

__all__ = ["CodeChanges", "compiled"]

_IS_FUNCTION = 0x1  # CO_OPTIMIZED: what a class body has not (inspect)
_SUSPENDS = 0x20 | 0x80 | 0x200  # CO_GENERATOR, CO_COROUTINE, CO_ASYNC_GENERATOR (inspect)


def compiled(source: Source) -> types.CodeType:
    """Compile a source. Raises `SyntaxError` for what only the compiler finds.

    Each call gives code objects of its own: those that functions have are counted.
    """
    if source.marshaled is None:
        code = compile(source.tree, source.file, "exec", dont_inherit=True)
        source.marshaled = marshal.dumps(code)
        return code
    code = marshal.loads(source.marshaled)  # noqa: S302 - dumped in this process
    assert isinstance(code, types.CodeType)
    return code


class CodeChanges:
    """The functions of an old source, paired with the code of a new: by name, then by order.

    `replacements` has those with other code, or another place. `names` has the qualified names
    of those that do something else.
    """

    def __init__(self, old: Source | None, new: types.CodeType) -> None:
        self.replacements: list[Replacement] = []
        self.names: set[str] = set()
        after = _functions(new)
        self.may_suspend = any(
            code.co_flags & _SUSPENDS for codes in after.values() for code in codes
        )
        if old is None:
            return
        for qualname, codes in _functions(compiled(old)).items():
            self._pair(old.file, qualname, codes, after.get(qualname, []))

    def _pair(
        self, file: str, qualname: str, codes: list[types.CodeType], targets: list[types.CodeType]
    ) -> None:
        lines = [code.co_firstlineno for code in codes]
        for code, target in zip(codes, _matched(codes, targets), strict=True):
            if target is None or (code == target and code.co_linetable == target.co_linetable):
                continue
            if _behaviour(code) != _behaviour(target):
                self.names.add(qualname)
            line = code.co_firstlineno
            twin = code if lines.count(line) > 1 else None
            self.replacements.append((file, qualname, line, target, twin))

    def by_root(self) -> dict[str, set[str]]:
        """Give the top-level functions and classes with a change inside, and a class's methods."""
        found: dict[str, set[str]] = {}
        for one in self.names:
            parts = one.split(".")
            found.setdefault(parts[0], set()).update(parts[1:2])
        return found


def _functions(code: types.CodeType) -> dict[str, list[types.CodeType]]:
    """Give the code of every function inside, by its qualified name, in the source's order."""
    found: dict[str, list[types.CodeType]] = {}
    _collect(code, found)
    return found


def _collect(code: types.CodeType, found: dict[str, list[types.CodeType]]) -> None:
    for one in code.co_consts:
        if not isinstance(one, types.CodeType):
            continue
        # Comprehensions, and what evaluates annotations, are functions of nobody.
        is_function = one.co_flags & _IS_FUNCTION and not one.co_name.startswith("<")
        if is_function or one.co_name == "<lambda>":
            found.setdefault(one.co_qualname, []).append(one)
        _collect(one, found)


def _matched(
    codes: list[types.CodeType], targets: list[types.CodeType]
) -> list[types.CodeType | None]:
    """Pair functions of one name; when there are more or fewer now, those alike first."""
    if len(targets) == len(codes):
        return [*targets]
    left = list(targets)
    found: list[types.CodeType | None] = [None] * len(codes)
    for at, code in enumerate(codes):
        for target in left:
            if _behaviour(code) == _behaviour(target):
                found[at] = target
                left.remove(target)
                break
    for at in range(len(codes)):
        if found[at] is None and left:
            found[at] = left.pop(0)
    return found


def _behaviour(code: types.CodeType) -> tuple[object, ...]:
    """Give all of a code object but where it stands."""
    constants = tuple(
        _behaviour(one) if isinstance(one, types.CodeType) else (type(one), repr(one))
        for one in code.co_consts
    )
    return (
        code.co_code,
        constants,
        code.co_names,
        code.co_varnames,
        code.co_freevars,
        code.co_cellvars,
        code.co_flags,
        code.co_argcount,
        code.co_posonlyargcount,
        code.co_kwonlyargcount,
    )
