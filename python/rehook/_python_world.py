"""The shadows of a reload's Python modules: what statements see that run again.

Each module that takes part has a shadow: a module object with a copy of its namespace. Statements
run in the shadows, import shadows and the new builds of compiled modules, and define functions
there; the program goes on with the modules as they are.
"""

from __future__ import annotations

import ast
import builtins
import importlib.machinery
import importlib.util
import sys
import types

from rehook._statements import absolute_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rehook._member import Member

__all__ = ["World"]

# The builtins of all shadows. Frames use theirs without a reference of their own, so no
# namespace that statements ran with is ever released; there is one, and not one a reload.
_shadow_builtins: dict[str, object] = {}


class World:
    """The shadows, and the `__import__` that leads to them."""

    def __init__(self, members: dict[str, Member]) -> None:
        self._members = members
        self._shadows: dict[str, types.ModuleType] = {}
        self._befores: dict[str, dict[str, object]] = {}
        self._reals: dict[int, types.ModuleType] = {}  # id of a shadow -> the module
        self._substitutes: dict[int, tuple[object, object]] = {}
        self.staged: Mapping[str, tuple[types.ModuleType, types.ModuleType]] = {}
        self.new_modules: dict[str, types.ModuleType] = {}
        self._references: list[int] = []
        self._is_closed = False
        self.may_suspend = False  # a function of these modules is a generator or a coroutine
        self.builtins = _shadow_builtins

    def enter(self) -> None:
        """Make the shadows of all modules that take part, and of the packages around them."""
        self.builtins.update(vars(builtins))
        self.builtins["__import__"] = self._import
        for name in [*self._members, *self.staged]:
            parts = name.split(".")
            for i in range(1, len(parts)):
                self._shadow_of(".".join(parts[:i]))
        for name in self._members:
            self._shadow_of(name)
        self._lead_to_shadows()
        self._references = self._count_references()

    def _count_references(self) -> list[int]:
        """Functions that are defined in a shadow refer to its namespace and its builtins."""
        found = [sys.getrefcount(self.builtins)]
        for shadow in self._shadows.values():
            found += [sys.getrefcount(shadow.__dict__), sys.getrefcount(shadow)]
        return found

    def settle(self) -> None:
        """All statements have run: see whether what they made refers to the shadows."""
        self._is_closed = (
            not self.new_modules
            and not self.staged
            and self._count_references() == self._references
        )

    def is_closed(self) -> bool:
        """Tell whether nobody refers to the shadows but themselves, as far as counts can tell."""
        return self._is_closed

    def before_of(self, name: str) -> dict[str, object]:
        """Give a module's namespace as it was before the reload; empty for one without shadow."""
        return self._befores.get(name, {})

    def own_containers(self) -> list[object]:
        """Give the containers in which references to shadows have to stay what they are."""
        return [self, vars(self), self._shadows, self._befores, *self._befores.values()]

    def leave(self) -> None:
        """Empty the shadows; those that running code still uses get what the modules have now."""
        in_use = self._namespaces_in_use() if not self.is_closed() else set()
        for module in self.new_modules.values():
            if module.__dict__.get("__builtins__") is self.builtins:
                module.__dict__["__builtins__"] = vars(builtins)
        for shadow in self._shadows.values():
            space = shadow.__dict__
            real = self._reals[id(shadow)].__dict__
            space.clear()
            if id(space) in in_use:
                space.update(real)
        self.close()

    def close(self) -> None:
        """Let the imports of whatever still has the shadows' builtins be the program's."""
        for name in self.builtins.keys() - vars(builtins).keys():
            del self.builtins[name]
        self.builtins["__import__"] = builtins.__import__

    def _namespaces_in_use(self) -> set[int]:
        """Give the ids of namespaces that threads and suspended generators run in."""
        found: set[int] = set()
        for frame in sys._current_frames().values():
            at: types.FrameType | None = frame
            while at is not None:
                found.add(id(at.f_globals))
                at = at.f_back
        spaces = {id(one.__dict__) for one in self._shadows.values()}
        if not self.may_suspend:
            return found
        import gc  # noqa: PLC0415 - only when a shadow may be in use

        for one in gc.get_objects():
            attribute = _SUSPENDED.get(type(one))
            at = getattr(one, attribute) if attribute is not None else None
            if at is not None and id(at.f_globals) in spaces:
                found.add(id(at.f_globals))
        return found

    def _shadow_of(self, name: str) -> types.ModuleType | None:
        if name in self._shadows:
            return self._shadows[name]
        if name in self.staged or name in self.new_modules:
            return None
        member = self._members.get(name)
        module = member.module if member is not None else sys.modules.get(name)
        if not isinstance(module, types.ModuleType):
            return None
        shadow = types.ModuleType(name)
        before = dict(module.__dict__)
        space = shadow.__dict__
        space.clear()
        space.update(before)
        space["__builtins__"] = self.builtins
        own_annotations = space.get("__annotations__")
        if isinstance(own_annotations, dict):
            space["__annotations__"] = dict(own_annotations)
        self._shadows[name] = shadow
        self._befores[name] = before
        self._reals[id(shadow)] = module
        if member is not None:
            member.namespace, member.before = space, before
        return shadow

    def _lead_to_shadows(self) -> None:
        stand_in: dict[int, object] = {
            id(self._reals[id(one)]): one for one in self._shadows.values()
        }
        for old, fresh in self.staged.values():
            stand_in[id(old)] = fresh
            for key, value in old.__dict__.items():
                after = fresh.__dict__.get(key)
                if (
                    after is not None
                    and after is not value
                    and (callable(value) or isinstance(value, types.ModuleType))
                ):
                    stand_in[id(value)] = after
        for shadow in self._shadows.values():
            space = shadow.__dict__
            for key, value in space.items():
                other = stand_in.get(id(value))
                if other is not None:
                    space[key] = other

    def substitute(self, before: object, after: object) -> None:
        """Let every shadow that holds `before` hold `after`, which stands for it."""
        self._substitutes[id(after)] = (after, before)
        for shadow in self._shadows.values():
            space = shadow.__dict__
            for key, value in space.items():
                if value is before:
                    space[key] = after

    def real(self, value: object) -> object:
        """Give what a value of the shadows stands for: a module for its shadow, else itself."""
        found = self._substitutes.get(id(value))
        if found is not None and found[0] is value:
            return found[1]
        return self._reals.get(id(value), value)

    def namespaces(self) -> list[tuple[str, types.ModuleType, types.ModuleType, dict[str, object]]]:
        """Give (name, module, shadow, namespace before) of each shadow."""
        return [
            (name, self._reals[id(shadow)], shadow, self._befores[name])
            for name, shadow in self._shadows.items()
        ]

    # ------------------------------------------------------------ importing

    def _seen(self, name: str) -> types.ModuleType:
        """Give the module of that name as the shadows see it."""
        if name in self._shadows:
            return self._shadows[name]
        if name in self.staged:
            return self.staged[name][1]
        return sys.modules[name]

    def _import(
        self,
        name: str,
        globals: Mapping[str, object] | None = None,  # noqa: A002 - the names of builtins.__import__
        locals: Mapping[str, object] | None = None,  # noqa: A002, ARG002
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> types.ModuleType:
        full = name
        if level:
            package = _package_of(globals or {})
            full = importlib.util.resolve_name("." * level + name, package)
        self._load(full)
        module = self._seen(full)
        if fromlist:
            if hasattr(module, "__path__"):
                self._load_listed(full, module, fromlist)
            return module
        if not level:
            return self._seen(name.partition(".")[0])
        if not name:
            return module
        cut = len(name) - len(name.partition(".")[0])
        return self._seen(full[: len(full) - cut])

    def _load_listed(self, full: str, module: types.ModuleType, fromlist: Sequence[str]) -> None:
        for item in fromlist:
            if item == "*":
                names = module.__dict__.get("__all__")
                if names:
                    self._load_listed(full, module, [one for one in names if one != "*"])
            elif not hasattr(module, item):
                child = f"{full}.{item}"
                try:
                    self._load(child)
                except ModuleNotFoundError as error:
                    if error.name != child:
                        raise

    def _load(self, full: str) -> None:
        """Import what was never imported; its imports lead to the shadows, too."""
        parts = full.split(".")
        for i in range(1, len(parts) + 1):
            name = ".".join(parts[:i])
            if name in self._shadows or name in self.staged or sys.modules.get(name) is not None:
                continue
            self._load_one(name)

    def _load_one(self, name: str) -> None:
        parent_name, _, child = name.rpartition(".")
        parent = self._seen(parent_name) if parent_name else None
        path = getattr(parent, "__path__", None)
        if parent is not None and path is None:
            message = f"No module named {name!r}; {parent_name!r} is not a package"
            raise ModuleNotFoundError(message, name=name)
        spec = _find_spec(name, path)
        if spec is None:
            message = f"No module named {name!r}"
            raise ModuleNotFoundError(message, name=name)
        loader = spec.loader
        if not isinstance(loader, importlib.machinery.SourceFileLoader):
            __import__(name)
        else:
            module = importlib.util.module_from_spec(spec)
            module.__dict__["__builtins__"] = self.builtins
            sys.modules[name] = module
            try:
                loader.exec_module(module)
            except BaseException:
                sys.modules.pop(name, None)
                raise
        self.new_modules[name] = sys.modules[name]
        if parent is not None:
            if parent_name not in self.new_modules:
                shadow = self._shadow_of(parent_name)
                parent = shadow if shadow is not None else parent
            setattr(parent, child, sys.modules[name])

    def old_star_names(self, node: ast.AST, member: Member) -> frozenset[str]:
        """Give the names that the star imports inside a statement bound the last time."""
        found: set[str] = set()
        for one in ast.walk(node):
            if not isinstance(one, ast.ImportFrom) or one.names[0].name != "*":
                continue
            source = absolute_name(member.name, one, is_package=member.is_package)
            space = self._befores.get(source)
            if space is None and source in self.staged:
                space = self.staged[source][0].__dict__
            if space is None and source in sys.modules:
                space = sys.modules[source].__dict__
            if space is None:
                continue
            listed = _exported(space)
            found.update(
                name
                for name in listed
                if name in space and member.before.get(name, self) is space[name]
            )
        return frozenset(found)

    def star_value(self, node: ast.AST, member: Member, name: str) -> object:
        """Give what a name means that the star imports inside a statement bind."""
        value: object = None
        for one in ast.walk(node):
            if isinstance(one, ast.ImportFrom) and one.names[0].name == "*":
                source = absolute_name(member.name, one, is_package=member.is_package)
                value = self._seen(source).__dict__.get(name, value)
        return value

    def star_names(self, node: ast.AST, member: Member) -> frozenset[str]:
        """Give the names that the star imports inside a statement bind now."""
        found: set[str] = set()
        for one in ast.walk(node):
            if not isinstance(one, ast.ImportFrom) or one.names[0].name != "*":
                continue
            source = absolute_name(member.name, one, is_package=member.is_package)
            if source not in self._shadows and source not in sys.modules:
                continue
            space = self._seen(source).__dict__
            found.update(_exported(space))
        return frozenset(found)


_SUSPENDED: dict[type, str] = {
    types.GeneratorType: "gi_frame",
    types.CoroutineType: "cr_frame",
    types.AsyncGeneratorType: "ag_frame",
}


def _exported(space: Mapping[str, object]) -> list[str]:
    listed = space.get("__all__")
    if isinstance(listed, (list, tuple)):
        return [one for one in listed if isinstance(one, str)]
    return [key for key in space if not key.startswith("_")]


def _package_of(space: Mapping[str, object]) -> str:
    package = space.get("__package__")
    if isinstance(package, str):
        return package
    name = str(space.get("__name__", ""))
    return name if "__path__" in space else name.rpartition(".")[0]


def _find_spec(name: str, path: Sequence[str] | None) -> importlib.machinery.ModuleSpec | None:
    for finder in sys.meta_path:
        find = getattr(finder, "find_spec", None)
        spec = find(name, path) if find is not None else None
        if spec is not None:
            return spec  # type: ignore[no-any-return]
    return None
