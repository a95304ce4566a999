"""Cython's functions, cdef classes and Python classes run the new build, whoever holds them."""

import json
import subprocess
import sys

import pytest

pytestmark = pytest.mark.compile

STRICT = {"PYTHONMALLOC": "debug"}

FILES = {
    "CMakeLists.txt": """
        cmake_minimum_required(VERSION 3.18...3.30)
        project(cyclasses LANGUAGES C)
        find_package(Python REQUIRED COMPONENTS Interpreter Development.Module)
        add_custom_command(
          OUTPUT core.c
          COMMAND ${Python_EXECUTABLE} -m cython -3 ${CMAKE_CURRENT_SOURCE_DIR}/core.pyx
                  --module-name cyclasses._core -o core.c
          DEPENDS core.pyx VERBATIM)
        python_add_library(_core MODULE WITH_SOABI core.c)
        install(TARGETS _core DESTINATION cyclasses)
        """,
    "cyclasses/__init__.py": "from cyclasses import _core\n",
    "core.pyx": '''
        cdef enum:
            STEP = 0

        cdef class Base:
            """No cycle can go through it: the collector does not know its instances."""
            cdef public int n

            def __init__(self, n):
                self.n = n

            cdef int inner(self):
                return self.n + STEP

            def answer(self, int more=1):
                return self.inner() * 10 + more + STEP

            @staticmethod
            def fixed():
                return STEP

            @property
            def shown(self):
                return "shown", STEP

            def __repr__(self):
                return f"<{self.n} {STEP}>"

            def __len__(self):
                return self.n + STEP

            def __add__(self, other):
                return self.answer() + STEP

        cdef class Derived(Base):
            cdef object kept

            cdef int inner(self):
                return self.n + 5 + STEP

            def keep(self, value):
                self.kept = value
                return self.kept, STEP

        class Plain:
            def __init__(self, start=1):
                self.start = start

            def name(self, *, wide=2):
                return self.start, wide, STEP

        class Lower(Plain):
            def name(self):
                return super().name() + (STEP,)

        class Shown(Base):
            def __repr__(self):
                return "Shown" + super().__repr__()

        def take(Base one not None):
            return one.inner() + STEP

        def inner_of(int n):
            def inner(m=3):
                return n + m + STEP
            return inner
        ''',
}
PRELUDE = """
import gc, weakref
import rehook
rehook.install(projects=[ROOT])
import cyclasses._core as m

def become(step, *more):
    text = Path(ROOT, "core.pyx").read_text()
    import re
    text = re.sub(r"STEP = \\d+", f"STEP = {step}", text)
    for old, new in more:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    write("core.pyx", text)
    return rehook.reload()

def raised(call):
    try:
        return call()
    except TypeError:
        return "TypeError"
"""


@pytest.fixture
def cython(built):
    done = subprocess.run([sys.executable, "-m", "cython", "-V"], capture_output=True, check=False)
    assert done.returncode == 0, "Cython is among the tests' requirements (pyproject.toml)"
    return built("cyclasses", files=FILES)


def test_a_cdef_class(cython):
    """Instances, classes of Python below it, C methods, and what was taken out of them."""
    result = cython.run(
        PRELUDE
        + """
class Mine(m.Base):
    def more(self):
        return self.answer() + 1

def local():
    # nothing but a local variable holds it
    one, mine, low = m.Base(1), Mine(2), m.Derived(3)
    held = [one.answer, m.Base.answer, mine.answer, m.Base.__repr__, m.Base.fixed, m.take]
    Base, shown = m.Base, m.Base.shown
    for step in (100, 200, 300):
        report = become(step)
        assert not report.left, report.left
        gc.collect()
        found = [one.answer(), mine.more(), low.answer(), low.keep(one)[1], held[0](),
                 held[1](one), held[2](), held[3](one), held[4](), held[5](one), held[5](mine),
                 held[5](low), repr(mine), len(low), one + 1, one.shown, shown.__get__(mine),
                 isinstance(one, m.Base), isinstance(low, m.Base), isinstance(mine, m.Base),
                 type(one) is m.Base, type(low) is m.Derived, Mine.__bases__[0] is m.Base,
                 m.Base.answer is held[1], Mine(4).more(), m.take(m.Base(7))]
        print(json.dumps(found))
local()
""",
        env=STRICT,
    )
    lines = result.stdout.strip().splitlines()
    assert len(lines) == 3
    for line, step in zip(lines, (100, 200, 300), strict=True):
        expected = [
            (1 + step) * 10 + 1 + step,
            (2 + step) * 10 + 2 + step,
            (8 + step) * 10 + 1 + step,
            step,
            (1 + step) * 10 + 1 + step,
            (1 + step) * 10 + 1 + step,
            (2 + step) * 10 + 1 + step,
            f"<1 {step}>",
            step,
            1 + 2 * step,
            2 + 2 * step,
            8 + 2 * step,
            f"<2 {step}>",
            3 + step,
            (1 + step) * 10 + 1 + 2 * step,
            ["shown", step],
            ["shown", step],
            *[True] * 7,
            (4 + step) * 10 + 2 + step,
            7 + 2 * step,
        ]
        assert json.loads(line) == expected


def test_python_classes(cython):
    """`super()`, defaults and attributes of the functions in a class statement."""
    result = cython.run(
        PRELUDE
        + """
plain, low, shown = m.Plain(), m.Lower(5), m.Shown(6)
held, unbound = low.name, m.Plain.name
become(100)
gc.collect()
print(json.dumps([plain.name(), low.name(), held(), unbound(plain, wide=9), repr(shown),
                  shown.answer(), type(low) is m.Lower, isinstance(shown, m.Base),
                  m.Lower().name(), repr(m.Shown(2)), m.take(shown)]))
""",
        env=STRICT,
    ).json
    assert result == [
        [1, 2, 100],
        [5, 2, 100, 100],
        [5, 2, 100, 100],
        [1, 9, 100],
        "Shown<6 100>",
        1161,
        True,
        True,
        [1, 2, 100, 100],
        "Shown<2 100>",
        206,
    ]


def test_a_changed_cdef_class_is_left_and_counted(cython):
    """A new field, and a new C method: the table of C methods is another one."""
    answer = "    def answer(self, int more=1):\n"
    changes = (
        (
            ("    cdef public int n\n", "    cdef double first\n    cdef public int n\n"),
            ("    def __init__(self, n):\n", "    def __init__(self, n, more=0):\n"),
        ),
        ((answer, f"    cdef int before(self):\n        return 1\n\n{answer}"),),
    )
    for change in changes:
        result = cython.run(
            PRELUDE
            + f"""
class Mine(m.Base):
    pass
things = [m.Base(1), m.Base(2), Mine(3)]
held = things[0].answer
local = m.Base(4)
report = become(100, *{change!r})
left = {{one["what"]: one["count"] for one in report.left}}
print(json.dumps([held(), [one.answer() for one in things], repr(things[0]),
                  [raised(lambda: m.take(one)) for one in things], m.take(m.Base(4)),
                  left["instances of cyclasses._core.Base"]]))
become(0, *[(new, old) for old, new in {change!r}])
""",
            env=STRICT,
        ).json
        assert result == [11, [11, 21, 31], "<1 0>", ["TypeError"] * 3, 204, 4]


def test_functions_keep_what_was_given_to_them(cython):
    """Defaults are the new ones; attributes, weak references and closures stay."""
    result = cython.run(
        PRELUDE
        + """
take, inner = m.inner_of, m.inner_of(5)
if hasattr(take, "__dict__"):
    take.mark = 1
weak = weakref.ref(inner)
become(100)
print(json.dumps([take is m.inner_of, inner(), take(5)(), weak() is inner, take.__name__]))
""",
        env=STRICT,
    ).json
    assert result == [True, 8, 108, True, "inner_of"]


def test_a_failed_reload_takes_everything_back(cython):
    result = cython.run(
        PRELUDE
        + """
class Mine(m.Base):
    pass
one, mine, low = m.Base(1), Mine(2), m.Derived(3)
def facts():
    return [type(one) is m.Base, Mine.__mro__[1] is m.Base, one.answer(), mine.answer(),
            low.answer(), repr(mine), m.take(one), m.take(mine), m.take(low), m.Base.fixed()]
before, base, descriptor = facts(), m.Base, vars(m.Base)["answer"]
write("cyclasses/__init__.py", "from cyclasses import _core\\nraise RuntimeError('late')\\n")
try:
    become(100)
except rehook.RehookError as error:
    assert "late" in f"{error} {error.__cause__}", error
else:
    raise AssertionError("nothing was raised")
gc.collect()
same = [facts() == before, m.Base is base, vars(m.Base)["answer"] is descriptor]
write("cyclasses/__init__.py", "from cyclasses import _core\\n")
become(200)
print(json.dumps([*same, *facts()]))
""",
        env=STRICT,
    ).json
    assert result[:5] == [True] * 5
    assert result[5:] == [2211, 2221, 2281, "<2 200>", 401, 402, 408, 200]
