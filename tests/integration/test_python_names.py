"""Names of a Python module: those that go with the source, those from outside, and odd values."""

from support.reload_cases import Cases

case = Cases(__file__)


@case(m="def f(): return 1\ndef g(): return 1", u="from m import f, g")
def a_name_no_longer_imported(t, m, u):
    t.save(m="def f(a=2): return a\ndef g(): return 1", u="from m import g")
    assert (m.f(), u.g()) == (2, 1)
    assert not hasattr(u, "f")


@case(a="def f(): return 1\nX = 1", u="from a import *\nfrom a import f, X\nD = X")
def a_name_that_a_star_import_still_gives(t, a, u):
    t.edit("u", "from a import f, X\n", "")
    assert (u.f, u.X, u.D) == (a.f, 1, 1)
    t.edit("a", "X = 1", "X = 2")
    assert (u.X, u.D) == (2, 2)


@case(
    a="def f(): return 1",
    b="from a import *",
    c="from a import f",
    d="from b import *\nfrom c import *",
)
def a_name_from_two_star_imports(t, a, b, c, d):
    t.save(c="X = 1")
    assert (d.f, d.X, d.f()) == (a.f, 1, 1)
    t.save(b="Y = 1")
    assert not hasattr(d, "f")


@case(m="X = 1\ndef f(): return 1\nclass C: pass\nimport json\nY = 2", u="import m")
def removed_names_go(t, m, u):
    t.save(m="Y = 2")
    assert not {"X", "f", "C", "json"} & set(vars(m))
    assert not hasattr(u.m, "X")
    assert m.Y == 2


@case(m="X = 1\nY = X + 1")
def names_from_outside_stay(t, m):
    m.extra, m.hook = [1], lambda: "hook"
    dictionary = vars(m)
    t.edit("m", "X = 1", "X = 2")
    t.save(m="Y = 2")
    assert (m.extra, m.hook()) == ([1], "hook")
    assert vars(m) is dictionary
    assert t.load("m") is m


@case(m="X = 1", other="def g(): return 'other'")
def a_name_of_the_source_set_from_outside(t, m, other):
    """A patch over a name the module has is not undone, and not written into."""
    t.save(m="X = 1\ndef f(): return 1")
    held, m.f = m.f, other.g
    t.edit("m", "X = 1", "X = 2")
    assert m.f is other.g
    t.edit("m", "return 1", "return 2")
    assert (other.g(), other.g.__name__, held()) == ("other", "g", 2)


@case({"pkg/__init__.py": "", "pkg/sub.py": "X = 1"})
def a_package_keeps_its_submodules(t):
    pkg, sub = t.load("pkg", "pkg.sub")
    t.save({"pkg/__init__.py": "Y = 1"})
    assert (pkg.sub, pkg.Y) == (sub, 1)
    t.save({"pkg/__init__.py": ""})
    assert pkg.sub is sub
    assert not hasattr(pkg, "Y")


@case(
    odd="""
    class Odd:
        def __init__(self, n): self.n = n
        def __eq__(self, other): raise ValueError("ambiguous")
        def __bool__(self): raise ValueError("no truth")
        __hash__ = None
    """,
    m="from odd import Odd\nX = Odd(1)\nY = [X]",
    u="from m import X\nD = [X, X.n]",
)
def values_that_cannot_be_compared(t, odd, m, u):
    t.edit("m", "Odd(1)", "Odd(2)")
    assert (m.X.n, m.Y[0].n, u.X.n, u.D[1]) == (2, 2, 2, 2)
    assert u.X is m.X is m.Y[0] is u.D[0]


@case(
    m="""
    X = 1
    def __getattr__(name):
        if name == "dynamic":
            return X * 100
        raise AttributeError(name)
    def __dir__(): raise RuntimeError
    """,
    u="from m import dynamic, X\nD = dynamic",
)
def attributes_made_on_demand(t, m, u):
    t.edit("m", "X = 1", "X = 2")
    assert (m.dynamic, u.X) == (200, 2)
    t.edit("m", "X * 100", "X * 1000")
    assert m.dynamic == 2000


@case(m="X = [1, (1, 2), 'a']\nSMALL = 1\nTEXT = 'text'")
def shared_constants_are_not_replaced(t, m):
    mine = [1, (1, 2), "a", "text", None, True]
    t.save(m="X = [2, (2, 3), 'b']\nSMALL = 2\nTEXT = 'other'")
    assert mine == [1, (1, 2), "a", "text", None, True]
    assert (m.SMALL, m.TEXT) == (2, "other")


test_names = case.as_test()
