"""The compiled part. Only `rehook._native` imports it."""

from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

version: str

def versions() -> dict[str, str]:
    """Versions of what the compiled part was built with: "rehook", "libgit2", "xxHash", ..."""

def _thread_gate(
    file_names: list[str], limit: int, callback: Callable[[int], object], longest_stop: int
) -> int:
    """For tests: close a gate, call callback(threads inside), open it; times are in ms.

    Gives the number of threads that went on before it was opened.
    """

class ModuleFinder:
    """The entry of `sys.meta_path`."""

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None = None,
        target: ModuleType | None = None,
    ) -> ModuleSpec | None: ...
    def invalidate_caches(self) -> None: ...

class Session:
    """One installed hook: what is loaded, what it was built from, and the store.

    Its methods raise the exceptions of `rehook.errors`. It is made from a dict with the keys
    store_dir, projects, settings (key -> plain value), settings_key, enable_reloading,
    enable_project_importer, force_rebuild, lock_timeout, show_warnings, describe_project
    (root -> dict), on_progress (event dict -> None, or None), log (level, line -> None, or None),
    bridge_dir and trace_file.
    """

    finder: ModuleFinder

    def __init__(self, options: dict[str, object]) -> None: ...
    def reload(self, names: list[str]) -> dict[str, Any]:
        """Reload these, or all that changed; the keys are those of `rehook.ReloadReport`."""

    def modified(self, path: str | None) -> list[str]:
        """List loaded modules whose inputs changed; a path limits it to a file or folder."""

    def status(self) -> dict[str, Any]:
        """Tell what is loaded; the keys are those of `rehook.Status`."""

    def explain(self, module: str) -> dict[str, Any]:
        """Tell why; the keys are those of `rehook.Explanation`."""

    def errors(self) -> list[dict[str, Any]]:
        """List unrepaired failures; the keys are those of `rehook.Failure`."""

    def retry(self) -> dict[str, Any]:
        """Reload what failed; the keys are those of `rehook.ReloadReport`."""

    def generations(self) -> list[dict[str, Any]]:
        """List the loaded builds, the oldest first."""

    def budgets(self) -> dict[str, dict[str, int | None]]:
        """Tell what all loaded builds take of each limited thing: used, limit."""

    def build(self, targets: list[str], force: bool) -> list[dict[str, Any]]:
        """Build modules or projects; dicts with project, result, modules, reason, seconds."""

    def is_reloading(self) -> bool: ...
    def set_progress(self, callback: Callable[[dict[str, Any]], None] | None) -> None:
        """Events are dicts with phase, done, total, text and project."""

    def close(self) -> None: ...
