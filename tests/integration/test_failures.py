"""What fails changes nothing: the old world stays; the failure is told, kept and repeated."""

import json

import pytest

from support.project import Project
from support.sources import c_module, cmake_lists

pytestmark = pytest.mark.compile

WAYS = {
    "importlib.reload(package)": "importlib.reload(pkg)",
    "importlib.reload(extension)": "importlib.reload(pkg._core)",
    "rehook.reload(package)": "rehook.reload(pkg)",
    "rehook.reload()": "rehook.reload()",
}
ONE_OF_EACH = ("importlib.reload(package)", "rehook.reload()")

# The children's own tools. world() is all that a failed reload must leave alone, by identity.
HELPERS = """
import importlib
import rehook
rehook.install(projects=[ROOT])

def world(pkg):
    names = [name for name in sys.modules if name.split(".")[0] == pkg.__name__]
    return {
        "modules": {name: id(sys.modules[name]) for name in names},
        "namespaces": {name: {key: id(value) for key, value in vars(sys.modules[name]).items()}
                       for name in names},
        "order": {name: list(vars(sys.modules[name])) for name in names},
        "dicts": {name: id(vars(sys.modules[name])) for name in names},
        "specs": {name: repr(sys.modules[name].__spec__) for name in names},
        "generations": rehook.generations(),
        "meta_path": [id(finder) for finder in sys.meta_path],
    }

def failure(action):
    try:
        eval(action)
    except Exception as error:
        return {
            "type": type(error).__name__,
            "is": [one.__name__ for one in type(error).__mro__],
            "text": str(error),
            "message": getattr(error, "message", None),
            "hint": getattr(error, "hint", None),
            "tool": getattr(error, "text", None),
            "cause": repr(error.__cause__),
            "diagnostics": [one.as_dict() for one in getattr(error, "diagnostics", [])],
        }
"""


def of_severity(failure, severity="error"):
    return [one for one in failure["diagnostics"] if one["severity"] == severity]


# ------------------------------------------------------------ the compiler


@pytest.mark.parametrize("way", WAYS)
def test_compile_error(built, way):
    project = built("hello_capi_multi")
    result = project.run(
        HELPERS
        + """
import hello_capi_multi as pkg
box, said = pkg.Box(), pkg.greet()
before = world(pkg)
edit("core.c", "  ++state->calls;", "  ++state->cals;\\n  int x = undeclared;")
result = failure(sys.argv[1])
print(json.dumps({
    "failure": result,
    "same world": before == world(pkg),
    "still": (pkg.greet(), pkg.calls(), isinstance(box, pkg.Box), box.describe()),
    "status": rehook.status().modules[0],
}))
""",
        WAYS[way],
    ).json
    failure = result["failure"]
    assert failure["type"] == "BuildError"
    assert failure["is"][:4] == ["BuildError", "RehookError", "ImportError", "Exception"]
    first, second = of_severity(failure)
    assert first["file"] == str(project.path("core.c"))
    line = 1 + project.read("core.c").split("++state->cals")[0].count("\n")
    assert (first["line"], second["line"]) == (line, line + 1)
    assert first["column"] > 0
    assert "has no member named" in first["text"]
    assert "++state->cals" in first["excerpt"]
    assert "undeclared" in second["text"]
    # str(): the first error with its place, then what to do; the compiler's text is kept as it was.
    assert failure["text"].splitlines()[0].startswith(f"{project.path('core.c')}:{line}:")
    assert "and 1 more error" in failure["text"]
    assert "rehook errors" in failure["text"]
    assert failure["hint"]
    assert failure["tool"].index("cals") < failure["tool"].index("undeclared")
    assert "[-W" not in first["text"]
    assert result["same world"]
    assert result["still"] == ["hello from many phases", 2, True, "a hello_capi_multi._core.Box"]
    assert result["status"]["stale"]
    assert "has no member named" in result["status"]["error"]
    assert not result["status"]["running_equals_saved"]


def test_the_first_error_comes_first(tmp_path):
    """Whatever order the compilers end in, and with a warning printed before."""
    project = Project.of_files(
        tmp_path,
        "many",
        {
            "CMakeLists.txt": cmake_lists("many", "python_add_library(_core core.c b.c)"),
            "core.c": c_module("_core", {"one": "1"}),
            "b.c": "int b;",
            "many/__init__.py": "from . import _core",
        },
    )
    project.write("core.c", "#warning mind the gap\n#include <no_such_header.h>\nint x = ;\n")
    project.write("b.c", "int b = ;\n")
    script = "print(json.dumps(failure('importlib.import_module(\"many\")')))"
    result = project.run(HELPERS + script).json
    assert result["type"] == "BuildError"
    severities = [one["severity"] for one in result["diagnostics"]]
    assert severities == sorted(severities, key=["error", "warning", "note"].index)
    assert result["diagnostics"][0]["text"] in result["text"].splitlines()[0]
    header = next(one for one in of_severity(result) if "no_such_header.h" in one["text"])
    assert (header["file"], header["line"]) == (str(project.path("core.c")), 2)
    assert "mind the gap" in result["tool"]


def test_the_first_build_fails(project):
    """Nothing is imported then, nothing is left in sys.modules, and the repaired source works."""
    hello = project("hello_capi_single")
    result = hello.run(
        HELPERS
        + """
edit("core.cpp", "int g_calls = 0;", "int g_calls = ;")
result = failure("importlib.import_module('hello_capi_single')")
left = [name for name in sys.modules if name.startswith("hello_capi_single")]
errors = len(rehook.errors())
again = failure("importlib.import_module('hello_capi_single')")
edit("core.cpp", "int g_calls = ;", "int g_calls = 7;")
import hello_capi_single as pkg
print(json.dumps([result, left, errors, again, pkg.calls(), rehook.errors()]))
"""
    ).json
    first, left, errors, again, calls, after = result
    assert first["type"] == again["type"] == "BuildError"
    line = 1 + hello.read("core.cpp").split("g_calls")[0].count("\n")
    assert of_severity(first)[0]["line"] == line
    assert left == []
    assert errors == 1
    assert calls == 7
    assert after == []


# ------------------------------------------------------------ the linker and CMake


def test_undefined_symbol(built):
    """A shared library links with it, but does not load; found before anything changes."""
    project = built("hello_capi_multi")
    result = project.run(
        HELPERS
        + """
import hello_capi_multi as pkg
before = world(pkg)
edit("core.c", "  ++state->calls;", "  extern void nowhere_at_all(void);\\n  nowhere_at_all();")
result = failure("rehook.reload()")
print(json.dumps([result, before == world(pkg), pkg.greet(), rehook.status().modules[0]["stale"]]))
"""
    ).json
    failure, same, said, stale = result
    assert failure["type"] in {"BuildError", "ReloadError"}
    assert "nowhere_at_all" in failure["text"]
    assert same
    assert said == "hello from many phases"
    assert stale


def test_link_error(built):
    project = built("hello_capi_multi")
    result = project.run(
        HELPERS
        + """
import hello_capi_multi as pkg
before = world(pkg)
link = "target_link_libraries(_core PRIVATE no_such_library)\\n"
edit("CMakeLists.txt", "install(", link + "install(")
result = failure("rehook.reload()")
print(json.dumps([result, before == world(pkg), pkg.greet()]))
"""
    ).json
    failure, same, said = result
    assert failure["type"] == "BuildError"
    assert "no_such_library" in of_severity(failure)[0]["text"]
    assert same
    assert said == "hello from many phases"


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ('message(FATAL_ERROR "the moon is not\\nin the right phase")', "the moon is not"),
        ("no_such_command(x)", "no_such_command"),
        ("find_package(NoSuchPackageAnywhere REQUIRED)", "NoSuchPackageAnywhere"),
        ("if(", "Parse error"),
    ],
)
def test_configure_error(built, line, text):
    project = built("hello_capi_multi")
    result = project.run(
        HELPERS
        + """
import hello_capi_multi as pkg
before = world(pkg)
edit("CMakeLists.txt", "install(", sys.argv[1] + "\\ninstall(")
result = failure("importlib.reload(pkg)")
same = before == world(pkg), pkg.greet()
edit("CMakeLists.txt", sys.argv[1] + "\\n", "")
edit("core.c", "many phases", "no moon")
importlib.reload(pkg)
print(json.dumps([result, same, pkg.greet(), rehook.errors()]))
""",
        line,
    ).json
    failure, same, said, errors = result
    assert failure["type"] == "BuildError"
    first = of_severity(failure)[0]
    assert first["file"].endswith("CMakeLists.txt")
    assert project.path("CMakeLists.txt").samefile(project.root / first["file"])
    wanted = 1 + project.read("CMakeLists.txt").split("install(")[0].count("\n")
    assert first["line"] in {wanted, wanted + 1}  # a parse error is found where it ends
    assert text in failure["text"]
    assert text in failure["tool"]
    assert same == [True, "hello from many phases"]
    assert said == "hello from no moon"
    assert errors == []


# ------------------------------------------------------------ the module's own initialisation

# One build whose initialisation fails where the variable FAIL_AT says.
FAILING = {
    "head": """
        #include <stdlib.h>
        #include <string.h>
        static int fails_at(const char* place) {
          const char* wanted = getenv("FAIL_AT");
          if (wanted == NULL || strcmp(wanted, place) != 0) return 0;
          PyErr_SetString(PyExc_RuntimeError, place);
          return 1;
        }
        static PyType_Slot slots_of_box[] = {{0, NULL}};
        static PyType_Spec spec = {
            "box._core.Box", sizeof(PyObject), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
            slots_of_box};
    """,
    "body": """
        if (fails_at("the start")) return -1;
        PyObject* box = PyType_FromModuleAndSpec(module, &spec, NULL);
        PyModule_AddObject(module, "Box", box);
        PyObject* error = PyErr_NewException("box._core.BoxError", NULL, NULL);
        PyModule_AddObject(module, "BoxError", error);
        PyObject* sub = PyImport_AddModule("box._core.sub");
        PyModule_AddIntConstant(sub, "LEVEL", 1);
        PyModule_AddObjectRef(module, "sub", sub);
        if (fails_at("the middle")) return -1;
        PyModule_AddIntConstant(module, "LAST", 1);
        if (fails_at("the end")) return -1;
    """,
}
BOX = {
    "CMakeLists.txt": cmake_lists("box", "python_add_library(_core WITH_SOABI core.c)"),
    "core.c": c_module("_core", {"version": "1"}, **FAILING),
    "box/__init__.py": "from ._core import *\nfrom . import _core",
}


@pytest.mark.parametrize("way", ONE_OF_EACH)
def test_initialisation_fails(tmp_path, way):
    project = Project.of_files(tmp_path, "box", BOX)
    result = project.run(
        HELPERS
        + """
import box as pkg
thing = pkg.Box()
class Mine(pkg.Box): pass
mine = Mine()
def holds():
    try:
        raise pkg.BoxError("x")
    except pkg.BoxError:
        caught = True
    return caught, isinstance(thing, pkg.Box), isinstance(mine, pkg.Box), pkg.version()
before, held = world(pkg), holds()
edit("core.c", "(long)(1)", "(long)(2)")
results = []
for place in ("the start", "the middle", "the end"):
    os.environ["FAIL_AT"] = place
    result = failure("rehook.retry()" if results else sys.argv[1])
    stale = rehook.status().modules[0]["stale"]
    results.append([place, result, before == world(pkg), held == holds(), stale, rehook.errors()])
builds = rehook.status().counters["built"]
del os.environ["FAIL_AT"]
rehook.retry()
after = [pkg.version(), rehook.errors(), rehook.status().modules[0]["stale"]]
print(json.dumps([results, builds, after]))
""",
        WAYS[way],
    ).json
    failures, builds, after = result
    for place, failure, same, held, stale, errors in failures:
        assert failure is not None, place
        assert failure["type"] == "ReloadError", place
        assert failure["cause"] == f"RuntimeError('{place}')"
        assert place in failure["text"]
        assert same, place
        assert held, place
        assert stale, place
        assert [(one["kind"], one["modules"]) for one in errors] == [("reload", ["box._core"])]
        assert place in errors[0]["message"]
    assert builds == 2  # the first import and the edit; initialising again needs no compiler
    assert after == [2, [], False]


def test_initialisation_fails_in_one_phase(built):
    project = built("hello_capi_single")
    result = project.run(
        HELPERS
        + """
import hello_capi_single as pkg
point = pkg.Point(1.5)
pkg.greet()
before = world(pkg)
bad = '  PyErr_SetString(PyExc_ValueError, "not today");\\n  return nullptr;'
edit("core.cpp", "  return module;", bad)
result = failure("importlib.reload(pkg)")
same = before == world(pkg), pkg.calls(), point.describe(), isinstance(point, pkg.Point)
edit("core.cpp", bad, "  return module;")
edit("core.cpp", "one phase", "a new phase")
importlib.reload(pkg)
print(json.dumps([result, same, pkg.greet(), rehook.errors()]))
"""
    ).json
    failure, same, said, errors = result
    assert failure["type"] == "ReloadError"
    assert failure["cause"] == "ValueError('not today')"
    assert same == [True, 1, "point at 1.5", True]
    assert said == "hello from a new phase"
    assert errors == []


def test_the_first_initialisation_fails(tmp_path):
    """The exception of the module itself, as without rehook; nothing stays in sys.modules."""
    project = Project.of_files(tmp_path, "box", BOX)
    result = project.run(
        HELPERS
        + """
os.environ["FAIL_AT"] = "the middle"
result = failure("importlib.import_module('box')")
left = [name for name in sys.modules if name.split(".")[0] == "box" and name != "box._core.sub"]
del os.environ["FAIL_AT"]
import box
print(json.dumps([result, left, box.version()]))
"""
    ).json
    failure, left, version = result
    assert "RuntimeError" in failure["type"] or failure["cause"] == "RuntimeError('the middle')"
    assert left == []
    assert version == 1


# ------------------------------------------------------------ the package's own body


@pytest.mark.parametrize("way", ONE_OF_EACH)
def test_the_package_body_raises(built, way):
    """The compiled module changed, too: it goes back with the rest."""
    project = built("hello_capi_multi")
    result = project.run(
        HELPERS
        + """
import hello_capi_multi as pkg
before = world(pkg)
edit("core.c", "many phases", "a better place")
source = "hello_capi_multi/__init__.py"
write(source, "from ._core import *\\nLEFT = 1\\ndel Box\\nraise LookupError('in the body')\\n")
result = failure(sys.argv[1])
after = world(pkg)
same = before == after, pkg.greet(), hasattr(pkg, "LEFT"), hasattr(pkg, "Box")
stale = rehook.status().modules[0]["stale"]
write(source, "from ._core import *\\nfrom . import _core\\n")
eval(sys.argv[1])
print(json.dumps([result, same, stale, pkg.greet(), rehook.errors()]))
""",
        WAYS[way],
    ).json
    failure, same, stale, said, errors = result
    itself = f"{failure['type']}('{failure['text']}')"
    assert "LookupError('in the body')" in {failure["cause"], itself}
    assert same == [True, "hello from many phases", False, True]
    assert stale  # what runs is not what is saved
    assert said == "hello from a better place"
    assert errors == []


def test_a_syntax_error_in_a_python_file(built):
    project = built("hello_capi_multi")
    result = project.run(
        HELPERS
        + """
write("hello_capi_multi/helper.py", "VALUE = 1\\n")
import hello_capi_multi as pkg
import hello_capi_multi.helper
before = world(pkg)
edit("core.c", "many phases", "a better place")
write("hello_capi_multi/helper.py", "VALUE = = 2\\n")
result = failure("rehook.reload()")
same = before == world(pkg), pkg.greet(), pkg.helper.VALUE
write("hello_capi_multi/helper.py", "VALUE = 22\\n")
rehook.reload()
print(json.dumps([result, same, pkg.greet(), pkg.helper.VALUE, rehook.errors()]))
"""
    ).json
    failure, same, said, value, errors = result
    assert "SyntaxError" in failure["type"] + failure["cause"]
    assert same == [True, "hello from many phases", 1]
    assert (said, value) == ("hello from a better place", 22)
    assert errors == []


def test_an_import_of_a_name_that_is_gone(built):
    """`from ._core import greet` cannot run again without greet: all or nothing."""
    project = built("hello_capi_multi")
    result = project.run(
        HELPERS
        + """
import hello_capi_multi as pkg
before = world(pkg)
edit("core.c", '{"greet", greet,', '{"salute", greet,')
result = failure("rehook.reload()")
same = before == world(pkg), pkg.greet()
write("hello_capi_multi/__init__.py", "from ._core import salute\\nfrom . import _core\\n")
rehook.reload()
print(json.dumps([result, same, pkg.salute()]))
"""
    ).json
    failure, same, said = result
    assert "greet" in failure["text"]
    assert same == [True, "hello from many phases"]
    assert said == "hello from many phases"


def test_half_of_a_batch(tmp_path):
    """Two projects in one reload(): when one does not build, the other does not change either."""
    one = Project.of_files(tmp_path / "a", "one", {**_package("one")})
    two = Project.of_files(tmp_path / "a", "two", {**_package("two")})
    result = one.run(
        """
        import rehook
        other = sys.argv[1]
        rehook.install(projects=[ROOT, other])
        import one, two
        edit("core.c", "(long)(1)", "(long)(2)")
        source = Path(other, "core.c")
        text = source.read_text()
        source.write_text(text.replace("(long)(1)", "(long)(2) broken"))
        try:
            rehook.reload("one", "two")
            error = None
        except rehook.BuildError as caught:
            error = caught.message
        seen = [one._core.value(), two._core.value()]
        source.write_text(text.replace("(long)(1)", "(long)(33)"))
        rehook.reload()
        print(json.dumps([error, seen, one._core.value(), two._core.value()]))
        """,
        str(two.root),
    ).json
    error, seen, first, second = result
    assert error is not None
    assert seen == [1, 1]
    assert (first, second) == (2, 33)


def _package(name):
    return {
        "CMakeLists.txt": cmake_lists(name, "python_add_library(_core WITH_SOABI core.c)"),
        "core.c": c_module("_core", {"value": "1"}),
        f"{name}/__init__.py": "from . import _core",
    }


# ------------------------------------------------------------ remembering


def test_stale_until_repaired(built):
    """One line on standard error at each later reload, and nothing is compiled for it."""
    project = built("hello_capi_single")
    run = project.run(
        HELPERS
        + """
import hello_capi_single as pkg
def mark(text):
    print(f"== {text}", file=sys.stderr, flush=True)
edit("core.cpp", "int g_calls = 0;", "int g_calls = ;")
mark("error")
first = failure("rehook.reload()")
mark("again")
report = rehook.reload()
mark("package")
importlib.reload(pkg)
mark("repaired")
listed = rehook.errors()
edit("core.cpp", "int g_calls = ;", "int g_calls = 5;")
rehook.reload()
mark("end")
print(json.dumps([first["type"], report, str(report), listed, rehook.errors(), pkg.calls()]))
"""
    )
    sections = dict(part.split("\n", 1) for part in run.stderr.split("== ")[1:])
    assert sections["error"] == ""  # the exception itself says it
    for section in ("again", "package"):
        (line,) = sections[section].splitlines()
        assert line.startswith("rehook: hello_capi_single._core")
        assert "previous" in line
        assert "core.cpp" in line
        assert "rehook errors" in line
    assert sections["repaired"] == ""
    kind, report, text, listed, errors, calls = run.json
    assert kind == "BuildError"
    assert [one["module"] for one in report["stale"]] == ["hello_capi_single._core"]
    assert "core.cpp" in report["stale"][0]["error"]
    assert "older code is running" in text
    assert len(listed) == 1
    assert listed[0]["kind"] == "build"
    assert listed[0]["modules"] == ["hello_capi_single._core"]
    assert listed[0]["project"] == str(project.root)
    assert listed[0]["diagnostics"][0]["severity"] == "error"
    assert "g_calls" in listed[0]["text"]
    assert errors == []
    assert calls == 5
    assert project.compiles() == ["core.cpp", "core.cpp"]  # the failure and the repair


def test_the_reminder_can_be_turned_off(built):
    project = built("hello_capi_single")
    run = project.run(
        HELPERS
        + """
rehook.uninstall()
rehook.install(projects=[ROOT], show_warnings=False)
import hello_capi_single as pkg
edit("core.cpp", "int g_calls = 0;", "int g_calls = ;")
failure("rehook.reload()")
print(json.dumps(rehook.reload().stale[0]["module"]))
"""
    )
    assert run.json == "hello_capi_single._core"
    assert run.stderr == ""


def test_retry_compiles_again(built):
    project = built("hello_capi_single")
    result = project.run(
        HELPERS
        + """
import hello_capi_single as pkg
edit("core.cpp", "int g_calls = 0;", "int g_calls = ;")
counts = []
def count(action):
    result = failure(action)
    log = Path(ROOT).parent / "compiles.txt"
    counts.append([len(log.read_text().splitlines()), result and result["type"]])
count("rehook.reload()")
count("rehook.reload()")
count("rehook.retry()")
count("importlib.reload(pkg)")
count("rehook.retry()")
edit("core.cpp", "int g_calls = ;", "int g_calls = 5;")
count("rehook.retry()")
count("rehook.retry()")
print(json.dumps([counts, pkg.calls()]))
"""
    ).json
    counts, calls = result
    assert counts == [
        [1, "BuildError"],
        [1, None],
        [2, "BuildError"],
        [2, None],
        [3, "BuildError"],
        [4, None],
        [4, None],
    ]
    assert calls == 5


def test_the_failure_outlives_the_process(built):
    """`rehook errors` shows it; importing in a new process raises it as at first."""
    project = built("hello_capi_single")
    project.run(
        HELPERS
        + """
import hello_capi_single as pkg
edit("core.cpp", "int g_calls = 0;", "int g_calls = ;")
failure("rehook.reload()")
print(1)
"""
    )
    command = "import sys, rehook.cli; sys.exit(rehook.cli.main(sys.argv[1:]))"
    root = str(project.root)
    (listed,) = json.loads(project.run(command, "errors", "--json", root, bare=True).stdout)
    assert listed["project"] == root
    assert listed["modules"] == ["hello_capi_single._core"]
    assert listed["diagnostics"][0]["file"] == str(project.path("core.cpp"))
    shown = project.run(command, "errors", root, bare=True).stdout
    assert f"{project.path('core.cpp')}:{listed['diagnostics'][0]['line']}" in shown
    assert "hello_capi_single._core" in shown
    # In a new process nothing is loaded that could go on running: the import fails.
    result = project.run(
        HELPERS
        + """
known = rehook.errors()
result = failure("importlib.import_module('hello_capi_single')")
edit("core.cpp", "int g_calls = ;", "int g_calls = 0;")
import hello_capi_single
print(json.dumps([len(known), result["type"], rehook.errors(), rehook.status().counters]))
"""
    ).json
    assert result[:3] == [1, "BuildError", []]
    assert result[3]["reused"] + result[3]["skipped"] >= 1  # what was built before is still known
    assert result[3]["built"] == 0


def test_undoing_the_edit_repairs(built):
    """The earlier state needs no build: the error is gone, and so is the stale mark."""
    project = built("hello_capi_single")
    result = project.run(
        HELPERS
        + """
import hello_capi_single as pkg
pkg.greet()
edit("core.cpp", "int g_calls = 0;", "int g_calls = ;")
failure("rehook.reload()")
edit("core.cpp", "int g_calls = ;", "int g_calls = 0;")
report = rehook.reload()
print(json.dumps([report, rehook.errors(), rehook.status().modules[0]["stale"], pkg.calls()]))
"""
    ).json
    report, errors, stale, calls = result
    assert report["stale"] == []
    assert errors == []
    assert not stale
    assert calls == 1
    assert project.compiles() == ["core.cpp"]


def test_a_shared_library_of_the_project_changes(tmp_path):
    """It is reloaded with the extension: the loader would have given it the old library."""
    files = {
        "CMakeLists.txt": """
            cmake_minimum_required(VERSION 3.18...3.30)
            project(shared LANGUAGES C)
            find_package(Python 3.11 REQUIRED COMPONENTS Interpreter Development.Module)
            add_library(deep SHARED deep.c)
            python_add_library(_core MODULE WITH_SOABI core.c)
            target_link_libraries(_core PRIVATE deep)
            install(TARGETS _core DESTINATION shared)
        """,
        "deep.c": "int deep(void) { return 1; }",
        "core.c": """
            #include <Python.h>
            int deep(void);
            static PyObject* value(PyObject* s, PyObject* a) {
              return PyLong_FromLong(10 + deep());
            }
            static PyMethodDef functions[] = {
              {"value", value, METH_NOARGS, NULL}, {NULL, NULL, 0, NULL}};
            static PyModuleDef_Slot slots[] = {{0, NULL}};
            static PyModuleDef module = {PyModuleDef_HEAD_INIT, "_core", NULL, 0, functions, slots};
            PyMODINIT_FUNC PyInit__core(void) { return PyModuleDef_Init(&module); }
        """,
        "shared/__init__.py": "from . import _core",
    }
    project = Project.of_files(tmp_path, "shared", files)
    result = project.run(
        """
        import rehook
        rehook.install(projects=[ROOT])
        import shared
        seen = [shared._core.value()]
        edit("deep.c", "return 1;", "return 2;")
        edit("core.c", "10 +", "20 +")
        rehook.reload()
        print(json.dumps([*seen, shared._core.value()]))
        """
    ).json
    assert result == [11, 22]
