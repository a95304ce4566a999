"""Classes of Python modules: the same class object, with the new behaviour, for old instances."""

import gc
import inspect
import pickle
import weakref

from support.reload_cases import Cases

case = Cases(__file__)
C = """
class C:
    limit = 1
    def __init__(self): self.x = 7
    def v(self): return ("one", self.x)
"""


@case(m=C, u="from m import C\nobj = C()\nbox = (C, [C], {C: 1})")
def the_class_stays_the_same_object(t, m, u):
    kind, old, blob = m.C, m.C(), pickle.dumps(m.C())
    weak, keys = weakref.ref(kind), weakref.WeakKeyDictionary({kind: "x"})
    t.save(m=t.read("m").replace('"one"', '"two"') + "    def new(self): return 'n'\n")
    gc.collect()
    assert m.C is u.C is kind is u.box[0] is u.box[1][0] is weak()
    assert (u.box[2][m.C], keys[m.C]) == (1, "x")
    assert [one.v() for one in (old, u.obj, m.C(), u.C())] == [("two", 7)] * 4
    assert (old.new(), type(pickle.loads(blob)), isinstance(old, m.C)) == ("n", m.C, True)
    assert pickle.loads(pickle.dumps(old)).v() == ("two", 7)
    gc.collect()
    assert [one for one in object.__subclasses__() if one.__name__ == "C"] == [m.C]


@case(m=C)
def attributes_change_come_and_go(t, m):
    kind, old = m.C, m.C()
    t.edit("m", "limit = 1", "limit = 2\n    extra = 3")
    assert (kind.limit, old.limit, old.extra) == (2, 2, 3)
    t.edit("m", "limit = 2\n    extra = 3", "limit = 4")
    assert old.limit == 4
    assert not hasattr(kind, "extra")
    t.edit("m", '    def v(self): return ("one", self.x)\n', "")
    assert not hasattr(old, "v")
    assert (old.x, m.C) == (7, kind)


@case(m=C)
def what_was_put_on_a_class_stays(t, m):
    old = m.C()
    m.C.extra, m.C.hook, old.own = 5, lambda self: self.x, 6
    t.edit("m", '"one"', '"two"')
    t.edit("m", "limit = 1", "limit = 2")
    assert (m.C.extra, old.hook(), old.own, old.limit) == (5, 7, 6, 2)


@case(m=C + "def gone(): return 1\nGONE = 2\n")
def pickles_survive_a_removal(t, m):
    old, copies = m.C(), pickle.dumps([m.C(), m.C])
    t.edit("m", "def gone(): return 1\nGONE = 2\n", "")
    t.edit("m", '    def v(self): return ("one", self.x)\n', "    def w(self): return self.x\n")
    again, kind = pickle.loads(copies)
    assert (again.w(), kind, pickle.loads(pickle.dumps(old)).w()) == (7, m.C, 7)
    assert pickle.loads(pickle.dumps(m.C)) is m.C


@case(m="class C:\n    count, cache = 0, {}\n    def v(self): return 1")
def state_on_a_class_survives_an_edited_method(t, m):
    m.C.count += 3
    m.C.cache["key"] = "kept"
    cache = m.C.cache
    t.edit("m", "return 1", "return 2")
    assert (m.C.count, m.C.cache, m.C().v()) == (3, {"key": "kept"}, 2)
    assert m.C.cache is cache


@case(
    m="class B:\n    def __init__(self): self.i = 1\n    def v(self): return 'one'",
    u="""
    import m
    class S(m.B):
        def __init__(self): super().__init__()
        def v(self): return "s+" + super().v()
    """,
)
def subclasses_elsewhere(t, m, u):
    old = u.S()
    t.edit("m", "self.i = 1", "self.i, self.j = 2, 3")
    t.edit("m", "'one'", "'two'")
    t.edit("m", "class B:", "class B:\n    added = 1")
    assert (old.v(), u.S().v(), u.S().i, u.S().j, u.S.added) == ("s+two", "s+two", 2, 3, 1)
    assert issubclass(u.S, m.B)
    assert isinstance(old, m.B)
    assert m.B.__subclasses__() == [u.S]


# ------------------------------------------------------------ what is inside


@case(
    m="""
    class P:
        _v = 1
        @property
        def p(self): return ("one", self._v)
        @property
        def gone(self): return 1
    """
)
def properties(t, m):
    old, held = m.P(), m.P.p
    t.edit("m", '"one"', '"two"')
    assert old.p == ("two", 1)
    t.save(
        m="""
        class P:
            _v = 1
            @property
            def p(self): return ("three", self._v)
            @p.setter
            def p(self, value): self._v = value
            @p.deleter
            def p(self): self._v = None
        """
    )
    old.p = 5
    assert (old.p, held.fget(old)) == (("three", 5), ("three", 5))
    del old.p
    assert old.p == ("three", None)
    assert not hasattr(old, "gone")


@case(m="class P:\n    @property\n    def p(self): return 1", u="from m import P\nobj = P()")
def a_property_becomes_a_method_and_back(t, m, u):
    t.save(m="class P:\n    def p(self): return 2")
    assert u.obj.p() == m.P().p() == 2
    t.save(m="class P:\n    p = 3")
    assert u.obj.p == 3
    t.save(m="class P:\n    @property\n    def p(self): return 4")
    assert u.obj.p == u.P().p == 4


@case(
    m="""
    import functools
    class C:
        def plain(self): return "plain", 1
        @classmethod
        def k(cls): return cls.__name__, 1
        @staticmethod
        def s(): return "static", 1
        @functools.cached_property
        def cp(self): return 1
    """
)
def kinds_of_methods_change(t, m):
    kind, old = m.C, m.C()
    held_k, held_s = kind.k, kind.s
    t.save(m=t.read("m").replace(", 1", ", 2").replace("return 1", "return 2"))
    assert (held_k(), held_s(), old.cp) == (("C", 2), ("static", 2), 2)
    t.save(
        m="""
        class C:
            @staticmethod
            def plain(): return "now static"
            def k(self): return "now plain", type(self).__name__
            @classmethod
            def s(cls): return "now class", cls.__name__
            def cp(self): return "now a method"
        """
    )
    assert (old.plain(), old.k(), type(old).s()) == (
        "now static",
        ("now plain", "C"),
        ("now class", "C"),
    )
    assert m.C().cp() == "now a method"


@case(
    m="""
    class A:
        def v(self): return "a"
    class C(A):
        def v(self): return "c"
    """
)
def private_names_and_super(t, m):
    """A new method with super(), a private name and __class__, on an old instance."""
    old = m.C()
    t.save(
        m="""
        class A:
            def v(self): return "a2"
        class C(A):
            __secret = 5
            def v(self): return "c2" + super().v()
            def new(self): return super().v(), self.__secret, __class__
            def set(self):
                self.__mine = 1
                return vars(self)
        """
    )
    assert old.v() == "c2a2"
    assert old.new() == ("a2", 5, m.C)
    assert old.set() == {"_C__mine": 1}
    t.edit("m", "self.__secret, __class__", "self.__secret + 1, __class__")
    assert old.new() == m.C().new() == ("a2", 6, m.C)


@case(m="class C:\n    def __len__(self): return 1", u="import m\nclass D(m.C): pass")
def special_methods(t, m, u):
    old, derived = m.C(), u.D()
    assert not callable(derived)
    t.save(
        m="""
        class C:
            def __len__(self): return 2
            def __call__(self, x): return x * 2
            def __add__(self, other): return "sum"
            def __repr__(self): return "<C>"
            def __getattr__(self, name): return "dynamic " + name
            def __iter__(self): return iter([1])
            def __eq__(self, other): return True
            __hash__ = None
        """
    )
    for one in (old, derived, m.C(), u.D()):
        assert (len(one), one(2), one + 1, repr(one), one.abc) == (
            2,
            4,
            "sum",
            "<C>",
            "dynamic abc",
        )
        assert list(one) == [1]
        assert one == 5
    t.save(m="class C: pass")
    for one in (old, derived):
        assert not callable(one)
        assert not hasattr(one, "__len__")
        assert hash(one) == object.__hash__(one)
        assert one != 5


@case(
    m="""
    class Outer:
        class Inner:
            def v(self): return 1
        def make(self): return self.Inner()
    """
)
def nested_classes(t, m):
    inner, kind = m.Outer().make(), m.Outer.Inner
    t.edit("m", "return 1", "return 2")
    t.edit("m", "class Inner:", "class Inner:\n        y = 5")
    assert (inner.v(), inner.y, m.Outer.Inner, kind.__qualname__) == (2, 5, kind, "Outer.Inner")
    assert isinstance(inner, m.Outer.Inner)


@case(m="'''M.'''\nclass C:\n    '''Old.'''\n    x: int = 1\n    def v(self):\n        return 1\n")
def descriptions_and_lines(t, m):
    old, kind = m.C(), m.C
    t.save(
        m="# 1\n# 2\n"
        + t.read("m").replace("Old", "New").replace("int", "float").replace("= 1", "= 2")
    )
    assert (kind.__doc__, kind.__annotations__, old.x) == ("New.", {"x": float}, 2)
    assert inspect.getsource(kind).startswith("class C:\n    '''New.'''")
    assert inspect.getsource(old.v) == "    def v(self):\n        return 1\n"
    assert inspect.getsourcelines(kind.v)[1] == 7


@case(
    watch="""
    halves, kinds = [], []
    def look(name):
        for kind in kinds:
            names = type.__getattribute__(kind, "__dict__")
            if "held" in names and "x" in names: halves.append(name)
    class Meta(type):
        def __getattribute__(cls, name):
            look(name)
            return type.__getattribute__(cls, name)
    class Curious:
        def __getattr__(self, name):
            look(name)
            raise AttributeError(name)
    """,
    m="""
    from watch import Curious, Meta
    class C(metaclass=Meta):
        held = Curious()
        def v(self): return 1
    """,
)
def no_code_of_the_program_runs_in_the_exchange(t, watch, m):
    """Neither a metaclass nor an attribute that goes is asked for names in the middle of it."""
    kind, old = m.C, m.C()
    watch.kinds.append(kind)
    t.edit(
        "m",
        "    held = Curious()\n    def v(self): return 1",
        "    x = 2\n    def v(self): return 2",
    )
    watch.kinds.clear()
    assert watch.halves == []
    assert (m.C is kind, old.v(), old.x, hasattr(old, "held")) == (True, 2, 2, False)


test_classes = case.as_test()
