"""The success story: import, edit the C++, reload, and go on in the same interpreter.

Read this first. `built("hello_ext")` is a copy of fixtures/hello_ext that was imported before;
`project.run` executes a script in a fresh interpreter, in which `edit(file, old, new)` saves a
change to the project as an editor would, and gives what the script printed last.
"""

import pytest

from support.project import Project
from support.sources import c_module, cmake_lists

pytestmark = pytest.mark.compile

DEBUG = {"REHOOK_BUILD_TYPE": "Debug"}  # pybind11 compiles in half the time

FORWARD = "static PyMethodDef functions[];"

# Everything a user may type to get the new code; `pkg` is the package.
WAYS = {
    "importlib.reload(package)": "importlib.reload(pkg)",
    "importlib.reload(extension)": "importlib.reload(pkg._core)",
    "rehook.reload(package's name)": "rehook.reload(pkg.__name__)",
    "rehook.reload(extension's name)": "rehook.reload(pkg.__name__ + '._core')",
    "rehook.reload(module object)": "rehook.reload(pkg)",
    "rehook.reload()": "rehook.reload()",
}


def test_the_story(project):
    hello = project("hello_ext")
    said = hello.run(
        """
        import importlib
        import rehook

        rehook.install(projects=[ROOT])
        import hello_ext                       # configures, compiles, links, loads

        before = hello_ext.greet("you")
        edit("core.cpp", '"hello, "', '"good morning, "')
        importlib.reload(hello_ext)            # compiles, links, swaps
        print(json.dumps([before, hello_ext.greet("you"), hello_ext._core.greet("you")]))
        """,
        env=DEBUG,
    ).json
    assert said == ["hello, you", "good morning, you", "good morning, you"]
    # What was built is kept: the next interpreter starts with it and builds nothing.
    said = hello.run(
        """
        import rehook
        rehook.install(projects=[ROOT])
        import hello_ext
        print(json.dumps([hello_ext.greet("you"), rehook.status().counters["built"]]))
        """,
        env=DEBUG,
    ).json
    assert said == ["good morning, you", 0]


@pytest.mark.parametrize("fixture", ["hello_capi_single", "hello_capi_multi"])
@pytest.mark.parametrize("way", WAYS)
def test_every_way_to_reload(built, fixture, way):
    project = built(fixture)
    result = project.run(
        """
        import importlib
        import rehook
        rehook.install(projects=[ROOT])
        name, way = sys.argv[1:]
        pkg = importlib.import_module(name)
        core = pkg._core
        identities = id(pkg), id(pkg.__dict__), id(core), id(core.__dict__)
        source = next(file for file in ("core.c", "core.cpp") if os.path.exists(f"{ROOT}/{file}"))
        edit(source, '"hello from', '"bonjour from')
        returned = eval(way)
        again = importlib.import_module(name), importlib.import_module(name + "._core")
        print(json.dumps({
            "said": pkg.greet().split()[0],
            "core_said": core.greet().split()[0],
            "same": identities == (id(pkg), id(pkg.__dict__), id(core), id(core.__dict__)),
            "parent": pkg._core is core,
            "sys.modules": (sys.modules[name] is pkg, sys.modules[name + "._core"] is core),
            "imported again": (again[0] is pkg, again[1] is core),
            "returned": getattr(returned, "__name__", None) or returned.names,
            "counters": rehook.status().counters,
            "generations": [one["generation"] for one in rehook.generations()],
            "running_equals_saved": rehook.status().modules[0]["running_equals_saved"],
        }))
        """,
        fixture,
        WAYS[way],
    ).json
    assert result["said"] == result["core_said"] == "bonjour"
    assert result["same"]
    assert result["parent"]
    assert result["sys.modules"] == [True, True]
    assert result["imported again"] == [True, True]
    if way == "importlib.reload(package)":
        assert result["returned"] == fixture
    elif way == "importlib.reload(extension)":
        assert result["returned"] == f"{fixture}._core"
    else:
        assert result["returned"] == [f"{fixture}._core"]
    assert result["counters"]["built"] == 1
    assert result["counters"]["reloaded"] == 1
    assert result["counters"]["configured"] == 0
    assert result["generations"] == [1, 2]
    assert result["running_equals_saved"]


def test_the_report_tells_what_happened(built):
    project = built("hello_capi_single")
    result = project.run(
        """
        import rehook
        rehook.install(projects=[ROOT])
        import hello_capi_single
        edit("core.cpp", "hello from", "bonjour from")
        report = rehook.reload()
        print(json.dumps({"report": report, "text": str(report), "changed": report.changed}))
        """
    ).json
    report = result["report"]
    (module,) = report["modules"]
    assert module["name"] == "hello_capi_single._core"
    assert module["kind"] == "extension"
    assert (module["old_generation"], module["new_generation"]) == (1, 2)
    assert "core.cpp changed" in module["reason"]
    assert (report["built"], report["reused"]) == (1, 0)
    assert (report["stale"], report["unchanged"], report["left"]) == ([], [], [])
    assert result["changed"]
    assert "hello_capi_single._core" in result["text"]
    assert "core.cpp changed" in result["text"]


@pytest.mark.parametrize("way", ["importlib.reload(package)", "importlib.reload(extension)"])
def test_names_come_and_go_with_the_source(built, way):
    project = built("hello_capi_single")
    result = project.run(
        """
        import importlib
        import rehook
        rehook.install(projects=[ROOT])
        import hello_capi_single as pkg
        core = pkg._core
        core.note, pkg.remark = "put there by somebody else", "and here"
        edit("core.cpp", '{"calls", calls,', '{"again", calls,')
        edit("core.cpp", '"ANSWER", 42', '"QUESTION", 6')
        write("hello_capi_single/__init__.py", "from ._core import *\\nfrom . import _core\\n")
        eval(sys.argv[1])
        if not hasattr(pkg, "again"):  # the extension alone was reloaded: now its package
            importlib.reload(pkg)
        print(json.dumps({
            "new": (core.again(), pkg.again(), pkg.QUESTION),
            "gone": [name for name in ("calls", "ANSWER") if hasattr(core, name)],
            "notes": (core.note, pkg.remark),
        }))
        """,
        WAYS[way],
    ).json
    assert result["new"] == [0, 0, 6]
    assert result["gone"] == []
    assert result["notes"] == ["put there by somebody else", "and here"]


def test_the_package_takes_over_new_names_and_values(built):
    """The import statements of its Python files run again, their other statements do not."""
    project = built("hello_capi_multi")
    result = project.run(
        """
        import rehook
        rehook.install(projects=[ROOT])
        write("hello_capi_multi/__init__.py",
              "from ._core import *\\nfrom .deep import ANSWER as deep\\nimport builtins\\n"
              "builtins.runs = getattr(builtins, 'runs', 0) + 1\\n")
        write("hello_capi_multi/deep.py", "from hello_capi_multi._core import ANSWER\\n")
        import hello_capi_multi as pkg
        edit("core.c", '"ANSWER", 42', '"ANSWER", 43')
        edit("core.c", '{"greet", greet,', '{"salute", greet, METH_NOARGS, NULL}, {"greet", greet,')
        rehook.reload("hello_capi_multi._core")
        print(json.dumps([pkg.ANSWER, pkg.deep, pkg.salute(), runs]))
        """
    ).json
    assert result == [43, 43, "hello from many phases", 1]


def test_an_edited_python_file_is_executed_again(built):
    project = built("hello_capi_single")
    result = project.run(
        """
        import importlib
        import rehook
        rehook.install(projects=[ROOT])
        write("hello_capi_single/helper.py", "VALUE = 1\\nGONE = True\\n")
        import hello_capi_single as pkg
        import hello_capi_single.helper as helper
        seen = [helper.VALUE]
        write("hello_capi_single/helper.py", "VALUE = 2\\n")
        report = rehook.reload()
        seen.append(helper.VALUE)
        write("hello_capi_single/helper.py", "VALUE = 'three'\\n")
        edit("core.cpp", "hello from", "bonjour from")
        importlib.reload(pkg)
        seen.append(helper.VALUE)
        print(json.dumps([seen, pkg.helper is helper, pkg.greet(), report]))
        """
    ).json
    seen, same, said, report = result
    assert seen == [1, 2, "three"]
    assert same
    assert said == "bonjour from one phase"
    assert [(one["name"], one["kind"]) for one in report["modules"]] == [
        ("hello_capi_single.helper", "python")
    ]
    assert report["built"] == 0


@pytest.mark.parametrize("way", ["rehook.reload()", "importlib.reload(package)"])
def test_a_python_file_saved_twice_in_one_second(built, way):
    """Python's own .pyc cache compares whole seconds and the size: it would serve the old code."""
    project = built("hello_capi_single")
    result = project.run(
        """
        import importlib
        import rehook
        rehook.install(projects=[ROOT])
        files = [f"hello_capi_single/{name}.py" for name in ("helper", "__init__")]
        texts = ["VALUE = 1\\n", "from . import _core\\nfrom .helper import VALUE\\nOWN = 1\\n"]
        def save():
            for file, text in zip(files, texts):
                write(file, text)
                os.utime(f"{ROOT}/{file}", ns=(stamp, stamp))
        stamp = 10**9 * 1_700_000_000
        save()
        import hello_capi_single as pkg
        seen = [(pkg.VALUE, pkg.helper.VALUE, pkg.OWN)]
        texts = [text.replace("1", "2") for text in texts]
        stamp += 1000
        save()
        eval(sys.argv[1])
        seen.append((pkg.VALUE, pkg.helper.VALUE, pkg.OWN))
        print(json.dumps(seen))
        """,
        WAYS[way],
    ).json
    assert result == [[1, 1, 1], [2, 2, 2]]


def test_submodules_that_the_extension_makes(tmp_path):
    """As py::module_::def_submodule does it; the module objects are kept and filled anew."""
    body = """
        PyObject* tools = PyImport_AddModule("box._core.tools");
        PyModule_AddFunctions(tools, functions);
        PyModule_AddObjectRef(module, "tools", tools);
    """
    box = Project.of_files(
        tmp_path,
        "box",
        {
            "CMakeLists.txt": cmake_lists("box", "python_add_library(_core WITH_SOABI core.c)"),
            "core.c": c_module("_core", {"half": "5"}, body=body, head=FORWARD),
            "box/__init__.py": "from . import _core",
        },
    )
    result = box.run(
        """
        import rehook
        rehook.install(projects=[ROOT])
        import box
        tools = box._core.tools
        tools.note = "mine"
        half = [tools.half()]
        edit("core.c", "(long)(5)", "(long)(105)")
        rehook.reload()
        half.append(tools.half())
        same = [box._core.tools is tools, sys.modules["box._core.tools"] is tools]
        write("core.c", Path(f"{ROOT}/core.c").read_text().replace("tools", "gear"))
        rehook.reload()
        import box._core.gear
        print(json.dumps({
            "half": half + [box._core.gear.half()],
            "same": same,
            "note": tools.note,
            "gone": (hasattr(box._core, "tools"), "box._core.tools" in sys.modules),
        }))
        """
    ).json
    assert result["half"] == [5, 105, 105]
    assert result["same"] == [True, True]
    assert result["note"] == "mine"
    assert result["gone"] == [False, False]


def test_many_modules_are_one_reload(built):
    """A batch of names is one transaction with one report."""
    project = built("hello_capi_single")
    result = project.run(
        """
        import rehook
        rehook.install(projects=[ROOT])
        import hello_capi_single as pkg
        write("hello_capi_single/extra.py", "VALUE = 1\\n")
        import hello_capi_single.extra as extra
        edit("core.cpp", "hello from", "bonjour from")
        write("hello_capi_single/extra.py", "VALUE = 10 - 8\\n")
        report = rehook.reload("hello_capi_single._core", extra)
        print(json.dumps([sorted(report.names), pkg.greet(), extra.VALUE]))
        """
    ).json
    assert result == [
        ["hello_capi_single._core", "hello_capi_single.extra"],
        "bonjour from one phase",
        2,
    ]


def test_a_reload_can_be_limited(tmp_path):
    """The other module, built along, keeps its code and is still known to be older."""
    two = Project.of_files(
        tmp_path,
        "two",
        {
            "CMakeLists.txt": cmake_lists(
                "two",
                """
                foreach(name IN ITEMS first second)
                  python_add_library(${name} WITH_SOABI ${name}.c)
                  install(TARGETS ${name} DESTINATION two)
                endforeach()
                """,
            ),
            "first.c": c_module("first", {"value": "1"}),
            "second.c": c_module("second", {"value": "1"}),
            "two/__init__.py": "from . import first, second",
        },
    )
    result = two.run(
        """
        import rehook
        rehook.install(projects=[ROOT])
        import two
        seen = []
        def look(report):
            seen.append([report.names, two.first.value(), two.second.value(), rehook.modified()])
        edit("first.c", "(long)(1)", "(long)(2)")
        edit("second.c", "(long)(1)", "(long)(2)")
        look(rehook.reload("two.first"))
        look(rehook.reload())
        print(json.dumps(seen))
        """
    ).json
    assert result == [[["two.first"], 2, 1, ["two.second"]], [["two.second"], 2, 2, []]]


@pytest.mark.parametrize("removed", ["the package", "the extension", "both"])
def test_removed_from_sys_modules_and_imported_again(built, removed):
    """What people type to be sure; a later reload still finds the one that is imported."""
    project = built("hello_capi_multi")
    result = project.run(
        """
        import rehook
        rehook.install(projects=[ROOT])
        import hello_capi_multi as old
        edit("core.c", "many phases", "the second time")
        names = {"the package": ["hello_capi_multi"], "the extension": ["hello_capi_multi._core"],
                 "both": ["hello_capi_multi", "hello_capi_multi._core"]}
        for name in names[sys.argv[1]]:
            del sys.modules[name]
        import hello_capi_multi._core
        import hello_capi_multi as new
        seen = [sys.modules["hello_capi_multi._core"].greet()]
        rehook.reload()
        seen.append(sys.modules["hello_capi_multi._core"].greet())
        edit("core.c", "the second time", "the third time")
        rehook.reload()
        seen.append(sys.modules["hello_capi_multi._core"].greet())
        print(json.dumps([*seen, new.greet()]))
        """,
        removed,
    ).json
    # Without its extension removed nothing was imported again: only the reload brings news.
    first = "many phases" if removed == "the package" else "the second time"
    assert (
        result
        == [f"hello from {one}" for one in (first, "the second time")]
        + ["hello from the third time"] * 2
    )


def test_a_module_that_reloads_while_it_is_reloaded(built):
    """Its body is told so, by an error or by a reload that does nothing; never a deadlock."""
    project = built("hello_capi_single")
    result = project.run(
        """
        import importlib
        import rehook
        rehook.install(projects=[ROOT])
        import hello_capi_single as pkg
        write("hello_capi_single/__init__.py", sys.argv[1])
        edit("core.cpp", "hello from", "bonjour from")
        importlib.reload(pkg)
        print(json.dumps([pkg.reloading, pkg.problem, pkg.greet(), rehook.currently_reloading()]))
        """,
        "import rehook\n"
        "from ._core import *\n"
        "from . import _core\n"
        "reloading = rehook.currently_reloading()\n"
        "try:\n"
        "    rehook.reload()\n"
        "    problem = None\n"
        "except rehook.RehookError as error:\n"
        "    problem = type(error).__name__\n",
    ).json
    reloading, problem, said, after = result
    assert reloading
    assert problem in {None, "ConfigError", "ReloadError"}
    assert said == "bonjour from one phase"
    assert not after


def test_modified_names_what_reload_would_take(built):
    project = built("hello_capi_single")
    result = project.run(
        """
        import rehook
        rehook.install(projects=[ROOT])
        import hello_capi_single as pkg
        said = [rehook.modified()]
        edit("core.cpp", "hello from", "bonjour from")
        write("hello_capi_single/__init__.py", "from ._core import *\\n")
        said.append(rehook.modified())
        said.append(rehook.modified("/nowhere"))
        built = rehook.status().counters["built"]
        rehook.reload()
        said.append(rehook.modified())
        print(json.dumps([said, built]))
        """
    ).json
    assert result == [
        [[], ["hello_capi_single", "hello_capi_single._core"], [], []],
        0,
    ]
