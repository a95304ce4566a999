"""What takes part in a reload: modules' own functions, and listeners."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from rehook.report import ReloadReport

__all__ = ["after", "before", "on_reload"]

_listeners: list[Callable[[ReloadReport], object]] = []


def on_reload(callback: Callable[[ReloadReport], object]) -> Callable[[], None]:
    """Let `callback(report)` be called at the end of every reload; see `rehook.on_reload`."""
    _listeners.append(callback)

    def unregister() -> None:
        if callback in _listeners:
            _listeners.remove(callback)

    return unregister


def before(names: list[str]) -> None:
    """Call `__rehook_before__()` of the modules about to be reloaded. What they raise passes."""
    for name in names:
        function = _own(name, "__rehook_before__")
        if function is not None:
            function()


def after(names: list[str], report: dict[str, Any]) -> None:
    """Call `__rehook_after__(report)` of the reloaded modules, then the listeners.

    What they raise passes: the caller puts everything back.
    """
    functions = [one for one in (_own(name, "__rehook_after__") for name in names) if one]
    if not functions and not _listeners:
        return
    from rehook.report import ReloadReport  # noqa: PLC0415 - only when somebody listens

    told = ReloadReport(report)
    for function in (*functions, *_listeners):
        function(told)


def _own(name: str, attribute: str) -> Any:
    module = sys.modules.get(name)
    return None if module is None else getattr(module, "__dict__", {}).get(attribute)
