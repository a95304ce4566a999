"""What one interpreter goes through: scenario.py ROOT BINDING, with the library's project in ROOT.

Prints a line of JSON for every promise looked at: its short name, and what was wrong or null. The
runner counts a promise that was never printed as broken, too.
"""

from __future__ import annotations

import json
import pickle
import sys
import traceback
from functools import partial
from pathlib import Path

TESTS = str(Path(__file__).resolve().parents[1])
sys.path.append(TESTS)
from support.project import Project  # noqa: E402
from support.subject import BINDINGS, STEP, Editor  # noqa: E402

sys.path.remove(TESTS)

ROOT, BINDING = sys.argv[1:3]
LANGUAGE = BINDINGS[BINDING].language
EDITOR = Editor(LANGUAGE, Project(Path(ROOT)).write)


class Promises:
    """The promises; `look` is called once for each, and never raises."""

    def look(self, name, check):
        problem = None
        try:
            check()
        except Exception as error:  # noqa: BLE001 - whatever happens, it is a broken promise
            frames = traceback.extract_tb(error.__traceback__)
            lines = [
                one.lineno
                for one in frames
                if one.filename == __file__ and one.name not in {"same", "raised_by"}
            ]
            problem = f"{type(error).__name__} in line {lines[-1]}: {error}"
        print(json.dumps([name, problem]), flush=True)
        return problem is None


def same(found, wanted):
    assert found == wanted, f"{found!r} instead of {wanted!r}"


def raised_by(call, kinds):
    try:
        call()
    except kinds as error:
        return error
    raise AssertionError("nothing was raised")


class World:
    """What a program holds of the module, taken before anything was edited."""

    def __init__(self, subject):
        self.subject = subject
        self.core = subject._core
        self.names = vars(subject._core)
        self.value, self.take, self.fail = subject.value, subject.take, subject.fail
        self.later = partial(subject.value)
        self.cls, self.error = subject.Thing, subject.SubjectError
        self.thing = subject.Thing(3)
        self.bound = self.thing.answer
        self.unbound = subject.Thing.answer

        class Mine(subject.Thing):
            def more(self):
                return self.answer() + 1

        self.mine_class, self.mine = Mine, Mine(5)
        self.pickled = pickle.dumps(self.thing)
        if LANGUAGE.has_enum:
            self.enum, self.low, self.high = subject.Level, subject.Level.LOW, subject.Level.HIGH
            self.level, self.highest = subject.level, subject.highest
            # Cython 0.29 turns members into plain numbers.
            self.typed = isinstance(subject.highest(), subject.Level)
        subject._core.from_outside = "stays"

    # ------------------------------------------------------------ one promise each

    def module(self):
        subject = self.subject
        assert sys.modules["subject"] is subject
        assert sys.modules["subject._core"] is subject._core is self.core
        assert vars(self.core) is self.names
        same(self.core.from_outside, "stays")

    def functions(self, step):
        same(self.value(), step)
        same(self.later(), step)
        same(self.subject.value(), step)
        same(self.core.value(), step)

    def bound_methods(self, step):
        same(self.bound(), 30 + step)
        same(self.unbound(self.thing), 30 + step)

    def classes(self, step):
        assert self.subject.Thing is self.cls, "another class object"
        assert self.core.Thing is self.cls, "another class object in the extension"
        same(self.cls(4).answer(), 40 + step)

    def instances(self, step):
        same(self.thing.answer(), 30 + step)
        same(self.thing.n, 3)
        same(self.subject.take(self.thing), 3 + step)
        same(self.take(self.thing), 3 + step)

    def isinstances(self):
        assert isinstance(self.subject.Thing(1), self.cls), "a new instance, of the held class"
        assert isinstance(self.thing, self.subject.Thing), "an old instance, of the new class"

    def subclasses(self, step):
        same(self.mine.more(), 51 + step)
        same(self.mine_class(6).more(), 61 + step)
        assert isinstance(self.mine, self.subject.Thing)
        same(self.subject.take(self.mine), 5 + step)

    def enums(self, step):
        assert self.subject.Level is self.enum, "another enum class"
        assert self.subject.Level.LOW is self.low, "another member"
        same(self.subject.highest(), self.high)
        same(self.highest(), self.high)
        same(self.subject.level(self.low), 1 + step)
        same(self.level(self.subject.Level.LOW), 1 + step)
        same(isinstance(self.subject.highest(), self.enum), self.typed)

    def exceptions(self):
        for fail in (self.subject.fail, self.fail):
            raised = raised_by(fail, self.error)
            same(str(raised), "failed as asked")
            assert type(raised) is self.subject.SubjectError

    def pickles(self, step):
        again = pickle.loads(self.pickled)
        assert type(again) is self.subject.Thing
        same(again.answer(), 30 + step)

    def everything(self, step):
        self.module()
        self.functions(step)
        self.bound_methods(step)
        self.classes(step)
        self.instances(step)
        self.isinstances()
        self.subclasses(step)
        self.exceptions()
        self.pickles(step)
        if LANGUAGE.has_enum:
            self.enums(step)


def edited(promises, rehook, world):
    """Check the code behind everything held, after an edit that leaves the layout alone."""
    EDITOR.become("step")
    report = rehook.reload()

    def told():
        same([one["name"] for one in report.modules], ["subject._core"])
        same((report.built, report.reused), (1, 0))

    promises.look("report", told)
    promises.look("module", world.module)
    promises.look("function", lambda: world.functions(STEP))
    promises.look("bound", lambda: world.bound_methods(STEP))
    promises.look("class", lambda: world.classes(STEP))
    promises.look("instance", lambda: world.instances(STEP))
    promises.look("isinstance", world.isinstances)
    promises.look("subclass", lambda: world.subclasses(STEP))
    promises.look("except", world.exceptions)
    promises.look("pickle", lambda: world.pickles(STEP))
    if LANGUAGE.has_enum:
        promises.look("enum", lambda: world.enums(STEP))


def undone(promises, rehook, world):
    EDITOR.become()
    report = rehook.reload()

    def check():
        same((report.built, report.reused), (0, 1))
        world.everything(0)

    promises.look("undo", check)


def broken(promises, rehook, world):
    """Fail in the new build's initialisation, after it made everything: the old world stays."""
    names = {name: id(value) for name, value in world.names.items()}
    EDITOR.become("step", "broken")

    def check():
        raised = raised_by(rehook.reload, (RuntimeError, ImportError))
        text = f"{raised} {raised.__cause__}"
        assert "no start" in text, text
        same({name: id(value) for name, value in world.names.items()}, names)
        assert rehook.errors()
        same(world.value(), 0)

    promises.look("fails", check)
    promises.look("rollback", lambda: world.everything(0))
    EDITOR.become()

    def repaired():
        rehook.reload()
        same(rehook.errors(), [])
        world.everything(0)

    promises.look("repair", repaired)


def grown(promises, rehook, world):
    """Change the layout: old instances stay as they are, and new code refuses them."""
    EDITOR.become("step", "layout")
    report = rehook.reload()
    subject = world.subject

    def valid():
        for answer in (world.thing.answer(), world.bound()):
            same(answer, 30)
        same(world.thing.n, 3)
        same(world.mine.more(), 51)

    def refused():
        for take in (subject.take, world.take):
            for stranger in (world.thing, world.mine):
                try:
                    found = take(stranger)
                except TypeError:
                    continue
                raise AssertionError(f"an instance of the old layout was taken: {found}")

    def fresh():
        thing = subject.Thing(4)
        same((thing.answer(), thing.n, subject.take(thing)), (40 + STEP, 4, 4 + STEP))
        same(world.take(thing), 4 + STEP)

    def counted():
        left = [one for one in report.left if "Thing" in str(one.get("what"))]
        assert left, f"report.left does not name Thing: {report.left}"
        assert sum(one.get("count") or 0 for one in left) >= 2, left
        assert "Thing" in str(report), str(report)

    promises.look("layout-valid", valid)
    promises.look("layout-refused", refused)
    promises.look("layout-new", fresh)
    promises.look("layout-counted", counted)
    promises.look("layout-function", lambda: world.functions(STEP))
    promises.look("layout-except", world.exceptions)
    EDITOR.become()

    def back():
        same(rehook.reload().built, 0)
        world.functions(0)
        same(world.thing.answer(), 30)
        same(subject.take(subject.Thing(4)), 4)

    promises.look("layout-undo", back)


def main():
    import rehook

    rehook.install(projects=[ROOT])
    promises = Promises()
    worlds = []

    def start():
        import subject

        worlds.append(World(subject))
        worlds[0].everything(0)

    if not promises.look("import", start):
        return
    for name, part in (
        ("reload", edited),
        ("reload-undo", undone),
        ("reload-broken", broken),
        ("reload-layout", grown),
    ):
        # An exception of the reload itself; its promises were not looked at.
        promises.look(name, lambda part=part: part(promises, rehook, worlds[0]))


if __name__ == "__main__":
    main()
