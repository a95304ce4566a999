"""Compiled functions and classes that were taken out of a module run the new build, in place.

The extension of the fixture answers 100 * VERSION + n, in every calling convention C has.
"""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.compile

STRICT = {"PYTHONMALLOC": "debug"}

HELPERS = """
import collections, functools, gc, re, threading, weakref
import rehook
rehook.install(projects=[ROOT])
import patch_capi._core as m

def save(version):
    text = Path(ROOT, "core.c").read_text()
    write("core.c", re.sub(r"#define VERSION \\d+", f"#define VERSION {version}", text))

def become(version):
    save(version)
    return rehook.reload()
"""
BOTH = HELPERS + "become(2)\nbecome(1)\n"


@pytest.fixture
def capi(built):
    return built("patch_capi", prepare=BOTH)


def test_every_reference_to_a_function(capi):
    """Names, attributes, partials, closures, defaults and callables on the value stack."""
    result = capi.run(
        HELPERS
        + """
one = m.one
again = functools.partial(one, 0)
Holder = type("Holder", (), {"f": one})
box = [one, (one,), {"k": one}]
def closure(default=one):
    return default(0), one(0)
def trigger():
    become(2)
    return 0
assert one(trigger()) == 202  # one() was on the stack already
print(json.dumps([m.one is one, again(), Holder.f(0), Holder().f(0), box[0](0), box[1][0](0),
                  box[2]["k"](0), closure(), m.brand_new(), one.__name__]))
""",
        env=STRICT,
    ).json
    assert result == [True, *[202] * 6, [202, 202], 201, "one"]


def test_functions_as_keys(capi):
    """A function's hash changes with its code; whoever used it as a key still finds it."""
    result = capi.run(
        HELPERS
        + """
one, fast = m.one, m.fast
plain = {one: 1, "x": 2, fast: 3}
nested = {(one, 1): 4, ((fast,), 2): 5}
single, frozen = {one}, frozenset([one, fast])
by_set = {frozen: 6}
weak = weakref.WeakKeyDictionary({one: 7})
weak_set = weakref.WeakSet([one])
ordered = collections.OrderedDict([("a", 0), (one, 8), ("b", 9)])
ordered.move_to_end("a")
counter = collections.Counter([one, one, fast])
class Custom:
    def __hash__(self):
        return hash("x")
    def __eq__(self, other):
        return self is other
key = Custom()
mixed = {key: one, one: key, "x": one}
for version in (2, 1, 3):
    become(version)
    assert one(0) == 100 * version + 2
    assert plain[one] == 1 and list(plain) == [one, "x", fast] and len(plain) == 3
    assert nested[(one, 1)] == 4 and nested[((fast,), 2)] == 5
    assert one in single and one in frozen and frozen == frozenset([fast, one])
    assert by_set[frozen] == by_set[frozenset([one, fast])] == 6
    assert weak[one] == 7 and one in weak_set
    assert ordered[one] == 8 and list(ordered) == [one, "b", "a"]
    assert counter[one] == 2 and counter[fast] == 1
    assert mixed[key] is one and mixed[one] is key and mixed["x"] is one
print(json.dumps("fine"))
""",
        env=STRICT,
    )
    assert result.json == "fine"


def test_a_function_becomes_a_class(capi):
    """What cannot be patched in place is replaced wherever it is held, as a key, too."""
    result = capi.run(
        HELPERS
        + """
was = m.becomes_class
held = [was, (was, 1), {"k": was}, {was}, frozenset([was]), collections.deque([0, was]),
        {was: "key"}, {(was, 1): "in a tuple"}, functools.partial(was)]
def cell():
    return was
def default(value=was):
    return value
class Slots:
    __slots__ = ("f",)
class Plain:
    pass
slots, plain = Slots(), Plain()
slots.f = plain.f = was
report = become(2)
now = m.becomes_class
assert isinstance(now, type) and was is now and cell() is now and default() is now
assert slots.f is now and plain.f is now
assert held[0] is now and held[1] == (now, 1) and held[2] == {"k": now} and held[3] == {now}
assert held[4] == frozenset([now]) and list(held[5]) == [0, now] and held[6][now] == "key"
assert held[7][(now, 1)] == "in a tuple" and held[8].func is now
become(1)
assert not isinstance(m.becomes_class, type) and m.becomes_class() == 112
assert held[0]() == 112 and held[3] == {m.becomes_class} and was() == 112
print(json.dumps("fine"))
""",
        env=STRICT,
    )
    assert result.json == "fine"


def test_what_registers_itself_at_initialisation(capi):
    """A build that registers its functions elsewhere registers the ones everybody has."""
    result = capi.run(
        HELPERS
        + """
sys.patch_registry = []
become(2)
become(1)
print(json.dumps([len(sys.patch_registry), all(f is m.one for f in sys.patch_registry)]))
""",
        env=STRICT,
    ).json
    assert result == [2, True]


def test_an_adopted_class(capi):
    """Old objects, bound methods, subclasses and slots run the new code; the class stays."""
    result = capi.run(
        HELPERS
        + """
Box = m.Box
box = Box()
class Derived(Box):
    pass
derived = Derived()
Derived.extra = Box.note = lambda self: "from outside"
bound = [getattr(box, name) for name in
         ("noargs", "one", "var", "varkw", "fast", "fastkw", "changing", "defining")]
loose = Box.fast, Box.fixed, Box.of_class, Box.__repr__, box.__repr__
for version in (2, 1, 3):
    become(version)
    base = 100 * version
    arguments = [(), (0,), (), (), (), (), (0,), ()]
    answers = [f(*a) - base for f, a in zip(bound, arguments)]
    assert answers == [1, 2, 3, 4, 5, 6, 7, 8], answers
    assert [loose[0](box), loose[1](0), loose[2](0)] == [base + 5, base + 2, base + 2]
    assert loose[3](box) == repr(box) == f"<Box {version} 1>"
    assert repr(derived) == f"<Box {version} 1>" and len(box) == len(derived) == base + 10
    assert box.answer == derived.answer == base + 9 and box.number == 1
    assert m.Box is Box and type(m.make()) is Box and m.is_box(box) and m.is_box(derived)
    assert Box().number == Derived().number == version
    assert box.note() == derived.extra() == "from outside"
    assert hasattr(box, "old_only") == (version == 1)
    assert hasattr(derived, "new_only") == (version > 1)
    for thing in (box, derived):
        try:
            assert thing() == base + 11 and version > 1
        except TypeError:
            assert version == 1
print(json.dumps("fine"))
""",
        env=STRICT,
    )
    assert result.json == "fine"


def test_a_class_that_is_not_adopted(capi):
    """Its objects stay what they are and run their own build, and the report names them."""
    result = capi.run(
        HELPERS
        + """
Box, box = m.Box, m.Box()
class Derived(Box):
    pass
derived = Derived()
bound = box.one
edit("core.c", "  long number;\\n} Box;", "  long number, more;\\n} Box;")
report = become(2)
assert Box is m.Box and type(box) is not Box and not isinstance(box, Box)
assert repr(box) == repr(derived) == "<Box 1 1>" and bound(0) == 102 and box.noargs() == 101
assert Derived.__mro__[1] is type(box) and Derived().number == 1
assert not m.is_box(box) and m.is_box(m.make()) and repr(Box()) == "<Box 2 2>"
print(json.dumps([one["what"] for one in report.left]))
""",
        env=STRICT,
    ).json
    assert result == [f"instances of patch_capi._core.{name}" for name in ("Box", "Static")]


def test_a_rollback(capi):
    """A reload that fails after the patch leaves nothing of it, not even a reference."""
    capi.write("patch_capi/user.py", "from ._core import becomes_class, old_name\n")
    capi.edit(
        "core.c",
        '    {"is_box",',
        '#if VERSION == 1\n    {"old_name", noargs, METH_NOARGS, NULL},\n#endif\n    {"is_box",',
    )
    result = capi.run(
        HELPERS
        + """
import patch_capi.user
one, Box, kind = m.one, m.Box, m.becomes_class
box = Box()
bound = box.changing, box.defining, Box.fast
class Derived(Box):
    pass
keys = {one: 1, (one, 2): 2, frozenset([one]): 3}
weak = weakref.WeakKeyDictionary({one: 4})
ordered = collections.OrderedDict([("a", 0), (one, 5)])
held = [kind, (kind,), {kind}, {"k": kind}, collections.deque([kind])]
watched = [one, Box, box, Derived, kind, m, vars(m), one.__self__, *bound, held[1],
           *(Box.__dict__[name] for name in ("one", "fixed", "of_class", "__repr__", "answer"))]
def counts():
    gc.collect()
    return [sys.getrefcount(thing) for thing in watched]
names, before = set(vars(m)), counts()
for attempt in range(3):
    save(2 + attempt)
    try:
        rehook.reload()
    except rehook.ReloadError as error:
        assert "old_name" in str(error)
    else:
        raise AssertionError("the reload did not fail")
    assert counts() == before
    assert set(vars(m)) == names and m.one is one and m.Box is Box and one(0) == 102
    assert keys[one] == 1 and keys[(one, 2)] == 2 and keys[frozenset([one])] == 3
    assert weak[one] == 4 and ordered[one] == 5
    assert held[0] is held[1][0] is held[3]["k"] is held[4][0] is kind and held[2] == {kind}
    assert m.becomes_class is kind and kind() == 112
    assert bound[0](0) == 107 and bound[1]() == 108 and bound[2](box) == 105
    assert repr(box) == repr(Derived()) == "<Box 1 1>" and len(box) == 110 and not callable(box)
    assert hasattr(box, "old_only") and not hasattr(box, "new_only") and type(m.make()) is Box
    for call in (m.changing, box.changing):
        try:
            call()  # too few arguments for the convention that is back
        except TypeError:
            continue
        raise AssertionError("called without its argument")
    del call  # a method that holds its object
print(json.dumps("fine"))
""",
        env=STRICT,
    )
    assert result.json == "fine"


def test_hot_loops_in_other_threads(capi):
    """Specialised call sites: every call gives the old answer or the new one, in this order."""
    result = capi.run(
        HELPERS
        + """
sys.setswitchinterval(1e-5)
box, stop, wrong, calls = m.Box(), [], [], [0, 0, 0]
one, changing, bound, fast = m.one, m.changing, box.changing, m.Box.fast
def loop(number):
    while not stop:
        for _ in range(200):
            got = (one(0) % 100, changing(0) % 100, m.fast() % 100, m.changing(0) % 100,
                   bound(0) % 100, box.one(0) % 100, box.changing(0) % 100, fast(box) % 100,
                   box.defining() % 100, len(box) % 100, m.varkw() % 100, m.noargs() % 100,
                   box.answer % 100)
            if got != (2, 7, 5, 7, 7, 2, 7, 5, 8, 10, 4, 1, 9):
                wrong.append(got)
        calls[number] += 200
threads = [threading.Thread(target=loop, args=(n,)) for n in range(3)]
for thread in threads:
    thread.start()
for version in (2, 1) * 10:
    become(version)
    assert one(0) == m.one(0) == 100 * version + 2
stop.append(1)
for thread in threads:
    thread.join()
print(json.dumps([wrong[:3], min(calls) > 0]))
"""
    ).json
    assert result == [[], True]


def test_calls_in_flight(capi):
    """Calls that wait without the GIL during a reload end in the build they began in."""
    result = capi.run(
        HELPERS
        + """
results, started = [], threading.Barrier(9)
wait = m.wait
def call():
    started.wait()
    results.append(wait(1500))
threads = [threading.Thread(target=call) for _ in range(8)]
for thread in threads:
    thread.start()
started.wait()
import time
time.sleep(0.1)
become(2)
gc.collect()
junk = [bytes(500) for _ in range(10000)]
for thread in threads:
    thread.join()
print(json.dumps([sorted(set(results)), len(results), wait(0)]))
""",
        env={"PYTHONMALLOC": "malloc", "MALLOC_PERTURB_": "165"},
    ).json
    assert result == [["1 module"], 8, "2 module"]


def test_foreign_functions_are_not_touched(built):
    """A module may show other modules' functions; which one it shows may change."""
    files = {
        "CMakeLists.txt": """
            cmake_minimum_required(VERSION 3.18...3.30)
            project(shows LANGUAGES C)
            find_package(Python 3.11 REQUIRED COMPONENTS Interpreter Development.Module)
            python_add_library(_core MODULE WITH_SOABI core.c)
            """,
        "shows/__init__.py": "",
        "core.c": """
            #include <Python.h>
            static int run(PyObject* m) {
              PyObject* math = PyImport_ImportModule("math");
              PyObject* function = PyObject_GetAttrString(math, "sin");
              return PyModule_AddObjectRef(m, "function", function);
            }
            static PyModuleDef_Slot slots[] = {{Py_mod_exec, run}, {0, NULL}};
            static PyModuleDef def = {PyModuleDef_HEAD_INIT, .m_name = "_core", .m_slots = slots};
            PyMODINIT_FUNC PyInit__core(void) { return PyModuleDef_Init(&def); }
            """,
    }
    result = (
        built("shows", files=files)
        .run(
            """
        import math
        import rehook
        rehook.install(projects=[ROOT])
        import shows._core as m
        held = m.function
        edit("core.c", '"sin"', '"cos"')
        rehook.reload()
        print(json.dumps([m.function is math.cos, held is math.sin, math.sin(0.0), math.cos(0.0)]))
        """
        )
        .json
    )
    assert result == [True, True, 0.0, 1.0]


# ------------------------------------------------------------ pybind11

PYBIND11 = {
    "CMakeLists.txt": """
        cmake_minimum_required(VERSION 3.18...3.30)
        project(bound LANGUAGES CXX)
        find_package(Python 3.11 REQUIRED COMPONENTS Interpreter Development.Module)
        find_package(pybind11 CONFIG REQUIRED)
        pybind11_add_module(_core core.cpp)
        """,
    "bound/__init__.py": "from ._core import call_it, f, wait\n",
    "core.cpp": """
        #include <pybind11/functional.h>
        #include <pybind11/pybind11.h>
        #include <chrono>
        #include <string>
        #include <thread>
        #define VERSION 1
        namespace py = pybind11;
        static std::function<int()> kept;
        PYBIND11_MODULE(_core, m) {
          std::string big(1000, 'x');
          m.def("f", [big](int x) { return VERSION * 100 + x; }, py::arg("x") = VERSION);
        #if VERSION == 2
          m.def("f", [](const std::string& text) { return "text " + text; });
        #endif
          m.def("wait", [big](int milliseconds) {
            {
              py::gil_scoped_release released;
              std::this_thread::sleep_for(std::chrono::milliseconds(milliseconds));
            }
            return std::to_string(VERSION) + " " + std::to_string(big.size());
          });
          m.def("call_it", [](const std::function<int()>& function) { return function(); });
        }
        """,
}


def test_pybind11_functions(built):
    """Overloads, defaults and captures follow; calls in flight end in the build they began in."""
    project = built("bound", files=PYBIND11)
    result = project.run(
        """
        import functools, gc, threading, time
        import rehook
        rehook.install(projects=[ROOT])
        import bound
        f, partial, keys = bound.f, functools.partial(bound.f, x=5), {bound.f: "key"}
        wait, results, started = bound.wait, [], threading.Barrier(9)
        def call():
            started.wait()
            results.append(wait(1500))
        threads = [threading.Thread(target=call) for _ in range(8)]
        before = [f(), f(7), partial(), keys[f]]
        edit("core.cpp", "#define VERSION 1", "#define VERSION 2")
        rehook._session.build([ROOT + "/"])
        for thread in threads:
            thread.start()
        started.wait()
        time.sleep(0.1)
        rehook.reload()
        gc.collect()
        junk = [bytes(900) for _ in range(10000)]
        after = [f(), f("a"), partial(), keys[f], wait(0), bound.f is f, "str" in f.__doc__]
        for thread in threads:
            thread.join()
        print(json.dumps([before, after, sorted(set(results)), len(results)]))
        """,
        env={"PYTHONMALLOC": "malloc", "MALLOC_PERTURB_": "165"},
    ).json
    before, after, in_flight, number = result
    assert before == [101, 107, 105, "key"]
    assert after == [202, "text a", 205, "key", "2 1000", True, True]
    assert (in_flight, number) == (["1 1000"], 8)


# ------------------------------------------------------------ Cython

CYTHON = {
    "CMakeLists.txt": """
        cmake_minimum_required(VERSION 3.18...3.30)
        project(cythonic LANGUAGES C)
        find_package(Python 3.11 REQUIRED COMPONENTS Interpreter Development.Module)
        add_custom_command(OUTPUT core.c DEPENDS core.pyx
          COMMAND ${Python_EXECUTABLE} -m cython -3 --module-name cythonic._core
                  -X binding=True ${CMAKE_CURRENT_SOURCE_DIR}/core.pyx -o core.c)
        python_add_library(_core MODULE WITH_SOABI core.c)
        """,
    "cythonic/__init__.py": "",
    "core.pyx": """
        def f(x, y=1):
            return 100 + x + y

        def make(n):
            def inner(m):
                return 100 + n + m
            return inner

        def with_attributes():
            return "old"
        """,
}


@pytest.fixture
def cython():
    done = subprocess.run([sys.executable, "-m", "cython", "-V"], capture_output=True, check=False)
    assert done.returncode == 0, "Cython is among the tests' requirements (pyproject.toml)"


@pytest.mark.usefixtures("cython")
def test_cython_functions(built):
    """Defaults, attributes and weak references of a Cython function survive its new body."""
    result = (
        built("cythonic", files=CYTHON)
        .run(
            """
        import gc, weakref
        import rehook
        rehook.install(projects=[ROOT])
        import cythonic._core as m
        f, make, keys = m.f, m.make, {m.f: 1}
        weak, inner = weakref.ref(f), make(5)
        before = [f(1), f(1, y=2), inner(1)]
        edit("core.pyx", "def f(x, y=1):\\n    return 100 + x + y",
             "def f(x, y=3, *, z=0):\\n    return 200 + x + y + z")
        edit("core.pyx", "return 100 + n + m", "return 200 + n + m")
        for turn in range(2):
            rehook.reload()
            gc.collect()
        after = [f(1), f(1, y=2), f(1, z=9), make(5)(1), inner(1), keys[f], weak() is f, m.f is f,
                 f.__defaults__, f.__name__]
        print(json.dumps([before, after]))
        """,
            env=STRICT,
        )
        .json
    )
    assert result[0] == [102, 103, 106]
    assert result[1] == [204, 203, 213, 206, 106, 1, True, True, [3], "f"]
