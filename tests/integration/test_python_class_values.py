"""Enums, dataclasses and classes with slots: what old values are worth after a reload."""

import dataclasses
import enum
import pickle
import types
import weakref

from support.reload_cases import Cases

case = Cases(__file__)
COLOR = """
import enum
class Color(enum.Enum):
    RED = 1
    GREEN = 2
    def hi(self): return "one"
"""
POINT = """
import dataclasses
@dataclasses.dataclass
class P:
    x: int = 1
    def v(self): return "one"
"""

# ------------------------------------------------------------ enums


@case(m=COLOR, u="from m import Color\nRED = Color.RED\nTABLE = {Color.RED: 'r'}")
def an_enum_gains_a_member(t, m, u):
    red, kind, blob = m.Color.RED, m.Color, pickle.dumps(m.Color.RED)
    t.save(m=COLOR.replace("GREEN = 2", "GREEN = 2\n    BLUE = 3").replace('"one"', '"two"'))
    assert m.Color is kind
    assert m.Color.RED is red is u.RED is m.Color(1) is m.Color["RED"] is pickle.loads(blob)
    assert u.Color.BLUE.value == 3
    assert u.Color(3) is u.Color["BLUE"] is u.Color.BLUE
    assert type(m.Color.BLUE) is kind
    assert isinstance(red, m.Color)
    assert (u.TABLE[m.Color.RED], red.hi(), m.Color.BLUE.hi()) == ("r", "two", "two")
    assert [one.name for one in m.Color] == ["RED", "GREEN", "BLUE"]
    assert len(m.Color) == 3
    assert pickle.loads(pickle.dumps(m.Color.BLUE)) is m.Color.BLUE


@case(m=COLOR, u="from m import Color\nRED, GREEN = Color.RED, Color.GREEN")
def an_enums_values_change(t, m, u):
    red, table = m.Color.RED, {m.Color.RED: "r"}
    t.edit("m", "RED = 1", "RED = 10")
    assert m.Color.RED is red is u.RED is m.Color(10)
    assert (red.value, table[m.Color.RED]) == (10, "r")
    with t.raises(ValueError):
        m.Color(1)
    t.save(m=COLOR.replace("RED = 1", "RED = 2").replace("GREEN = 2", "GREEN = 1"))
    assert m.Color(2) is m.Color.RED is red
    assert m.Color(1) is m.Color.GREEN is u.GREEN


@case(m=COLOR)
def an_enum_loses_a_member(t, m):
    green = m.Color.GREEN
    t.edit("m", "    GREEN = 2\n", "")
    assert [one.name for one in m.Color] == ["RED"]
    assert not hasattr(m.Color, "GREEN")
    assert "GREEN" not in m.Color.__members__
    assert (green.name, green.value) == ("GREEN", 2)
    t.edit("m", "RED = 1", "RED = 1\n    ALSO = 1\n    LAST = 9")
    assert m.Color.ALSO is m.Color.RED
    assert list(m.Color) == [m.Color.RED, m.Color.LAST]
    assert list(m.Color.__members__) == ["RED", "ALSO", "LAST"]


@case(
    m="""
    import enum
    class Number(enum.IntEnum):
        ONE = 1
        TWO = 2
        def hi(self): return "one"
    class Word(enum.StrEnum):
        A = "a"
    class Bits(enum.Flag):
        X = enum.auto()
        Y = enum.auto()
    class Unit(enum.Enum):
        NOTHING = enum.auto()
        def __new__(cls, value):
            it = object.__new__(cls)
            it._value_ = value * 10
            return it
    """,
    u="from m import *\nheld = [Number.ONE, Word.A, Bits.X, Unit.NOTHING]\nBOTH = Bits.X | Bits.Y",
)
def other_enums_gain_members(t, m, u):
    held = list(u.held)
    t.save(
        m=t.read("m")
        .replace('"one"', '"two"')
        .replace("TWO = 2", "TWO = 2\n    THREE = 3")
        .replace('A = "a"', 'A = "a"\n    B = "b"')
        .replace("Y = enum.auto()", "Y = enum.auto()\n    Z = enum.auto()")
    )
    now = [m.Number.ONE, m.Word.A, m.Bits.X, m.Unit.NOTHING]
    assert all(a is b for a, b in zip(held, now, strict=True))
    assert (m.Number.THREE + m.Number.ONE, m.Number.ONE.hi(), m.Word.B + "!") == (4, "two", "b!")
    assert m.Bits.X in u.BOTH
    assert m.Bits.Z not in u.BOTH
    assert (m.Bits.Z | m.Bits.X).value == 5
    assert m.Number(1) is held[0]
    assert m.Unit.NOTHING.value == 10
    assert type(m.Number.THREE) is m.Number


@case(m="import enum\nclass N(enum.IntEnum):\n    A = 1\n    B = 2", u="from m import N\nA = N.A")
def the_value_of_a_number_member_changes(t, m, u):
    """A number cannot become another one: the name leads to a new member, names follow."""
    t.edit("m", "A = 1", "A = 5")
    assert (m.N.A, m.N.A.value, m.N(5) is m.N.A, u.A is m.N.A) == (5, 5, True, True)
    assert m.N.B == 2


@case(m="class Color:\n    RED = 1", u="from m import Color")
def a_class_becomes_an_enum(t, m, u):
    t.save(m=COLOR)
    assert u.Color.RED.value == 1
    assert u.Color is m.Color
    assert isinstance(m.Color, enum.EnumMeta)
    t.save(m="class Color:\n    RED = 2")
    assert u.Color.RED == 2
    assert type(u.Color) is type


# ------------------------------------------------------------ dataclasses


@case(m=POINT, u="from m import P")
def a_dataclass_gains_a_field(t, m, u):
    kind, old = m.P, u.P(5)
    t.edit("m", '"one"', '"two"')
    assert (old.v(), m.P) == ("two", kind)
    t.edit("m", "x: int = 1", "x: int = 1\n    y: int = 9")
    assert (old.y, repr(old), u.P(1, 2).y) == (9, "P(x=5, y=9)", 2)
    assert old == m.P(5)
    assert [one.name for one in dataclasses.fields(old)] == ["x", "y"]
    assert (dataclasses.astuple(old), m.P, m.P.__match_args__) == ((5, 9), kind, ("x", "y"))
    t.edit("m", "    x: int = 1\n", "")
    assert repr(m.P(3)) == "P(y=3)"
    assert not hasattr(m.P, "x")


@case(m=POINT, u="from m import P")
def a_dataclass_with_other_arguments(t, m, u):
    kind, old = m.P, u.P(5)
    t.edit("m", "@dataclasses.dataclass\n", "@dataclasses.dataclass(order=True, frozen=True)\n")
    assert m.P is kind
    assert old < m.P(6)
    assert hash(old) == hash(m.P(5))
    with t.raises(dataclasses.FrozenInstanceError):
        old.x = 6
    t.edit("m", "(order=True, frozen=True)", "")
    old.x = 6
    assert old == m.P(6)
    assert not hasattr(m.P, "__lt__") or m.P.__lt__ is object.__lt__


@case(
    m="""
    import dataclasses
    @dataclasses.dataclass
    class P:
        x: int
        seen: list = dataclasses.field(default_factory=list)
        def __post_init__(self): self.double = self.x * 2
    @dataclasses.dataclass
    class Q(P):
        z: int = 3
    """,
    u="import m\nOBJ = m.Q(5)",
)
def dataclasses_derive(t, m, u):
    old = m.Q(1)
    old.seen.append("kept")
    t.edit("m", "self.x * 2", "self.x * 3")
    assert (u.OBJ.double, m.Q(2).double, old.seen) == (15, 6, ["kept"])
    t.edit("m", "    x: int\n", "    x: int\n    w: int = 8\n")
    assert repr(m.Q(1)) == "Q(x=1, w=8, seen=[], z=3)"
    assert (repr(old), u.OBJ.w) == ("Q(x=1, w=8, seen=['kept'], z=3)", 8)


# ------------------------------------------------------------ slots

SLOTS = """
class S:
    __slots__ = ("a", "b")
    def __init__(self): self.a, self.b = 1, [2]
    def v(self): return "one", self.a
"""


@case(m=SLOTS, u="from m import S")
def slots_that_stay(t, m, u):
    kind, old = m.S, u.S()
    t.edit("m", '"one"', '"two"')
    t.edit("m", "def v(self)", "limit = 5\n    def v(self)")
    assert (old.v(), u.S().v(), old.b, old.limit) == (("two", 1), ("two", 1), [2], 5)
    assert m.S is kind
    assert isinstance(old, m.S)
    old.a = 5
    assert (old.a, pickle.loads(pickle.dumps(old)).a) == (5, 5)


@case(
    m=SLOTS,
    u="""
    from m import S
    class D(S):
        __slots__ = ("c",)
    class E(S): pass
    """,
)
def slots_that_change(t, m, u):
    h = types.SimpleNamespace()
    h.old, h.key, h.many = m.S(), m.S(), [m.S() for _ in range(100)]
    table, classes = {h.key: "k", (h.key, 1): "t"}, {m.S: "s"}
    h.derived, h.free = u.D(), u.E()
    h.derived.c, h.free.extra = 3, 4
    h.old.a = 5
    b = h.old.b
    t.edit("m", '("a", "b")', '("a", "b", "c")')
    assert m.S is u.S is type(h.old) is u.D.__bases__[0]
    assert (h.old.a, h.old.v(), classes[m.S]) == (5, ("one", 5), "s")
    assert h.old.b is b
    h.old.c = 7
    assert h.old.c == 7
    assert not hasattr(h.many[0], "c")
    assert all(type(one) is m.S and one.a == 1 for one in h.many)
    assert (table[h.key], table[(h.key, 1)]) == ("k", "t")
    assert (h.derived.c, h.free.extra, h.derived.v(), h.free.v()) == (3, 4, ("one", 1), ("one", 1))
    assert isinstance(h.derived, m.S)
    assert (isinstance(h.free, u.E), isinstance(h.derived, u.D)) == (True, True)
    t.edit("m", '    __slots__ = ("a", "b", "c")\n', "")
    h.old.anything = 1
    assert (h.old.a, h.old.c, h.old.anything) == (5, 7, 1)
    assert h.old.b is b


@case(m=SLOTS.replace('("a", "b")', '("a", "b", "__weakref__")'), u="from m import S")
def slots_that_go(t, m, u):
    """What the new class has no place for is dropped; weak references go on, or are dead."""
    h = types.SimpleNamespace(old=u.S())
    h.weak = weakref.ref(h.old)
    t.save(m='class S:\n    __slots__ = ("b", "__weakref__")\n    def v(self): return self.b')
    assert type(h.old) is m.S
    assert (h.old.v(), hasattr(h.old, "a")) == ([2], False)
    assert h.weak() in (h.old, None)


@case(m=SLOTS, u="from m import S")
def a_class_that_migrates_its_own(t, m, u):
    h = types.SimpleNamespace(old=u.S(), other=u.S())
    h.other.a = 3
    t.save(
        m="""
        states = []
        class S:
            __slots__ = ("total",)
            def __init__(self, total): self.total = total
            @classmethod
            def __rehook_migrate__(cls, old_state):
                states.append((cls.__name__, dict(old_state)))
                return cls(old_state["a"] * 10 + len(old_state["b"]))
            def v(self): return self.total
        """
    )
    assert (h.old.v(), h.other.v()) == (11, 31)
    assert sorted(one["a"] for _, one in m.states) == [1, 3]
    assert [name for name, _ in m.states] == ["S", "S"]


@case(m=SLOTS, u="from m import S")
def a_migration_that_fails(t, m, u):
    """Nothing is migrated then, and the reload is undone."""
    kind, h = m.S, types.SimpleNamespace(old=u.S(), other=u.S())
    h.other.a = 3
    with t.fails(KeyError) as failed:
        t.save(
            m="""
            class S:
                __slots__ = ("total",)
                @classmethod
                def __rehook_migrate__(cls, old_state):
                    if old_state["a"] == 3:
                        raise KeyError("cannot")
                    return cls()
            """
        )
    assert "S" in str(failed.error)
    assert (m.S, u.S, type(h.old), type(h.other)) == (kind,) * 4
    assert (h.old.v(), h.other.v(), h.old.b) == (("one", 1), ("one", 3), [2])


@case(
    m="""
    import dataclasses
    @dataclasses.dataclass(slots=True)
    class P:
        x: int = 1
        def v(self): return "one"
    """,
    u="from m import P",
)
def a_dataclass_with_slots(t, m, u):
    kind, h = m.P, types.SimpleNamespace(old=u.P(5))
    t.edit("m", '"one"', '"two"')
    assert (h.old.v(), m.P, m.P(3).v()) == ("two", kind, "two")
    t.edit("m", "x: int = 1", "x: int = 1\n    y: int = 2")
    assert repr(m.P(5)) == "P(x=5, y=2)"
    assert type(h.old) is m.P is u.P
    assert h.old.x == 5


test_class_values = case.as_test()
