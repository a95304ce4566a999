"""A saved Python module runs statement by statement: what changed, and what reads what changed."""

from support.reload_cases import Cases

case = Cases(__file__)
LOG = "ran = []"

# ------------------------------------------------------------ what does not run again


@case(
    m="""
    cache, count = {}, 0
    def bump():
        global count
        count += 1
        cache[count] = "kept"
        return 1
    """
)
def state_survives_an_edited_function(t, m):
    cache = m.cache
    m.bump(), m.bump()
    t.edit("m", "return 1", "return 2")
    assert (m.count, m.cache) == (2, {1: "kept", 2: "kept"})
    assert m.cache is cache
    assert m.bump() == 2
    assert m.count == 3


@case(
    log=LOG,
    m="""
    import log
    log.ran.append("first")
    for turn in range(2):
        log.ran.append(f"loop {turn}")
    if log.ran:
        log.ran.append("if")
    try:
        log.ran.append("try")
    finally:
        log.ran.append("finally")
    with open(__file__) as stream:
        log.ran.append("with")
    def f(): return 1
    LAST = 1
    """,
)
def unchanged_statements_do_not_run(t, log, m):
    assert len(log.ran) == 7
    log.ran.clear()
    t.edit("m", "return 1", "return 2")
    t.edit("m", "LAST = 1", "LAST = 2")
    assert (log.ran, m.f(), m.LAST) == ([], 2, 2)


@case(log=LOG, m="import log\ndef f():\n    return 1\nlog.ran.append('m')\nX = 1\n")
def comments_and_layout_change_nothing(t, log, m):
    state = m.state = []
    t.save(
        m="""
        # A comment.
        import log


        def f():
            # Another one.
            return (1)
        log . ran . append( "m" )

        X = (
            1
        )
        """
    )
    assert log.ran == ["m"]
    assert m.state is state
    assert m.f.__code__.co_firstlineno == 5


@case(
    log=LOG, m="import log\ndef f(): return 1\nlog.ran.append('m')\ncache = []\ndef g(): return 2"
)
def statements_that_move_do_not_run(t, log, m):
    m.cache.append(1)
    t.save(m="import log\ncache = []\ndef g(): return 2\nlog.ran.append('m')\ndef f(): return 3")
    assert (log.ran, m.cache, m.f(), m.g()) == (["m"], [1], 3, 2)


@case(log=LOG, m="import log\nlog.ran.append('same')\nlog.ran.append('same')\n")
def one_more_of_two_equal_statements_runs_once(t, log, m):
    t.save(m="import log\n" + "log.ran.append('same')\n" * 3)
    assert log.ran == ["same"] * 3
    t.save(m="import log\n" + "log.ran.append('same')\n" * 2)
    assert log.ran == ["same"] * 3


@case(
    registry="registry = []\nadd = registry.append",
    m="""
    import registry
    def f(): return 1
    class C:
        def v(self): return 1
    HANDLERS = [f, C]
    BY_NAME = {"f": f, "C": C}
    PAIR = (f, C)
    alias = f
    registry.add(f)
    registry.registry.append(C)
    """,
)
def statements_that_hold_a_function_do_not_run(t, registry, m):
    m.HANDLERS.append("from outside")
    m.BY_NAME["more"] = "from outside"
    pair = m.PAIR
    t.edit("m", "def f(): return 1", "def f(): return 2")
    t.edit("m", "def v(self): return 1", "def v(self): return 2")
    assert [m.f, m.C, "from outside"] == m.HANDLERS
    assert {"f": m.f, "C": m.C, "more": "from outside"} == m.BY_NAME
    assert m.PAIR is pair
    assert registry.registry == [m.f, m.C]
    assert [m.HANDLERS[0](), m.BY_NAME["f"](), m.PAIR[0](), m.alias()] == [2] * 4
    assert [m.HANDLERS[1]().v(), m.BY_NAME["C"]().v(), m.PAIR[1]().v()] == [2] * 3


@case(
    log=LOG,
    m="import log\nX = 2\nlog.ran.append('m')",
    u="import log\nfrom m import X\nD = X * 10\nlog.ran.append(X)",
)
def an_equal_value_runs_nothing(t, log, m, u):
    u.D = "from outside"
    t.edit("m", "X = 2", "X = 1 + 1")
    assert (log.ran, u.D) == (["m", 2], "from outside")


@case(log=LOG, m="import log\nX = 1\nY = 1", u="import m, log\nD = m.X * 10\nlog.ran.append(m.Y)")
def only_readers_of_the_name_run(t, log, m, u):
    t.edit("m", "X = 1", "X = 2")
    assert (u.D, log.ran) == (20, [1])
    t.edit("m", "Y = 1", "Y = 5")
    assert (u.D, log.ran) == (20, [1, 5])


@case(m="X = 1\ncache = {}", u="import m\ncache = {}\ncount = 0\nD = m.X + 1")
def an_importers_state_survives_what_runs_in_it(t, m, u):
    u.cache["key"], u.count, cache = 1, 7, u.cache
    t.edit("m", "X = 1", "X = 5")
    assert (u.D, u.count, u.cache) == (6, 7, {"key": 1})
    assert u.cache is cache


@case(m="def f(): return X\nX = 1\nlimit = 3")
def state_put_into_a_module_variable_stays(t, m):
    """A variable that functions or others rebind is state, until its own statement is edited."""
    m.limit = 99
    t.edit("m", "return X", "return X + 1")
    assert m.limit == 99
    t.edit("m", "limit = 3", "limit = 4")
    assert m.limit == 4


# ------------------------------------------------------------ what runs


@case(log=LOG, m="import log\nX = 1")
def a_new_statement_runs_once(t, log, m):
    t.save(m="import log\nX = 1\nlog.ran.append(X)\nY = X + 1")
    t.save(m="import log\nX = 1\nlog.ran.append(X)\nY = X + 1\n# more")
    assert (log.ran, m.Y) == ([1], 2)


@case(
    m="X = 1\nY = X * 2\nZ = [Y, X]\nT = f'{X}'\nL = [X * n for n in range(3)]",
)
def readers_in_the_module_run(t, m):
    t.edit("m", "X = 1", "X = 2")
    assert (m.Y, m.Z, m.T, m.L) == (4, [4, 2], "2", [0, 2, 4])


@case(
    {"pkg/__init__.py": "from .low import X", "pkg/low.py": "X = 1"},
    u="from pkg import X\nfrom pkg import X as other\nfrom pkg.low import X as third",
    v="import pkg.low, pkg\nD, E = pkg.low.X * 10, pkg.X * 100",
    w="import pkg.low as low\nfrom v import D\nSUM = D + low.X",
)
def a_constant_follows_through_packages(t, u, v, w):
    t.edit("pkg/low.py", "X = 1", "X = 2")
    assert (t.load("pkg").X, u.X, u.other, u.third) == (2, 2, 2, 2)
    assert (v.D, v.E, w.D, w.SUM) == (20, 200, 20, 22)


@case(m="X = 1", u="from m import *", v="from u import *\nD = X * 10")
def star_imports_follow(t, m, u, v):
    t.save(m="X = 2\ndef new(): return 'n'\n_hidden = 1")
    assert (u.X, v.X, v.D) == (2, 2, 20)
    assert (u.new(), v.new()) == ("n", "n")
    assert not hasattr(u, "_hidden")
    t.save(m="X = 3")
    assert not hasattr(u, "new")
    assert not hasattr(v, "new")
    assert (u.X, v.D) == (3, 30)


@case(m="__all__ = ['a']\ndef a(): return 'a'\ndef b(): return 'b'", u="from m import *")
def star_imports_follow_all(t, m, u):
    t.edit("m", "['a']", "['a', 'b']")
    assert u.b() == "b"
    t.edit("m", "['a', 'b']", "['b']")
    assert not hasattr(u, "a")
    assert u.b() == "b"


@case(
    m="X = 1\ndef f(a=X, *, k=X): return a, k\ng = lambda a=X: a",
    u="import m\nfrom m import X\ndef h(a=m.X, b=X): return a, b",
)
def default_arguments_follow(t, m, u):
    f, g, h = m.f, m.g, u.h
    t.edit("m", "X = 1", "X = 2")
    assert (m.f(), u.h(), m.g()) == ((2, 2), (2, 2), 2)
    assert (f(), h()) == ((2, 2), (2, 2))
    assert f is m.f
    assert g() in (1, 2)


@case(
    log=LOG,
    tags="def tag(value):\n    def d(fn):\n        fn.tag = value\n        return fn\n    return d",
    m="from tags import tag\nX = 1\n@tag(X)\ndef f(): return 1",
    u="from tags import tag\nimport m\n@tag(m.X)\nclass C: pass",
)
def decorators_that_read_a_value_run(t, m, u):
    f, kind = m.f, u.C
    t.edit("m", "X = 1", "X = 2")
    assert (m.f.tag, f.tag, u.C.tag) == (2, 2, 2)
    assert (m.f, u.C) == (f, kind)


@case(
    m="class A:\n    def v(self): return 'a'\nclass B:\n    def v(self): return 'b'\nBASE = A",
    u="from m import BASE\nclass C(BASE): pass\nclass D(C): pass",
)
def base_classes_that_changed_run(t, m, u):
    old, kind = u.D(), u.C
    t.edit("m", "BASE = A", "BASE = B")
    assert (old.v(), u.C().v(), u.C, u.C.__mro__[1]) == ("b", "b", kind, m.B)


@case(
    m="X = 1\nclass C:\n    limit = X\n    def v(self): return self.limit",
    u="import m\nclass D:\n    limit = m.X\n    table = {m.X: 'x'}",
)
def class_bodies_that_read_a_value_run(t, m, u):
    old, kind = m.C(), m.C
    t.edit("m", "X = 1", "X = 2")
    assert (old.v(), m.C.limit, u.D.limit, u.D.table) == (2, 2, 2, {2: "x"})
    assert m.C is kind


@case(
    m="""
    def make(): return [1]
    X = make()
    Y = [*X, 'y']
    """,
    u="from m import X, make\nZ = make() + ['z']",
)
def calls_of_an_edited_function_run(t, m, u):
    t.edit("m", "return [1]", "return [2]")
    assert (m.X, m.Y, u.Z, u.X) == ([2], [2, "y"], [2, "z"], [2])
    assert u.X is m.X


@case(
    m="""
    def helper(): return 1
    def make(): return helper()
    X = make()
    """,
    u="import m\nD = m.X * 10",
)
def calls_of_a_callers_caller_run(t, m, u):
    t.edit("m", "return 1", "return 2")
    assert (m.make(), m.X, u.D) == (2, 2, 20)


@case(m="X = 1\ndef make(): return X\nY = make()")
def calls_of_a_function_that_reads_a_value_run(t, m):
    t.edit("m", "X = 1", "X = 2")
    assert (m.make(), m.Y) == (2, 2)


@case(
    m="""
    class C:
        limit = 1
        def __init__(self): self.x = 1
        def v(self): return 1
    OBJ = C()
    """
)
def an_object_is_made_anew_when_its_construction_changed(t, m):
    was = m.OBJ
    was.state = "kept"
    t.edit("m", "def v(self): return 1", "def v(self): return 2")
    assert m.OBJ is was
    assert (was.v(), was.state) == (2, "kept")
    t.edit("m", "self.x = 1", "self.x = 5")
    assert (m.OBJ.x, m.OBJ.v()) == (5, 2)
    assert (was.x, was.v()) == (1, 2)


@case(
    m="""
    import dataclasses
    @dataclasses.dataclass
    class P:
        x: int = 1
        def v(self): return 1
    OBJ = P()
    """
)
def an_object_is_made_anew_when_its_fields_changed(t, m):
    was = m.OBJ
    t.edit("m", "def v(self): return 1", "def v(self): return 2")
    assert m.OBJ is was
    t.edit("m", "x: int = 1", "x: int = 1\n    y: int = 2")
    assert repr(m.OBJ) == "P(x=1, y=2)"


@case(
    m="X = 1\nclass C:\n    limit = X\n    def __init__(self): self.x = X",
    u="import m\nOBJ = m.C()",
)
def an_object_whose_class_and_constructor_read_a_value(t, m, u):
    t.edit("m", "X = 1", "X = 2")
    assert (m.C.limit, u.OBJ.x) == (2, 2)


# ------------------------------------------------------------ kinds of statements


@case(
    m="""
    DEBUG = False
    if DEBUG:
        def f(): return "debug"
        LEVEL = 10
    else:
        def f(): return "release"
    """
)
def a_branch_follows_its_condition(t, m):
    f = m.f
    t.edit("m", "DEBUG = False", "DEBUG = True")
    assert (m.f(), f(), m.LEVEL) == ("debug", "debug", 10)
    t.edit("m", "DEBUG = True", "DEBUG = False")
    assert m.f() == "release"
    assert not hasattr(m, "LEVEL")


@case(m="try:\n    import no_such_module\nexcept ImportError:\n    no_such_module = None\nX = 1")
def a_module_that_can_be_imported_now(t, m):
    t.write({"no_such_module": "V = 5"})
    t.edit("m", "except ImportError:", "except (ImportError, OSError):")
    assert m.no_such_module.V == 5


@case(m="total = 0\nfor number in (1, 2, 3):\n    total += number\nDOUBLE = total * 2")
def a_loop_runs_from_its_start(t, m):
    t.edit("m", "(1, 2, 3)", "(1, 2, 3, 4)")
    assert (m.total, m.DOUBLE, m.number) == (10, 20, 4)


@case(m="X = 1\nX += 1\nX *= 10")
def a_value_that_grows_is_made_from_its_start(t, m):
    t.edit("m", "X += 1", "X += 2")
    assert m.X == 30
    t.edit("m", "X = 1", "X = 2")
    assert m.X == 40


@case(m="TABLE = {}\nTABLE['a'] = 1\nTABLE.update(b=2)")
def a_table_that_is_filled_in_steps(t, m):
    table = m.TABLE
    table["outside"] = 3
    t.edit("m", "TABLE['a'] = 1", "TABLE['a'] = 5")
    assert (m.TABLE["a"], m.TABLE["b"]) == (5, 2)
    t.save(m="TABLE = {'first': 0}\nTABLE['a'] = 5\nTABLE.update(b=2)")
    assert m.TABLE == {"first": 0, "a": 5, "b": 2}


@case(m="A, (B, *C) = 1, (2, 3, 4)\nD = E = 5\nF: int = 6\n(G := 7)\nH = I = []")
def every_kind_of_assignment(t, m):
    t.save(m="A, (B, *C) = 9, (8, 7)\nD = E = 4\nF: float = 3\n(G := 2)\nH = I = [1]")
    assert (m.A, m.B, m.C, m.D, m.E, m.F, m.G) == (9, 8, [7], 4, 4, 3, 2)
    assert m.H is m.I
    assert m.__annotations__ == {"F": float}
    t.save(m="A, B = 1, 2")
    assert (m.A, m.B) == (1, 2)
    assert not {"C", "D", "E", "F", "G", "H", "I"} & set(vars(m))


@case(m="X = 1\nY = 2\ndel X")
def a_name_that_is_deleted_by_a_statement(t, m):
    t.save(m="X = 1\nY = 2")
    assert m.X == 1
    t.save(m="X = 1\nY = 2\ndel Y")
    assert m.X == 1
    assert not hasattr(m, "Y")


@case(a="def f(): return 'a'\nX = 'a'", b="def f(): return 'b'\nX = 'b'", m="from a import f, X")
def an_import_from_elsewhere(t, a, b, m):
    t.edit("m", "from a", "from b")
    assert (m.f(), m.X, a.f(), b.f()) == ("b", "b", "a", "b")
    assert m.f is b.f


@case(m="X = 1", v="import log_to\nlog_to.ran.append('v')\nV = 7", log_to=LOG)
def a_module_imported_for_the_first_time(t, log_to, m):
    t.save(m="from v import V\nX = V")
    t.edit("m", "X = V", "X = V + 1")
    assert (m.X, log_to.ran) == (8, ["v"])


@case(m="'''Old text.'''\nX = 1")
def the_modules_doc_string(t, m):
    t.edit("m", "Old", "New")
    assert m.__doc__ == "New text."
    t.save(m="X = 1")
    assert m.__doc__ is None


@case(m="from __future__ import annotations\ndef f(a: Wrong): return 1\nX = 1")
def imports_from_the_future_hold_for_what_runs(t, m):
    t.save(m="from __future__ import annotations\ndef f(a: Other): return 2\ndef g(b: None): pass")
    assert m.f(0) == 2
    assert (m.f.__annotations__, m.g.__annotations__) == ({"a": "Other"}, {"b": "None"})


test_statements = case.as_test()
