"""Which imports are rehook's, and which are none of its business."""

import json
from urllib.parse import quote

import pytest

from support.project import Project
from support.sources import c_module, cmake_lists

pytestmark = pytest.mark.compile


def package(name, *, value=1):
    """Files of a project with the package `name` and its extension `_core`."""
    return {
        "CMakeLists.txt": cmake_lists(
            name,
            f"""
            python_add_library(_core MODULE WITH_SOABI core.c)
            install(TARGETS _core DESTINATION {name})
            """,
        ),
        "core.c": c_module("_core", {"value": str(value)}),
        f"{name}/__init__.py": "from . import _core\n",
    }


# ------------------------------------------------------------ where projects are found

PRINT_ORIGIN = """
import rehook
rehook.install()
import box
one = rehook.status().projects[0]
print(json.dumps([box._core.value(), one["source"], one["root"], box.__file__]))
"""


def test_named(tmp_path):
    """The package is not installed and not on sys.path: its Python files come from the project."""
    box = Project.of_files(tmp_path, "box", package("box"))
    script = PRINT_ORIGIN.replace("install()", "install(projects=[ROOT])")
    result = box.run(script, path=[]).json
    assert result == [1, "explicit", str(box.root), str(box.path("box/__init__.py"))]


@pytest.mark.parametrize("origin", ["setting", "pyproject.toml"])
def test_named_by(tmp_path, origin):
    box = Project.of_files(tmp_path, "box", package("box"))
    env = {}
    if origin == "setting":
        env["REHOOK_PROJECTS"] = str(box.root)
    else:
        (tmp_path / "pyproject.toml").write_text('[tool.rehook]\nprojects = ["box"]\n')
        (tmp_path / "config" / "rehook").mkdir(parents=True, mode=0o700)
        (tmp_path / "config" / "rehook" / "allowed").write_text(f"{tmp_path.resolve()}\n")
    assert box.run(PRINT_ORIGIN, path=[], env=env).json[:2] == [1, "explicit"]


def test_a_parent_of_a_sys_path_entry(tmp_path):
    files = {f"python/{k}" if k.startswith("box/") else k: v for k, v in package("box").items()}
    box = Project.of_files(tmp_path, "box", files)
    box.allow()
    assert box.run(PRINT_ORIGIN, path=[box.root / "python"]).json[:3] == [
        1,
        "sys.path",
        str(box.root),
    ]


def test_a_sys_path_entry_itself(tmp_path):
    box = Project.of_files(tmp_path, "box", package("box"))
    box.allow()
    assert box.run(PRINT_ORIGIN, path=[box.root]).json[:2] == [1, "sys.path"]


def test_an_editable_install(tmp_path):
    """pip leaves direct_url.json beside the metadata (PEP 610); spaces are %20 in it."""
    box = Project.of_files(tmp_path / "with space", "box", package("box"))
    site = tmp_path / "site-packages"
    info = site / "box-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: box\nVersion: 1.0\n")
    url = {"dir_info": {"editable": True}, "url": "file://" + quote(str(box.root))}
    (info / "direct_url.json").write_text(json.dumps(url))
    result = box.run(PRINT_ORIGIN, path=[site]).json
    assert result[:3] == [1, "editable", str(box.root)]


def test_an_install_that_is_not_editable(tmp_path):
    """Installed as a copy: what was installed is imported, the project is not touched."""
    box = Project.of_files(tmp_path, "box", package("box"))
    site = tmp_path / "site-packages"
    info = site / "box-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: box\nVersion: 1.0\n")
    url = {"dir_info": {}, "url": "file://" + quote(str(box.root))}
    (info / "direct_url.json").write_text(json.dumps(url))
    (site / "box").mkdir()
    (site / "box" / "__init__.py").write_text("installed = True\n")
    result = box.run(
        """
        import rehook
        rehook.install()
        import box
        print(json.dumps([box.installed, rehook.status().projects]))
        """,
        path=[site],
    ).json
    assert result == [True, []]
    assert box.trace() == []


def test_a_project_without_the_package(tmp_path):
    """A CMakeLists.txt above the package, but of another project: a plain Python package."""
    files = {
        "CMakeLists.txt": "cmake_minimum_required(VERSION 3.18)\nproject(tool LANGUAGES NONE)\n",
        "scripts/plain/__init__.py": "VALUE = 3\n",
    }
    box = Project.of_files(tmp_path, "box", files)
    result = box.run(
        "import rehook\nrehook.install()\nimport plain\nprint(json.dumps(plain.VALUE))",
        path=[box.root / "scripts"],
    ).json
    assert result == 3
    assert box.builds() == 0


def test_a_negative_answer_lasts_until_invalidate_caches(tmp_path):
    box = Project.of_files(tmp_path, "project", package("box"))
    box.allow()
    (tmp_path / "empty").mkdir()
    result = box.run(
        """
        import importlib
        import rehook
        rehook.install()
        for entry in (sys.argv[1], ROOT):
            sys.path.append(entry)
            importlib.invalidate_caches()
            try:
                import box
                print(json.dumps(box._core.value()))
            except ImportError:
                pass
        """,
        str(tmp_path / "empty"),
        path=[],
    ).json
    assert result == 1


# ------------------------------------------------------------ which modules of them


def test_nested_packages_and_several_extensions(built):
    """two_exts._base and two_exts.sub._fast; an edit of one reloads one."""
    project = built("two_exts", env={"REHOOK_BUILD_TYPE": "Debug"})
    result = project.run(
        """
        import rehook
        rehook.install(projects=[ROOT])
        import two_exts
        animal = two_exts.Animal("Bo")
        animals = two_exts.Animal, two_exts.describe
        edit("fast.cpp", 'animal.name() + "!"', 'animal.name() + "!!"')
        report = rehook.reload()
        print(json.dumps({
            "names": report.names,
            "unchanged": report.unchanged,
            "said": (two_exts.sub.shout(animal), two_exts.sub._fast.shout(animal)),
            "same": animals == (two_exts.Animal, two_exts.describe),
            "new": (two_exts.sub.shout(two_exts.sub.Hare("Ha")), two_exts.describe(animal)),
            "modules": [one["name"] for one in rehook.status().modules],
        }))
        """
    ).json
    assert result["names"] == ["two_exts.sub._fast"]
    assert result["unchanged"] == ["two_exts._base"]
    assert result["said"] == ["Bo!!", "Bo!!"]
    assert result["same"]
    assert result["new"] == ["Ha!!", "an animal called Bo"]
    assert sorted(result["modules"]) == ["two_exts._base", "two_exts.sub._fast"]
    assert project.compiles() == ["fast.cpp"]


def test_a_top_level_extension(built):
    project = built("top_level_ext")
    result = project.run(
        """
        import importlib
        import rehook
        rehook.install(projects=[ROOT])
        import top_level_ext
        said = [top_level_ext.greet()]
        edit("top.cpp", "from the top", "from above")
        said.append(importlib.reload(top_level_ext).greet())
        edit("top.cpp", "from above", "from heaven")
        rehook.reload("top_level_ext")
        print(json.dumps([*said, top_level_ext.greet(), sys.modules["top_level_ext"].__name__]))
        """,
        path=[],
    ).json
    assert result == [
        "hello from the top",
        "hello from above",
        "hello from heaven",
        "top_level_ext",
    ]


@pytest.mark.parametrize("build_type", ["Debug", "Release"])
def test_odd_names(project, build_type):
    """OUTPUT_NAME, DEBUG_POSTFIX, an output folder of its own, a distribution of another name."""
    odd = project("odd_names")
    # In C, which compiles faster; what is odd about the project stays.
    odd.write("engine.c", c_module("_engine", {"rev": "3000"}))
    odd.edit("CMakeLists.txt", "LANGUAGES CXX", "LANGUAGES C")
    odd.edit("CMakeLists.txt", "find_package(pybind11 CONFIG REQUIRED)\n", "")
    odd.edit("CMakeLists.txt", "pybind11_add_module", "python_add_library")
    odd.edit("CMakeLists.txt", "MODULE engine.cpp", "MODULE WITH_SOABI engine.c")
    result = odd.run(
        """
        import rehook
        rehook.install(projects=[ROOT], settings={"build-type": sys.argv[1]})
        import odd_names, odd_extras
        seen = [odd_names.rev(), odd_extras.COLOUR]
        edit("engine.c", "3000", "4000")
        rehook.reload()
        print(json.dumps([*seen, odd_names.rev(), rehook.status().modules[0]["name"]]))
        """,
        build_type,
        path=[],
    ).json
    assert result == [3000, "octarine", 4000, "odd_names._engine"]


def test_a_namespace_package(tmp_path):
    """No __init__.py above the extension's own package."""
    files = {
        "CMakeLists.txt": cmake_lists(
            "box",
            """
            python_add_library(_core MODULE WITH_SOABI core.c)
            install(TARGETS _core DESTINATION space/box)
            """,
        ),
        "core.c": c_module("_core", {"value": "1"}),
        "src/space/box/__init__.py": "from . import _core\n",
    }
    box = Project.of_files(tmp_path, "box", files)
    result = box.run(
        """
        import rehook
        rehook.install(projects=[ROOT])
        import space.box
        print(json.dumps(space.box._core.value()))
        """,
        path=[box.root / "src"],
    ).json
    assert result == 1


# ------------------------------------------------------------ before and after the hook


def test_imported_before_the_hook(built):
    """Loaded by Python itself from a build of the user's own; rehook takes over at the reload."""
    project = built("hello_capi_multi")
    (artifact,) = project.store.glob("objects/**/*.so")
    name = artifact.name.partition("-")[2]
    place = project.path(f"hello_capi_multi/{name}")
    place.write_bytes(artifact.read_bytes())
    result = project.run(
        """
        import importlib
        import hello_capi_multi as pkg
        core = pkg._core
        assert core.__file__.startswith(ROOT), core.__file__
        pkg.greet()
        import rehook
        rehook.install(projects=[ROOT])
        seen = [rehook.reload().names, pkg.calls()]
        edit("core.c", "many phases", "the other side")
        importlib.reload(pkg)
        seen += [pkg.greet(), pkg._core is core, sys.modules["hello_capi_multi._core"] is core]
        edit("core.c", "the other side", "home")
        rehook.reload()
        print(json.dumps([*seen, pkg.greet()]))
        """,
        path=[project.root],
    ).json
    assert result == [
        [],
        1,
        "hello from the other side",
        True,
        True,
        "hello from home",
    ]


def test_uninstall(built):
    """sys.meta_path is exactly as before, what is loaded works on, nothing is built any more."""
    project = built("hello_capi_multi")
    result = project.run(
        """
        import importlib
        import rehook
        before = list(sys.meta_path)
        hooks = list(sys.path_hooks)
        rehook.install(projects=[ROOT])
        installed = [one for one in sys.meta_path if one not in before]
        first = sys.meta_path[0] is installed[0]
        import hello_capi_multi as pkg
        edit("core.c", "many phases", "elsewhere")
        rehook.reload()
        rehook.uninstall()
        same = sys.meta_path == before and sys.path_hooks == hooks
        edit("core.c", "elsewhere", "nowhere")
        try:
            importlib.reload(pkg)
        except ImportError:
            pass  # without the hook there is no such extension to be found
        said = pkg.greet()
        rehook.install(projects=[ROOT])
        importlib.reload(pkg)
        print(json.dumps([len(installed), first, same, said, pkg.greet()]))
        """
    ).json
    assert result == [1, True, True, "hello from elsewhere", "hello from nowhere"]


def test_uninstall_leaves_other_finders_alone(built):
    project = built("hello_capi_multi")
    result = project.run(
        """
        import rehook
        class Finder:
            def __eq__(self, other):
                return True
            __hash__ = None
            def find_spec(self, name, path=None, target=None):
                return None
        one, two = Finder(), Finder()
        sys.meta_path.insert(0, one)
        rehook.install(projects=[ROOT])
        sys.meta_path.insert(0, two)
        rehook.uninstall()
        print(json.dumps([sys.meta_path[0] is two, sys.meta_path[1] is one, rehook.is_installed()]))
        """
    ).json
    assert result == [True, True, False]


def test_a_finder_taken_out_by_somebody_is_put_back(built):
    project = built("hello_capi_multi")
    result = project.run(
        """
        import rehook
        rehook.install(projects=[ROOT])
        del sys.meta_path[0]
        seen = [rehook.is_installed()]
        rehook.install(projects=[ROOT])
        import hello_capi_multi
        print(json.dumps([*seen, rehook.is_installed(), hello_capi_multi.greet()]))
        """
    ).json
    assert result == [False, True, "hello from many phases"]


def test_reloading_can_be_disabled(built):
    """Imports are served; importlib.reload runs only the package's body again."""
    project = built("hello_capi_multi")
    result = project.run(
        """
        import importlib
        import rehook
        rehook.install(projects=[ROOT], enable_reloading=False)
        import hello_capi_multi as pkg
        edit("core.c", "many phases", "elsewhere")
        importlib.reload(pkg)
        print(json.dumps(pkg.greet()))
        """
    ).json
    assert result == "hello from many phases"


def test_the_importer_can_be_disabled(built):
    project = built("hello_capi_multi")
    result = project.run(
        """
        import rehook
        rehook.install(projects=[ROOT], enable_project_importer=False)
        try:
            import hello_capi_multi._core
        except ImportError as error:
            print(json.dumps(type(error).__name__))
        """,
        path=[],
    ).json
    assert result == "ModuleNotFoundError"


# ------------------------------------------------------------ other imports


def test_other_imports_are_left_alone(built):
    project = built("hello_capi_multi")
    result = project.run(
        """
        import rehook
        rehook.install(projects=[ROOT])
        finder = sys.meta_path[0]
        import importlib.machinery
        answers = [finder.find_spec(name) for name in (
            "json", "os.path", "numpy", "no.such.module", "hello", "hello_capi", "", ".", "a..b")]
        answers.append(finder.find_spec("hello_capi_multi.no_such", ["/nowhere"]))
        answers.append(finder.find_spec("json", None, json))
        import resource
        used = resource.getrusage(resource.RUSAGE_CHILDREN).ru_minflt
        print(json.dumps([answers, used]))
        """
    ).json
    answers, used = result
    assert answers == [None] * len(answers)
    assert used == 0


def test_a_missing_submodule_is_a_plain_import_error(built):
    project = built("hello_capi_multi")
    result = project.run(
        """
        import rehook
        rehook.install(projects=[ROOT])
        import hello_capi_multi
        try:
            import hello_capi_multi.missing
        except ModuleNotFoundError as error:
            print(json.dumps([error.name, type(error).__name__, error.__cause__]))
        """
    ).json
    assert result == ["hello_capi_multi.missing", "ModuleNotFoundError", None]


def test_an_import_inside_of_a_failed_import(tmp_path):
    """The package catches the failure of its extension, as packages with a fallback do."""
    files = package("box")
    files["box/__init__.py"] = """
        try:
            from ._core import value
        except ImportError as error:
            value, problem = None, error
        from . import fallback
    """
    files["box/fallback.py"] = "import decimal, sqlite3\nVALUE = 'slow'\n"
    box = Project.of_files(tmp_path, "box", files)
    result = box.run(
        """
        import rehook
        rehook.install(projects=[ROOT])
        edit("core.c", "(long)(1)", "(long)(1")
        import box
        seen = [type(box.problem).__name__, box.fallback.VALUE]
        edit("core.c", "(long)(1", "(long)(1)")
        import importlib
        importlib.reload(box)
        print(json.dumps([*seen, box.value()]))
        """
    ).json
    assert result == ["BuildError", "slow", 1]


def test_two_projects(tmp_path):
    one = Project.of_files(tmp_path, "one", package("one", value=1))
    two = Project.of_files(tmp_path, "two", package("two", value=2))
    result = one.run(
        """
        import rehook
        rehook.install(projects=[ROOT, sys.argv[1]])
        import one, two
        edit("core.c", "(long)(1)", "(long)(11)")
        report = rehook.reload()
        print(json.dumps([one._core.value(), two._core.value(), report.names]))
        """,
        str(two.root),
    ).json
    assert result == [11, 2, ["one._core"]]


def test_extensions_that_import_each_other(tmp_path):
    """The second extension imports the first while it initialises, in import and reload."""
    files = {
        "CMakeLists.txt": cmake_lists(
            "pair",
            """
            foreach(name IN ITEMS first second)
              python_add_library(${name} MODULE WITH_SOABI ${name}.c)
              install(TARGETS ${name} DESTINATION pair)
            endforeach()
            """,
        ),
        "first.c": c_module("first", {"value": "1"}),
        "second.c": c_module(
            "second",
            {"value": "got"},
            head="static long got;",
            body="""
                PyObject* first = PyImport_ImportModule("pair.first");
                if (first == NULL) return -1;
                PyObject* value = PyObject_CallMethod(first, "value", NULL);
                if (value == NULL) return -1;
                got = PyLong_AsLong(value) * 10;
            """,
        ),
        "pair/__init__.py": "from . import second, first\n",
    }
    pair = Project.of_files(tmp_path, "pair", files)
    result = pair.run(
        """
        import rehook
        rehook.install(projects=[ROOT])
        import pair
        seen = [pair.first.value(), pair.second.value()]
        edit("first.c", "(long)(1)", "(long)(2)")
        edit("second.c", "* 10", "* 100")
        report = rehook.reload()
        print(json.dumps([seen, pair.first.value(), pair.second.value(), sorted(report.names)]))
        """
    ).json
    assert result == [[1, 10], 2, 200, ["pair.first", "pair.second"]]


# ------------------------------------------------------------ paths

FOLDERS = {
    "spaces": "a folder with spaces",
    "not ASCII": "größe-日本-ñ",
    "quotes": 'it\'s a "folder"',
    "shell": "$HOME & (more) #1",
    "long": "x" * 120,
}


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_folder_with(tmp_path, folder):
    box = Project.of_files(tmp_path / FOLDERS[folder], "box", package("box"))
    result = box.run(
        """
        import importlib
        import rehook
        rehook.install(projects=[ROOT])
        import box
        seen = [box._core.value()]
        edit("core.c", "(long)(1)", "(long)(2)")
        importlib.reload(box)
        seen.append(box._core.value())
        edit("core.c", "(long)(2)", "(long)(2")
        try:
            rehook.reload()
        except rehook.BuildError as error:
            seen.append(error.diagnostics[0].file == f"{ROOT}/core.c")
        print(json.dumps(seen))
        """
    ).json
    assert result == [1, 2, True]


def test_a_project_behind_a_symbolic_link(tmp_path):
    """Reached by its real path or by the link it is one project: built once."""
    box = Project.of_files(tmp_path / "real", "box", package("box"))
    link = tmp_path / "link"
    link.symlink_to(box.root)
    script = """
        import rehook
        rehook.install(projects=[sys.argv[1]])
        import box
        print(json.dumps([box._core.value(), rehook.status().counters["built"]]))
        """
    assert box.run(script, str(box.root)).json == [1, 1]
    assert box.run(script, str(link)).json[0] == 1
    box.edit("core.c", "(long)(1)", "(long)(2)")
    assert box.run(script, str(link)).json[0] == 2
    assert box.run(script, str(box.root)).json[0] == 2


def test_a_link_that_points_elsewhere_now(tmp_path):
    """`current -> v1` becomes `current -> v2`: never v1's build for v2's sources."""
    one = Project.of_files(tmp_path / "v1", "box", package("box", value=1))
    two = Project.of_files(tmp_path / "v2", "box", package("box", value=2))
    link = tmp_path / "current"
    script = """
        import rehook
        rehook.install(projects=[sys.argv[1]])
        import box
        print(json.dumps(box._core.value()))
        """
    seen = []
    for target in (one, two, one):
        link.unlink(missing_ok=True)
        link.symlink_to(target.root)
        seen.append(one.run(script, str(link)).json)
    assert seen == [1, 2, 1]


def test_a_project_that_moved(tmp_path):
    """At its new place it is built anew, or served; never does it run what others put there."""
    box = Project.of_files(tmp_path, "box", package("box"))
    script = """
        import rehook
        rehook.install(projects=[sys.argv[1]])
        import box
        print(json.dumps([box._core.value(), box.__file__]))
        """
    assert box.run(script, str(box.root)).json[0] == 1
    moved = box.root.rename(tmp_path / "elsewhere")
    Project.of_files(tmp_path, "box", package("box", value=5))
    assert box.run(script, str(moved)).json == [1, str(moved / "box/__init__.py")]
    assert box.run(script, str(box.root)).json == [5, str(box.root / "box/__init__.py")]


def test_nothing_is_written_into_the_source_tree(built):
    """Import, reload, failure, undo: the tree holds what it held, with the stamps it had."""

    def listing(root):
        return {
            str(path.relative_to(root)): (path.stat().st_mtime_ns, path.stat().st_ino)
            for path in sorted(root.rglob("*"))
            if "__pycache__" not in path.parts
        }

    project = built("hello_capi_multi")
    before = listing(project.root)
    project.run(
        """
        import rehook
        rehook.install(projects=[ROOT])
        import hello_capi_multi as pkg
        path = Path(ROOT, "core.c")
        text, stat = path.read_text(), path.stat()
        for new in (text.replace("many", "few"), text + "broken", text):
            path.write_text(new)
            try:
                rehook.reload()
            except rehook.BuildError:
                pass
        os.utime(path, ns=(stat.st_mtime_ns, stat.st_mtime_ns))
        print(json.dumps(rehook.status()))
        """,
        env={"PYTHONDONTWRITEBYTECODE": "1"},
    )
    after = listing(project.root)
    assert after == before


def test_a_folder_of_stubs_beside_the_extension(tmp_path):
    """pkg/_core/*.pyi describes pkg._core; it is no package and must not be taken for one."""
    files = package("box")
    files["box/_core/__init__.pyi"] = "def value() -> int: ..."
    files["box/_core/inner.pyi"] = ""
    box = Project.of_files(tmp_path, "box", files)
    script = """
        import rehook
        rehook.install(projects=[ROOT])
        import box._core
        print(json.dumps([box._core.value(), type(box._core.__loader__).__name__]))
    """
    for _ in range(2):  # never built, and up to date
        assert box.run(script).json == [1, "ExtensionLoader"]
