"""Random modules and random edits: after each reload all is as a fresh interpreter would have it.

What was held before, and old instances, behave as what a fresh interpreter makes. REHOOK_SEEDS=n
runs n seeds instead of the usual ones.
"""

import dataclasses
import enum
import functools
import importlib
import inspect
import json
import os
import sys
import types

from support.random_package import MODULES, RandomPackage
from support.reload_cases import Cases, Folder

case = Cases(__file__)
SEEDS = int(os.environ.get("REHOOK_SEEDS", "40"))
STEPS = 12
NAMES = [f"m{number}" for number in range(MODULES)]


# ------------------------------------------------------------ what there is to see of a module


def dump(value, depth=0):
    """Give everything that can be seen of a value, as JSON has it."""
    if depth > 8:
        return "deep"
    inner = functools.partial(dump, depth=depth + 1)
    if value is None or type(value) in {bool, int, str}:
        told = value
    elif isinstance(value, types.ModuleType):
        told = ["module", value.__name__]
    elif isinstance(value, (list, tuple)):
        told = [type(value).__name__, *map(inner, value)]
    elif isinstance(value, dict):
        told = {str(key): inner(one) for key, one in value.items()}
    elif isinstance(value, enum.Enum):
        told = ["member", type(value).__name__, value.name, value.value, inner(value.v0())]
    elif isinstance(value, type):
        told = dump_class(value, inner)
    elif isinstance(value, types.FunctionType) or hasattr(value, "cache_info"):
        told = [
            "function",
            value.__name__,
            value.__doc__,
            str(inspect.signature(value)),
            sorted(vars(value).keys() - {"__wrapped__"}),
            getattr(value, "tag", None),
            called(value, inner),
        ]
    else:
        told = ["instance", type(value).__name__, inner(vars(value)), behaviour(value, inner)]
    return told


def called(function, inner):
    """Give the result of a call; of a function that makes functions, theirs."""
    parameters = inspect.signature(function).parameters
    if "fn" in parameters:  # a decorator
        return None
    result = function()
    if "n" in parameters:
        return inner(result())
    return "d" if "value" in parameters else inner(result)


def behaviour(thing, inner):
    """Give what the methods and class attributes of an object say."""
    found = {}
    for name in dir(type(thing)):
        if name[0] in "av" and name[1:].isdigit():
            value = getattr(thing, name)
            found[name] = inner(value() if callable(value) else value)
    return found


def dump_class(kind, inner):
    told = [
        "class",
        kind.__name__,
        kind.__module__,
        kind.__doc__,
    ]
    told.append([one.__name__ for one in kind.__mro__])
    if isinstance(kind, enum.EnumMeta):
        members = [inner(one) for one in kind]
        return [*told, members, sorted(kind.__members__), [kind(one.value) is one for one in kind]]
    if dataclasses.is_dataclass(kind):
        return [*told, repr(kind()), [one.name for one in dataclasses.fields(kind)]]
    it = kind()
    return [*told, vars(it), behaviour(it, inner), str(inspect.signature(kind))]


def dump_all():
    return {
        name: {
            key: dump(value)
            for key, value in vars(sys.modules[name]).items()
            if not key.startswith("__") and key not in {"dataclasses", "enum", "functools"}
        }
        for name in NAMES
    }


# ------------------------------------------------------------ what is held


class Held:
    """References taken before a reload, by module and name, and what is made of them."""

    def __init__(self):
        self.things, self.instances, self.closures, self.members = {}, {}, {}, {}

    def take(self):
        """Hold what is new, and forget the names that are gone."""
        now = {
            (name, key): value
            for name in NAMES
            for key, value in vars(sys.modules[name]).items()
            if isinstance(value, (type, types.FunctionType)) or hasattr(value, "cache_info")
            if (value.__name__, value.__module__) == (key, name)
        }
        for group in (self.things, self.instances, self.closures, self.members):
            for key in set(group) - set(now):
                del group[key]
        for key, value in now.items():
            if isinstance(value, (type, types.FunctionType)) or hasattr(value, "cache_info"):
                self.things.setdefault(key, value)
            if isinstance(value, enum.EnumMeta):
                held = self.members.get(key, {})
                self.members[key] = {n: held.get(n, one) for n, one in value.__members__.items()}
            elif isinstance(value, type):
                self.instances.setdefault(key, value())
            elif (
                isinstance(value, types.FunctionType) and "n" in inspect.signature(value).parameters
            ):
                self.closures.setdefault(key, value(5))

    def wrong(self):
        """Name what does not behave as what has its name now."""
        found = []
        for (module, key), thing in self.things.items():
            now = getattr(sys.modules[module], key, None)
            if getattr(now, "__name__", key) != key:
                continue  # an alias of something else
            if isinstance(now, type):
                if now is not thing:
                    found.append(f"{module}.{key}: another class")
                old = self.instances.get((module, key))
                if type(old) is now and behaviour(old, dump) != behaviour(now(), dump):
                    found.append(f"{module}.{key}: {behaviour(old, dump)} of an old instance")
                if isinstance(now, enum.EnumMeta):
                    found += [
                        f"{module}.{key}.{name}: another member"
                        for name, member in self.members.get((module, key), {}).items()
                        if name in now.__members__ and now[name] is not member
                    ]
            elif isinstance(now, types.FunctionType) or hasattr(now, "cache_info"):
                if dump(thing) != dump(now):
                    found.append(f"{module}.{key}: held {dump(thing)}, now {dump(now)}")
                closure = self.closures.get((module, key))
                is_maker = "n" in inspect.signature(now).parameters
                if closure and is_maker and dump(closure()) != dump(now(5)()):
                    found.append(f"{module}.{key}: closure {closure()}, now {now(5)()}")
        return found

    def forget_other_kinds(self):
        """What became a constant, or was one, is held anew."""
        for key, thing in list(self.things.items()):
            now = getattr(sys.modules[key[0]], key[1], None)
            if type(now) is not type(thing):
                for group in (self.things, self.instances, self.closures, self.members):
                    group.pop(key, None)


# ------------------------------------------------------------ one seed


def fresh_dump(folder, sources):
    """Give what a fresh interpreter makes of the sources: the dump, or None when it fails."""
    Folder(folder).write(sources)
    out = folder / "dump.json"
    child = os.fork()
    if child == 0:
        code = 1
        try:
            sys.path.insert(0, str(folder))
            for name in reversed(NAMES):
                importlib.import_module(name)
            out.write_text(json.dumps(dump_all()))
            code = 0
        except BaseException as error:  # noqa: BLE001 - told, and the fork must end here
            (folder / "error.txt").write_text(repr(error))
        finally:
            os._exit(code)
    os.waitpid(child, 0)
    return json.loads(out.read_text()) if out.exists() else None


def differences(now, expected):
    found = []
    for module in NAMES:
        ours, fresh = now[module], expected[module]
        for key in sorted(ours.keys() | fresh.keys()):
            pair = ours.get(key, "missing"), fresh.get(key, "missing")
            if pair[0] != pair[1]:
                found.append(f"{module}.{key}: {pair[0]}, fresh {pair[1]}")
    return found


def run(t, seed):
    package = RandomPackage(seed)
    steps = [(package.sources(), True)]
    for number in range(STEPS):
        package.edit()
        good = package.sources()
        if number % 4 == 3:
            package.break_something()
            steps.append((package.sources(), False))
        steps.append((good, True))
    dumps = []
    for number, (sources, works) in enumerate(steps):
        (t.root / f"fresh{number}").mkdir()
        dumps.append(fresh_dump(t.root / f"fresh{number}", sources))
        assert (dumps[-1] is not None) == works, f"step {number} in {t.root}"

    import rehook

    rehook.install()
    t.write(steps[0][0])
    for name in reversed(NAMES):
        importlib.import_module(name)
    held, last = Held(), dumps[0]
    assert differences(json.loads(json.dumps(dump_all())), last) == []
    held.take()
    for number, (sources, works) in enumerate(steps[1:], 1):
        t.write({name: text for name, text in sources.items() if text != t.read(name)})
        where = f"step {number} of seed {seed}, sources in {t.root}/fresh*"
        failure = None
        try:
            rehook.reload(*(NAMES if number % 2 else ()))
        except rehook.ReloadError as error:
            failure = f"{error!r}, {error.__cause__!r}"
        assert (failure is None) == works, f"{where}: {failure}"
        last = dumps[number] if works else last
        wrong = differences(json.loads(json.dumps(dump_all())), last)
        assert not wrong, "\n".join([where, *wrong])
        held.forget_other_kinds()
        assert not held.wrong(), "\n".join([where, *held.wrong()])
        held.take()


def case_of(seed):
    def body(t):
        run(t, seed)

    body.__name__ = f"seed_{seed}"
    case(install=False)(body)


for _seed in range(SEEDS):
    case_of(_seed)

test_random = case.as_test()
