"""Registries that refuse what they have already, when a definition has to run again."""

from __future__ import annotations

import gc
import types

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Registrations"]


class Registrations:
    """The places, other than namespaces, where containers hold an object.

    `hide()` takes the object out of them, so that it can be registered anew; `show()` puts what
    is registered then where the object was, and the object itself where nothing is.
    """

    def __init__(self, obj: object) -> None:
        self._obj = obj
        self._dicts: list[tuple[dict[object, object], dict[object, object]]] = []
        self._lists: list[tuple[list[object], list[object]]] = []
        self._sets: list[set[object]] = []
        spaces = _namespaces()
        for one in gc.get_referrers(obj):
            if type(one) is dict and id(one) not in spaces and not _is_instance_dict(one):
                self._dicts.append((one, dict(one)))
            elif type(one) is list:
                self._lists.append((one, list(one)))
            elif type(one) is set:
                self._sets.append(one)

    def hide(self) -> bool:
        """Take the object out; False when nothing holds it."""
        for held, _ in self._dicts:
            for key, value in list(held.items()):
                if value is self._obj or key is self._obj:
                    del held[key]
        for items, _ in self._lists:
            items[:] = [one for one in items if one is not self._obj]
        for members in self._sets:
            members.discard(self._obj)
        return bool(self._dicts or self._lists or self._sets)

    def show(self) -> None:
        """Bring back the order, and what was not registered anew."""
        for held, before in self._dicts:
            now = dict(held)
            held.clear()
            for key, value in before.items():
                held[key] = now.pop(key, value)
            held.update(now)
        for items, before_items in self._lists:
            added = [one for one in items if all(one is not old for old in before_items)]
            items[:] = [*before_items, *added]
        for members in self._sets:
            members.add(self._obj)


def _namespaces() -> set[int]:
    import sys  # noqa: PLC0415 - only when a registry refused

    modules: list[object] = list(sys.modules.values())
    return {id(one.__dict__) for one in modules if isinstance(one, types.ModuleType)}


def _is_instance_dict(held: object) -> bool:
    """Tell whether it is the namespace of an object or a class, or of a running function."""
    return any(getattr(one, "__dict__", None) is held for one in _owners(held))


def _owners(held: object) -> Iterator[object]:
    for one in gc.get_referrers(held):
        if not isinstance(one, (dict, list, tuple, types.FrameType)):
            yield one
