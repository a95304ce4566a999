"""A project is built only after the user's own call named, installed or allowed it."""

import json
import os
import subprocess
import sys

import pytest

from support.project import Project
from support.sources import c_module, cmake_lists

pytestmark = pytest.mark.compile

# Configuring it, or describing it with its own code, leaves a file.
SPRING = """
file(WRITE "${CMAKE_CURRENT_SOURCE_DIR}/sprung" "configured")
"""
BOX = {
    "CMakeLists.txt": cmake_lists(
        "box", f"python_add_library(_core MODULE WITH_SOABI core.c)\n{SPRING}"
    ),
    "core.c": c_module("_core", {"value": "1"}),
    "box/__init__.py": "VALUE = 7\n",
    "setup.py": "open(__file__ + '.sprung', 'w').close()\n",
}

IMPORT = """
import rehook
rehook.install()
import box
try:
    from box import _core
    print(json.dumps(_core.value()))
except ImportError as error:
    print(json.dumps([type(error).__name__, str(error), box.VALUE]))
"""


@pytest.fixture
def box(tmp_path):
    return Project.of_files(tmp_path, "box", BOX)


def sprung(project):
    return [one.name for one in project.root.rglob("*sprung*")]


def run_there(project, source, *, env=None, flags=()):
    """Run Python in the project's folder, as a user who went there and typed it."""
    environment = project.environment(path=[], env=env)
    return subprocess.run(
        [sys.executable, *flags, "-c", source],
        cwd=project.root,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def command(project, *arguments, folder=None, env=None):
    return subprocess.run(
        [sys.executable, "-m", "rehook", *arguments],
        cwd=folder or project.home,
        env=project.environment(path=[], env=env),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


# ------------------------------------------------------------ an import is no permission


def test_an_import_in_a_strangers_folder_builds_nothing(box):
    """The Python package works; its extension is an ImportError that says what to type."""
    done = run_there(box, "import json\n" + IMPORT)
    assert done.returncode == 0, done.stderr
    kind, message, value = json.loads(done.stdout)
    assert kind == "ConfigError"
    assert "box._core" in message
    assert f"rehook allow '{box.root}'" in message
    assert value == 7
    # One line says that the package is not kept up to date, and only one.
    (line,) = [one for one in done.stderr.splitlines() if "rehook" in one]
    assert "have not allowed" in line
    assert f"rehook allow '{box.root}'" in line
    assert sprung(box) == []
    assert box.trace() == []
    assert not list((box.store / "projects").iterdir())


@pytest.mark.parametrize(
    "ask", ["rehook.reload()", "rehook.reload(box)", "rehook.modified()", "rehook.status()"]
)
def test_nothing_else_builds_it_either(box, ask):
    done = run_there(
        box, f"import rehook\nrehook.install(show_warnings=False)\nimport box\n{ask}\n"
    )
    assert done.returncode == 0, done.stderr
    assert "rehook" not in done.stderr
    assert sprung(box) == []


def test_asked_by_name_it_says_why(box):
    source = "import rehook\nrehook.install()\nimport box\nrehook.explain(box)\n"
    done = run_there(box, source)
    assert done.returncode == 1
    assert "have not allowed" in done.stderr.splitlines()[-2]
    assert "rehook allow" in done.stderr.splitlines()[-1]
    assert sprung(box) == []


def test_what_was_built_by_hand_is_imported_as_it_is(box):
    """Other finders find it: then it is theirs, and a line says that rehook does not keep it."""
    (box.root / "box" / "_core.py").write_text("def value(): return 'by hand'\n")
    done = run_there(box, "import json\n" + IMPORT)
    assert json.loads(done.stdout) == "by hand"
    assert "not kept up to date" in done.stderr
    assert sprung(box) == []


def test_a_package_without_extensions_is_not_worth_a_word(tmp_path):
    files = {
        "CMakeLists.txt": f"cmake_minimum_required(VERSION 3.18)\nproject(tool NONE)\n{SPRING}",
        "box/__init__.py": "VALUE = 7\n",
    }
    box = Project.of_files(tmp_path, "box", files)
    done = run_there(box, "import rehook\nrehook.install()\nimport box\nprint(box.VALUE)")
    assert (done.stdout, done.stderr) == ("7\n", "")
    assert sprung(box) == []


@pytest.mark.parametrize("key", ["projects", "store-dir"])
def test_its_own_settings_do_not_allow_it(box, key):
    """Nor may they lead to a store that came with the folder."""
    (box.root / "trap").mkdir(mode=0o700)
    value = '["."]' if key == "projects" else '"trap"'
    (box.root / "pyproject.toml").write_text(f"[tool.rehook]\n{key} = {value}\n")
    env = {"REHOOK_STORE_DIR": None, "XDG_CACHE_HOME": str(box.home / "cache")}
    done = run_there(box, "import json\n" + IMPORT, env=env)
    assert json.loads(done.stdout)[0] == "ConfigError"
    assert f"{key} in [tool.rehook] left aside" in done.stderr
    assert sprung(box) == []
    assert not list((box.root / "trap").iterdir())


def test_a_folder_that_is_called_as_if_it_were_an_installation(box):
    """site-packages with an editable install in it, in the folder where Python is started."""
    site = box.home / "site-packages"
    info = site / "box-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: box\nVersion: 1.0\n")
    url = {"dir_info": {"editable": True}, "url": f"file://{box.root}"}
    (info / "direct_url.json").write_text(json.dumps(url))
    done = subprocess.run(
        [sys.executable, "-c", "import rehook\nrehook.install()\nimport box"],
        cwd=site,
        env=box.environment(path=[]),
        capture_output=True,
        text=True,
        check=False,
    )
    assert "No module named 'box'" in done.stderr
    assert sprung(box) == []


# ------------------------------------------------------------ what is one


@pytest.mark.parametrize("way", ["argument", "environment", "allow", "allow above", "for now"])
def test_what_the_user_says_counts(box, way):
    env = {}
    source = "import json\n" + IMPORT
    if way == "argument":
        source = source.replace("install()", f"install(projects=[{str(box.root)!r}])")
    elif way == "environment":
        env["REHOOK_PROJECTS"] = str(box.root)
    elif way == "allow":
        assert command(box, "allow", "box").returncode == 0
    elif way == "allow above":
        assert command(box, "allow", ".").returncode == 0
    elif way == "for now":
        box.write("script.py", source)
        done = command(box, "run", "box/script.py")
        assert json.loads(done.stdout) == 1, done.stderr
        assert sprung(box)
        return
    done = run_there(box, source, env=env)
    assert json.loads(done.stdout) == 1, done.stderr
    assert "rehook" not in done.stderr


def test_the_command_line_builds_what_it_is_asked_to(box):
    for arguments in (["status"], ["explain", "box._core"], ["errors"]):
        command(box, *arguments, folder=box.root)
        assert "sprung" not in sprung(box), arguments
    assert command(box, "build", folder=box.root).returncode == 0
    assert "sprung" in sprung(box)
    # Building it once is no permission for later imports.
    (box.root / "sprung").unlink()
    box.write("core.c", c_module("_core", {"value": "2"}))
    done = run_there(box, "import json\n" + IMPORT)
    assert json.loads(done.stdout)[0] == "ConfigError"
    assert sprung(box) == []


def test_a_trusted_folder_may_name_others(box):
    """Its own code runs anyway."""
    (box.home / "pyproject.toml").write_text('[tool.rehook]\nprojects = ["box"]\n')
    script = "import json\n" + IMPORT
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=box.home,
        env=box.environment(path=[]),
        capture_output=True,
        text=True,
        check=False,
    )
    assert sprung(box) == []
    assert "projects in [tool.rehook] left aside" in done.stderr
    assert command(box, "allow", ".").returncode == 0
    assert box.run(IMPORT, path=[]).json == 1


# ------------------------------------------------------------ sys.path

PUT_THERE = {
    "PYTHONPATH": "",
    "append": "sys.path.append(ROOT)",
    "insert": "sys.path.insert(0, ROOT)",
}


def run_elsewhere(box, before, *, path=(), env=None, flags=("-c",), folder=None):
    """Run IMPORT from a folder that is no project, after what the program does to sys.path."""
    source = f"import json, os, sys\nROOT = {str(box.root)!r}\n{before}\n{IMPORT}"
    (box.home / "elsewhere").mkdir(exist_ok=True)
    return subprocess.run(
        [sys.executable, *flags, source],
        cwd=folder or box.home / "elsewhere",
        env=box.environment(path=list(path), env=env),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize("way", PUT_THERE)
def test_an_entry_that_was_put_on_sys_path_names_the_project(box, way):
    done = run_elsewhere(box, PUT_THERE[way], path=[box.root] if way == "PYTHONPATH" else [])
    assert json.loads(done.stdout) == 1, done.stderr
    assert "rehook" not in done.stderr


def test_an_entry_below_the_project_names_it(tmp_path):
    files = {f"src/{k}" if k.startswith("box/") else k: v for k, v in BOX.items()}
    box = Project.of_files(tmp_path, "box", files)
    done = run_elsewhere(box, "sys.path.append(ROOT + '/src')")
    assert json.loads(done.stdout) == 1, done.stderr


STARTED_THERE = {
    "chdir": "os.chdir(ROOT)\nsys.path.insert(0, '')",
    "relative entry": "os.chdir(os.path.dirname(ROOT))\nsys.path.append('box')",
    "first, alone": "sys.path[0] = ROOT",
}


@pytest.mark.parametrize("way", STARTED_THERE)
def test_where_the_interpreter_was_started_names_nothing(box, way):
    done = run_elsewhere(box, STARTED_THERE[way])
    assert json.loads(done.stdout)[0] == "ConfigError", done.stderr
    assert sprung(box) == []


@pytest.mark.parametrize("item", [".", "", "sub/.."])
def test_a_relative_item_of_pythonpath_names_nothing(box, item):
    """It leads wherever the user happens to be."""
    (box.root / "sub").mkdir()
    path = box.environment(path=[])["PYTHONPATH"]
    env = {"PYTHONPATH": os.pathsep.join([item, path])}
    done = run_elsewhere(box, "", env=env, folder=box.root)
    assert json.loads(done.stdout)[0] == "ConfigError", done.stderr
    assert sprung(box) == []


def test_a_relative_item_of_pythonpath_below_the_current_folder_names_nothing(tmp_path):
    files = {f"src/{k}" if k.startswith("box/") else k: v for k, v in BOX.items()}
    box = Project.of_files(tmp_path, "box", files)
    path = box.environment(path=[])["PYTHONPATH"]
    env = {"PYTHONPATH": os.pathsep.join(["src", path])}
    done = run_elsewhere(box, "", env=env, folder=box.root)
    assert json.loads(done.stdout)[0] == "ConfigError", done.stderr
    assert sprung(box) == []


def test_the_folder_of_the_script_names_nothing(box):
    box.write("script.py", "import json\nimport sys\nsys.path.insert(0, '/')\n" + IMPORT)
    script = str(box.root / "script.py")
    done = subprocess.run(
        [sys.executable, script],
        cwd=box.home,
        env=box.environment(path=[]),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert json.loads(done.stdout)[0] == "ConfigError", done.stderr
    assert sprung(box) == []


@pytest.mark.parametrize("what", ["folder", "file"])
def test_a_folder_on_sys_path_that_all_may_write_to_is_nobodys(box, what):
    path = box.root if what == "folder" else box.root / "CMakeLists.txt"
    path.chmod(path.stat().st_mode | 0o002)
    done = run_elsewhere(box, "", path=[box.root])
    assert json.loads(done.stdout)[0] == "ConfigError", done.stderr
    assert sprung(box) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
@pytest.mark.parametrize("what", ["folder", "file"])
def test_a_folder_on_sys_path_of_somebody_else_is_not_the_users(box, what):
    os.chown(box.root if what == "folder" else box.root / "CMakeLists.txt", 12345, -1)
    done = run_elsewhere(box, "", path=[box.root])
    assert json.loads(done.stdout)[0] == "ConfigError", done.stderr
    assert sprung(box) == []


# ------------------------------------------------------------ rehook allow


def test_the_list(box):
    folder = str(box.root.resolve())
    assert command(box, "allow", "--list").stdout == "no folder is allowed\n"
    assert command(box, "allow").returncode == 2
    assert json.loads(command(box, "allow", "box", "--json").stdout) == [folder]
    assert json.loads(command(box, "allow", "box", "--json").stdout) == [folder]
    assert command(box, "allow", "--list").stdout == folder + "\n"
    (file,) = (box.home / "config" / "rehook").iterdir()
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700
    assert command(box, "allow", "--remove", "box").returncode == 0
    assert json.loads(command(box, "allow", "--list", "--json").stdout) == []
    done = command(box, "allow", "--remove", "box")
    assert done.returncode == 1
    assert "not on the list" in done.stderr
    assert command(box, "allow", "nowhere").returncode == 1


def test_a_folder_that_begins_with_an_allowed_name(box):
    (box.home / "bo").mkdir()
    assert command(box, "allow", "bo").returncode == 0
    assert json.loads(run_there(box, "import json\n" + IMPORT).stdout)[0] == "ConfigError"


def test_a_link_into_an_allowed_folder_is_not_below_it(box, tmp_path):
    """Where the project really is counts."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "link").symlink_to(box.root)
    assert command(box, "allow", "mine").returncode == 0
    done = subprocess.run(
        [sys.executable, "-c", "import json\n" + IMPORT],
        cwd=tmp_path / "mine" / "link",
        env=box.environment(path=[tmp_path / "mine" / "link"]),
        capture_output=True,
        text=True,
        check=False,
    )
    assert json.loads(done.stdout)[0] == "ConfigError", done.stderr
    assert sprung(box) == []


@pytest.mark.parametrize("what", ["file", "folder"])
def test_a_list_that_others_may_write_to_does_not_count(box, what):
    assert command(box, "allow", "box").returncode == 0
    path = box.home / "config" / "rehook"
    path = path / "allowed" if what == "file" else path
    path.chmod(path.stat().st_mode | 0o022)
    assert json.loads(run_there(box, "import json\n" + IMPORT).stdout)[0] == "ConfigError"
    done = command(box, "allow", "--list")
    assert done.returncode == 1
    assert "other users may write" in done.stderr
    assert "chmod go-w" in done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
def test_a_list_of_somebody_else_does_not_count(box):
    assert command(box, "allow", "box").returncode == 0
    os.chown(box.home / "config" / "rehook" / "allowed", 12345, -1)
    assert json.loads(run_there(box, "import json\n" + IMPORT).stdout)[0] == "ConfigError"
