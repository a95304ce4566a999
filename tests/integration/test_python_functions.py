"""Functions of Python modules: whatever refers to one runs the new code, wherever it is held."""

import collections
import contextlib
import functools
import gc
import inspect
import queue
import types
import weakref

from support.reload_cases import Cases

case = Cases(__file__)
F = "def f(*a): return (1, *a)"


@case(m=F, u="from m import f\nfrom m import f as other\ndef call(): return f()")
def names_in_other_modules(t, m, u):
    f = m.f
    t.edit("m", "(1,", "(2,")
    assert m.f() == u.f() == u.other() == u.call() == f() == (2,)
    assert m.f is f is u.f


@case(m=F)
def every_holder(t, m):
    f = m.f

    class Plain:
        static = staticmethod(m.f)
        method = m.f

    class Slots:
        __slots__ = ("f",)

    plain, slots, line = Plain(), Slots(), queue.SimpleQueue()
    plain.f = slots.f = f
    line.put(f)

    def first(box):
        return next(iter(box))

    holders = {  # name -> what holds it, and how to get it out
        "list": ([f], lambda box: box[0]),
        "tuple": (((f,),), lambda box: box[0][0]),
        "dict": ({"f": f}, lambda box: box["f"]),
        "key": ({f: 1}, first),
        "set": ({f}, first),
        "frozenset": (frozenset([f]), first),
        "deque": (collections.deque([f]), first),
        "ordered": (collections.OrderedDict(f=f), lambda box: box["f"]),
        "namespace": (types.SimpleNamespace(f=f), lambda box: box.f),
        "default": (lambda held=f: held, lambda box: box()),
        "cell": (lambda: f, lambda box: box()),
        "attribute": (plain, lambda box: box.f),
        "slot": (slots, lambda box: box.f),
        "class": (Plain, lambda box: box.static),
        "partial": (functools.partial(f), lambda box: box),
        "partialmethod": (functools.partialmethod(f), lambda box: box.func),
        "weak": (weakref.ref(f), lambda box: box()),
        "weak set": (weakref.WeakSet([f]), first),
        "weak key": (weakref.WeakKeyDictionary({f: 1}), first),
        "weak value": (weakref.WeakValueDictionary(f=f), lambda box: box["f"]),
        "proxy": (types.MappingProxyType({"f": f}), lambda box: box["f"]),
        "queue": (line, lambda box: box.get()),
    }
    t.edit("m", "(1,", "(2,")
    gc.collect()
    answers = {name: get(box)() for name, (box, get) in holders.items()}
    assert answers == dict.fromkeys(holders, (2,))
    assert plain.method() == (2, plain)
    assert m.f in {f}
    assert m.f in {f: 1}


@case(m="def f(x, *, y=1): return ('one', x, y)")
def partials(t, m):
    held = functools.partial(functools.partial(m.f, 5), y=6)
    t.edit("m", "'one'", "'two'")
    assert held() == ("two", 5, 6)


@case(
    m="""
    class C:
        x = 7
        def v(self): return ("one", self.x)
        @classmethod
        def k(cls): return ("one", cls.__name__)
        @staticmethod
        def s(): return "one"
    """
)
def bound_methods(t, m):
    it = m.C()
    held = {"v": it.v, "k": m.C.k, "s": m.C.s, "in a tuple": (it.v,)[0], "by instance": it.k}
    loose, weak = m.C.v, weakref.WeakMethod(held["v"])
    t.save(m=t.read("m").replace("one", "two"))
    assert {name: one() for name, one in held.items()} == {
        "v": ("two", 7),
        "k": ("two", "C"),
        "s": "two",
        "in a tuple": ("two", 7),
        "by instance": ("two", "C"),
    }
    assert loose(it) == weak()() == ("two", 7)


# ------------------------------------------------------------ closures and code inside code


@case(m="def make(n):\n    def add(x): return x + n\n    return add\nFIVE = make(5)")
def closures_that_exist(t, m):
    three, five = m.make(3), m.FIVE
    t.edit("m", "x + n", "x + n + 1000")
    assert (three(1), m.make(3)(1), m.FIVE(1), five(1)) == (1004, 1004, 1006, 1006)


@case(
    m="""
    def make(a, b):
        def add(x): return x + a
        def both(x): return x + a + b
        return add, both
    """
)
def closures_of_another_size(t, m):
    """A cell that is not needed any more goes; one that is new cannot be had by an old closure."""
    add, both = m.make(1, 10)
    t.edit("m", "return x + a\n", "return x - a\n")
    t.edit("m", "return x + a + b", "return x - b")
    assert (add(100), both(100)) == (99, 90)
    report = t.edit("m", "return x - a\n", "return x + b - a\n")
    assert m.make(1, 10)[0](100) == 109
    left = [one for one in report.left if "add" in one["what"]]
    assert (add(100), len(left)) in [(99, 1), (109, 0)]
    t.edit("m", "return x + b - a\n", "return x + a\n")
    assert (add(100), m.make(1, 10)[0](100)) == (101, 101)


@case(
    m="""
    def outer():
        def middle():
            def inner(): return 1
            return inner
        return middle
    def gather(): return [sorted(range(3), key=lambda n: n)]
    def twins():
        return (lambda: "first"), (lambda: "second")
    """
)
def functions_in_functions(t, m):
    middle = m.outer()
    inner = middle()
    first, second = m.twins()
    t.edit("m", "return 1", "return 2")
    t.edit("m", "key=lambda n: n", "key=lambda n: -n")
    t.edit("m", '"first"', '"1st"')
    assert (inner(), middle()(), m.outer()()()) == (2, 2, 2)
    assert m.gather() == [[2, 1, 0]]
    assert (first(), second()) == ("1st", "second")


@case(
    m="""
    import sys
    if sys:
        def in_if(): return 1
    try:
        def in_try(): return 1
    except ImportError:
        pass
    for _ in [0]:
        def in_for(): return 1
    with open(__file__):
        def in_with(): return 1
    while True:
        def in_while(): return 1
        break
    lambda_one = lambda: 1
    table = {"lambda": lambda: 1}
    """
)
def functions_in_statements(t, m):
    names = ["in_if", "in_try", "in_for", "in_with", "in_while", "lambda_one"]
    held, in_table = [getattr(m, name) for name in names], m.table["lambda"]
    t.save(m=t.read("m").replace("return 1", "return 2").replace("lambda: 1", "lambda: 2"))
    assert [getattr(m, name)() for name in names] == [2] * 6
    assert dict(zip(names, (one() for one in held), strict=True)) == dict.fromkeys(names, 2)
    assert in_table() == m.table["lambda"]() == 2


@case(
    log="ran = []",
    m="""
    import log
    class C:
        log.ran.append("body")
        def v(self):
            def w(): return 1
            return w
        class Inner:
            def v(self): return 1
    def local():
        class Local:
            def v(self): return 1
        return Local
    """,
)
def methods_are_edited_without_running_the_class(t, log, m):
    it, inner, local = m.C(), m.C.Inner(), m.local()()
    held = it.v()
    t.save(m=t.read("m").replace("return 1", "return 2"))
    assert log.ran == ["body"]
    assert (it.v()(), held(), inner.v(), local.v(), m.local()().v()) == (2,) * 5
    assert type(inner) is m.C.Inner


# ------------------------------------------------------------ decorators

DECO = """
import functools
def deco(word="one"):
    def outer(fn):
        @functools.wraps(fn)
        def w(*a): return (word, fn(*a))
        return w
    return outer
"""


@case(deco=DECO, m="from deco import deco\n@deco()\ndef f(): return 1", u="from m import f")
def a_decorated_body(t, m, u):
    f = m.f
    t.edit("m", "return 1", "return 2")
    assert m.f() == u.f() == f() == ("one", 2)
    assert f is m.f


@case(deco=DECO, m="from deco import deco\n@deco()\ndef f(): return 1", u="from m import f")
def a_decorator_edited_elsewhere(t, m, u):
    f = m.f
    t.edit("deco", "(word, fn(*a))", "(word, 'more', fn(*a))")
    assert m.f() == u.f() == f() == ("one", "more", 1)


@case(deco=DECO, m="from deco import deco\n@deco()\ndef f(): return 1", u="from m import f")
def the_arguments_of_a_decorator(t, m, u):
    f = m.f
    t.edit("m", "@deco()", "@deco('two')")
    assert m.f() == u.f() == f() == ("two", 1)


@case(deco=DECO, m="from deco import deco\ndef f(): return 1", u="from m import f")
def a_decorator_comes_and_goes(t, m, u):
    """It goes with an edit of the body, and what was held of the wrapper is the function now."""
    f, held = m.f, [m.f]
    t.edit("m", "def f(): return 1", "@deco()\n@deco('outer')\ndef f(): return 2")
    assert m.f() == u.f() == f() == held[0]() == ("one", ("outer", 2))
    wrapped = m.f
    t.edit("m", "@deco()\n@deco('outer')\ndef f(): return 2", "def f(): return 3")
    assert m.f() == u.f() == f() == held[0]() == wrapped() == 3


@case(
    deco=DECO + "def tag(fn):\n    fn.tag = 1\n    return fn\n",
    m="from deco import deco, tag\n@tag\n@deco()\ndef f(a=1): return a\n@tag\ndef g(): return 1",
)
def what_a_decorator_left_goes_with_it(t, m):
    f, g = m.f, m.g
    g.mine = 5
    t.save(m="from deco import deco, tag\ndef f(a=2): return a\ndef g(): return 2")
    assert (f(), str(inspect.signature(f)), vars(f)) == (2, "(a=2)", {})
    assert (g(), vars(g)) == (2, {"mine": 5})


@case(
    routes="""
    HANDLERS = {}
    def route(path):
        def d(fn):
            if path in HANDLERS:
                raise ValueError("duplicate route " + path)
            HANDLERS[path] = fn
            return fn
        return d
    """,
    m="from routes import route\n@route('/')\ndef index(): return 1",
)
def a_registry_that_rejects_duplicates(t, routes, m):
    index = m.index
    for turn in range(2, 5):
        t.edit("m", f"return {turn - 1}", f"return {turn}")
        assert routes.HANDLERS["/"]() == m.index() == turn
    t.edit("m", "return 4", "return 5\n@route('/new')\ndef new(): return 'new'")
    assert {path: one() for path, one in routes.HANDLERS.items()} == {"/": 5, "/new": "new"}
    assert index is m.index is routes.HANDLERS["/"]


@case(
    m="""
    from functools import lru_cache, cache
    @lru_cache(maxsize=None)
    def f(x): return ("one", x)
    @cache
    def g(x): return ("one", x)
    class C:
        @lru_cache
        def v(self, x): return ("one", x)
    def plain(x): return ("one", x)
    """,
    u="from m import f, g, C",
)
def cached_results_are_dropped(t, m, u):
    it, outside = m.C(), functools.lru_cache(m.plain)
    held = [m.f, m.g, it.v, outside]
    before = [one(1) for one in held]
    t.save(m=t.read("m").replace('"one"', '"two"'))
    assert before == [("one", 1)] * 4
    assert [one(1) for one in (*held, u.f, m.g, m.C().v)] == [("two", 1)] * 7
    assert [one(2) for one in held] == [("two", 2)] * 4
    assert u.f is m.f
    t.edit("m", "maxsize=None", "maxsize=3")
    assert u.f.cache_info().maxsize == m.f.cache_info().maxsize == 3
    t.edit("m", "@cache\n", "")
    assert u.g(1) == held[1](1) == ("two", 1)
    assert not hasattr(m.g, "cache_info")


@case(
    m="""
    import functools
    @functools.singledispatch
    def f(x): return ("any", x)
    @f.register
    def _(x: int): return ("int", x)
    @f.register(str)
    def of_text(x): return ("text", x)
    class C:
        @functools.singledispatchmethod
        def v(self, x): return "any"
        @v.register
        def _(self, x: int): return "int"
    """,
    u="from m import f\n@f.register\ndef of_list(x: list): return ('list', x)",
)
def single_dispatch(t, m, u):
    f, it = m.f, m.C()
    t.save(m=t.read("m").replace('"any', '"other').replace('"int', '"number'))
    assert [f(None), f(1), f("a"), f([])] == [
        ("other", None),
        ("number", 1),
        ("text", "a"),
        ("list", []),
    ]
    assert f is m.f is u.f
    assert (it.v("a"), it.v(1)) == ("other", "number")
    t.edit("u", "'list'", "'items'")
    assert m.f([1]) == ("items", [1])


@case(
    m="""
    from contextlib import contextmanager
    @contextmanager
    def within(): yield "one"
    """
)
def context_managers(t, m):
    within = m.within
    t.edit("m", '"one"', '"two"')
    with within() as said, contextlib.ExitStack() as stack:
        assert (said, stack.enter_context(m.within())) == ("two", "two")


test_functions = case.as_test()
