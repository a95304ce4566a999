"""Nothing changed, so nothing happens: counted in builds, reloads, stats, hashes and processes."""

import pytest

from support.project import Project
from support.sources import c_module, cmake_lists

pytestmark = pytest.mark.compile

# What does not change what the compiler makes of core.cpp. (The child runs them.)
NO_CHANGES = {
    "nothing": "pass",
    "touch": "os.utime(f'{ROOT}/core.cpp')",
    "the same content": "write('core.cpp', Path(f'{ROOT}/core.cpp').read_text())",
    "the same content, by rename": """
Path(f'{ROOT}/core.new').write_text(Path(f'{ROOT}/core.cpp').read_text())
os.rename(f'{ROOT}/core.new', f'{ROOT}/core.cpp')""",
    "an editor's files beside it": """
for name in (".core.cpp.swp", "core.cpp~", "#core.cpp#", "core.orig", "notes.md"):
    Path(f'{ROOT}/{name}').write_text("int broken(")""",
}
WAYS = {
    "importlib.reload(package)": "importlib.reload(pkg)",
    "importlib.reload(extension)": "importlib.reload(pkg._core)",
    "rehook.reload()": "rehook.reload()",
    "rehook.reload(name)": "rehook.reload('hello_capi_single._core')",
}
# Reloads in every way after a no-change; the counter in C++ shows whether it was loaded anew.
SCRIPT = """
import importlib
import rehook
rehook.install(projects=[ROOT])
import hello_capi_single as pkg
pkg.greet(), pkg.greet()
functions = id(pkg.greet), id(pkg.Point), id(pkg._core.__dict__)
exec(sys.argv[1])
for way in sys.argv[2:]:
    eval(way)
print(json.dumps({
    "calls": pkg.calls(),
    "same": functions == (id(pkg.greet), id(pkg.Point), id(pkg._core.__dict__)),
    "counters": rehook.status().counters,
    "generations": len(rehook.generations()),
}))
"""


@pytest.mark.parametrize("change", NO_CHANGES)
def test_nothing_is_built_or_reloaded(built, change):
    project = built("hello_capi_single")
    result = project.run(SCRIPT, NO_CHANGES[change], *WAYS.values()).json
    assert result["calls"] == 2
    assert result["same"]
    counters = result["counters"]
    assert (counters["built"], counters["reused"], counters["reloaded"]) == (0, 0, 0)
    assert counters["skipped"] == 1 + len(WAYS)  # one decision per import and per reload
    assert result["generations"] == 1
    assert project.compiles() == []
    assert project.builds() == 0


def test_a_changed_file_is_hashed_once(built):
    """After a touch the next look hashes it, the one after that trusts the new stamp."""
    project = built("hello_capi_single")
    result = project.run(
        """
        import time
        import rehook
        rehook.install(projects=[ROOT])
        import hello_capi_single
        rehook.reload()
        hashed = [rehook.status().counters["hashed"]]
        os.utime(f"{ROOT}/core.cpp")
        stamp = os.stat(f"{ROOT}/core.cpp").st_ctime_ns
        while time.time_ns() < stamp + 50_000_000:  # until no second write can hide in the stamp
            pass
        for _ in range(3):
            rehook.reload()
            hashed.append(rehook.status().counters["hashed"])
        print(json.dumps([one - hashed[0] for one in hashed]))
        """
    ).json
    assert result == [0, 1, 1, 1]


@pytest.mark.parametrize("build_type", ["Release", "Debug"])  # Debug is -g: the object file differs
def test_a_comment_is_compiled_but_not_reloaded(built, build_type):
    project = built("hello_capi_single", env={"REHOOK_BUILD_TYPE": build_type})
    edit = "edit('core.cpp', 'int g_calls = 0;', '// How often?\\n// So often.\\nint g_calls = 0;')"
    result = project.run(SCRIPT, edit, *WAYS.values()).json
    assert result["calls"] == 2
    assert result["same"]
    assert result["counters"]["built"] == 1
    assert result["counters"]["reloaded"] == 0
    assert result["generations"] == 1
    assert project.compiles() == ["core.cpp"]
    # And the next process agrees.
    result = project.run(SCRIPT, "pass", *WAYS.values()).json
    assert result["counters"]["built"] == 0
    assert project.compiles() == ["core.cpp"]


def test_the_report_of_a_comment(built):
    project = built("hello_capi_single")
    result = project.run(
        """
        import rehook
        rehook.install(projects=[ROOT])
        import hello_capi_single
        edit("core.cpp", "int g_calls = 0;", "int g_calls = 0;  // so far")
        report = rehook.reload()
        print(json.dumps([report, str(report), rehook.modified()]))
        """
    ).json
    report, text, modified = result
    assert report["modules"] == []
    assert report["unchanged"] == ["hello_capi_single._core"]
    assert report["built"] == 1
    assert text.startswith("nothing changed")
    assert modified == []


@pytest.mark.parametrize("fixture", ["hello_capi_multi", "demo"])
def test_a_fresh_process_only_looks(built, fixture):
    """No child process, one stat per input, nothing hashed, no build folder touched."""
    name = "pondlife" if fixture == "demo" else fixture
    project = built(fixture, env={"REHOOK_BUILD_TYPE": "Debug"})
    script = """
        import rehook
        rehook.install(projects=[ROOT])
        import importlib
        pkg = importlib.import_module(sys.argv[1])
        counters = dict(rehook.status().counters)
        import resource
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        print(json.dumps({
            "counters": counters,
            "inputs": rehook.explain(f"{sys.argv[1]}._core").inputs,
            "page faults of children": children.ru_minflt,
        }))
        """
    project.run(script, name)  # the copy has new inodes: hashed once, then known
    project.forget()
    result = project.run(script, name).json
    counters = result["counters"]
    assert (counters["built"], counters["reused"], counters["configured"]) == (0, 0, 0)
    assert counters["skipped"] == 1
    assert counters["hashed"] == 0
    # Inputs are files, folders and values (flags, the interpreter); only values need no stat.
    values = result["inputs"] - counters["stats"]
    assert counters["stats"] > 0
    assert 0 < values < 40
    assert result["page faults of children"] == 0
    assert {step["step"] for step in project.trace()} == {"decide"}


def test_one_more_header_is_one_more_stat(built):
    project = built("hello_capi_single")
    script = """
        import rehook
        rehook.install(projects=[ROOT])
        import hello_capi_single
        print(json.dumps([rehook.status().counters["stats"],
                          rehook.explain("hello_capi_single._core").inputs]))
        """
    before = project.run(script).json
    project.write("more.hpp", "#pragma once\n")
    project.edit("core.cpp", "#include <Python.h>", '#include <Python.h>\n#include "more.hpp"')
    project.run(script)
    after = project.run(script).json
    assert after[1] == before[1] + 1
    assert after[0] == before[0] + 1


def test_one_decision_per_import_of_a_package(tmp_path):
    """Not one per module: two extensions, a nested package, and submodules that are not ours."""
    project = Project.of_files(
        tmp_path,
        "two",
        {
            "CMakeLists.txt": cmake_lists(
                "two",
                """
                python_add_library(first WITH_SOABI first.c)
                python_add_library(second WITH_SOABI second.c)
                install(TARGETS first DESTINATION two)
                install(TARGETS second DESTINATION two/sub)
                """,
            ),
            "first.c": c_module("first", {"one": "1"}),
            "second.c": c_module("second", {"two": "2"}),
            "two/__init__.py": "from . import plain, first, sub",
            "two/plain.py": "import json, decimal",
            "two/sub/__init__.py": "from . import second",
        },
    )
    script = """
        import rehook
        rehook.install(projects=[ROOT])
        import two
        counters = rehook.status().counters
        print(json.dumps([two.first.one(), two.sub.second.two(), counters["skipped"]]))
        """
    assert project.run(script).json == [1, 2, 0]
    assert project.builds() == 1
    project.forget()
    assert project.run(script).json == [1, 2, 1]
    assert len(project.trace("decide")) == 1


def test_nothing_is_decided_for_other_imports(built):
    project = built("hello_capi_single")
    result = project.run(
        """
        import rehook
        rehook.install(projects=[ROOT])
        import decimal, email.message, sqlite3
        try:
            import there_is_no_such_module
        except ModuleNotFoundError as error:
            print(json.dumps([error.name, rehook.status().counters["stats"]]))
        """
    ).json
    assert result == ["there_is_no_such_module", 0]
    assert project.trace() == []


def test_force_rebuild_builds_once(built):
    project = built("hello_capi_single")
    result = project.run(
        """
        import importlib
        import rehook
        rehook.install(projects=[ROOT], force_rebuild=True)
        import hello_capi_single as pkg
        pkg.greet()
        importlib.reload(pkg)
        rehook.reload()
        print(json.dumps([rehook.status().counters["built"], pkg.calls()]))
        """
    ).json
    assert result == [1, 1]
