"""Classes of Python modules: bases, metaclasses, decorators, and classes over built-in types."""

import weakref

from support.reload_cases import Cases

case = Cases(__file__)
C = """
class C:
    limit = 1
    def __init__(self): self.x = 7
    def v(self): return ("one", self.x)
"""

# ------------------------------------------------------------ bases, metaclasses, decorators


@case(
    m="""
    class A:
        def v(self): return "a"
    class B:
        def v(self): return "b"
    class C(A):
        def own(self): return 1
    class D(C): pass
    """
)
def another_base(t, m):
    old, kind = m.D(), m.C
    t.edit("m", "class C(A)", "class C(B)")
    assert (old.v(), m.C().v(), m.C.__bases__, m.C, old.own()) == ("b", "b", (m.B,), kind, 1)
    assert isinstance(old, m.B)
    assert not isinstance(old, m.A)
    assert m.A.__subclasses__() == []
    t.edit("m", "class C(B)", "class C(A, B)")
    assert (old.v(), m.D.__mro__[1:4]) == ("a", (m.C, m.A, m.B))


@case(
    m="""
    class B:
        def v(self): return "b"
    class C:
        def own(self): return 1
    """,
    u="from m import C\nheld = [C, (C,)]\nclass D(C): pass",
)
def a_first_base_and_none(t, m, u):
    """No `__bases__` can be set here; whatever holds the class has its successor."""
    old, derived, keys = m.C(), u.D(), {m.C: 1}
    t.edit("m", "class C:", "class C(B):")
    assert m.C is u.C is u.held[0] is u.held[1][0] is type(old) is u.D.__bases__[0]
    assert (old.v(), derived.v(), u.D().v(), keys[m.C], old.own()) == ("b", "b", "b", 1, 1)
    assert isinstance(old, m.B)
    t.edit("m", "class C(B):", "class C:")
    assert m.C is u.C is type(old) is u.D.__bases__[0]
    assert not hasattr(old, "v")
    old.later, new = 1, m.C()
    assert (vars(old), vars(new), weakref.ref(new)()) == ({"later": 1}, {}, new)
    assert derived.own() == 1


@case(m="class B: pass\nclass C(B):\n    x = 1", u="import m\nclass D(m.C): pass")
def a_class_that_loses_its_base(t, m, u):
    old, derived = m.C(), u.D()
    old.here = 1
    t.edit("m", "class C(B)", "class C")
    for one in (old, m.C(), derived, u.D()):
        one.later = 2
        assert vars(one)["later"] == weakref.ref(one)().later == 2
    assert old.here == 1


@case(a="class A:\n    def v(self): return 1", b="from a import A\nX = A()")
def a_new_class_over_one_that_changed(t, a, b):
    t.save(
        a="class A:\n    x = 1\n    def v(self): return super().__repr__()",
        b="from a import A\nclass B(A): pass\nclass X(B): pass\nOBJ, BOTH = X(), (A, B)",
    )
    assert b.X.__mro__ == (b.X, b.B, a.A, object)
    assert b.OBJ.v() == object.__repr__(b.OBJ)
    assert (isinstance(b.OBJ, a.A), b.BOTH, b.B.x) == (True, (a.A, b.B), 1)
    assert a.A.__subclasses__() == [b.B]


@case(
    meta="""
    class Meta(type):
        word = "meta"
        def hi(cls): return cls.word + cls.__name__
        def __call__(cls, *a):
            it = super().__call__(*a)
            it.made_by = "meta"
            return it
    """,
    m="from meta import Meta\nclass C:\n    def v(self): return 1",
)
def a_metaclass(t, meta, m):
    kind, old = m.C, m.C()
    t.edit("m", "class C:", "class C(metaclass=Meta):")
    assert (type(m.C), m.C.hi(), m.C().made_by, old.v()) == (meta.Meta, "metaC", "meta", 1)
    assert m.C is kind
    t.edit("meta", "return cls.word +", "return 'hi' + cls.word +")
    assert m.C.hi() == "himetaC"
    t.edit("m", "class C(metaclass=Meta):", "class C:")
    assert type(m.C) is type
    assert isinstance(old, m.C)


@case(
    deco="""
    def mark(value):
        def d(cls):
            cls.mark = value
            return cls
        return d
    """,
    m="from deco import mark\n@mark(1)\nclass C:\n    def v(self): return 1",
)
def a_class_decorator(t, m):
    kind, old = m.C, m.C()
    t.edit("m", "@mark(1)", "@mark(2)")
    assert (m.C.mark, old.mark, m.C) == (2, 2, kind)
    t.edit("m", "@mark(2)\n", "")
    assert not hasattr(old, "mark")
    assert old.v() == 1


@case(
    base="""
    classes = []
    named = []
    class Field:
        def __set_name__(self, owner, name): named.append((owner, name))
    class Base:
        def __init_subclass__(cls, tag=None, **more):
            super().__init_subclass__(**more)
            cls.tag = tag
            classes.append(cls)
    def register(cls):
        classes.append(cls)
        return cls
    by_name = {}
    def keep(cls):
        by_name[cls.__name__] = cls
        return cls
    """,
    m="""
    from base import Base, Field, register, keep
    class C(Base, tag="one"):
        field = Field()
        def v(self): return 1
    @register
    class D:
        x = 1
    @keep
    class E:
        x = 1
    """,
)
def registries_have_the_old_class_once(t, base, m):
    classes, old = [m.C, m.D], m.C()
    t.edit("m", "return 1", "return 2")
    t.edit("m", 'tag="one"', 'tag="two"')
    t.edit("m", "@register\nclass D:\n    x = 1", "@register\nclass D:\n    x = 2")
    t.edit("m", "@keep\nclass E:\n    x = 1", "@keep\nclass E:\n    x = 2")
    assert sorted(one.__name__ for one in base.classes) == ["C", "D"]
    assert all(any(one is kind for one in base.classes) for kind in classes)
    assert (m.C.tag, old.tag, old.v(), m.D.x, m.E.x) == ("two", "two", 2, 2, 2)
    assert base.by_name == {"E": m.E}
    assert {owner for owner, _ in base.named} == {m.C}
    assert m.C.__subclasses__() == []
    t.edit("m", "@register\nclass D:", "class New(Base, tag=3): pass\n@register\nclass D:")
    assert [one.__name__ for one in base.classes].count("New") == 1
    assert m.New in base.classes


@case(
    m="""
    import abc
    class A(abc.ABC):
        @abc.abstractmethod
        def v(self): ...
    class Real(A):
        def v(self): return 1
    """,
    u="import m\n@m.A.register\nclass Virtual: pass",
)
def abstract_classes(t, m, u):
    virtual, real, kind = u.Virtual(), m.Real(), m.A
    t.edit("m", "    @abc.abstractmethod\n    def v(self): ...", "    def v(self): return 'a'")
    assert (m.A().v(), m.A, isinstance(virtual, m.A)) == ("a", kind, True)
    t.edit("m", "def v(self): return 'a'", "@abc.abstractmethod\n    def w(self): ...")
    for one in (m.A, m.Real):
        with t.raises(TypeError) as caught:
            one()
        assert "abstract method" in str(caught.error)
    assert isinstance(virtual, m.A)
    assert isinstance(real, m.A)
    assert issubclass(u.Virtual, m.A)


# ------------------------------------------------------------ exceptions, types from C


@case(
    m="class Err(Exception): pass\ndef go(): raise Err('one')",
    u="from m import Err\nimport m\ndef t():\n    try: m.go()\n    except Err: return 'caught'",
)
def exceptions_are_caught(t, m, u):
    held, old = (KeyError, m.Err), m.Err("old")
    t.save(m="class Err(Exception):\n    code = 5\ndef go(): raise Err('two')")
    assert u.t() == "caught"
    with t.raises(held) as caught:
        m.go()
    assert (str(caught.error), caught.error.code) == ("two", 5)
    with t.raises(m.Err) as caught:
        raise old
    assert (caught.error, old.code) == (old, 5)
    t.edit("m", "class Err(Exception)", "class Err(KeyError)")
    assert u.t() == "caught"
    assert issubclass(m.Err, KeyError)


@case(
    m="""
    import typing
    T = typing.TypeVar("T")
    class Int(int):
        def v(self): return ("one", int(self))
    class Text(str):
        def v(self): return ("one", str(self))
    class Mapping(dict):
        def v(self): return ("one", dict(self))
    class Pair(typing.NamedTuple):
        a: int = 1
        b: int = 2
        def v(self): return ("one", self.a)
    class Box(typing.Generic[T]):
        def v(self): return ("one", 1)
    class Proto(typing.Protocol):
        def v(self): ...
    class Typed(typing.TypedDict):
        a: int
    """,
    u="from m import *",
)
def classes_over_builtins(t, m, u):
    held = [m.Int(5), m.Text("5"), m.Mapping(a=5), m.Pair(5), m.Box[int]()]
    kinds = [type(one) for one in held]
    expected = [5, "5", {"a": 5}, 5, 1]
    t.save(m=t.read("m").replace('"one"', '"two"'))
    assert [one.v() for one in held] == [("two", one) for one in expected]
    t.edit("m", "class Int(int):", "class Int(int):\n    added = 1")
    t.edit("m", "class Box(typing.Generic[T]):", "class Box(typing.Generic[T]):\n    added = 1")
    assert (held[0].added, held[4].added, u.Int(3).v(), u.Pair(9).v()) == (
        1,
        1,
        ("two", 3),
        ("two", 9),
    )
    assert [m.Int, m.Text, m.Mapping, m.Pair, m.Box] == kinds
    assert held[0] + 1 == 6


@case(m=C, u="from m import C\nheld = [C]")
def a_class_becomes_a_function_and_back(t, m, u):
    keys, old = {m.C: 1}, m.C()
    t.save(m="def C(): return 'function'")
    assert u.C() == u.held[0]() == m.C() == "function"
    assert (keys[m.C], old.x, old.v()) == (1, 7, ("one", 7))
    t.save(m=C.replace('"one"', '"two"'))
    assert m.C().v() == u.C().v() == u.held[0]().v() == ("two", 7)
    assert m.C is u.C is u.held[0]


@case(m=C)
def a_class_that_is_gone(t, m):
    old, kind = m.C(), m.C
    t.save(m="X = 1")
    assert not hasattr(m, "C")
    assert (old.v(), kind().v()) == (("one", 7), ("one", 7))


@case(
    a="class A:\n    def v(self): return 'a'", b="from a import A\nclass B(A): pass", c="import b"
)
def a_class_moves_to_another_module(t, a, b, c):
    old = b.B()
    t.save(a="X = 1", b="class A:\n    def v(self): return 'moved'\nclass B(A): pass")
    assert (b.B().v(), old.v(), c.b.B.__module__) == ("moved", "moved", "b")
    assert not hasattr(a, "A")


test_class_kinds = case.as_test()
