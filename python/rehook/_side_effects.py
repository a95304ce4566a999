"""What the statements of a reload did to the program's own containers, and how it is undone.

The tables and lists that hang on modules (registries, routes, caches) are looked at before and
after each statement. After a failure they get back what they held; and what a definition that
ran again has registered a second time is taken out again.
"""

from __future__ import annotations

import collections

TYPE_CHECKING = False
if TYPE_CHECKING:
    import types
    from collections.abc import Iterable

    _Container = dict[object, object] | list[object] | set[object] | collections.deque[object]

__all__ = ["SideEffects"]

_LIMIT = 50_000  # items looked at, in all; beyond, containers are not watched
_DEPTH = 4


class SideEffects:
    """The containers reachable from modules' namespaces, and what became of them.

    Not seen: the namespaces themselves, containers inside C objects, in closures, in modules of
    installed packages, and those beyond a limit of 50,000 items in all.
    """

    def __init__(self, modules: Iterable[types.ModuleType]) -> None:
        self._own = {one.__name__ for one in modules}
        self._watched: dict[int, tuple[_Container, _Container]] = {}
        self._log: list[tuple[_Container, _Container, _Container]] = []
        self._items = 0
        for module in modules:
            for value in list(module.__dict__.values()):
                self._look_at(value, 1)

    def _look_at(self, value: object, depth: int) -> None:
        if depth > _DEPTH or self._items > _LIMIT:
            return
        kind = type(value)
        if isinstance(value, (dict, list, set, collections.deque)):
            self._watch(value, depth)
        elif isinstance(value, type):
            if value.__module__ in self._own:
                for one in list(vars(value).values()):
                    if isinstance(one, (dict, list, set, collections.deque)):
                        self._watch(one, depth + 1)
        elif kind.__module__ in self._own:
            space = getattr(value, "__dict__", None)
            if type(space) is dict:
                self._watch(space, depth)

    def _watch(self, container: _Container, depth: int) -> None:
        if id(container) in self._watched or self._items + len(container) > _LIMIT:
            return
        self._items += len(container)
        self._watched[id(container)] = (container, _copy(container))
        if isinstance(container, set):
            return
        values = container.values() if isinstance(container, dict) else container
        for value in list(values):
            self._look_at(value, depth + 1)

    def refresh(self) -> None:
        """Take what others changed since the last statement for theirs: one is about to run."""
        for key, (container, before) in self._watched.items():
            if not _same(container, before):
                self._watched[key] = (container, _copy(container))

    def note(self, *, again: bool) -> None:
        """Note what a statement did; `again` when it defined anew what was defined before.

        Then what it added to lists and what they had before, is there once.
        """
        for key, (container, before) in list(self._watched.items()):
            if _same(container, before):
                continue
            if again and isinstance(container, (list, collections.deque)):
                _drop_repeated(container, before)
            after = _copy(container)
            self._watched[key] = (container, after)
            self._log.append((container, before, after))

    def undo(self) -> None:
        """Put back what the statements changed, the last first; what others changed stays."""
        log, self._log = self._log, []
        for container, before, after in reversed(log):
            _restore(container, before, after)


def _copy(container: _Container) -> _Container:
    if isinstance(container, dict):
        return dict(container)
    return set(container) if isinstance(container, set) else list(container)


def _same(container: _Container, copy: _Container) -> bool:
    if len(container) != len(copy):
        return False
    if isinstance(container, set):
        return container == copy
    if isinstance(container, dict):
        assert isinstance(copy, dict)
        return all(
            a is c and b is d
            for (a, b), (c, d) in zip(list(container.items()), copy.items(), strict=False)
        )
    return all(a is b for a, b in zip(list(container), copy, strict=False))


def _drop_repeated(container: list[object] | collections.deque[object], before: object) -> None:
    assert isinstance(before, list)
    count = len(before)
    if any(a is not b for a, b in zip(list(container), before, strict=False)):
        return
    for at in range(len(container) - 1, count - 1, -1):
        if any(_is_repeated(container[at], one) for one in before):
            del container[at]


def _is_repeated(fresh: object, old: object) -> bool:
    if fresh is old:
        return True
    plain = (str, bytes, int, float, tuple, frozenset)
    return type(fresh) is type(old) and isinstance(fresh, plain) and fresh == old


def _restore(container: _Container, before: _Container, after: _Container) -> None:
    if isinstance(container, dict):
        assert isinstance(before, dict)
        assert isinstance(after, dict)
        if _same(container, after) and list(before) != list(container):
            container.clear()
            container.update(before)
            return
        for key in after.keys() - before.keys():
            if container.get(key) is after[key]:
                del container[key]
        for key, value in before.items():
            if key not in after or (after[key] is not value and container.get(key) is after[key]):
                container[key] = value
    elif isinstance(container, set):
        assert isinstance(before, set)
        assert isinstance(after, set)
        container -= after - before
        container |= before - after
    elif _same(container, after):
        container.clear()
        container.extend(before)
    else:
        _restore_tail(container, before, after)


def _restore_tail(
    container: list[object] | collections.deque[object], before: object, after: object
) -> None:
    """Somebody else changed the list, too: only what was added is taken out."""
    assert isinstance(before, list)
    assert isinstance(after, list)
    for added in after[len(before) :]:
        for at in range(len(container) - 1, -1, -1):
            if container[at] is added:
                del container[at]
                break
