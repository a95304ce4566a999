"""Wrong input of every kind: an error that names it and says what to do, and nothing breaks."""

import shutil

import pytest

from support.project import Project
from support.sources import c_module, cmake_lists

pytestmark = pytest.mark.compile

# Prints what importing argv[1] raises, or None.
IMPORT = """
import importlib
import rehook
def failure(action):
    try:
        action()
    except ImportError as error:
        return {"type": type(error).__name__, "text": str(error),
                "message": getattr(error, "message", ""), "hint": getattr(error, "hint", "")}
def install_and_import():
    rehook.install(projects=[ROOT])
    importlib.import_module(sys.argv[1])
print(json.dumps(failure(install_and_import)))
"""


@pytest.fixture
def path_with(tmp_path):
    """Return a function that gives a PATH on which only these programs are."""

    def make(*names):
        folder = tmp_path / "bin"
        folder.mkdir()
        for name in names:
            (folder / name).symlink_to(shutil.which(name))
        return str(folder)

    return make


# ------------------------------------------------------------ missing tools


def test_no_cmake(project, path_with):
    hello = project("hello_capi_multi")
    env = {"PATH": path_with("ninja", "cc", "gcc", "as", "ld", "sh")}
    error = hello.run(IMPORT, "hello_capi_multi", env=env).json
    assert error["type"] == "BuildError"
    assert "cmake" in error["message"]
    assert "apt-get install cmake" in error["hint"]
    # With cmake back, it works, in spite of the failure on record.
    assert hello.run(IMPORT, "hello_capi_multi").json is None


def test_no_build_tool(project, path_with):
    env = {"PATH": path_with("cmake", "cc", "gcc", "as", "ld", "sh")}
    error = project("hello_capi_multi").run(IMPORT, "hello_capi_multi", env=env).json
    assert error["type"] == "BuildError"
    assert "ninja" in error["message"]
    assert "apt-get install ninja-build" in error["hint"]


def test_no_compiler(project, path_with):
    env = {"PATH": path_with("cmake", "ninja", "sh"), "CC": None, "CXX": None}
    error = project("hello_capi_single").run(IMPORT, "hello_capi_single", env=env).json
    assert error["type"] == "BuildError"
    assert "compiler" in error["message"]
    assert "apt-get install g++" in error["hint"]


def test_a_compiler_that_is_nonsense(project):
    hello = project("hello_capi_single")
    env = {"CXX": "/nowhere/c++"}
    error = hello.run(IMPORT, "hello_capi_single", env=env).json
    assert error["type"] == "BuildError"
    assert "/nowhere/c++" in error["text"]
    assert "CXX" in error["hint"]
    assert hello.run(IMPORT, "hello_capi_single").json is None


def test_a_tool_disappears_later(built, path_with):
    """The built module keeps importing without any tool; an edit names what is missing."""
    hello = built("hello_capi_multi")
    env = {"PATH": path_with("sh")}
    assert hello.run(IMPORT, "hello_capi_multi", env=env).json is None
    result = hello.run(
        IMPORT
        + """
pkg = sys.modules["hello_capi_multi"]
edit("core.c", "many phases", "elsewhere")
print(json.dumps([failure(rehook.reload), pkg.greet()]))
""",
        "hello_capi_multi",
        env=env,
    ).json
    assert "ninja" in result[0]["message"]
    assert "install" in result[0]["hint"]
    assert result[1] == "hello from many phases"


# ------------------------------------------------------------ projects that make no such module


def test_no_cmake_lists(tmp_path):
    project = Project.of_files(tmp_path, "bare", {"bare/__init__.py": "from . import _core"})
    error = project.run(IMPORT, "bare").json
    assert error["type"] in {"ConfigError", "BuildError"}
    assert "CMakeLists.txt" in error["text"]
    assert str(project.root) in error["text"]


def test_no_project_folder_at_all(tmp_path):
    project = Project.of_files(tmp_path, "bare", {"bare/__init__.py": ""})
    result = project.run(
        """
        import rehook
        try:
            rehook.install(projects=[ROOT + "/missing"])
            import decimal  # others' imports go on
            print(json.dumps("installed"))
        except rehook.ConfigError as error:
            print(json.dumps(str(error)))
        """
    ).json
    assert result == "installed" or "missing" in result


def test_no_extension_target(project):
    error = project("no_target").run(IMPORT, "no_target").json
    assert error["type"] == "BuildError"
    assert "CMakeLists.txt" in error["text"]
    assert "no_target" in error["text"]
    assert error["hint"]


def test_a_target_of_another_name(tmp_path):
    """The package wants _core, the project makes _other: a plain import error, as in Python."""
    project = Project.of_files(
        tmp_path,
        "box",
        {
            "CMakeLists.txt": cmake_lists("box", "python_add_library(_other WITH_SOABI core.c)"),
            "core.c": c_module("_other", {}),
            "box/__init__.py": "from . import _core",
        },
    )
    error = project.run(IMPORT, "box").json
    assert error is not None
    assert "_core" in error["text"]


def test_two_targets_match(project):
    two = project("two_match")
    error = two.run(IMPORT, "two_match").json
    assert error["type"] in {"BuildError", "ConfigError"}
    assert "plain" in error["text"]
    assert "tuned" in error["text"]
    assert "targets" in error["text"]
    for target in ("plain", "tuned"):
        result = two.run(
            """
            import rehook
            rehook.install(projects=[ROOT], settings={"targets": [sys.argv[1]]})
            import two_match
            print(json.dumps(two_match.VARIANT))
            """,
            target,
        )
        assert result.json == target


def test_a_target_that_does_not_exist(built):
    project = built("hello_capi_multi")
    result = project.run(
        """
        import rehook
        rehook.install(projects=[ROOT], settings={"targets": ["no_such_target"]})
        try:
            import hello_capi_multi
        except ImportError as error:
            print(json.dumps([type(error).__name__, str(error)]))
        """
    ).json
    assert result[0] in {"BuildError", "ConfigError"}
    assert "no_such_target" in result[1]
    assert "_core" in result[1]  # what there is instead


def test_the_init_function_has_another_name(project):
    error = project("wrong_init").run(IMPORT, "wrong_init").json
    assert "PyInit__core" in error["text"]
    assert "PyInit__cora" in error["text"]


def test_the_init_function_loses_its_name(built):
    project = built("hello_capi_multi")
    result = project.run(
        IMPORT
        + """
pkg = sys.modules["hello_capi_multi"]
edit("core.c", "PyInit__core(", "PyInit__cora(")
error = failure(rehook.reload)
print(json.dumps([error, pkg.greet()]))
""",
        "hello_capi_multi",
    ).json
    error, said = result
    assert error["type"] == "ReloadError"
    assert "PyInit__core" in error["text"]
    assert "PyInit__cora" in error["text"]
    assert said == "hello from many phases"


# ------------------------------------------------------------ things that disappear


def test_a_source_is_deleted(built):
    project = built("hello_capi_multi")
    result = project.run(
        IMPORT
        + """
pkg = sys.modules["hello_capi_multi"]
text = Path(ROOT, "core.c").read_text()
Path(ROOT, "core.c").unlink()
error = failure(rehook.reload)
said = pkg.greet()
write("core.c", text.replace("many phases", "the dead"))
rehook.reload()
print(json.dumps([error, said, pkg.greet(), rehook.errors()]))
""",
        "hello_capi_multi",
    ).json
    error, said, after, errors = result
    assert error["type"] == "BuildError"
    assert "core.c" in error["message"]
    assert said == "hello from many phases"
    assert after == "hello from the dead"
    assert errors == []


def test_a_source_is_deleted_and_restored(built):
    """Nothing is compiled for it: what was built is in the store."""
    project = built("hello_capi_multi")
    result = project.run(
        IMPORT
        + """
pkg = sys.modules["hello_capi_multi"]
pkg.greet()
os.rename(f"{ROOT}/core.c", f"{ROOT}/core.away")
error = failure(rehook.reload)
os.rename(f"{ROOT}/core.away", f"{ROOT}/core.c")
report = rehook.reload()
print(json.dumps([error["type"], report, pkg.calls(), rehook.errors()]))
""",
        "hello_capi_multi",
    ).json
    kind, report, calls, errors = result
    assert kind == "BuildError"
    assert (report["stale"], report["modules"]) == ([], [])
    assert calls == 1
    assert errors == []
    assert project.compiles() == []


def test_a_folder_in_place_of_a_source(built):
    """What cannot be read is not unchanged."""
    project = built("hello_capi_multi")
    result = project.run(
        IMPORT
        + """
pkg = sys.modules["hello_capi_multi"]
os.rename(f"{ROOT}/core.c", f"{ROOT}/core.away")
os.mkdir(f"{ROOT}/core.c")
error = failure(rehook.reload)
said = pkg.greet()
os.rmdir(f"{ROOT}/core.c")
os.rename(f"{ROOT}/core.away", f"{ROOT}/core.c")
edit("core.c", "many phases", "a file")
rehook.reload()
print(json.dumps([error, said, pkg.greet()]))
""",
        "hello_capi_multi",
    ).json
    error, said, after = result
    assert error["type"] == "BuildError"
    assert "core.c" in error["text"]
    assert said == "hello from many phases"
    assert after == "hello from a file"


@pytest.mark.parametrize("how", ["deleted", "renamed", "emptied", "without its cache"])
def test_the_build_folder_is(built, how):
    project = built("hello_capi_multi")
    result = project.run(
        IMPORT
        + """
import shutil
pkg = sys.modules["hello_capi_multi"]
(one,) = rehook.status().projects
folder = Path(one["build_dir"])
assert folder.is_dir(), folder
how = sys.argv[2]
if how == "deleted":
    shutil.rmtree(folder)
elif how == "renamed":
    folder.rename(folder.with_name("elsewhere"))
elif how == "emptied":
    shutil.rmtree(folder)
    folder.mkdir()
else:
    (folder / "CMakeCache.txt").unlink()
untouched = rehook.reload().modules
edit("core.c", "many phases", "a new folder")
rehook.reload()
print(json.dumps([untouched, pkg.greet()]))
""",
        "hello_capi_multi",
        how,
    ).json
    assert result == [[], "hello from a new folder"]


def test_the_whole_project_is_gone(built):
    project = built("hello_capi_multi")
    result = project.run(
        IMPORT
        + """
pkg = sys.modules["hello_capi_multi"]
os.rename(ROOT, ROOT + ".away")
error = failure(rehook.reload)
said = pkg.greet()
os.rename(ROOT + ".away", ROOT)
report = rehook.reload()
print(json.dumps([error, said, report]))
""",
        "hello_capi_multi",
    ).json
    error, said, report = result
    assert error is not None
    assert str(project.root) in error["text"]
    assert said == "hello from many phases"
    assert report["stale"] == []


# ------------------------------------------------------------ wrong arguments


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("'hello_capi_mult'", ["hello_capi_mult", "not imported"]),
        ("'sys'", ["sys", "no Python module with a source file", "does not belong"]),
        ("sys", ["sys", "no Python module with a source file", "does not belong"]),
        ("'hello_capi_multi.nothing'", ["hello_capi_multi.nothing", "not imported"]),
        ("'excluded'", ["excluded", "exclude"]),
        ("3", ["int"]),
        ("''", ["empty"]),
        ("None", ["NoneType"]),
    ],
)
def test_reload_of(built, what, words):
    project = built("hello_capi_multi")
    result = project.run(
        """
        import json, rehook
        Path(ROOT, "excluded.py").write_text("")
        sys.path.insert(0, ROOT)
        rehook.install(projects=[ROOT], settings={"exclude": ["excluded"]})
        import hello_capi_multi, excluded
        try:
            rehook.reload(eval(sys.argv[1]))
        except rehook.ConfigError as error:
            print(json.dumps(str(error)))
        """,
        what,
    ).json
    for word in words:
        assert word in result
    assert "hint:" in result or what == "''"


def test_an_excluded_module_stays(built):
    """`exclude` keeps a module out of everything, also of reload() without names."""
    project = built("hello_capi_multi")
    result = project.run(
        """
        import importlib
        import rehook
        rehook.install(projects=[ROOT])
        import hello_capi_multi as pkg
        rehook.uninstall()
        rehook.install(projects=[ROOT], settings={"exclude": ["hello_capi_multi._core"]})
        edit("core.c", "many phases", "elsewhere")
        rehook.reload()
        importlib.reload(pkg)
        print(json.dumps([pkg.greet(), rehook.modified()]))
        """
    ).json
    assert result == ["hello from many phases", []]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("settings={'build_type': 'Debug'}", ["build_type", "did you mean", "build-type"]),
        ("settings={'cmake-arg': ['-G']}", ["cmake-arg", "did you mean", "cmake-args"]),
        ("settings={'instances': 'maybe'}", ["instances", "adopt", "maybe"]),
        ("settings={'lock-timeout': 'soon'}", ["lock-timeout", "soon"]),
        ("settings={'store-size': '2 elephants'}", ["store-size", "2 elephants"]),
        ("settings=['build-type']", ["settings", "list"]),
        ("projects='/tmp'", ["projects", "['/tmp']"]),
        ("projects=[7]", ["projects", "int"]),
        ("store_dir='/proc/rehook'", ["/proc/rehook"]),
        ("lock_timeout=-1", ["lock-timeout", "-1"]),
    ],
)
def test_install_with(built, arguments, words):
    project = built("hello_capi_multi")
    result = project.run(
        """
        import rehook
        before = list(sys.meta_path)
        try:
            eval(f"rehook.install({sys.argv[1]})")
        except rehook.RehookError as error:
            print(json.dumps([str(error), sys.meta_path == before, rehook.is_installed()]))
        """,
        arguments,
    ).json
    text, same, installed = result
    for word in words:
        assert word in text
    assert same
    assert not installed


@pytest.mark.parametrize(
    ("env", "words"),
    [
        ({"REHOOK_BUILD_TIPE": "x"}, ["REHOOK_BUILD_TIPE", "did you mean", "REHOOK_BUILD_TYPE"]),
        ({"REHOOK_LOCK_TIMEOUT": "soon"}, ["REHOOK_LOCK_TIMEOUT", "soon"]),
        ({"REHOOK_LOG": "loud"}, ["REHOOK_LOG", "loud", "debug"]),
    ],
)
def test_a_wrong_variable(built, env, words):
    project = built("hello_capi_multi")
    error = project.run(
        """
        import rehook
        try:
            rehook.install(projects=[ROOT])
        except rehook.ConfigError as error:
            print(json.dumps(str(error)))
        """,
        env=env,
    ).json
    for word in words:
        assert word in error


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ('\n[tool.rehook]\nbuild-tipe = "x"\n', 3, ["build-tipe", "did you mean", "build-type"]),
        ('\n[tool.rehook]\ntargets = "one"\n', 3, ["targets"]),
        ("\n[tool.rehook\n", 2, ["TOML"]),
    ],
)
def test_a_wrong_project_file(tmp_path, text, line, words):
    """A mistake in the project's pyproject.toml is found at the import; file and line are named."""
    project = Project.of_files(
        tmp_path,
        "box",
        {
            "CMakeLists.txt": cmake_lists("box", "python_add_library(_core WITH_SOABI core.c)"),
            "core.c": c_module("_core", {}),
            "box/__init__.py": "from . import _core",
            "pyproject.toml": '[project]\nname = "box"\nversion = "1"\n',
        },
    )
    offset = project.read("pyproject.toml").count("\n")
    project.write("pyproject.toml", project.read("pyproject.toml") + text)
    error = project.run(IMPORT, "box").json
    assert error["type"] == "ConfigError"
    assert f"{project.path('pyproject.toml')}:{offset + line}" in error["text"]
    for word in words:
        assert word in error["text"]


def test_install_twice(built):
    project = built("hello_capi_multi")
    result = project.run(
        """
        import rehook
        rehook.install(projects=[ROOT])
        finders = list(sys.meta_path)
        rehook.install(projects=[ROOT])  # the same: nothing happens
        same = finders == sys.meta_path
        try:
            rehook.install(projects=[ROOT], force_rebuild=True)
        except rehook.ConfigError as error:
            message = str(error)
        import hello_capi_multi  # the first one is still there
        rehook.uninstall()
        rehook.install(projects=[ROOT], force_rebuild=True)
        rehook.uninstall()
        rehook.uninstall()
        print(json.dumps([same, message, rehook.is_installed()]))
        """
    ).json
    same, message, installed = result
    assert same
    assert "already installed" in message
    assert "force_rebuild" in message
    assert "uninstall" in message
    assert not installed


@pytest.mark.parametrize(
    "call",
    [
        "reload()",
        "modified()",
        "status()",
        "explain('x')",
        "errors()",
        "retry()",
        "generations()",
    ],
)
def test_without_install(built, call):
    project = built("hello_capi_multi")
    result = project.run(
        """
        import rehook
        try:
            eval(f"rehook.{sys.argv[1]}")
        except rehook.ConfigError as error:
            print(json.dumps(str(error)))
        """,
        call,
    ).json
    assert "not installed" in result
    assert "rehook.install()" in result


# ------------------------------------------------------------ damaged files of rehook's own

OF_THE_STORE = {
    "state": "projects/*/*/state",
    "records": "projects/*/*/records/*",
    "objects": "objects/**/*.so",
    "failure": "projects/*/*/failure",
    "log": "projects/*/*/log",
}


def flip(data):
    """Change one byte, in an object one that a function returns."""
    at = data.find(b"many phases")
    at = len(data) // 2 if at < 0 else at
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


DAMAGES = {
    "emptied": lambda _: b"",
    "cut in half": lambda data: data[: len(data) // 2],
    "one byte flipped": flip,
    "garbage": lambda _: bytes(range(256)) * 64,
    "deleted": None,
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("what", ["state", "objects", "state and records", "everything"])
def test_damage_is_repaired(built, what, damage):
    """Rebuilt or found again, never wrong, never a crash."""
    project = built("hello_capi_multi")
    kinds = list(OF_THE_STORE) if what == "everything" else what.split(" and ")
    found = [file for kind in kinds for file in project.store.glob(OF_THE_STORE[kind])]
    assert found
    for file in found:
        content = DAMAGES[damage] and DAMAGES[damage](file.read_bytes())
        file.unlink()
        if content is not None:
            file.write_bytes(content)
    script = """
        import rehook
        rehook.install(projects=[ROOT])
        import hello_capi_multi as pkg
        said = [pkg.greet()]
        edit("core.c", "many phases", "the ruins")
        rehook.reload()
        print(json.dumps([*said, pkg.greet()]))
        """
    assert project.run(script).json == ["hello from many phases", "hello from the ruins"]
    project.edit("core.c", "the ruins", "many phases")
    assert project.run(script).json == ["hello from many phases", "hello from the ruins"]


def test_what_is_known_cannot_be_saved(built):
    """As on a full disk: the next process has to look again, nothing worse."""
    project = built("hello_capi_multi")
    (state,) = project.store.glob(OF_THE_STORE["state"])
    state.unlink()
    state.mkdir()
    result = project.run(
        """
        import rehook
        rehook.install(projects=[ROOT])
        import hello_capi_multi as pkg
        said = [pkg.greet()]
        edit("core.c", "many phases", "a full disk")
        rehook.reload()
        print(json.dumps([*said, pkg.greet()]))
        """
    ).json
    assert result == ["hello from many phases", "hello from a full disk"]


def test_the_store_is_deleted_meanwhile(built):
    project = built("hello_capi_multi")
    result = project.run(
        """
        import shutil
        import rehook
        rehook.install(projects=[ROOT])
        import hello_capi_multi as pkg
        shutil.rmtree(os.environ["REHOOK_STORE_DIR"])
        said = pkg.greet()
        edit("core.c", "many phases", "nothing")
        rehook.reload()
        print(json.dumps([said, pkg.greet()]))
        """
    ).json
    assert result == ["hello from many phases", "hello from nothing"]


def test_a_store_that_is_a_file(built):
    project = built("hello_capi_multi")
    place = project.home / "file"
    place.write_text("")
    result = project.run(
        """
        import rehook
        try:
            rehook.install(projects=[ROOT], store_dir=sys.argv[1])
        except rehook.StoreError as error:
            print(json.dumps(str(error)))
        """,
        str(place),
    ).json
    assert str(place) in result


def test_a_store_that_others_may_write_to(built):
    project = built("hello_capi_multi")
    place = project.home / "shared"
    place.mkdir()
    place.chmod(0o777)
    result = project.run(
        """
        import rehook
        try:
            rehook.install(projects=[ROOT], store_dir=sys.argv[1])
            import hello_capi_multi
            print(json.dumps(oct(os.stat(sys.argv[1]).st_mode)[-3:]))
        except rehook.StoreError as error:
            print(json.dumps(str(error)))
        """,
        str(place),
    ).json
    assert result == "700" or str(place) in result


def test_the_store_is_private(built):
    store = built("hello_capi_multi").store
    files = [store, *store.glob("*"), *store.glob("objects/**/*")]
    assert {file.stat().st_mode & 0o022 for file in files} == {0}
    assert oct(store.stat().st_mode)[-3:] == "700"
