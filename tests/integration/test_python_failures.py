"""A reload of Python modules that fails leaves everything as it was, and is told until repaired."""

import contextlib
import gc
import sys

import rehook
from support.reload_cases import Cases

case = Cases(__file__)
M = """
A = 1
state = []
def f(): return 1
class C:
    limit = 1
    def v(self): return 1
B = 1
"""


def snapshot(module):
    """What a module is, by the identities of everything in it."""
    found = {
        name: id(value) if name.startswith("__") else (id(value), repr(value))
        for name, value in vars(module).items()
    }
    for name, value in vars(module).items():
        if isinstance(value, type) and value.__module__ == module.__name__:
            found[f"class {name}"] = {k: id(v) for k, v in vars(value).items()}
    return found


@case(m=M, u="from m import *\nobj = C()")
def a_syntax_error(t, m, u):
    before, f = (snapshot(m), snapshot(u)), m.f
    with t.fails(SyntaxError) as failed:
        t.edit("m", "def f(): return 1", "def f(: return 2")
    assert failed.cause.filename == str(t.path("m"))
    assert failed.cause.lineno == 3
    assert "m.py" in str(failed.error)
    assert (snapshot(m), snapshot(u), sys.modules["m"]) == (*before, m)
    assert (f(), u.obj.v(), m.B) == (1, 1, 1)
    t.edit("m", "def f(: return 2", "def f(): return 3")
    assert (m.f(), f(), u.f()) == (3, 3, 3)


@case(m=M, u="from m import *\nobj = C()\nD = A * 10")
def an_exception_midway(t, m, u):
    m.state.append("kept")
    before, f = (snapshot(m), snapshot(u)), m.f
    with t.fails(RuntimeError) as failed:
        t.save(m=M.replace("1", "2").replace("B = 2", "NEW = 5\nraise RuntimeError('boom')\nB = 2"))
    assert str(failed.cause) == "boom"
    assert (snapshot(m), snapshot(u)) == before
    assert (m.A, m.f(), m.B, f(), m.state, u.obj.v(), u.D) == (1, 1, 1, 1, ["kept"], 1, 10)
    assert not hasattr(m, "NEW")
    t.save(m=M.replace("1", "2"))
    assert (m.A, f(), u.obj.v(), u.obj.limit, m.state, u.D) == (2, 2, 2, 2, ["kept"], 20)


@case(m=M)
def the_traceback_leads_to_the_line(t, m):
    with t.fails(ZeroDivisionError) as failed:
        t.save(m=M + "\n\n1 / 0\n")
    entry = failed.cause.__traceback__
    while entry.tb_next:
        entry = entry.tb_next
    assert entry.tb_frame.f_code.co_filename == str(t.path("m"))
    assert t.read("m").splitlines()[entry.tb_lineno - 1] == "1 / 0"


@case(m=M, u="import m\nD = 10 / m.A\nE = [m.A]")
def an_importer_that_fails(t, m, u):
    before = snapshot(m), snapshot(u)
    with t.fails(ZeroDivisionError):
        t.edit("m", "A = 1", "A = 0\nN = 1")
    assert (snapshot(m), snapshot(u)) == before
    t.edit("m", "A = 0", "A = 2")
    assert (u.D, u.E, m.N) == (5, [2], 1)


@case(
    base="""
    names, by_name, rows = [], {}, set()
    class Base:
        def __init_subclass__(cls):
            names.append(cls.__name__)
            by_name[cls.__name__] = cls
    def register(thing):
        rows.add(thing)
        names.append(thing)
        by_name[thing] = len(names)
        return thing
    """,
    m="""
    from base import Base, register
    register("first")
    class C(Base):
        def v(self): return 1
    """,
)
def registries_elsewhere(t, base, m):
    before = list(base.names), dict(base.by_name), set(base.rows)
    with t.fails(RuntimeError):
        t.save(
            m="""
            from base import Base, register
            register("first")
            class C(Base):
                x = 1
                def v(self): return 2
            class D(Base): pass
            register("second")
            raise RuntimeError
            """
        )
    assert (base.names, base.by_name, base.rows) == before
    assert base.by_name["C"] is m.C
    gc.collect()
    assert base.Base.__subclasses__() == [m.C]
    t.edit("m", "raise RuntimeError\n", "")
    assert base.names == ["first", "C", "D", "second"]
    assert base.by_name["C"] is m.C


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
    """What a failed try has registered does not stand in the way of the next one."""
    new = "@route('/new')\ndef new(): return 1\n"
    with t.fails(RuntimeError):
        t.save(m=t.read("m") + "\n" + new + "raise RuntimeError\n")
    assert {"/": m.index} == routes.HANDLERS
    with t.fails(ValueError):
        t.save(m=t.read("m").replace("raise RuntimeError\n", new))
    assert {"/": m.index} == routes.HANDLERS
    t.save(m="from routes import route\n@route('/')\ndef index(): return 2\n" + new)
    assert {path: one() for path, one in routes.HANDLERS.items()} == {"/": 2, "/new": 1}


@case(
    m="""
    import abc, dataclasses, enum
    class Color(enum.Enum):
        RED = 1
    @dataclasses.dataclass
    class P:
        x: int = 1
    class A(abc.ABC):
        def v(self): return 1
    class S:
        __slots__ = ("a",)
        def __init__(self): self.a = 1
    class B1:
        def v(self): return "b1"
    class B2:
        def v(self): return "b2"
    class D(B1): pass
    """,
    u="from m import *\nred, p, s, d = Color.RED, P(), S(), D()\n@A.register\nclass V: pass",
)
def classes_of_every_kind(t, m, u):
    before = snapshot(m), snapshot(u)
    with t.fails(RuntimeError):
        t.save(
            m=t.read("m")
            .replace("RED = 1", "RED = 2\n    BLUE = 3")
            .replace("x: int = 1", "x: int = 1\n    y: int = 2")
            .replace("    def v(self): return 1", "    @abc.abstractmethod\n    def v(self): ...")
            .replace('("a",)', '("a", "b")')
            .replace("class D(B1)", "class D(B2)")
            + "\nraise RuntimeError\n"
        )
    assert (snapshot(m), snapshot(u)) == before
    assert (u.red.value, m.Color(1) is u.red, len(m.Color)) == (1, True, 1)
    assert (repr(u.p), repr(m.P(3)), m.A().v(), u.d.v()) == ("P(x=1)", "P(x=3)", 1, "b1")
    assert (type(u.s), u.s.a, issubclass(u.V, m.A)) == (m.S, 1, True)
    t.edit("m", "raise RuntimeError\n", "")
    assert (m.Color.RED is u.red, u.red.value, repr(u.p), u.d.v()) == (True, 2, "P(x=1, y=2)", "b2")


@case(m="X = 1")
def modules_imported_by_a_failed_reload(t, m):
    t.write({"fresh": "import pack.sub", "pack/__init__.py": "", "pack/sub.py": "V = 1"})
    with t.fails(RuntimeError):
        t.save(m="import fresh\nX = 2\nraise RuntimeError")
    assert not {"fresh", "pack", "pack.sub"} & set(sys.modules)
    t.save(m="import fresh\nX = 3")
    assert (m.X, m.fresh.pack.sub.V) == (3, 1)


@case({"pack/__init__.py": ""})
def a_submodule_imported_by_a_failed_reload(t):
    pack = t.load("pack")
    t.write({"pack/sub.py": "V = 1"})
    with t.fails(RuntimeError):
        t.save({"pack/__init__.py": "from . import sub\nraise RuntimeError"})
    assert "pack.sub" not in sys.modules
    assert not hasattr(pack, "sub")


@case(m="X = 1")
def an_import_that_is_not_there(t, m):
    with t.fails(ModuleNotFoundError) as failed:
        t.save(m="import no_such_module\nX = 2")
    assert failed.cause.name == "no_such_module"
    assert m.X == 1


@case(m="X = 1", u="from m import X\nimport m")
def exceptions_that_are_no_errors(t, m, u):
    """SystemExit in a module's body fails the reload; Ctrl-C stops it. Both put all back."""
    with t.fails(SystemExit):
        t.save(m="X = 2\nraise SystemExit(3)")
    assert (m.X, u.X) == (1, 1)
    with t.raises((KeyboardInterrupt, rehook.ReloadError)) as caught:
        t.save(m="X = 2\nraise KeyboardInterrupt")
    assert KeyboardInterrupt in (type(caught.error), type(caught.error.__cause__))
    assert (m.X, u.X) == (1, 1)
    assert not rehook.currently_reloading()
    t.save(m="X = 3")
    assert (m.X, u.X) == (3, 3)


# ------------------------------------------------------------ errors(), retry()


@case(m=M, n="X = 1")
def a_failure_is_listed_until_it_is_repaired(t, m, n):
    assert rehook.errors() == []
    with t.fails(RuntimeError):
        t.save(m=M + "raise RuntimeError('boom')\n")
    (failure,) = rehook.errors()
    assert failure.modules == ["m"]
    assert "boom" in str(failure)
    t.save(n="X = 2")
    assert [one.modules for one in rehook.errors()] == [["m"]]
    with contextlib.suppress(rehook.ReloadError):
        rehook.reload()
    assert [one.modules for one in rehook.errors()] == [["m"]]
    t.write({"m": M.replace("return 1", "return 2")})
    rehook.reload()
    assert (rehook.errors(), m.f(), rehook.modified()) == ([], 2, [])


@case(gate="OPEN = False", m="X = 1")
def a_failure_is_tried_again(t, gate, m):
    with t.fails(RuntimeError):
        t.save(m="import gate\nif not gate.OPEN:\n    raise RuntimeError('closed')\nX = 2")
    with t.fails(RuntimeError):
        rehook.retry()
    assert (m.X, len(rehook.errors())) == (1, 1)
    gate.OPEN = True
    report = rehook.retry()
    assert (m.X, report.names, rehook.errors()) == (2, ["m"], [])


@case(m=M)
def going_back_clears_the_failure(t, m):
    with t.fails(SyntaxError):
        t.save(m="def f(:")
    m.state.append("kept")
    t.save(m=M)
    assert (rehook.errors(), m.state, rehook.modified()) == ([], ["kept"], [])


@case(a="def f(x): return x\nX = 1", m="import a\ndef f(): return 1\nY = a.f(a.X)")
def many_failures_in_a_row(t, a, m):
    """Each is undone completely, so the one that works finds everything."""
    before, f = (snapshot(a), snapshot(m)), m.f
    counts = [sys.getrefcount(one) for one in (f, a.f, vars(m), vars(a))]
    for turn in range(30):
        with t.fails(KeyError):
            t.save(
                a=f"def f(x): return x + {turn}\nX = {turn}\nclass K{turn}: pass\nN{turn} = 1",
                m=f"import a\ndef f(): return {turn}\nY = a.f(a.X)\nZ = {{}}[{turn}]",
            )
        assert (snapshot(a), snapshot(m), f()) == (*before, 1)
    gc.collect()
    after = [sys.getrefcount(one) for one in (f, a.f, vars(m), vars(a))]
    assert all(new - old < 10 for old, new in zip(counts, after, strict=True))
    t.save(a="def f(x): return x + 5\nX = 5", m="import a\ndef f(): return 6\nY = a.f(a.X)")
    assert (m.Y, f()) == (10, 6)


@case(m="def f(a): return 1\ndef g(b, c): return 2", u="import m\nheld = [m.f, (m.f, 1)]")
def references_to_another_kind_are_put_back(t, m, u):
    keys = {m.f: "f", (m.f, 1): "t", frozenset([m.f]): "s"}
    f = m.f
    with t.fails(RuntimeError):
        t.save(m="class f: pass\nfrom math import sqrt as g\nraise RuntimeError")
    assert u.held[0] is u.held[1][0] is m.f is f
    assert (keys[m.f], keys[(m.f, 1)], keys[frozenset([m.f])]) == ("f", "t", "s")
    assert (m.f(0), m.g(0, 0)) == (1, 2)


@case(m="def f(): return 1")
def a_file_that_is_gone(t, m):
    t.write({"m": None})
    with contextlib.suppress(rehook.RehookError):
        rehook.reload("m")
    rehook.reload()
    assert m.f() == 1
    assert sys.modules["m"] is m
    t.save(m="def f(): return 2")
    assert (m.f(), rehook.errors()) == (2, [])


@case(m="def f(): return 'ä'")
def a_file_that_cannot_be_read_as_text(t, m):
    t.path("m").write_bytes(b"def f(): return '\xff\xfe'\n")
    with t.fails(SyntaxError):
        rehook.reload("m")
    assert m.f() == "ä"
    t.path("m").write_bytes(b"# coding: latin-1\ndef f(): return '\xff'\n")
    rehook.reload("m")
    assert m.f() == "ÿ"
    t.path("m").write_bytes(b"def f(): return 1\0\n")
    with t.fails():
        rehook.reload("m")
    assert m.f() == "ÿ"


test_failures = case.as_test()
