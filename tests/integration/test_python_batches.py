"""Several Python modules at once, what changed, and who is told what in which order."""

import contextlib
import importlib
import os
import sys

import rehook
from support.reload_cases import Cases

case = Cases(__file__)
LOG = "ran = []"


@case(a="V = 1\ndef fa(): return 1", b="import a\ndef fb(): return a.V\nW = a.fa()")
def a_batch_is_all_or_nothing(t, a, b):
    fa, before = a.fa, dict(vars(a))
    with t.fails(RuntimeError):
        t.save(
            a="V = 2\ndef fa(): return 2\nclass N: pass",
            b="import a\ndef fb(): return 0\nraise RuntimeError('boom')",
        )
    assert vars(a) == before
    assert (a.V, fa(), b.fb(), b.W) == (1, 1, 1, 1)
    with t.fails(SyntaxError):
        t.save(a="V = 2\ndef fa(): return 2", b="import a\ndef fb(:")
    assert (a.V, fa(), b.fb()) == (1, 1, 1)
    t.save(b="import a\ndef fb(): return a.V + 10\nW = a.fa()")
    assert (a.V, b.fb(), b.W) in [(2, 12, 2), (1, 11, 1)]
    rehook.reload()
    assert (a.V, fa(), b.fb(), b.W, rehook.errors()) == (2, 2, 12, 2, [])


@case(
    log=LOG, c="import log, b\nX = b.X + 1", b="import log, a\nX = a.X + 1", a="import log\nX = 1"
)
def imported_modules_run_first(t, log, c, b, a):
    add = "\nlog.ran.append(__name__)"
    t.save(c=t.read("c") + add, b=t.read("b") + add, a="import log\nX = 10" + add)
    assert log.ran == ["a", "b", "c"]
    assert (a.X, b.X, c.X) == (10, 11, 12)


@case(
    log=LOG,
    a="import log\nlog.ran.append('a')\nX = 1\nimport b\ndef f(): return b.Y",
    b="import log\nlog.ran.append('b')\nimport a\nY = a.X * 10\ndef g(): return a.f()",
)
def a_circle_of_imports(t, log, a, b):
    held = a.f, b.g
    t.edit("a", "X = 1", "X = 2")
    assert (b.Y, held[0](), held[1]()) == (20, 20, 20)
    assert log.ran == ["a", "b"]
    t.save(a=t.read("a").replace("X = 2", "X = 3"), b=t.read("b").replace("* 10", "* 100"))
    assert (b.Y, held[0](), held[1]()) == (300, 300, 300)
    with t.fails(ZeroDivisionError):
        t.save(a=t.read("a").replace("X = 3", "X = 0"), b=t.read("b").replace("a.X *", "1 / a.X *"))
    assert (a.X, b.Y, held[1]()) == (3, 300, 300)


@case(
    {
        "pack/__init__.py": "from . import a, b\nfrom .a import *\n",
        "pack/a.py": "from . import b\nX = 1\nclass A:\n    def v(self): return b.B().v()",
        "pack/b.py": "from pack import a\nclass B:\n    def v(self): return a.X",
    }
)
def a_circle_in_a_package(t):
    pack = t.load("pack")
    old = pack.A()
    t.edit("pack/a.py", "X = 1", "X = 2")
    t.edit("pack/b.py", "return a.X", "return a.X + 10")
    assert (old.v(), pack.X) == (12, 2)


@case(m="import m\nX = 1\nY = m.X")
def a_module_that_imports_itself(t, m):
    t.edit("m", "X = 1", "X = 2")
    assert (m.X, m.Y) == (2, 2)


# ------------------------------------------------------------ what changed


@case({"pack/__init__.py": "", "pack/a.py": "X = 1"}, m="X = 1", n="X = 1")
def what_is_modified(t, m, n):
    a = t.load("pack.a")
    assert rehook.modified() == []
    t.write({"m": "X = 2", "pack/a.py": "X = 2", "never_loaded": "X = 1"})
    assert sorted(rehook.modified()) == ["m", "pack.a"]
    assert rehook.modified(t.path("m")) == ["m"]
    assert rehook.modified(str(t.root / "pack")) == ["pack.a"]
    assert rehook.modified(t.path("n")) == []
    assert (m.X, a.X) == (1, 1)
    report = rehook.reload()
    assert sorted(report.names) == ["m", "pack.a"]
    assert (m.X, a.X, n.X, rehook.modified()) == (2, 2, 1, [])
    assert {one["kind"] for one in report.modules} == {"python"}


@case(m="X = 1")
def a_file_that_is_only_touched(t, m):
    state = m.state = []
    os.utime(t.path("m"))
    rehook.reload()
    assert m.state is state
    report = rehook.reload("m")
    assert not report.changed
    assert rehook.modified() == []


@case(m="X = 1")
def an_edit_that_keeps_size_and_time(t, m):
    """An editor that restores the time stamp, or two saves within one tick of a coarse clock."""
    before = t.path("m").stat()
    t.path("m").write_text("X = 2\n")
    assert t.path("m").stat().st_size == len("X = 2\n")
    os.utime(t.path("m"), ns=(before.st_atime_ns, before.st_mtime_ns))
    rehook.reload("m")
    assert m.X == 2


@case(m="X = 1", n="X = 1")
def an_edit_that_is_taken_back(t, m, n):
    m.state = [1]
    t.edit("m", "X = 1", "X = 2")
    t.edit("m", "X = 2", "X = 1")
    assert (m.X, m.state) == (1, [1])
    t.write({"m": "X = 3"})
    t.write({"m": "X = 1"})
    assert not rehook.reload("m", "n").changed


@case(m="def f(): return 1", u="import m", install=False)
def modules_imported_before_the_hook(t, m, u):
    f = m.f
    rehook.install()
    t.edit("m", "return 1", "return 2")
    t.write({"u": "import m\nX = m.f()"})
    rehook.reload()
    assert (f(), m.f(), u.X) == (2, 2, 2)


@case(log=LOG, m="import log\nlog.ran.append('m')", install=False)
def a_module_from_before_the_hook_that_did_not_change(t, log, m):
    rehook.install()
    assert rehook.modified() == []
    assert not rehook.reload("m").changed
    assert log.ran == ["m"]


@case(m="def f(): return 1", install=False)
def a_hook_that_comes_goes_and_comes(t, m):
    with t.raises(rehook.ConfigError) as caught:
        rehook.reload("m")
    assert "rehook.install()" in caught.error.hint
    for turn in range(2, 5):
        rehook.install()
        t.edit("m", f"return {turn - 1}", f"return {turn}")
        assert m.f() == turn
        rehook.uninstall()


@case(m="X = 1", n="X = 1")
def names_that_are_not_imported(t, m, n):
    t.write({"fresh": "X = 1"})
    for name in ("fresh", "no_such_module", "m.nothing"):
        with t.raises(rehook.RehookError) as caught:
            rehook.reload(name)
        assert name in str(caught.error)
        assert "not imported" in str(caught.error)
    t.save(m="X = 2", fresh="X = 2")
    assert m.X == 2
    assert "fresh" not in sys.modules


@case(m="X = 1", n="X = 1")
def modules_and_names(t, m, n):
    t.write({"m": "X = 2", "n": "X = 2"})
    report = rehook.reload(m, "n", n)
    assert sorted(report.names) == ["m", "n"]
    assert (m.X, n.X) == (2, 2)
    assert "m" in str(report)


@case(m="X = 1")
def modules_without_a_source(t, m):
    """A builtin one, a frozen one, one made by hand: said so, or nothing done."""
    import types

    sys.modules["by_hand"] = types.ModuleType("by_hand")
    sys.modules["by_hand"].X = 1
    for name in ("sys", "builtins", "zipimport", "by_hand"):
        before = dict(vars(sys.modules[name]))
        with contextlib.suppress(rehook.RehookError):
            report = rehook.reload(name)
            assert not report.changed, f"{name}: {report}"
        assert dict(vars(sys.modules[name])).keys() == before.keys()
    t.save(m="X = 2")
    assert m.X == 2


@case(m="X = 1\nY = X", main="import sys, m\nsys.modules['other_name'] = m")
def a_module_under_two_names(t, m, main):
    t.edit("m", "X = 1", "X = 2")
    assert (m.X, m.Y) == (2, 2)
    assert sys.modules["other_name"] is sys.modules["m"] is m


@case(m="X = 1\ndef f(): return 1\nstate = []", u="from m import X")
def importlib_reload_still_works(t, m, u):
    f = m.f
    t.write({"m": "X = 2\ndef f(): return 2\nstate = []"})
    assert importlib.reload(m) is m
    assert (m.X, m.f()) == (2, 2)
    assert f() in (1, 2)
    t.edit("m", "return 2", "return 3")
    assert (m.f(), m.X) == (3, 2)


@case({"space/a.py": "X = 1", "space/deep/b.py": "from space.a import X\nD = X * 10"})
def packages_without_an_init(t):
    a, b = t.load("space.a", "space.deep.b")
    t.edit("space/a.py", "X = 1", "X = 2")
    assert (a.X, b.X, b.D) == (2, 2, 20)
    with contextlib.suppress(rehook.RehookError):
        assert not rehook.reload("space").changed


@case(m="X = 1", u="from m import X\nD = X * 10")
def texts_as_other_editors_save_them(t, m, u):
    """A byte order mark, Windows' line ends, tabs, no newline at the end, an empty file."""
    texts = [
        (b"\xef\xbb\xbfX = 2\r\ndef f():\r\n\treturn '\xc3\xa4'\r\n", 2),
        (b"X = 3\rdef f():\r    return '\xc3\xa4'", 3),
        (b"\x0cX = \\\n  4\ndef f():\n    return '''\xc3\xa4'''", 4),
    ]
    for text, value in texts:
        t.path("m").write_bytes(text)
        rehook.reload("m")
        assert (m.X, m.f(), u.X, u.D) == (value, "ä", value, value * 10)
    t.write({"u": "Y = 1", "m": ""})
    rehook.reload()
    assert not {"X", "f"} & set(vars(m))
    assert not {"X", "D"} & set(vars(u))


@case(m="X = 1", u="import m\nD = m.X")
def the_report(t, m, u):
    report = t.edit("m", "X = 1", "X = 2\ndef f(): return 1")
    assert "m" in report.names
    (one,) = (one for one in report.modules if one["name"] == "m")
    assert one["kind"] == "python"
    assert "m" in str(report)
    assert (report.left, report.stale, report.built) == ([], [], 0)
    assert report.seconds > 0
    assert rehook.reload("m", "u").names == []


test_batches = case.as_test()
