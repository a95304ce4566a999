"""How a Python module takes part in its own reload, and who else is told."""

import sys

import rehook
from support.reload_cases import Cases

case = Cases(__file__)
LOG = "ran = []"

# ------------------------------------------------------------ before and after

HOOKS = """
import log, rehook
X = 1
def f(): return 1
def __rehook_before__():
    log.ran.append(("before", X, f(), rehook.currently_reloading()))
def __rehook_after__(report):
    log.ran.append(("after", X, f(), rehook.currently_reloading(), sorted(report.names)))
"""


@case(log=LOG, m=HOOKS, u="from m import X")
def before_and_after(t, log, m, u):
    t.save(m=HOOKS.replace("1", "2"))
    assert log.ran == [("before", 1, 1, True), ("after", 2, 2, True, ["m", "u"])]
    assert (u.X, rehook.currently_reloading()) == (2, False)
    log.ran.clear()
    t.save(m=HOOKS.replace("1", "2").replace('"before"', '"new before"'))
    assert [one[0] for one in log.ran] == ["before", "after"]
    log.ran.clear()
    t.save(m=HOOKS)
    assert [one[0] for one in log.ran] == ["new before", "after"]


@case(log=LOG, m=HOOKS)
def nothing_changed_and_nobody_is_told(t, log, m):
    rehook.on_reload(log.ran.append)
    report = rehook.reload("m")
    rehook.reload()
    assert log.ran == []
    assert not report.changed


@case(m="X = 1\ndef __rehook_before__(): raise ValueError('not now')", n="X = 1")
def before_can_refuse(t, m, n):
    with t.fails(ValueError) as failed:
        t.save(m="X = 2", n="X = 2")
    assert str(failed.cause) == "not now"
    assert (m.X, n.X) == (1, 1)
    assert hasattr(m, "__rehook_before__")
    m.__rehook_before__ = lambda: None
    rehook.retry()
    assert (m.X, n.X, rehook.errors()) == (2, 2, [])


@case(log=LOG, m="import log\nX = 1", n="from m import X\nimport log\nlog.ran.append(X)")
def before_is_asked_before_anything_runs(t, log, m, n):
    t.save(m="import log\ndef __rehook_before__():\n    raise ValueError\nX = 1")
    with t.fails(ValueError):
        t.save(m="import log\nlog.ran.append('m')\nX = 2", n=t.read("n") + "log.ran.append('n')\n")
    assert log.ran == [1]


@case(m="X = 1\ndef f(): return 1\nclass C:\n    y = 1", u="from m import *\nheld = [f, C()]")
def after_can_roll_back(t, m, u):
    with t.fails(ValueError) as failed:
        t.save(
            m="""
            X = 2
            NEW = 1
            def f(): return 2
            class C:
                y = 2
            def __rehook_after__(report):
                import m, u
                raise ValueError((X, m.f(), u.held[0](), u.held[1].y, u.X))
            """
        )
    assert failed.cause.args == ((2, 2, 2, 2, 2),)
    assert (m.X, m.f(), u.held[0](), u.held[1].y, u.X) == (1, 1, 1, 1, 1)
    assert not {"NEW", "__rehook_after__"} & set(vars(m))


@case(log=LOG, a=HOOKS, b="import a\n" + HOOKS)
def both_modules_of_a_batch(t, log, a, b):
    report = t.save(a=HOOKS.replace("1", "2"), b="import a\n" + HOOKS.replace("1", "2"))
    assert [one[0] for one in log.ran] == ["before", "before", "after", "after"]
    assert sorted(report.names) == ["a", "b"]
    assert {tuple(sorted(one[4])) for one in log.ran[2:]} == {("a", "b")}


# ------------------------------------------------------------ listeners


@case(m="X = 1", u="from m import X")
def listeners(t, m, u):
    seen = []

    def listen(report):
        seen.append((report.names, m.X, u.X, rehook.currently_reloading()))

    forget = rehook.on_reload(listen)
    t.edit("m", "X = 1", "X = 2")
    assert [(names[0], *rest) for names, *rest in seen] == [("m", 2, 2, True)]
    forget()
    forget()
    t.edit("m", "X = 2", "X = 3")
    assert len(seen) == 1


@case(m="X = 1\ndef f(): return 1")
def a_listener_can_refuse(t, m):
    f, calls = m.f, []

    def first(report):
        calls.append(m.X)

    def refuse(report):
        raise LookupError(f())

    rehook.on_reload(first)
    forget = rehook.on_reload(refuse)
    with t.fails(LookupError) as failed:
        t.save(m="X = 2\ndef f(): return 2")
    assert failed.cause.args == (2,)
    assert (m.X, f(), calls) == (1, 1, [2])
    assert [one.modules for one in rehook.errors()] == [["m"]]
    forget()
    rehook.retry()
    assert (m.X, f(), calls, rehook.errors()) == (2, 2, [2, 2], [])


@case(m="X = 1")
def what_is_no_listener(t, m):
    for wrong in (None, 3, "f"):
        with t.raises(rehook.ConfigError) as caught:
            rehook.on_reload(wrong)
        assert isinstance(caught.error, TypeError)
    t.edit("m", "X = 1", "X = 2")
    assert m.X == 2


@case(m="X = 1", n="Y = 1")
def a_reload_inside_a_reload(t, m, n):
    """A listener that reloads is refused, or waits its turn; it never deadlocks."""
    caught = []

    def again(report):
        t.write({"n": "Y = 2"})
        try:
            rehook.reload("n")
        except rehook.RehookError as error:
            caught.append(error)

    forget = rehook.on_reload(again)
    try:
        t.edit("m", "X = 1", "X = 2")
    except rehook.ReloadError:
        assert m.X == 1
    else:
        assert m.X == 2
    forget()
    rehook.reload()
    rehook.reload("m")
    assert (m.X, n.Y) == (2, 2)


# ------------------------------------------------------------ what a module asks for


@case(
    m="""
    __rehook_keep__ = ("cache", "limit")
    def make(): return {}
    cache = make()
    limit = 1
    other = 1
    """,
    u="from m import cache, limit",
)
def kept_names(t, m, u):
    m.cache["key"] = 1
    t.save(m=t.read("m").replace("return {}", "return {'new': 1}").replace("= 1", "= 2"))
    assert (m.cache, m.limit, m.other) == ({"key": 1}, 1, 2)
    assert u.cache is m.cache
    assert u.limit == 1
    t.edit("m", '("cache", "limit")', '("cache",)')
    t.edit("m", "limit = 2", "limit = 3")
    assert (m.cache, m.limit, u.limit) == ({"key": 1}, 3, 3)


@case(m="__rehook_keep__ = ('cache', 'nothing')\n__rehook_mode__ = 'full'\ncache = {}\nX = []")
def kept_names_of_a_whole_body(t, m):
    m.cache["key"] = 1
    x = m.X
    t.edit("m", "X = []", "X = []\nY = 1")
    assert (m.cache, m.Y) == ({"key": 1}, 1)
    assert m.X is not x


@case(m="__rehook_keep__ = 'cache'\ncache = {}\nX = 1")
def a_keep_that_makes_no_sense(t, m):
    """A text is one name, not its letters; a number is refused."""
    m.cache["key"] = 1
    with t.fails() as failed:
        t.edit("m", "__rehook_keep__ = 'cache'", "__rehook_keep__ = 3")
    assert "__rehook_keep__" in str(failed.error)
    assert m.__rehook_keep__ == "cache"


@case(m="__rehook_exclude__ = True\nX = 1\ndef f(): return 1", n="X = 1", u="from m import X")
def an_excluded_module(t, m, n, u):
    t.write({"m": "X = 2", "n": "X = 2"})
    assert rehook.modified() == ["n"]
    rehook.reload()
    assert (m.X, m.f(), u.X, n.X) == (1, 1, 1, 2)
    t.write({"n": "X = 3"})
    rehook.reload("m", "n")
    assert (m.X, n.X) == (1, 3)
    t.save(u="from m import X\nD = X")
    assert (m.X, u.D) == (1, 1)


@case(
    log=LOG,
    m="""
    __rehook_mode__ = "full"
    import log
    log.ran.append("m")
    state = []
    def f(): return 1
    class C:
        def v(self): return 1
    """,
    u="from m import f, C, state\nobj = C()",
)
def the_whole_body_runs(t, log, m, u):
    f, kind = m.f, m.C
    m.state.append(1)
    m.extra = 5
    t.save(m=t.read("m").replace("return 1", "return 2"))
    assert log.ran == ["m", "m"]
    assert (m.state, m.extra, u.state is m.state) == ([], 5, True)
    assert (f(), u.obj.v(), m.C, m.f) == (2, 2, kind, f)
    assert m.f is f
    log.ran.clear()
    rehook.reload()
    assert log.ran == []


@case(m="__rehook_mode__ = 'full'\nX = 1")
def a_mode_that_is_unknown(t, m):
    with t.fails() as failed:
        t.save(m="__rehook_mode__ = 'fulll'\nX = 2")
    assert "__rehook_mode__" in str(failed.error)
    assert "full" in str(failed.error)
    assert m.X == 1


@case(
    {
        "log.py": LOG,
        "pack/__init__.py": "import log\nlog.ran.append('pack')\n__rehook_mode__ = 'package'",
        "pack/a.py": "import log\nlog.ran.append('a')\nX = 1\nstate = []",
        "pack/b.py": "import log\nfrom .a import X\nlog.ran.append('b')\nD = X * 10\nstate = []",
        "pack/never.py": "raise RuntimeError('not loaded')",
        "pack/deep/__init__.py": "import log\nlog.ran.append('deep')",
        "pack/deep/c.py": "import log\nfrom ..b import D\nlog.ran.append('c')\nE = D * 10",
        "other.py": "import log\nfrom pack.deep.c import E\nlog.ran.append('other')",
    }
)
def a_package_reloaded_whole(t):
    pack, a, b, c, other = t.load("pack", "pack.a", "pack.b", "pack.deep.c", "other")
    log = t.load("log")
    a.state.append(1), b.state.append(1), log.ran.clear()
    report = t.edit("pack/a.py", "X = 1", "X = 2")
    assert sorted(log.ran) == ["a", "b", "c", "deep", "pack"]
    assert log.ran.index("a") < log.ran.index("b") < log.ran.index("c")
    assert (a.state, b.state, b.D, c.E, other.E) == ([], [], 20, 200, 200)
    assert {"pack", "pack.a", "pack.b", "pack.deep", "pack.deep.c"} <= set(report.names)
    assert (sys.modules["pack.a"], pack.a, pack.deep.c) == (a, a, c)
    log.ran.clear()
    t.write({"pack/deep/c.py": t.read("pack/deep/c.py") + "F = 1\n"})
    rehook.reload()
    assert sorted(log.ran) == ["a", "b", "c", "deep", "pack"]
    log.ran.clear()
    t.write({"other.py": t.read("other.py") + "F = 1\n"})
    rehook.reload()
    assert log.ran == []


@case(
    {
        "pack/__init__.py": "__rehook_mode__ = 'package'\nstate = []",
        "pack/a.py": "X = 1",
        "pack/b.py": "from .a import X\nD = 10 // X",
    }
)
def a_package_reloaded_whole_that_fails(t):
    pack, a, b = t.load("pack", "pack.a", "pack.b")
    pack.state.append("kept")
    with t.fails(ZeroDivisionError):
        t.edit("pack/a.py", "X = 1", "X = 0")
    assert (a.X, b.X, b.D, pack.state) == (1, 1, 10, ["kept"])
    assert (sys.modules["pack"], sys.modules["pack.a"]) == (pack, a)


@case(log=LOG, m="import log, rehook\nlog.ran.append(rehook.currently_reloading())\nX = 1")
def a_module_knows_that_it_is_reloaded(t, log, m):
    t.edit("m", "X = 1", "X = 2\nlog.ran.append(rehook.currently_reloading())")
    assert log.ran == [False, True]
    with t.fails(SyntaxError):
        t.edit("m", "X = 2", "X = (")
    assert not rehook.currently_reloading()
    with t.fails(ZeroDivisionError):
        t.edit("m", "X = (", "X = 1 / 0")
    assert not rehook.currently_reloading()


test_protocol = case.as_test()
