"""Threads that use Python modules while these are reloaded, and while reloads fail."""

import importlib
import sys
import threading
import time

import pytest

import rehook
from support.reload_cases import Cases

pytestmark = pytest.mark.race
case = Cases(__file__)

A = """
import rehook
N = {n}
def number(): return {n}
def constant(): return N
class Box:
    value = {n}
    def method(self): return {n}
    @property
    def prop(self): return {n}
    def both(self, other): return {n}, other.value
"""
B = """
import a
from a import N, Box
M = {n}
DERIVED = N * 10
total, lock = 0, __import__("threading").Lock()
def pair(f):
    # One call chain over both modules.
    return f(), a.number(), a.N, N, M, DERIVED // 10, {n}
def count():
    global total
    with lock:
        total += 1
"""


class Crowd:
    """Threads that call a function again and again, and what they found wrong."""

    def __init__(self, *work):
        self.stop, self.wrong, self.calls = threading.Event(), [], [0] * len(work)
        self._threads = [
            threading.Thread(target=self._loop, args=(number, one))
            for number, one in enumerate(work)
        ]

    def _loop(self, number, one):
        while not self.stop.is_set():
            try:
                for _ in range(20):
                    one()
                    self.calls[number] += 1
                time.sleep(0.0002)  # or the thread that reloads waits for its turn too long
            except BaseException as error:  # noqa: BLE001 - any is wrong
                self.wrong.append(f"{number}: {error!r}")
                if len(self.wrong) > 20:
                    return

    def wait(self):
        """Wait until each thread came round once more."""
        before, gate = list(self.calls), threading.Event()
        while any(
            new == old and thread.is_alive()
            for new, old, thread in zip(self.calls, before, self._threads, strict=True)
        ):
            gate.wait(0.0005)

    def __enter__(self):
        sys.setswitchinterval(1e-4)
        for one in self._threads:
            one.start()
        self.wait()
        return self

    def __exit__(self, *_):
        self.stop.set()
        for one in self._threads:
            one.join()
        sys.setswitchinterval(0.005)


def expect(found, allowed, what):
    if found not in allowed:
        message = f"{what}: {found}"
        raise AssertionError(message)


@case(a=A.format(n=1), b=B.format(n=1))
def two_hundred_reloads_of_two_modules(t, a, b):
    """Each call sees one of the two worlds, in all it reads; what it counts is not lost."""
    number, constant, pair, count, it = a.number, a.constant, b.pair, b.count, a.Box()
    held = {"pair": pair, "number": number}
    worlds = [(n,) * 7 for n in (1, 2)]
    counted = [0, 0]

    def look_at_both():
        # Read twice: a reload in between is seen, and the call is not counted as one.
        found = pair(number)
        if len(set(found)) != 1:
            again = pair(number)
            expect(len(set(again)), {1}, f"mixed {found}, then")
            mixed.append(found)

    def look_at_single():
        expect(held["number"](), {1, 2}, "number()")
        expect(constant(), {1, 2}, "constant()")
        expect((it.method(), it.prop) in {(1, 1), (2, 2), (1, 2), (2, 1)}, {True}, "Box")
        expect(sys.modules["a"].number() in {1, 2}, {True}, "a.number()")
        expect(b.Box is a.Box, {True}, "b.Box is a.Box")

    def add(which):
        def one():
            b.count()
            count()
            counted[which] += 2

        return one

    mixed = []
    with Crowd(look_at_both, look_at_single, add(0), add(1)) as crowd:
        for turn in range(200):
            n = 2 if turn % 2 == 0 else 1
            if turn % 5 == 4:
                with t.fails(RuntimeError):
                    t.save(a=A.format(n=7), b=B.format(n=7) + "\nraise RuntimeError\n")
                assert (a.N, b.M) in {(1, 1), (2, 2)}
            t.save(a=A.format(n=n), b=B.format(n=n))
            assert pair(number) == worlds[n - 1]
            if turn % 10 == 0:
                crowd.wait()
    assert crowd.wrong == []
    assert b.total == sum(counted)
    assert min(crowd.calls) > 0


PURE = """
N = {n}
def get(): return N, {n}
"""
READER = """
import x
from x import N
def read(): return N, x.N
def read_all():
    return N, x.N, *x.get()
"""


@case(x=PURE.format(n=1), y=READER)
def constants_of_two_modules_change_together(t, x, y):
    """One statement reads a module's constant and its copy in an importer: never a mix."""
    read, seen = y.read, set()

    def look():
        # No call between the two reads: no other thread can come in between.
        first, second = read()
        seen.add((first, second))
        expect(first, {second}, "a mix")

    with Crowd(look, look, look) as crowd:
        for turn in range(200):
            n = 2 - turn % 2
            if turn % 4 == 3:
                with t.fails(ZeroDivisionError):
                    t.save(x=PURE.format(n=9), y=READER + f"# {turn}\nNEW = 1 / 0\n")
            t.save(x=PURE.format(n=n))
            if turn % 10 == 0:
                crowd.wait()
    assert crowd.wrong == []
    assert seen == {(1, 1), (2, 2)}


@case(
    m="import time\nX = 1\ndef f(): return 1\nclass C:\n    def v(self): return 1\n", u="import m"
)
def a_body_that_takes_its_time(t, m, u):
    """While the new body sleeps, the others see the old module, complete."""
    old, f, seen = m.C(), m.f, set()

    def look():
        module = sys.modules["m"]
        seen.add((module.f(), f(), u.m.C().v(), old.v(), module.X))

    with Crowd(look, look) as crowd:
        for turn in (2, 3):
            text = t.read("m").replace(str(turn - 1), str(turn))
            t.save(m=text.replace("import time\n", "import time\ntime.sleep(0.2)\n"))
            crowd.wait()
        with t.fails(RuntimeError):
            t.save(m="X = 9\nimport time\ntime.sleep(0.2)\nraise RuntimeError")
        crowd.wait()
    assert crowd.wrong == []
    whole = {(n,) * 5 for n in (1, 2, 3)}
    assert whole <= seen
    # A call chain of several reads may have begun before and ended after.
    assert {value for one in seen for value in one} == {1, 2, 3}


@case(
    m="""
    import enum
    class Color(enum.Enum):
        RED = 1
        BLUE = 2
    class Base:
        def v(self): return 1
    class Derived(Base):
        def v(self): return super().v()
    def make(n):
        def inner(): return n
        return inner
    """,
    u="from m import *",
)
def classes_and_enums_in_use(t, m, u):
    """Lookups by value and name, super(), isinstance and dict keys, while all of it is reloaded."""
    red, it, inner, table = m.Color.RED, u.Derived(), m.make(5), {m.Color.RED: "r", m.Derived: "d"}

    def enums():
        expect(u.Color(1), {red}, "Color(1)")
        expect(m.Color["RED"], {red}, "Color['RED']")
        expect(table[u.Color.RED], {"r"}, "table")
        expect({"RED", "BLUE"} <= set(u.Color.__members__), {True}, "members")

    def classes():
        expect(it.v(), {1, 2}, "super()")
        expect(isinstance(it, u.Base) and isinstance(u.Derived(), m.Base), {True}, "isinstance")
        expect(table[m.Derived], {"d"}, "table")
        expect(inner(), {5, 6}, "closure")
        expect(m.make(7)(), {7, 8}, "new closure")

    first = t.read("m")
    second = (
        first.replace("BLUE = 2", "BLUE = 2\n    GREEN = 3")
        .replace("return 1", "return 2")
        .replace("return n", "return n + 1")
        .replace("class Derived(Base):", "class Derived(Base):\n    added = 1")
    )
    with Crowd(enums, classes, enums) as crowd:
        for turn in range(100):
            if turn % 5 == 4:
                with t.fails(ZeroDivisionError):
                    t.save(m=second + "\nclass More(Base): pass\n1 / 0\n")
            t.save(m=(second, first)[turn % 2])
            if turn % 10 == 0:
                crowd.wait()
    assert crowd.wrong == []


@case(a="X = 1", b="import a\nX = 1\n", m="X = 1")
def reloads_in_several_threads(t, a, b, m):
    """They take turns; each edit is there in the end."""
    done = []

    def reload(name, folder):
        for turn in range(2, 32):
            folder.write({name: f"X = {turn}"})
            rehook.reload(name)
            expect(sys.modules[name].X, {turn}, name)
        done.append(name)

    from support.reload_cases import Folder

    threads = [
        threading.Thread(target=reload, args=(name, Folder(t.root))) for name in ("a", "b", "m")
    ]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert sorted(done) == ["a", "b", "m"]
    assert (a.X, b.X, m.X, rehook.modified(), rehook.errors()) == (31, 31, 31, [], [])


@case(m="X = 1\ndef f(): return 1", **{f"extra{n}": f"import m\nY = m.X + {n}" for n in range(40)})
def imports_in_other_threads(t, m):
    """Modules are imported by another thread while the one they import is reloaded."""
    problems = []

    def load():
        for number in range(40):
            try:
                one = importlib.import_module(f"extra{number}")
                expect(one.Y - number in range(1, 100_000), {True}, "Y")
                expect(one.m is m, {True}, "m")
            except BaseException as error:  # noqa: BLE001 - any is wrong
                problems.append(repr(error))

    thread = threading.Thread(target=load)
    thread.start()
    turn = 1
    while thread.is_alive() or turn < 20:
        turn += 1
        t.save(m=f"X = {turn}\ndef f(): return {turn}")
    thread.join()
    rehook.reload()
    assert problems == []
    assert all(turn + n == sys.modules[f"extra{n}"].Y for n in range(40))


test_threads = case.as_test()
