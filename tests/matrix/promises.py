"""The short names of what scenario.py looks at."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from support.subject import Language

_NAMES = (
    *("import", "reload", "reload-undo", "reload-broken", "reload-layout"),
    *("report", "module", "function", "bound", "class", "instance", "isinstance", "subclass"),
    *("except", "pickle", "undo", "fails", "rollback", "repair"),
    *("layout-valid", "layout-refused", "layout-new", "layout-counted"),
    *("layout-function", "layout-except", "layout-undo"),
)


def expected_names(language: Language) -> list[str]:
    """Give the promises that a complete run looks at."""
    return [*_NAMES, "enum"] if language.has_enum else list(_NAMES)
