"""The only place that imports `rehook._core`, the compiled part."""

from __future__ import annotations

import os

TYPE_CHECKING = False

try:
    from rehook import _core
except ImportError as _error:
    _folder = os.path.dirname(os.path.abspath(__file__))
    try:
        _found = sorted(
            name
            for name in os.listdir(_folder)
            if name.startswith("_core.") and not name.endswith((".pyi", ".py"))
        )
    except OSError:
        _found = []
    if _found:
        _why = (
            f"{_error}\nIn {_folder} there is {', '.join(_found)}: "
            "it was built for another Python, or a library it needs is missing."
        )
    else:
        _why = f"{_error}\nIn {_folder} there is no built _core: the package was not built."
    _message = (
        f"the compiled part of rehook, rehook._core, cannot be imported: {_why}\n"
        "hint: install rehook again with the Python that runs it (python -m pip install rehook), "
        "or in a source tree: python -m pip install -e ."
    )
    raise ImportError(_message, name="rehook._core") from _error

from rehook._core import Session, Store, version, versions

if TYPE_CHECKING:
    from rehook._core import ModuleFinder

__all__ = ["Session", "Store", "is_foreign_finder", "version", "versions"]


def is_foreign_finder(finder: object, own: ModuleFinder | None) -> bool:
    """Tell whether `finder` belongs to another copy of rehook than the session of `own`."""
    kind = type(finder)
    module = getattr(kind, "__module__", "")
    return finder is not own and kind.__name__ == "ModuleFinder" and module == _core.__name__
