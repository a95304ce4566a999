"""Which code a function gets when its definition's source changed."""

from __future__ import annotations

import types

from rehook._statements import same

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ast

    from rehook._statements import Source

    _Place = tuple[int, ast.AST]
    _Codes = dict[tuple[str, int], list[types.CodeType]]
    # (file, qualified name, first line) of the old code, the new code, and the old code itself
    # where that alone tells it from others.
    Replacement = tuple[str, str, int, types.CodeType, types.CodeType | None]

__all__ = ["may_suspend", "pair_codes"]

_SUSPENDS = 0x20 | 0x80 | 0x200  # CO_GENERATOR, CO_COROUTINE, CO_ASYNC_GENERATOR (inspect)


def pair_codes(old: Source, new: Source, code: types.CodeType) -> list[Replacement]:
    """Pair the functions of the old source with the code of the new: by name, then by order.

    Takes the compiled new source, too. Gives what has another code, or another place.
    """
    replacements: list[Replacement] = []
    codes = _collected(code)
    before: dict[str, list[tuple[int, ast.AST]]] = {}
    for function in old.functions():
        before.setdefault(function.qualname, []).append((function.line, function.node))
    after: dict[str, list[tuple[int, ast.AST]]] = {}
    for function in new.functions():
        after.setdefault(function.qualname, []).append((function.line, function.node))
    old_codes: _Codes = {}
    if any(len({one[0] for one in places}) < len(places) for places in before.values()):
        # Several of one name on one line can only be told apart by what they do.
        old_codes = _collected(compile(old.text, old.file, "exec", dont_inherit=True))
    for qualname, places in before.items():
        seen: dict[int, int] = {}
        targets = _matched(places, after.get(qualname, []))
        used: dict[int, int] = {}
        for (line, node), target in zip(places, targets, strict=False):
            twins = old_codes.get((qualname, line), [])
            nth = seen.get(line, 0)
            seen[line] = nth + 1
            if target is None:
                continue
            found = codes.get((qualname, target[0]), [])
            at = used.get(target[0], 0)
            used[target[0]] = at + 1
            if at >= len(found):
                continue
            if line == target[0] and same(node, target[1]) and _same_place(node, target[1]):
                continue
            twin = twins[nth] if len(twins) > 1 and nth < len(twins) else None
            replacements.append((old.file, qualname, line, found[at], twin))
    return replacements


def _matched(places: list[_Place], targets: list[_Place]) -> list[_Place | None]:
    """Pair functions of one name when there are more or fewer now: the same bodies first."""
    if len(targets) == len(places):
        return [*targets]
    left = list(targets)
    found: list[_Place | None] = [None] * len(places)
    for at, (_, node) in enumerate(places):
        for target in left:
            if same(node, target[1]):
                found[at] = target
                left.remove(target)
                break
    for at in range(len(places)):
        if found[at] is None and left:
            found[at] = left.pop(0)
    return found


def _collected(code: types.CodeType) -> _Codes:
    """Give every code object inside another, by its qualified name and first line."""
    found: _Codes = {}
    waiting = [code]
    while waiting:
        inner = [one for one in waiting.pop().co_consts if isinstance(one, types.CodeType)]
        for one in inner:
            found.setdefault((one.co_qualname, one.co_firstlineno), []).append(one)
        waiting += inner
    return found


def may_suspend(code: types.CodeType) -> bool:
    """Tell whether a function of a module is a generator or a coroutine."""
    return any(one.co_flags & _SUSPENDS for found in _collected(code).values() for one in found)


def _same_place(one: ast.AST, other: ast.AST) -> bool:
    a = getattr(one, "end_lineno", 0), getattr(one, "col_offset", 0)
    return a == (getattr(other, "end_lineno", 0), getattr(other, "col_offset", 0))
