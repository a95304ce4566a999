"""What a function of a Python module is: its signature, its lines, its kind, its running frames."""

import collections
import functools
import gc
import inspect
import pickle
import sys
import threading

from support.reload_cases import Cases

case = Cases(__file__)
DECO = """
import functools
def deco(word="one"):
    def outer(fn):
        @functools.wraps(fn)
        def w(*a): return (word, fn(*a))
        return w
    return outer
"""

# ------------------------------------------------------------ signatures and descriptions


@case(m="def f(a=1, *, k=1):\n    'Old.'\n    return a, k", u="from m import f")
def signatures(t, m, u):
    f = m.f
    t.save(m="def f(a=2, b=(3,), /, *c, k=2, **d) -> int:\n    'New.'\n    return a, b, k")
    assert f() == u.f() == (2, (3,), 2)
    assert str(inspect.signature(f)) == "(a=2, b=(3,), /, *c, k=2, **d) -> int"
    assert (f.__doc__, f.__annotations__, f.__kwdefaults__) == ("New.", {"return": int}, {"k": 2})
    t.save(m="def f(): return 0")
    assert (f(), f.__doc__, f.__defaults__, f.__kwdefaults__, f.__annotations__) == (
        0,
        None,
        None,
        None,
        {},
    )


@case(m="def f(seen=[]):\n    seen.append(1)\n    return len(seen)")
def a_default_value_is_state(t, m):
    m.f(), m.f()
    t.edit("m", "len(seen)", "100 + len(seen)")
    assert m.f() == 103


@case(m="def f(): return 1\nf.label = 'mine'")
def attributes_of_functions(t, m):
    m.f.count = 5
    t.edit("m", "return 1", "return 2")
    assert (m.f(), m.f.label, m.f.count) == (2, "mine", 5)
    t.edit("m", "'mine'", "'yours'")
    assert m.f.label == "yours"


@case(m="def f(): return 1\ndef g(): return 'g'")
def a_new_function_belongs_to_the_module(t, m):
    t.save(m="X = 5\ndef f(): return g()\ndef g(): return h()\ndef h(): return X")
    assert m.f() == 5
    m.X = 6
    assert m.f() == 6
    assert m.h.__globals__ is m.f.__globals__ is vars(m)
    assert (m.h.__module__, m.h.__qualname__) == ("m", "h")
    assert pickle.loads(pickle.dumps(m.h)) is m.h


@case(m="def f(n): return 0 if n == 0 else f(n - 1) + 1")
def pickles(t, m):
    f, blob = m.f, pickle.dumps(m.f)
    t.edit("m", "+ 1", "+ 10")
    assert pickle.loads(pickle.dumps(f)) is pickle.loads(blob) is m.f
    assert f(3) == 30


# ------------------------------------------------------------ lines


@case(m="def f():\n    return 1\n\ndef moved():\n    raise ValueError('here')\n\nclass C: pass\n")
def lines_of_functions_that_moved(t, m):
    moved, f = m.moved, m.f
    t.save(m="# one\n# two\n\n" + t.read("m").replace("return 1", "x = 1\n    return x"))
    for one in (moved, m.moved):
        try:
            one()
        except ValueError as error:
            entry = error.__traceback__.tb_next
        assert t.read("m").splitlines()[entry.tb_lineno - 1] == "    raise ValueError('here')"
    assert inspect.getsource(moved) == "def moved():\n    raise ValueError('here')\n"
    assert inspect.getsource(f) == "def f():\n    x = 1\n    return x\n"
    assert inspect.getsource(m.C) == "class C: pass\n"


@case(
    deco=DECO,
    m="""
    from deco import deco
    class C:
        def v(self):
            def w():
                raise ValueError("w")
            return w
        @deco()
        def d(self):
            raise ValueError("d")
    """,
)
def lines_of_methods_and_closures_that_moved(t, m):
    it = m.C()
    w, d = it.v(), it.d
    t.save(m="\n\n\n" + "# longer\n" + t.read("m"))
    for word, call in (("w", w), ("d", d), ("w", m.C().v()), ("d", m.C().d)):
        try:
            call()
        except ValueError as error:
            entry = error.__traceback__
            while entry.tb_next:
                entry = entry.tb_next
        line = t.read("m").splitlines()[entry.tb_lineno - 1]
        assert line.strip() == f'raise ValueError("{word}")'
    assert inspect.getsource(w).splitlines()[0].strip() == "def w():"


# ------------------------------------------------------------ aliases and kinds


@case(m="def f(): return 'f'\ng = f", u="from m import f, g")
def an_alias_splits_and_joins(t, m, u):
    f = m.f
    t.save(m="def f(): return 'f2'\ndef g(): return 'g2'")
    assert (m.f(), m.g(), u.f(), u.g(), f()) == ("f2", "g2", "f2", "g2", "f2")
    g = m.g
    t.save(m="def f(): return 'f3'\ng = f")
    assert (m.f(), m.g(), u.f(), u.g(), f()) == ("f3",) * 5
    assert m.f is m.g is u.g
    assert g() in ("f3", "g2")


@case(m="def f(): return 'f'\ndef g(): return 'g'", u="from m import f, g\nheld = {'f': f, 'g': g}")
def names_that_swap(t, m, u):
    t.save(m="def g(): return 'g2'\ndef f(): return 'f2'")
    assert (m.f(), m.g(), u.f(), u.g(), u.held["f"](), u.held["g"]()) == ("f2", "g2") * 3


KINDS = {
    "function": ("def f(*a): return ('function', *a)", ("function", 3)),
    "class": (
        "class f(tuple):\n    def __new__(cls, *a): return tuple.__new__(cls, ('class', *a))",
        ("class", 3),
    ),
    "builtin": ("from builtins import abs as f", 3),
    "cached": (
        "import functools\n@functools.lru_cache\ndef f(*a): return ('cached', *a)",
        ("cached", 3),
    ),
    "partial": ("import functools\nf = functools.partial(max, 2)", 3),
    "instance": (
        "class K:\n    def __call__(self, *a): return ('instance', *a)\nf = K()",
        ("instance", 3),
    ),
}


def change_kinds(t, m, u, first, second):
    """What holds the first kind holds the second; and back, where the second is the module's own.

    Nobody can tell who has abs() from this module and who from elsewhere, and what is only an
    object with a `__call__` is a value like others: there, names follow.
    """
    for before, after in ((first, second), (second, first)):
        was = m.f
        box = [was]
        holders = {
            "list": lambda box=box: box[0],
            "tuple": lambda box=(was,): box[0],
            "key": lambda box={was: 1}: next(iter(box)),
            "tuple as a key": lambda box={(was, 1): 1}: next(iter(box))[0],
            "frozenset": lambda box=frozenset([was]): next(iter(box)),
            "partial": functools.partial(functools.partial, was),
            "default": lambda box=was: box,
            "deque": lambda box=collections.deque([was]): box[0],
        }
        keys = {was: "found", (was, 1): "found too"}
        del was
        t.save(m=KINDS[after][0])
        assert u.f is m.f
        assert u.f(3) == KINDS[after][1]
        if {before, after} & {"partial", "instance"} or before == "builtin":
            assert box[0](3) in (KINDS[before][1], KINDS[after][1])
            continue
        answers = {name: get()(3) for name, get in holders.items()}
        assert answers == dict.fromkeys(holders, KINDS[after][1])
        assert box[0] is m.f
        assert (keys[m.f], keys[(m.f, 1)]) == ("found", "found too")
    assert abs(-3) == 3
    assert sys.modules["builtins"].abs is abs


def _kind_case(first, second):
    def body(t, m, u):
        change_kinds(t, m, u, first, second)

    body.__name__ = f"a_{first}_becomes_a_{second}"
    case(m=KINDS[first][0], u="from m import f")(body)


for first, second in [
    ("function", "class"),
    ("function", "builtin"),
    ("function", "cached"),
    ("function", "partial"),
    ("function", "instance"),
    ("class", "cached"),
    ("class", "function"),
    ("cached", "function"),
]:
    _kind_case(first, second)


@case(m="def f(): return 1", u="from m import f\nheld = [f]")
def a_generator_function_and_a_coroutine(t, m, u):
    f = m.f
    t.edit("m", "return 1", "yield 2")
    assert list(f()) == list(u.held[0]()) == [2]
    t.edit("m", "def f(): yield 2", "async def f(): return 3")
    assert inspect.iscoroutinefunction(f)
    with t.raises(StopIteration) as caught:
        f().send(None)
    assert caught.error.value == 3


# ------------------------------------------------------------ what is running


@case(
    m="""
    def gen():
        for turn in range(3):
            yield ("one", turn, helper())
    def helper(): return 1
    async def work(gate):
        await gate.wait()
        return ("one", helper())
    """
)
def what_is_suspended_ends_in_the_old_body(t, m):
    import asyncio

    running = m.gen()
    next(running)

    async def main():
        gate = asyncio.Event()
        task = asyncio.create_task(m.work(gate))
        await asyncio.sleep(0)
        t.save(m=t.read("m").replace('"one"', '"two"').replace("return 1", "return 2"))
        gate.set()
        return await task, await m.work(gate)

    assert asyncio.run(main()) == (("one", 2), ("two", 2))
    assert next(running) == ("one", 1, 2)
    assert next(m.gen()) == ("two", 0, 2)


@case(m="def f(n): return ('one', n)\ndef outer(hook): return (f(hook()), f(0))")
def a_callable_that_is_on_the_stack_already(t, m):
    def hook():
        t.edit("m", "('one', n)", "('two', n)")
        return 7

    assert m.outer(hook) == (("two", 7), ("two", 0))


@case(m="def f(): return 1")
def a_frames_own_variables(t, m):
    """A local variable of a frame that is running, in this thread and in another, and of a
    generator that is not."""

    def wait(gate, answers, f=m.f):
        mine = f
        gate.wait()
        answers.append(mine())

    def suspended(f):
        yield
        yield f()

    gate, answers, mine, sleeper = threading.Event(), [], m.f, suspended(m.f)
    next(sleeper)
    thread = threading.Thread(target=wait, args=(gate, answers))
    thread.start()
    t.save(m="class f:\n    def __new__(cls): return 2")
    gate.set()
    thread.join()
    told = mine(), next(sleeper), answers
    assert told == (2, 2, [2])


@case(m="def f(): return 1")
def a_hot_loop_sees_the_old_then_the_new(t, m):
    seen, stop, begun = [0], [], threading.Event()

    def loop(f=m.f):
        while not stop:
            for _ in range(100):
                if (got := f()) != seen[-1]:
                    seen.append(got)
            begun.set()

    thread = threading.Thread(target=loop)
    thread.start()
    begun.wait()
    t.edit("m", "return 1", "return 2")
    begun.clear()
    begun.wait()
    stop.append(1)
    thread.join()
    assert seen == [0, 1, 2]


@case(m="def f(a, b, c=3): return (1, a, b, c)\ndef call(): return f(1, 2)")
def call_sites_that_know_the_function(t, m):
    """A specialised call site finds another number of arguments, in a new try, and after it."""
    for _ in range(100):
        m.call()
    t.edit("m", "(a, b, c=3): return (1, a, b, c)", "(a, b, c=3, d=4): return (2, a, b, c, d)")
    assert [m.call() for _ in range(100)] == [(2, 1, 2, 3, 4)] * 100
    with t.fails(ZeroDivisionError):
        t.save(m="def f(a): return a\ndef call(): return f(1)\n1 / 0")
    assert [m.call() for _ in range(100)] == [(2, 1, 2, 3, 4)] * 100
    with t.raises(TypeError) as caught:
        m.f(1)
    assert "'b'" in str(caught.error)


@case(m="def f(): return 0\nclass C:\n    def v(self): return 0", u="from m import f, C")
def fifty_reloads(t, m, u):
    f, it, held = m.f, m.C(), [m.f, m.C]
    for turn in range(50):
        t.save(m=t.read("m").replace(f"return {turn}", f"return {turn + 1}"))
        assert (f(), it.v(), u.f(), u.C().v(), held[0]()) == (turn + 1,) * 5
        if turn % 10 == 0:
            gc.collect()
    assert [f, m.C] == held == [m.f, type(it)]
    assert m.C.__subclasses__() == []
    assert sum(type(one) is type and one.__name__ == "C" for one in object.__subclasses__()) == 1


test_function_kinds = case.as_test()
