"""Objects of Python classes whose slots changed, made anew with what the old ones held."""

from __future__ import annotations

import copyreg

__all__ = ["renewed"]

_MISSING = object()
_IS_HEAP_TYPE = 1 << 9  # Py_TPFLAGS_HEAPTYPE: made by a class statement


def renewed(instance: object, new_class: type) -> object:
    """Make an object of `new_class` with the attributes of `instance`; None if it cannot be.

    A class with a `__rehook_migrate__(cls, old_state)` makes the object itself, from a dict of
    the old one's attributes. Attributes that the new class has no room for are dropped.
    """
    state = _state(instance)
    migrate = getattr(new_class, "__rehook_migrate__", None)
    if migrate is not None:
        made = migrate(state) if _is_bound(migrate) else migrate(new_class, state)
        return made if isinstance(made, new_class) else None
    try:
        made = copyreg.__newobj__(new_class) if _is_plain(new_class) else None  # type: ignore[attr-defined]
    except TypeError:
        return None
    if made is None:
        return None
    for name, value in state.items():
        try:
            object.__setattr__(made, name, value)
        except AttributeError:  # no slot and no __dict__ for it any more
            continue
    return made


def _is_bound(function: object) -> bool:
    return getattr(function, "__self__", None) is not None


def _is_plain(new_class: type) -> bool:
    """Tell whether making an object takes nothing but its class, as with `object.__new__`."""
    maker: object = new_class.__new__
    return maker is object.__new__ and new_class.__flags__ & _IS_HEAP_TYPE != 0


def _state(instance: object) -> dict[str, object]:
    state = dict(getattr(instance, "__dict__", {}))
    for one in type(instance).__mro__:
        slots = vars(one).get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            mangled = _mangled(one, name)
            value = getattr(instance, mangled, _MISSING)
            if value is not _MISSING and name not in {"__dict__", "__weakref__"}:
                state[mangled] = value
    return state


def _mangled(owner: type, name: str) -> str:
    if name.startswith("__") and not name.endswith("__"):
        return f"_{owner.__name__.lstrip('_')}{name}"
    return name
