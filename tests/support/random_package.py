"""Random Python modules, and random edits of them, from a seed.

A `RandomPackage` has a few modules, of constants, functions, closures, decorators, classes,
dataclasses and enums, that import from the ones before them. `edit()` changes it a little;
`sources()` renders it. Nothing in it keeps state, so what a fresh interpreter makes of the sources
is what a reload has to arrive at.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

MODULES = 4
KINDS = (
    ["constant"] * 4
    + ["function"] * 5
    + ["class"] * 3
    + ["maker", "decorator", "tagger", "dataclass", "enum", "alias", "holder", "branch"]
    + ["call", "instance", "closure", "cached"]
)

_METHODS = (
    ("", "self"),
    ("", "self"),
    ("    @property\n", "self"),
    ("    @classmethod\n", "cls"),
    ("    @staticmethod\n", ""),
)


@dataclass
class Definition:
    """A statement that defines one name."""

    name: str
    kind: str
    text: str = ""
    uses: set[str] = field(default_factory=set)  # names of the package


@dataclass
class Module:
    """A module: what it imports and what it defines, in order."""

    number: int
    definitions: list[Definition] = field(default_factory=list)
    stars: set[int] = field(default_factory=set)
    modules: set[int] = field(default_factory=set)
    names: dict[str, int] = field(default_factory=dict)  # imported name -> number of its module
    comment: int = 0
    last: str = ""  # a statement that fails


class RandomPackage:
    """Some modules, m0 to m3, that are changed at random."""

    def __init__(self, seed: int, *, transitive: bool = True) -> None:
        """Make the package of this seed.

        With `transitive`, statements call functions whose result depends on what others define;
        otherwise only such as depend on nothing but their own text.
        """
        self._random = random.Random(seed)
        self._transitive = transitive
        self._counter = 0
        self.modules = [Module(number) for number in range(MODULES)]
        for module in self.modules:
            self._set_imports(module)
            for _ in range(self._random.randint(3, 8)):
                self._add(module)

    # ------------------------------------------------------------ what others do with it

    def sources(self) -> dict[str, str]:
        """Give the files as they are now."""
        return {f"m{one.number}.py": self._render(one) for one in self.modules}

    def edit(self) -> None:
        """Change one to four things."""
        for module in self.modules:
            module.last = ""
        for _ in range(self._random.randint(1, 4)):
            module = self._random.choice(self.modules)
            edits = [self._add, self._remove, self._replace, self._comment, self._change_imports]
            change = self._random.choice([*edits, *[self._change] * 4])
            change(module)

    def break_something(self) -> None:
        """Let a module fail, until the next edit."""
        module = self._random.choice(self.modules)
        module.last = self._random.choice(["raise RuntimeError('boom')", "def broken(:", "1 / 0"])

    # ------------------------------------------------------------ edits

    def _add(self, module: Module) -> None:
        self._counter += 1
        name = f"n{self._counter}"
        where = self._random.randint(0, len(module.definitions))
        one = Definition(name, self._random.choice(KINDS))
        module.definitions.insert(where, one)
        self._write(module, one)

    def _remove(self, module: Module) -> None:
        candidates = [one for one in module.definitions if not self._is_used(one.name)]
        if candidates:
            module.definitions.remove(self._random.choice(candidates))

    def _change(self, module: Module) -> None:
        if module.definitions:
            self._write(module, self._random.choice(module.definitions))

    def _replace(self, module: Module) -> None:
        """A name that means something of another kind."""
        candidates = [one for one in module.definitions if not self._is_used(one.name)]
        if candidates:
            one = self._random.choice(candidates)
            one.kind = self._random.choice(KINDS)
            self._write(module, one)

    def _comment(self, module: Module) -> None:
        module.comment += self._random.randint(1, 5)

    def _set_imports(self, module: Module) -> None:
        for number in range(module.number):
            way = self._random.choice(["star", "module", "names", "nothing"])
            if way == "star":
                module.stars.add(number)
            elif way == "module":
                module.modules.add(number)
            elif way == "names":
                theirs = self.modules[number].definitions
                for one in self._random.sample(theirs, min(3, len(theirs))):
                    module.names[one.name] = number

    def _change_imports(self, module: Module) -> None:
        """Import a name more, or one less, or another way: a star instead of names."""
        used = {name for one in module.definitions for name in one.uses}
        free = [name for name in module.names if name not in used]
        if free and self._random.random() < 0.5:
            del module.names[self._random.choice(free)]
            return
        if module.number:
            number = self._random.randrange(module.number)
            theirs = self.modules[number].definitions
            if self._random.random() < 0.3:
                module.stars.add(number)
            elif theirs:
                module.names[self._random.choice(theirs).name] = number

    # ------------------------------------------------------------ what can be referred to

    def _is_used(self, name: str) -> bool:
        return any(
            name in one.names or any(name in other.uses for other in one.definitions)
            for one in self.modules
        )

    def _visible(self, module: Module, before: Definition) -> dict[str, tuple[str, str]]:
        """Give name -> (how it is written there, kind) of what stands before a definition."""
        found: dict[str, tuple[str, str]] = {}
        for number in sorted(module.modules):
            for one in self.modules[number].definitions:
                found[one.name] = (f"m{number}.{one.name}", one.kind)
        for number in sorted(module.stars):
            for one in self.modules[number].definitions:
                found[one.name] = (one.name, one.kind)
        for name, number in module.names.items():
            kinds = [one.kind for one in self.modules[number].definitions if one.name == name]
            found[name] = (name, kinds[0])
        for one in module.definitions:
            if one is before:
                break
            found[one.name] = (one.name, one.kind)
        return found

    # ------------------------------------------------------------ text

    def _write(self, module: Module, one: Definition) -> None:
        one.uses = set()
        visible = self._visible(module, one)
        while True:
            writer = _Writer(self._random, one, visible, transitive=self._transitive)
            text = writer.write()
            if text is not None:
                one.text = text
                return
            one.kind = "constant" if self._is_used(one.name) else self._random.choice(KINDS)

    def _render(self, module: Module) -> str:
        lines = [f"# {number}" for number in range(module.comment)]
        lines += ["import dataclasses, enum, functools"]
        lines += [f"import m{number}" for number in sorted(module.modules)]
        lines += [f"from m{number} import *" for number in sorted(module.stars)]
        by_module: dict[int, list[str]] = {}
        for name, number in module.names.items():
            by_module.setdefault(number, []).append(name)
        lines += [f"from m{number} import {', '.join(by_module[number])}" for number in by_module]
        for one in module.definitions:
            lines += [one.text]
        lines += [module.last]
        return "\n".join(lines) + "\n"


class _Writer:
    """Writes the text of one definition."""

    def __init__(
        self,
        chance: random.Random,
        one: Definition,
        visible: dict[str, tuple[str, str]],
        *,
        transitive: bool,
    ) -> None:
        self._random = chance
        self._one = one
        self._visible = visible
        self._transitive = transitive

    def write(self) -> str | None:
        """Give the text; None when nothing of this kind can stand here."""
        writer = getattr(self, f"_write_{self._one.kind}")
        text: str | None = writer()
        return text

    def _pick(self, *kinds: str) -> str | None:
        candidates = [name for name, (_, kind) in self._visible.items() if kind in kinds]
        if not candidates:
            return None
        name = self._random.choice(candidates)
        self._one.uses.add(name)
        return self._visible[name][0]

    def _number(self) -> str:
        return str(self._random.randint(0, 99))

    def _value(self) -> str:
        """Write an expression that is a number, perhaps of a constant."""
        name = self._pick("constant", "branch") if self._random.random() < 0.6 else None
        if name is None:
            return self._number()
        return self._random.choice([name, f"{name} + {self._number()}", f"{name} * 2 % 101"])

    def _live(self) -> str:
        """Write an expression that is evaluated at every call."""
        if self._random.random() < 0.4:
            name = self._pick("function", "cached")
            if name is not None:
                return f"{name}()"
        return self._value()

    def _results(self) -> str:
        parts = [f'"{self._one.name}"', self._value(), self._live()]
        return f"({', '.join(parts)})"

    # ------------------------------------------------------------ a method for each kind

    def _write_constant(self) -> str:
        return f"{self._one.name} = {self._value()}"

    def _write_branch(self) -> str:
        name = self._one.name
        return (
            f"if ({self._value()}) % 2:\n    {name} = {self._number()}\n"
            f"else:\n    {name} = {self._number()}"
        )

    def _write_function(self) -> str:
        lines = []
        if self._random.random() < 0.3:
            decorator = self._pick("decorator")
            lines += [f"@{decorator}"] if decorator else []
        if self._random.random() < 0.2:
            tagger = self._pick("tagger")
            lines += [f"@{tagger}({self._value()})"] if tagger else []
        arguments = self._random.choice(
            ["", f"a={self._value()}", f"a={self._value()}, *, k={self._value()}", "*a, **k"]
        )
        lines += [f"def {self._one.name}({arguments}):"]
        if self._random.random() < 0.3:
            lines += [f'    "Text {self._number()}."']
        names = [word for word in ("a", "k") if f"{word}=" in arguments]
        lines += [f"    return ({', '.join([self._results(), *names])},)"]
        return "\n".join(lines)

    def _write_cached(self) -> str:
        return (
            f"@functools.lru_cache\ndef {self._one.name}(a={self._number()}):\n"
            f"    return ('cached', a, {self._number()})"
        )

    def _write_maker(self) -> str:
        return (
            f"def {self._one.name}(n=1):\n"
            "    def inner(x=1):\n"
            f"        return (n, x, {self._results()})\n"
            "    return inner"
        )

    def _write_closure(self) -> str | None:
        maker = self._pick("maker")
        return f"{self._one.name} = {maker}({self._value()})" if maker else None

    def _write_decorator(self) -> str:
        return (
            f"def {self._one.name}(fn=None):\n"
            "    @functools.wraps(fn or (lambda: 0))\n"
            "    def w(*a, **k):\n"
            f"        return ({self._results()}, fn and fn(*a, **k))\n"
            "    return w"
        )

    def _write_tagger(self) -> str:
        return (
            f"def {self._one.name}(value=0):\n    def d(fn):\n"
            f"        fn.tag = value\n        return fn\n    return d"
        )

    def _write_alias(self) -> str | None:
        name = self._pick("function", "cached", "class", "dataclass")
        return f"{self._one.name} = {name}" if name else None

    def _write_holder(self) -> str | None:
        names = [self._pick("function", "class", "cached", "maker", "constant") for _ in range(2)]
        if None in names:
            return None
        form = self._random.choice(["[{}, {}]", "({}, {})", '{{"a": {}, "b": {}}}'])
        return f"{self._one.name} = {form.format(*names)}"

    def _write_call(self) -> str | None:
        name = self._pick("function" if self._transitive else "cached", "cached")
        return f"{self._one.name} = {name}()" if name else None

    def _write_instance(self) -> str | None:
        name = self._pick("class")
        return f"{self._one.name} = {name}()" if name else None

    def _write_class(self) -> str:
        base = self._pick("class") if self._random.random() < 0.5 else None
        lines = [f"class {self._one.name}({base}):" if base else f"class {self._one.name}:"]
        if self._random.random() < 0.3:
            lines += [f'    "Text {self._number()}."']
        for number in self._random.sample(range(4), self._random.randint(0, 3)):
            lines += [f"    a{number} = {self._value()}"]
        if self._random.random() < 0.4:
            value = self._value() if self._transitive else self._number()
            lines += ["    def __init__(self):", f"        self.x = {value}"]
        for number in self._random.sample(range(4), self._random.randint(1, 3)):
            wrap, first = self._random.choice(_METHODS)
            result = self._results()
            if first == "self" and not wrap and self._random.random() < 0.4:
                result = f"({result}, getattr(super(), 'v{number}', None) is None)"
            lines += [f"{wrap}    def v{number}({first}):", f"        return {result}"]
        return "\n".join(lines)

    def _write_dataclass(self) -> str:
        how = self._random.choice(["", "(order=True)", "(kw_only=True)"])
        lines = [f"@dataclasses.dataclass{how}", f"class {self._one.name}:"]
        for number in self._random.sample(range(5), self._random.randint(1, 4)):
            lines += [f"    f{number}: int = {self._value()}"]
        lines += ["    def v0(self):", f"        return {self._results()}"]
        return "\n".join(lines)

    def _write_enum(self) -> str:
        lines = [f"class {self._one.name}(enum.Enum):"]
        values = self._random.sample(range(20), 4)
        for number in self._random.sample(range(4), self._random.randint(1, 4)):
            lines += [f"    M{number} = {values[number]}"]
        lines += ["    def v0(self):", f"        return {self._results()}"]
        return "\n".join(lines)
