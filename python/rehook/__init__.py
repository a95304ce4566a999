"""Edit the C++ of a Python extension, call it again in the same interpreter.

    import rehook
    rehook.install()
    import geo                # built from its sources if they changed
    ...                       # edit src/geo.cpp
    rehook.reload()           # rebuilt, and taken over by what you already hold

Everything raises `RehookError`, an `ImportError`, and leaves the old code running when it does.
"""

from __future__ import annotations

import _thread
import os
import sys

# The function errors() below hides this submodule as an attribute; importing from it still works.
from rehook.errors import BuildError, ConfigError, Diagnostic, RehookError, ReloadError, StoreError
from rehook.report import Explanation, Failure, Generations, ReloadReport, Status

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from types import ModuleType

    from rehook._native import Session

    _Path = str | os.PathLike[str]

__all__ = [
    "BuildError",
    "ConfigError",
    "Diagnostic",
    "Explanation",
    "Failure",
    "RehookError",
    "ReloadError",
    "ReloadReport",
    "Status",
    "StoreError",
    "currently_reloading",
    "errors",
    "explain",
    "generations",
    "install",
    "is_installed",
    "modified",
    "on_reload",
    "reload",
    "retry",
    "status",
    "uninstall",
]

# The default of install(lock_timeout=). An object of its own, so that "not given" can be told from
# a given 120.0: only the latter goes before the settings of the environment and pyproject.toml.
_LOCK_TIMEOUT = float("120")

# Held while installing and uninstalling. Re-entrant: both may import.
_lock = _thread.RLock()
_session: Session | None = None
_installed_with: dict[str, object] = {}


class _ArgumentError(ConfigError, TypeError):
    """An argument of a type that makes no sense: a `ConfigError` and a `TypeError`."""


def install(  # noqa: PLR0913 - keyword-only, each one a switch of its own
    *,
    enable_reloading: bool = True,
    projects: Iterable[_Path] | None = None,
    settings: Mapping[str, object] | None = None,
    store_dir: _Path | None = None,
    force_rebuild: bool = False,
    enable_project_importer: bool = True,
    enable_file_importer: bool = True,
    lock_timeout: float = _LOCK_TIMEOUT,
    show_warnings: bool = True,
) -> None:
    """Put the import hook in front of `sys.meta_path`.

    From then on, importing a module of a CMake project builds it first if its sources changed, and
    reloading it does the same. Installing again with the same arguments does nothing.

    Takes:
        enable_reloading: whether `importlib.reload` and `rehook.reload` build and take over.
        projects: folders of projects to serve, besides those with an editable install and those
            that `rehook allow` allowed and that `sys.path` leads to. No other project is ever
            built: its CMakeLists.txt may do anything, and an import is no wish for that.
        settings: what `[tool.rehook]` may hold (`rehook.config`), going before everything else.
        store_dir: where built files are kept; the user's cache folder by default.
        force_rebuild: build on the first import even if nothing changed.
        enable_project_importer: whether imports are served at all.
        enable_file_importer: reserved for extensions made of a single source file.
        lock_timeout: seconds to wait for another process that builds the same.
        show_warnings: remind, with one line on standard error, of modules that run older code.

    Raises `ConfigError` for a setting that makes no sense, when the hook is installed with other
    arguments (call `uninstall()` first) or by another copy of rehook, and `StoreError` when the
    store cannot be used. It does not build anything yet.
    """
    global _session, _installed_with
    arguments = _collect_settings(projects, settings, store_dir, lock_timeout)
    switches: dict[str, object] = {
        "enable_reloading": enable_reloading,
        "force_rebuild": force_rebuild,
        "enable_project_importer": enable_project_importer,
        "enable_file_importer": enable_file_importer,
        "show_warnings": show_warnings,
    }
    given = {**arguments, **switches}
    with _lock:
        if _session is not None:
            _check_same(given)
            if not is_installed():  # someone took it out
                sys.meta_path.insert(0, _session.finder)
            return
        # Not before: `import rehook` is lean, and rehook doctor must start without the core.
        from rehook import _make_session, _native  # noqa: PLC0415
        from rehook.config import resolve  # noqa: PLC0415

        for finder in sys.meta_path:
            if _native.is_foreign_finder(finder, None):
                message = "two finders installed: another copy of rehook is in sys.meta_path"
                hint = "remove it from sys.meta_path, or use only that copy"
                raise ConfigError(message, hint=hint)
        session = _make_session.open_session(resolve(arguments), switches)
        sys.meta_path.insert(0, session.finder)
        _session, _installed_with = session, given


def uninstall() -> None:
    """Take the import hook out of `sys.meta_path`; what is loaded stays loaded.

    Does nothing when the hook is not installed.
    """
    global _session, _installed_with
    with _lock:
        if _session is None:
            return
        session, _session, _installed_with = _session, None, {}
        # By identity: somebody's finder may claim to be equal to everything.
        for index, finder in enumerate(sys.meta_path):
            if finder is session.finder:
                del sys.meta_path[index]
                break
        session.close()


def is_installed() -> bool:
    """Tell whether the import hook is in `sys.meta_path`."""
    session = _session
    return session is not None and any(one is session.finder for one in sys.meta_path)


def reload(*modules_or_names: ModuleType | str) -> ReloadReport:
    """Rebuild what changed and let it take over, all or nothing.

    Takes modules or their full names, compiled ones and Python modules in any mixture; without
    any, everything loaded whose inputs changed. Of a Python module those statements run again
    whose text changed, or that read something that changed.
    Gives a `ReloadReport`: what was reloaded, what could not be updated and why.
    Raises `BuildError` or `ReloadError`, with everything as it was before, and `ConfigError` when
    the hook is not installed. What a module's own body raises arrives as itself or as the
    `__cause__` of the `ReloadError`.
    """
    names = list(dict.fromkeys(_module_name(one) for one in modules_or_names))
    return ReloadReport(_current().reload(names))


def modified(path: _Path | None = None) -> list[str]:
    """Name the loaded modules whose inputs changed since they were loaded.

    Takes a file or a folder to ask about, or nothing for all. It builds nothing, and it does not
    know changes made to the inputs of modules that were loaded before `install()`.
    Raises `ConfigError` when the hook is not installed.
    """
    return _current().modified(None if path is None else _absolute(path, "path"))


def on_reload(callback: Callable[[ReloadReport], object]) -> Callable[[], None]:
    """Let `callback(report)` be called at the end of every reload, before it is final.

    Gives a function that takes the callback off again. What the callback raises becomes the
    `__cause__` of the `ReloadError`, and everything is put back. Needs no installed hook.
    """
    from rehook import _protocol  # noqa: PLC0415 - only for those who listen

    given: object = callback
    if not callable(given):
        message = f"on_reload() takes a function, not {type(given).__name__}"
        raise _ArgumentError(message)
    return _protocol.on_reload(callback)


def currently_reloading() -> bool:
    """Tell whether a reload is under way, in any thread; True in a module's body during one."""
    session = _session
    return session is not None and session.is_reloading()


def status() -> Status:
    """Give what is loaded and what it was built from. Raises `ConfigError` when not installed."""
    return Status(_current().status())


def explain(module: ModuleType | str) -> Explanation:
    """Give the reason why a module was or was not rebuilt, with the inputs that changed.

    Takes a module or its full name. Raises `ConfigError` when the hook is not installed or the
    module belongs to no project.
    """
    return Explanation(_current().explain(_module_name(module)))


def errors() -> list[Failure]:
    """Give the failures that have not been repaired yet, the oldest first, empty if none.

    Raises `ConfigError` when the hook is not installed.
    """
    return [Failure(one) for one in _current().errors()]


def retry() -> ReloadReport:
    """Try again what failed, even though nothing changed since. Otherwise like `reload()`."""
    return ReloadReport(_current().retry())


def generations() -> Generations:
    """Give the builds that were loaded in this process, the oldest of each module first.

    Raises `ConfigError` when the hook is not installed.
    """
    session = _current()
    return Generations(session.generations(), session.budgets())


def __getattr__(name: str) -> str:
    if name == "__version__":
        from rehook import _native  # noqa: PLC0415 - the compiled part knows

        return _native.version
    message = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(message)


def _current() -> Session:
    session = _session
    if session is None:
        message = "the hook of rehook is not installed"
        raise ConfigError(message, hint="call rehook.install() first")
    return session


def _collect_settings(
    projects: Iterable[_Path] | None,
    settings: Mapping[str, object] | None,
    store_dir: _Path | None,
    lock_timeout: float,
) -> dict[str, object]:
    """Bring the arguments of install() that are settings into one mapping."""
    if settings is not None and not hasattr(settings, "items"):
        message = f"settings= takes a mapping, not {type(settings).__name__}"
        raise _ArgumentError(message)
    result: dict[str, object] = dict(settings or {})
    given: dict[str, object] = {}
    if projects is not None:
        if isinstance(projects, (str, os.PathLike)):
            message = "projects= takes several folders"
            raise _ArgumentError(message, hint=f"write projects=[{os.fspath(projects)!r}]")
        given["projects"] = [_absolute(one, "projects") for one in projects]
    if store_dir is not None:
        given["store-dir"] = _absolute(store_dir, "store_dir")
    if lock_timeout is not _LOCK_TIMEOUT:
        given["lock-timeout"] = lock_timeout
    for key, value in given.items():
        if key in result:
            message = f"{key!r} is given twice, in settings= and as an argument of its own"
            raise ConfigError(message, hint="leave one of them out")
        result[key] = value
    return result


def _check_same(given: dict[str, object]) -> None:
    if given == _installed_with:
        return
    other = sorted(
        key
        for key in given.keys() | _installed_with.keys()
        if given.get(key) != _installed_with.get(key)
    )
    message = f"rehook is already installed, with other arguments: {', '.join(other)}"
    raise ConfigError(message, hint="call rehook.uninstall() first")


def _absolute(path: object, argument: str) -> str:
    if not isinstance(path, (str, os.PathLike)):
        message = f"{argument}= takes a path, not {type(path).__name__}"
        raise _ArgumentError(message)
    text = os.fspath(path)
    if not isinstance(text, str) or not text or "\0" in text:
        message = f"{argument}= takes a path, not {text!r}"
        raise _ArgumentError(message)
    return os.path.abspath(os.path.expanduser(text))


def _module_name(module: object) -> str:
    name = getattr(module, "__name__", None) if isinstance(module, type(sys)) else module
    if not isinstance(name, str):
        message = f"a module or its name is needed, not {type(module).__name__}"
        raise _ArgumentError(message, hint="pass the module object, or its full name as a text")
    if not name:
        message = "a module's name cannot be empty"
        raise ConfigError(message)
    return name
