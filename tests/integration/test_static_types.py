"""Static types of the C API: what the program holds goes over to the type of the new build."""

import pytest

pytestmark = pytest.mark.compile

STRICT = {"PYTHONMALLOC": "debug"}

FILES = {
    "CMakeLists.txt": """
        cmake_minimum_required(VERSION 3.18...3.30)
        project(cstatic LANGUAGES C)
        find_package(Python REQUIRED COMPONENTS Interpreter Development.Module)
        python_add_library(_core MODULE WITH_SOABI core.c)
        install(TARGETS _core DESTINATION cstatic)
        """,
    "cstatic/__init__.py": "from cstatic import _core\n",
    "core.c": """
        #include <Python.h>
        enum { STEP = 0 };

        typedef struct _Thing {
          PyObject ob_base;
          int n;
          int other;
        } Thing;

        static int thing_init(PyObject* self, PyObject* args, PyObject* kw) {
          Thing* thing = (Thing*)self;
          thing->other = -1;
          return PyArg_ParseTuple(args, "i", &thing->n) ? 0 : -1;
        }
        static PyObject* answer(PyObject* self, PyObject* ignored) {
          return PyLong_FromLong(((Thing*)self)->n * 10 + STEP);
        }
        static PyObject* of_class(PyObject* cls, PyObject* ignored) {
          return Py_BuildValue("Oi", cls, STEP);
        }
        static PyObject* fixed(PyObject* null, PyObject* ignored) {
          return PyLong_FromLong(STEP);
        }
        static PyObject* shown(PyObject* self, void* closure) {
          return PyLong_FromLong(((Thing*)self)->n + STEP);
        }
        static PyObject* repr(PyObject* self) {
          return PyUnicode_FromFormat("<%d %d>", ((Thing*)self)->n, STEP);
        }
        static Py_ssize_t length(PyObject* self) { return ((Thing*)self)->n + STEP; }
        static PyObject* add(PyObject* one, PyObject* other) { return PyLong_FromLong(STEP); }
        static PyObject* call(PyObject* self, PyObject* args, PyObject* kw) {
          return PyLong_FromLong(((Thing*)self)->n + STEP);
        }

        static PyMethodDef methods[] = {
            {"answer", answer, METH_NOARGS, NULL},
            {"of_class", of_class, METH_NOARGS | METH_CLASS, NULL},
            {"fixed", fixed, METH_NOARGS | METH_STATIC, NULL},
            {NULL, NULL, 0, NULL}};
        static PyGetSetDef getset[] = {{"shown", shown, NULL, NULL, NULL}, {NULL}};
        static PySequenceMethods sequence = {.sq_length = length};
        static PyNumberMethods number = {.nb_add = add};
        static PyTypeObject thing_type = {
            PyVarObject_HEAD_INIT(NULL, 0).tp_name = "cstatic._core.Thing",
            .tp_basicsize = sizeof(Thing),
            .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
            .tp_new = PyType_GenericNew, .tp_init = thing_init, .tp_repr = repr,
            .tp_call = call, .tp_as_sequence = &sequence, .tp_as_number = &number,
            .tp_methods = methods, .tp_getset = getset};

        static PyObject* take(PyObject* module, PyObject* thing) {
          if (!PyObject_TypeCheck(thing, &thing_type)) {
            return PyErr_Format(PyExc_TypeError, "a Thing is needed");
          }
          return PyLong_FromLong(((Thing*)thing)->n + STEP);
        }
        static PyObject* make(PyObject* module, PyObject* ignored) {
          return PyObject_CallFunction((PyObject*)&thing_type, "i", 9);
        }
        static PyMethodDef functions[] = {
            {"take", take, METH_O, NULL}, {"make", make, METH_NOARGS, NULL}, {NULL}};
        static struct PyModuleDef definition = {
            PyModuleDef_HEAD_INIT, .m_name = "_core", .m_size = -1, .m_methods = functions};

        PyMODINIT_FUNC PyInit__core(void) {
          if (PyType_Ready(&thing_type) < 0) return NULL;
          PyObject* module = PyModule_Create(&definition);
          Py_INCREF(&thing_type);
          PyModule_AddObject(module, "Thing", (PyObject*)&thing_type);
          return module;
        }
        """,
}
PRELUDE = """
import ctypes, gc, re
import rehook
rehook.install(projects=[ROOT])
import cstatic._core as m

def become(step, *more):
    text = re.sub(r"STEP = \\d+", f"STEP = {step}", Path(ROOT, "core.c").read_text())
    for old, new in more:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    write("core.c", text)
    return rehook.reload()

def raised(call, *arguments):
    try:
        return call(*arguments)
    except TypeError:
        return "TypeError"

class Mine(m.Thing):
    def more(self):
        return self.answer() + 1

class Louder(Mine):
    def __repr__(self):
        return super().__repr__() + "!"
"""
SWAP = ("  int n;\n  int other;\n", "  int other;\n  int n;\n")


@pytest.fixture
def static(built):
    return built("cstatic", files=FILES)


def test_everything_held_follows(static):
    """Also a local variable's object, which the collector does not know."""
    found = static.run(
        PRELUDE
        + """
def local():
    one, mine, loud = m.Thing(1), Mine(2), Louder(3)
    take, make = m.take, m.make
    held = [one.answer, mine.answer, m.Thing.fixed, m.Thing]
    descriptors = m.Thing.answer, m.Thing.shown, m.Thing.__repr__, m.Thing.__len__
    for step in (100, 200, 300):
        report = become(step)
        assert not report.left, report.left
        gc.collect()
        yield [one.answer(), mine.more(), repr(one), repr(mine), repr(loud), len(one), len(loud),
               one + 1, mine + 1, one(), loud(), one.shown, mine.shown,
               *(call() for call in held[:3]), held[3].of_class()[1],
               descriptors[0](one), descriptors[1].__get__(loud), descriptors[2](mine),
               descriptors[3](one), take(one), take(mine), take(make()), m.take(loud),
               type(one) is m.Thing, type(make()) is m.Thing, isinstance(mine, m.Thing),
               Mine.__mro__[1] is m.Thing, Louder.__mro__[2] is m.Thing, repr(Louder(4)),
               m.Thing.answer is descriptors[0], held[3] is m.Thing,
               Mine in m.Thing.__subclasses__()]
print(json.dumps(list(local())))
""",
        env=STRICT,
    ).json
    for facts, step in zip(found, (100, 200, 300), strict=True):
        assert facts == [
            *(10 + step, 21 + step, f"<1 {step}>", f"<2 {step}>", f"<3 {step}>!"),
            *(1 + step, 3 + step, step, step, 1 + step, 3 + step, 1 + step, 2 + step),
            *(10 + step, 20 + step, step, step),
            *(10 + step, 3 + step, f"<2 {step}>", 1 + step),
            *(1 + step, 2 + step, 9 + step, 3 + step),
            *(True, True, True, True, True, f"<4 {step}>!", True, True, True),
        ]


def test_an_object_that_only_c_code_holds(static):
    """It is not found: its methods run the new build, and functions that check refuse it."""
    found = static.run(
        PRELUDE
        + """
class Box:
    def __init__(self):
        thing = m.Thing(1)
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(thing))
        self.address = id(thing)
    def open(self):
        return ctypes.cast(self.address, ctypes.py_object).value
box = Box()
become(100)
gc.collect()
thing = box.open()
print(json.dumps([thing.answer(), repr(thing), len(thing), thing.shown, thing + 1, thing(),
                  raised(m.take, thing), isinstance(thing, m.Thing), m.take(m.Thing(2))]))
""",
        env=STRICT,
    ).json
    assert found == [110, "<1 100>", 101, 101, 100, 101, "TypeError", False, 102]


def test_a_changed_struct_of_the_same_size_is_left(static):
    """Two fields change places: old objects are counted, and refused by new code."""
    found = static.run(
        PRELUDE
        + f"""
def local():
    one, mine, take = m.Thing(1), Mine(2), m.take
    held = [m.Thing(3)]
    left = [one for one in become(100, {SWAP!r}).left if one["what"].endswith("_core.Thing")]
    return [one.answer(), held[0].answer(), mine.more(), repr(one),
            [raised(take, thing) for thing in (one, mine, *held)],
            [raised(m.take, thing) for thing in (one, mine, *held)],
            take(m.Thing(5)), take(m.make()), left]
print(json.dumps(local()))
""",
        env=STRICT,
    ).json
    *facts, left = found
    assert facts == [10, 30, 21, "<1 0>", ["TypeError"] * 3, ["TypeError"] * 3, 105, 109]
    assert [one["count"] for one in left] == [3], left
    assert "_Thing" in left[0]["why"], left


def test_migration_is_not_for_types_of_the_c_api(static):
    """They may have __reduce__; nobody but their C code knows the memory, so the report says no."""
    found = static.run(
        PRELUDE.replace("[ROOT])", "[ROOT], settings={'instances': 'migrate'})")
        + f"""
one = m.Thing(1)
left = [one for one in become(100, {SWAP!r}).left if one["what"].endswith("_core.Thing")]
print(json.dumps([one.answer(), left]))
""",
        env=STRICT,
    ).json
    answer, left = found
    assert answer == 10
    assert [one["count"] for one in left] == [1]
    assert "not migrated" in left[0]["why"], left


def test_a_failed_reload_takes_everything_back(static):
    found = static.run(
        PRELUDE
        + """
one, loud, Thing = m.Thing(1), Louder(3), m.Thing
held = [one.answer, m.Thing.answer, m.Thing.fixed]
def facts():
    return [one.answer(), repr(loud), len(loud), loud + 1, one(), one.shown, held[0](),
            held[1](loud), held[2](), m.take(one), m.take(loud), type(one) is m.Thing,
            Louder.__mro__[2] is m.Thing, m.Thing.answer is held[1]]
before = facts()
write("cstatic/__init__.py", "from cstatic import _core\\nraise RuntimeError('late')\\n")
try:
    become(100)
except rehook.RehookError as error:
    assert "late" in f"{error} {error.__cause__}", error
else:
    raise AssertionError("nothing was raised")
gc.collect()
same = [facts() == before, m.Thing is Thing]
write("cstatic/__init__.py", "from cstatic import _core\\n")
become(200)
print(json.dumps([same, facts()]))
""",
        env=STRICT,
    ).json
    assert found[0] == [True, True]
    assert found[1] == [
        *(210, "<3 200>!", 203, 200, 201, 201, 210),
        *(230, 200, 201, 203, True, True, True),
    ]
