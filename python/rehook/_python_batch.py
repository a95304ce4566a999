"""The Python modules of one reload, run beside the program: in shadow namespaces of their own.

The compiled part makes a `Batch`, which compares sources (`prepare`), runs what has to run (`run`)
and holds the outcome. Nothing that the program can see of the modules' namespaces changes here;
the compiled part lets all of it take over at once.
"""

from __future__ import annotations

import ast
import functools
import sys
import types
import weakref

from rehook._function_codes import CodeChanges, compiled
from rehook._main_imports import follow
from rehook._member import MISSING, Member, has_docstring
from rehook._module_order import in_order
from rehook._python_changes import CallableChange, Changes, class_change, is_same_constant
from rehook._python_world import World
from rehook._registrations import Registrations
from rehook._side_effects import SideEffects
from rehook._statements import Source, Statement, compare, same_but_bodies

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from rehook._function_codes import Replacement

    Request = tuple[str, types.ModuleType, str, bytes | None, bytes, bool]

__all__ = ["Batch"]

# What the last run of its statement gave a class; what else it has came from outside.
_made_attributes: weakref.WeakKeyDictionary[type, frozenset[str]] = weakref.WeakKeyDictionary()
_COMPOUND = (ast.If, ast.For, ast.While, ast.With, ast.Try, ast.Match) + (
    (ast.TryStar,) if sys.version_info >= (3, 11) else ()
)
# Seconds that a statement may run before another thread's turn comes: what changes in the program's
# containers meanwhile is taken for the statement's doing.
_INTERVAL = 0.05
_ROUNDS = 4  # how often statements of modules that import each other are looked at again


class Batch:
    """The Python half of one reload.

    Takes, of each module to be reloaded, (name, module, file, source as executed or None, source
    as saved, whether to run all of it), the names of compiled modules that are reloaded with
    them, and the sources of all other modules of the program that
    may import them: name -> (module, file, source).
    """

    def __init__(
        self,
        requests: list[Request],
        compiled: list[str],
        others: Mapping[str, tuple[types.ModuleType, str, bytes]],
        class_obstacle: Callable[[type, type], str],
    ) -> None:
        self._requests = requests
        self._compiled = compiled
        self._others = others
        self._class_obstacle = class_obstacle
        self.members: dict[str, Member] = {}
        self._order: list[list[Member]] = []
        self._changes = Changes(self.members)
        self._world = World(self.members)
        self._effects: SideEffects | None = None
        self._attributes: list[tuple[type, frozenset[str]]] = []
        self._staged: dict[str, tuple[types.ModuleType, types.ModuleType]] = {}
        # For the compiled part, after run():
        self.codes: list[Replacement] = []
        self.running = ""  # the module whose statements run

    # ------------------------------------------------------------ before anything changes

    def prepare(self) -> None:
        """Parse, compile and compare. Raises `SyntaxError`; nothing has run by then."""
        for name, module, file, old_text, new_text, whole in self._requests:
            new = Source(new_text, file)
            # The whole of it, for what only the compiler finds, and for the code of functions.
            code = compiled(new)
            old = None
            if old_text is not None:
                try:
                    old = _source_of(name, old_text, file)
                except SyntaxError:
                    old = None
            member = Member(name, module, file, old, new, whole=whole or old is None)
            self.members[name] = member
            self._compare(member, code)
        self._add_importers()
        self._order = in_order(self.members)

    def _compare(self, member: Member, code: types.CodeType) -> None:
        codes = CodeChanges(member.old, code)
        self.codes += codes.replacements
        self._world.may_suspend = self._world.may_suspend or codes.may_suspend
        if member.old is None or member.whole:
            member.due = {id(one) for one in member.new.statements}
            if member.old is not None:
                self._note_gone(member, member.old)
            return
        roots = codes.by_root()
        pairs = compare(member.old.statements, member.new.statements)
        for statement, was in pairs:
            if was is None:
                member.due.add(id(statement))
            elif statement.text == was.text:
                continue
            elif not same_but_bodies(was.node, statement.node):
                member.due.add(id(statement))
                self._note_class(member, statement, was)
            else:
                self._note_bodies(member, statement.binds & roots.keys(), roots)
        self._note_gone(member, member.old)
        # What a statement that is gone had bound is bound by those that are left.
        kept = {id(was) for _, was in pairs if was is not None}
        for was in member.old.statements:
            if id(was) not in kept:
                member.due.update(
                    id(one) for one in member.new.statements if one.binds & was.binds - {"*"}
                )

    def _note_gone(self, member: Member, old: Source) -> None:
        for name in old.binds() - member.new.binds() - {"*"}:
            if name in member.namespace:
                self._changes.add_name(member.name, name)

    def _note_class(self, member: Member, statement: Statement, was: Statement) -> None:
        if not (statement.is_class and was.is_class):
            return
        obj = member.namespace.get(statement.name)
        if isinstance(obj, type):
            self._changes.add_callable(class_change(was.node, statement.node, obj))  # type: ignore[arg-type]

    def _note_bodies(
        self, member: Member, names: frozenset[str], roots: dict[str, set[str]]
    ) -> None:
        for name in names:
            obj = member.namespace.get(name, MISSING)
            if isinstance(obj, type):
                change = CallableChange(obj, is_class=True)
                change.add_members(roots[name])
                self._changes.add_callable(change)
            elif callable(obj):
                self._changes.add_callable(CallableChange(obj, is_class=False))

    def _add_importers(self) -> None:
        """Take in, of all modules of the program, those that import from these, and so on."""
        waiting = [*self.members, *self._compiled]
        known: dict[str, set[str]] = {}
        while waiting:
            name = waiting.pop()
            word = name.rpartition(".")[2].encode()
            is_package = hasattr(sys.modules.get(name), "__path__")
            for other, (module, file, text) in self._others.items():
                if other in self.members or not (is_package or word in text):
                    continue
                if other not in known:
                    try:
                        source = _source_of(other, text, file)
                        known[other] = source.imports(other, is_package=hasattr(module, "__path__"))
                    except SyntaxError:
                        known[other] = set()
                if name not in known[other]:
                    continue
                source = _source_of(other, text, file)
                self.members[other] = Member(other, module, file, source, source, whole=False)
                waiting.append(other)

    # ------------------------------------------------------------ running

    def run(self, staged: Mapping[str, tuple[types.ModuleType, types.ModuleType]]) -> None:
        """Run what changed, and what reads what changed, in shadow namespaces.

        Takes the compiled modules of the same reload: name -> (module, new build's module). Lets
        what the statements raise pass.
        """
        interval = sys.getswitchinterval()
        sys.setswitchinterval(max(interval, _INTERVAL))
        try:
            self._run(staged)
        finally:
            sys.setswitchinterval(interval)

    def _run(self, staged: Mapping[str, tuple[types.ModuleType, types.ModuleType]]) -> None:
        self._staged = dict(staged)
        for name, (old, fresh) in staged.items():
            self._note_staged(name, old.__dict__, fresh.__dict__)
        self._world.staged = self._staged
        for component in self._order:
            for _ in range(_ROUNDS):
                ran = [self._run_member(member) for member in component]
                if len(component) == 1 or not any(ran):
                    break
        for member in self.members.values():
            self._tidy(member)
        self.running = ""
        self._world.settle()

    def _note_staged(self, name: str, old: dict[str, object], fresh: dict[str, object]) -> None:
        for key in old.keys() | fresh.keys():
            before, after = old.get(key, MISSING), fresh.get(key, MISSING)
            if before is after or (key.startswith("__") and key.endswith("__")):
                continue
            if before is MISSING or after is MISSING:
                # A name that somebody else put there is not the new build's to take away.
                if before is MISSING or getattr(before, "__module__", None) == name:
                    self._changes.add_name(name, key)
            elif (
                not is_same_constant(before, after)
                and not (callable(before) and callable(after))
                and not isinstance(before, types.ModuleType)
            ):
                self._changes.add_name(name, key)

    def _run_member(self, member: Member) -> bool:
        ran = False
        self._drop_gone(member)
        binders = member.binders()
        for at, statement in enumerate(member.new.statements):
            if id(statement) in member.ran:
                continue
            if id(statement) not in member.due and not self._changes.affects(member, statement):
                continue
            for one in self._first(member, at, binders):
                if id(one) not in member.ran:
                    self._execute(member, one)
            if id(statement) not in member.ran:
                self._execute(member, statement)
            ran = True
        return ran

    def _first(self, member: Member, at: int, binders: dict[str, list[int]]) -> list[Statement]:
        """Give the statements that have to run before one that changes what they made.

        `X = 1`, `X += 1`: from its start. Those behind it that bind the same names run, too.
        """
        statements = member.new.statements
        wanted: set[int] = set()
        waiting = [at]
        while waiting:
            here = waiting.pop()
            reads = {use.chain[0] for use in statements[here].uses if len(use.chain) == 1}
            for name in statements[here].binds:
                for other in binders.get(name, ()):
                    if other < here and name in reads and other not in wanted:
                        wanted.add(other)
                        waiting.append(other)
                    elif other > here:
                        member.due.add(id(statements[other]))
        return [statements[i] for i in sorted(wanted)]

    def _execute(self, member: Member, statement: Statement) -> None:
        member.ran.add(id(statement))
        self.running = member.name
        if not member.before:
            self._world.enter()
        for use in statement.uses:
            self._freshen(member, use.chain)
        if isinstance(statement.node, _COMPOUND):
            self._unbind(member, statement)
        code = compile(
            ast.Module(body=[statement.node], type_ignores=[]),
            member.file,
            "exec",
            flags=member.flags,
            dont_inherit=True,
        )
        is_star = "*" in statement.binds
        old_stars = self._world.old_star_names(statement.node, member) if is_star else frozenset()
        self._run_code(member, statement, code)
        stars = self._world.star_names(statement.node, member) if is_star else frozenset()
        for name in old_stars - stars:
            if self._is_untouched(member, name):
                self._take_from_stars(member, name, statement)
        stars |= old_stars
        if isinstance(statement.node, ast.Expr) and member.new.statements[0] is statement:
            _take_docstring(member, statement.node)
        self._note_results(member, statement, stars)

    def _run_code(self, member: Member, statement: Statement, code: types.CodeType) -> None:
        if self._effects is None:
            own = [one[0] for one in self._others.values()]
            self._effects = SideEffects({id(m): m for m in (*own, *self._modules())}.values())
        self._effects.refresh()
        again = bool(statement.name) and statement.name in member.before
        try:
            exec(code, member.namespace)  # noqa: S102 - the module's own source
        except Exception:
            self._effects.note(again=False)
            if not again or not self._register_anew(member, statement, code):
                raise
        self._effects.note(again=again)

    def _modules(self) -> list[types.ModuleType]:
        return [one.module for one in self.members.values()]

    def _register_anew(self, member: Member, statement: Statement, code: types.CodeType) -> bool:
        """Run a definition again without what it has registered before: some registry refused."""
        assert self._effects is not None
        registrations = Registrations(member.before[statement.name])
        if not registrations.hide():
            return False
        try:
            exec(code, member.namespace)  # noqa: S102 - the module's own source
        except Exception:  # noqa: BLE001 - the first failure is told
            return False
        finally:
            registrations.show()
        return True

    def _unbind(self, member: Member, statement: Statement) -> None:
        """Unbind what another branch of the statement bound the last time."""
        bound_elsewhere: set[str] = set()
        for one in member.new.statements:
            if one is not statement:
                bound_elsewhere |= one.binds
        for name in statement.binds - bound_elsewhere - {"*"}:
            if self._is_untouched(member, name):
                member.namespace.pop(name, None)

    def _freshen(self, member: Member, chain: tuple[str, ...]) -> None:
        """Define anew, in the shadows, what the statement is about to call and whose code changed.

        The program's own objects get their new code only when all else has gone well.
        """
        found = self._changes.find(member, chain)
        change = found[0] if found is not None else None
        if change is None:
            return
        definition = self._changes.definition_of(change.obj)
        if definition is None:
            return
        owner, statement = definition
        if id(statement) in owner.ran:
            return
        for chains in statement.body_reads.values():
            owner.ran.add(id(statement))  # it may call itself
            for one in chains:
                self._freshen(owner, one)
        self._execute(owner, statement)

    def _note_results(self, member: Member, statement: Statement, stars: frozenset[str]) -> None:
        names = set(statement.binds) | stars
        if "__rehook_mode__" in names:
            member.check_mode()
        for name in member.keep() & names & member.before.keys():
            member.namespace[name] = member.before[name]
        fresh_changes = False
        for name in names - {"*"}:
            before = member.before.get(name, MISSING)
            after = member.namespace.get(name, MISSING)
            if before is after or (before is not MISSING and self._world.real(after) is before):
                continue
            fresh_changes = True
            if before is not MISSING and self._stays(member, name, before, after):
                change = self._changes.change_of(before)
                if change is None:
                    change = CallableChange(before, is_class=isinstance(before, type))
                    self._changes.add_callable(change)
                self._changes.add_callable(_renewed(change, after))
                self._world.substitute(before, after)
            elif not is_same_constant(before, after):
                self._changes.add_name(member.name, name)
        if fresh_changes:
            self._changes.forget_negative_answers()

    def _stays(self, member: Member, name: str, before: object, after: object) -> bool:
        """Tell whether the old object will serve the new code: then its holders need not run."""
        if getattr(before, "__module__", None) != member.name:
            # What a decorator of another module made of a function of this one.
            if not (isinstance(before, types.FunctionType) and name in member.definitions):
                return False
            home = sys.modules.get(before.__module__)
            if getattr(home, before.__qualname__, None) is before:
                return False
        if isinstance(before, type) and isinstance(after, type):
            return before.__qualname__ == after.__qualname__ and not self._class_obstacle(
                before, after
            )
        if not (isinstance(before, types.FunctionType) and isinstance(after, types.FunctionType)):
            return False
        own = before.__qualname__
        # An alias (`g = f`) that got a function of its own.
        return own == name or member.before.get(own) is not before or own not in member.namespace

    # ------------------------------------------------------------ the outcome

    def _drop_gone(self, member: Member) -> None:
        """Take away what the new source does not bind any more, before anything runs."""
        if member.old is None or member.is_dropped:
            return
        member.is_dropped = True
        gone = member.old.binds() - member.new.binds() - {"*"}
        kept_stars = [ast.dump(one.node) for one in member.new.statements if "*" in one.binds]
        for was in member.old.statements:
            if "*" in was.binds and ast.dump(was.node) not in kept_stars:
                if not member.before:
                    self._world.enter()
                stars = self._world.old_star_names(was.node, member) - member.new.binds()
                for name in stars:
                    self._changes.add_name(member.name, name)
                gone |= stars
        had_doc, has_doc = (has_docstring(one) for one in (member.old, member.new))
        if not gone and (has_doc or not had_doc):
            return
        if not member.before:
            self._world.enter()
        for name in gone - member.keep():
            if self._is_untouched(member, name):
                self._take_from_stars(member, name)
        if had_doc and not has_doc:
            member.namespace["__doc__"] = None

    def _is_untouched(self, member: Member, name: str) -> bool:
        """Tell whether the shadow has what the module has, or what stands for it."""
        value = member.namespace.get(name, MISSING)
        return self._world.real(value) is member.before.get(name, MISSING)

    def _take_from_stars(self, member: Member, name: str, running: Statement | None = None) -> None:
        """Unbind a name that lost what bound it, unless another statement binds it still."""
        member.namespace.pop(name, None)
        for one in member.new.statements:
            if name in one.binds and id(one) not in member.ran:
                if running is None:
                    member.due.add(id(one))
                else:
                    self._execute(member, one)
            elif one is running:
                running = None
            elif "*" in one.binds and name in self._world.star_names(one.node, member):
                member.namespace[name] = self._world.star_value(one.node, member, name)

    def _tidy(self, member: Member) -> None:
        namespace = member.namespace
        for name, after in namespace.items() if member.before else ():
            before = member.before.get(name, MISSING)
            if before is not after and is_same_constant(before, after):
                namespace[name] = before
            elif isinstance(before, type) and isinstance(after, type):
                self._attributes.append((before, frozenset(vars(after))))

    def namespaces(self) -> list[tuple[str, types.ModuleType, types.ModuleType, dict[str, object]]]:
        """Give (name, module, shadow module, namespace before) of every module with a shadow."""
        return self._world.namespaces()

    @property
    def new_modules(self) -> dict[str, types.ModuleType]:
        """What was imported for the first time."""
        return self._world.new_modules

    def undo(self) -> None:
        """Undo what the statements did to the program's containers, and imports of new modules."""
        if self._effects is not None:
            self._effects.undo()
        self._world.close()
        for name, module in self._world.new_modules.items():
            if sys.modules.get(name) is module:
                del sys.modules[name]

    @property
    def builtins(self) -> dict[str, object]:
        """The builtins of the shadows, which stand for the real ones."""
        return self._world.builtins

    def ran(self) -> dict[str, int]:
        """Give how many statements ran, by module."""
        return {name: len(one.ran) for name, one in self.members.items() if one.ran}

    def class_members(self) -> dict[str, dict[str, frozenset[str]]]:
        """Give what the class statements made before: module -> class -> names."""
        found = {}
        for name, one in self.members.items():
            if not one.before:
                continue
            classes = (one.old or one.new).class_members()
            for qualname in classes:
                obj = one.before.get(qualname)
                if isinstance(obj, type):
                    classes[qualname] |= _made_attributes.get(obj, frozenset())
            found[name] = classes
        return found

    def definition_names(self) -> dict[str, list[str]]:
        """Give the names that `def` and `class` statements bind, by module."""
        return {name: list(one.definitions) for name, one in self.members.items() if one.before}

    def caches(self) -> list[object]:
        """Give the `lru_cache` wrappers whose function is another one, or calls another one."""
        found = []
        for member in self.members.values():
            space = member.module.__dict__
            for value in list(space.values()):
                inner = [value]
                if isinstance(value, type) and value.__module__ == member.name:
                    inner = [getattr(one, "__func__", one) for one in vars(value).values()]
                found += [one for one in inner if self._is_stale_cache(member, one)]
        return found

    def _is_stale_cache(self, member: Member, one: object) -> bool:
        if not isinstance(one, functools._lru_cache_wrapper):  # has no other name
            return False
        owner = getattr(one, "__qualname__", "").partition(".")
        holder = member.module.__dict__.get(owner[0])
        change = self._changes.change_of(one) or (
            self._changes.change_of(holder) if holder is not None else None
        )
        return change is not None and (not change.is_class or owner[2] in change.members)

    def files(self) -> list[str]:
        """Give the files of the modules whose code or values change."""
        asked = {one[0] for one in self._requests}
        return [one.file for name, one in self.members.items() if name in asked or one.before]

    def decorated_names(self) -> dict[str, list[str]]:
        """Give the functions whose attributes the old source's decorators may have set."""
        return {
            name: [
                statement.name
                for statement in (one.old or one.new).statements
                if getattr(statement.node, "decorator_list", None)
            ]
            for name, one in self.members.items()
            if one.before
        }

    def own_containers(self) -> list[object]:
        """Give the containers in which references to shadows have to stay what they are."""
        mine = [self, *self.members.values()]
        return [*self._world.own_containers(), *mine, *(vars(one) for one in mine)]

    def is_closed(self) -> bool:
        """Tell whether nothing that the statements made refers to the shadows."""
        return self._world.is_closed()

    def _new_values(self) -> dict[str, dict[str, tuple[object, object]]]:
        """Give what changed its value: module -> name -> (old, new)."""
        found: dict[str, dict[str, tuple[object, object]]] = {}
        for name, names in self._changes.names.items():
            before, after = self._world.before_of(name), sys.modules.get(name)
            space = after.__dict__ if after is not None else {}
            found[name] = {
                one: (before[one], space[one]) for one in names if one in before and one in space
            }
        return found

    def commit(self) -> None:
        """Drop what was computed with the old code, and the shadows: the new code runs."""
        caches = self.caches()
        follow(self._new_values())
        cache = sys.modules.get("linecache")
        if cache is not None:  # tracebacks and `inspect` read the saved files anew
            for name, *_ in self._requests:
                cache.checkcache(self.members[name].file)
        for name, _, _, _, new_text, _ in self._requests:
            _remember_source(name, new_text, self.members[name].new)
            if sys.version_info >= (3, 13):
                _tell_class_lines(self.members[name])
        self._world.leave()
        for kind, names in self._attributes:
            _made_attributes[kind] = names
        for one in caches:
            one.cache_clear()  # type: ignore[attr-defined]


def _tell_class_lines(member: Member) -> None:
    """Let `inspect` find the classes whose statements did not run, but moved in the file."""
    for qualname, line in member.new.class_lines().items():
        obj: object = member.module
        for part in qualname.split("."):
            obj = getattr(obj, "__dict__", {}).get(part)
        if not isinstance(obj, type) or obj.__module__ != member.name:
            continue
        if obj.__qualname__ == qualname and vars(obj).get("__firstlineno__", line) != line:
            type.__setattr__(obj, "__firstlineno__", line)


def _renewed(change: CallableChange, after: object) -> CallableChange:
    """Give the same change for the object that stands for the old one in the shadows."""
    found = CallableChange(after, is_class=change.is_class)
    found.members, found.values = change.members, change.values
    found.construction, found.inherited = change.construction, change.inherited
    return found


def _take_docstring(member: Member, node: ast.Expr) -> None:
    value = node.value
    if isinstance(value, ast.Constant) and isinstance(value.value, str):
        text = value.value
        if sys.version_info >= (3, 13):
            import inspect  # noqa: PLC0415 - the compiler strips the indentation

            text = inspect.cleandoc(text) if text else text
        member.namespace["__doc__"] = text


# The source of each module as it was last parsed: parsing takes longer than all else.
_parsed: dict[str, tuple[bytes, Source]] = {}


def _source_of(name: str, text: bytes, file: str) -> Source:
    """Parse a source, or give it as it was parsed the last time."""
    known = _parsed.get(name)
    if known is not None and known[0] == text:
        return known[1]
    source = Source(text, file)
    _parsed[name] = (text, source)
    return source


def _remember_source(name: str, text: bytes, source: Source) -> None:
    _parsed[name] = (text, source)
