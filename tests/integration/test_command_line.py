"""The command `rehook`: run, build, status, explain, errors, doctor; their data and exit codes."""

import json
import os
import pty
import signal
import subprocess
import sys

import pytest

from support.project import Project
from support.sources import c_module, cmake_lists

pytestmark = pytest.mark.compile

BOX = {
    "CMakeLists.txt": cmake_lists("box", "python_add_library(_core MODULE WITH_SOABI core.c)"),
    "core.c": c_module("_core", {"value": "1"}),
    "box/__init__.py": "from ._core import value\n",
}


@pytest.fixture
def box(built):
    return built("box", files=BOX)


@pytest.fixture
def rehook(box):
    """Return a function that runs `python -m rehook` in the project's folder."""

    def run(*arguments, env=None, folder=None, project=box):
        return subprocess.run(
            [sys.executable, "-m", "rehook", *arguments],
            cwd=folder or project.root,
            env=project.environment(path=[], env=env),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return run


# ------------------------------------------------------------ run


def test_run_a_script(rehook, box):
    """As python would: arguments, __name__, sys.path[0], exit code."""
    box.write(
        "script.py",
        "import json, sys, box\n"
        "print(json.dumps([box.value(), sys.argv, __name__, sys.path[0]]))\n"
        "sys.exit(7)\n",
    )
    done = rehook("run", "script.py", "--flag", "-x", "--json")
    assert done.returncode == 7, done.stderr
    assert json.loads(done.stdout) == [
        1,
        ["script.py", "--flag", "-x", "--json"],
        "__main__",
        str(box.root),
    ]


def test_run_a_module(rehook, box):
    box.write(
        "box/__main__.py",
        "import json, sys\nfrom . import value\nprint(json.dumps([value(), sys.argv[1:]]))\n",
    )
    done = rehook("run", "-m", "box", "--help")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [1, ["--help"]]


@pytest.mark.parametrize(
    ("body", "code", "text"),
    [
        ("raise ValueError('mine')", 1, "ValueError: mine"),
        ("import sys; sys.exit('a message')", 1, "a message"),
        ("import sys; sys.exit()", 0, ""),
        ("raise KeyboardInterrupt", 130, "KeyboardInterrupt"),
        ("import no_such_module", 1, "No module named 'no_such_module'"),
        ("def broken(:", 1, "SyntaxError"),
    ],
)
def test_how_a_script_ends(rehook, box, body, code, text):
    box.write("script.py", body + "\n")
    done = rehook("run", "script.py")
    assert done.returncode in ({130, -signal.SIGINT} if code == 130 else {code})
    assert text in done.stderr
    assert "rehook/_program.py" not in done.stderr
    assert "runpy" not in done.stderr


def test_run_what_does_not_build(rehook, box):
    """The compiler's error, with the source line; no traceback through rehook."""
    box.write("script.py", "import box\n")
    box.edit("core.c", "(long)(1)", "(long)(1")
    done = rehook("run", "script.py")
    assert done.returncode == 1
    line = 1 + box.read("core.c").split("(long)(1")[0].count("\n")
    assert f"{box.path('core.c')}:{line}:" in done.stderr
    assert "error:" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["run"], 2),
        (["run", "no_such_file.py"], 2),
        (["run", "-m"], 2),
        (["bild"], 2),
        (["build", "--no-such-option"], 2),
        (["build", "./no/such/folder"], 2),
        (["build", "no_such_module"], 1),
        (["explain"], 2),
        (["explain", "no_such_module"], 1),
        (["--version"], 0),
        (["--help"], 0),
        ([], 0),
    ],
)
def test_exit_codes(rehook, arguments, code):
    done = rehook(*arguments)
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    if arguments == ["bild"]:
        assert "build" in done.stderr
    if code:
        assert done.stderr.strip()


# ------------------------------------------------------------ build


def test_build(rehook, box):
    (first,) = json.loads(rehook("build", "--json").stdout)
    assert (first["project"], first["result"]) == (str(box.root), "up-to-date")
    assert first["modules"] == ["box._core"]
    box.edit("core.c", "(long)(1)", "(long)(2)")
    (second,) = json.loads(rehook("build", "--json", "box").stdout)
    assert second["result"] == "built"
    assert "core.c changed" in second["reason"]
    (third,) = json.loads(rehook("build", "--json", "--force", str(box.root)).stdout)
    assert third["result"] == "built"
    box.edit("core.c", "(long)(2)", "(long)(1)")
    (fourth,) = json.loads(rehook("build", "--json", ".").stdout)
    assert fourth["result"] == "reused"
    assert "up-to-date" in rehook("build").stdout


def test_what_was_built_is_what_is_imported(rehook, box):
    """`rehook build` and the hook agree on the configuration: the import has nothing to do."""
    box.edit("core.c", "(long)(1)", "(long)(2)")
    assert rehook("build").returncode == 0
    result = box.run(
        """
        import rehook
        rehook.install(projects=[ROOT])
        import box
        print(json.dumps([box.value(), rehook.status().counters["built"]]))
        """
    )
    assert result.json == [2, 0]


def test_a_build_that_fails(rehook, box):
    box.edit("core.c", "(long)(1)", "(long)(1")
    done = rehook("build")
    assert done.returncode == 1
    assert "core.c:" in done.stderr
    assert "error:" in done.stderr
    assert done.stdout == ""
    done = rehook("build", "--json")
    assert done.returncode == 1
    error = json.loads(done.stdout)["error"]
    assert error["kind"] == "BuildError"
    assert error["diagnostics"][0]["file"] == str(box.path("core.c"))
    assert error["diagnostics"][0]["severity"] == "error"
    assert error["hint"]


def test_build_outside_of_a_project(rehook, tmp_path):
    done = rehook("build", folder=tmp_path)
    assert done.returncode == 1
    assert str(tmp_path) in done.stderr
    assert "hint:" in done.stderr


def test_a_first_build(rehook, tmp_path):
    fresh = Project.of_files(tmp_path / "new", "box", BOX)
    (one,) = json.loads(rehook("build", "--json", project=fresh).stdout)
    assert one["result"] == "built"
    assert one["modules"] == ["box._core"]
    assert one["reason"] == "never built"


# ------------------------------------------------------------ status, explain, errors


def test_status(rehook, box):
    status = json.loads(rehook("status", "--json").stdout)
    (project,) = status["projects"]
    assert (project["root"], project["state"]) == (str(box.root), "up-to-date")
    assert [one["name"] for one in status["modules"]] == ["box._core"]
    box.edit("core.c", "(long)(1)", "(long)(2)")
    (project,) = json.loads(rehook("status", "--json", str(box.root)).stdout)["projects"]
    assert project["state"] == "changed"
    shown = rehook("status").stdout
    assert str(box.root) in shown
    assert "changed" in shown
    assert box.compiles() == []


def test_explain(rehook, box):
    explained = json.loads(rehook("explain", "box._core", "--json").stdout)
    assert explained["decision"] == "up-to-date"
    assert explained["changes"] == []
    assert explained["inputs"] > 100  # Python.h and what it includes
    assert explained["target"] == "_core"
    box.edit("core.c", "(long)(1)", "(long)(2)")
    explained = json.loads(rehook("explain", "box._core", "--json").stdout)
    assert explained["decision"] == "rebuild"
    assert "core.c changed" in explained["reason"]
    (change,) = explained["changes"]
    assert (change["name"], change["kind"]) == (str(box.path("core.c")), "file")
    assert change["before"] != change["after"]
    shown = rehook("explain", "box._core").stdout
    assert "box._core: rebuild: core.c changed" in shown
    assert str(box.path("core.c")) in shown
    assert "1 changed" in shown
    explained = json.loads(rehook("explain", "box._core", "--json", env={"CFLAGS": "-DX=1"}).stdout)
    assert {"environment CFLAGS", str(box.path("core.c"))} <= {
        one["name"] for one in explained["changes"]
    }
    (value,) = [one for one in explained["changes"] if one["name"] == "environment CFLAGS"]
    assert (value["kind"], value["before"], value["after"]) == ("value", "", "-DX=1")
    assert box.compiles() == []


def test_errors(rehook, box):
    done = rehook("errors")
    assert (done.returncode, done.stdout.strip()) == (0, "no errors")
    assert json.loads(rehook("errors", "--json").stdout) == []
    box.edit("core.c", "(long)(1)", "(long)(1")
    rehook("build")
    (failure,) = json.loads(rehook("errors", "--json").stdout)
    assert failure["kind"] == "build"
    assert failure["diagnostics"][0]["file"] == str(box.path("core.c"))
    shown = rehook("errors").stdout
    assert "core.c:" in shown
    assert "error:" in shown
    assert "box._core" in shown
    box.edit("core.c", "(long)(1", "(long)(1)")
    rehook("build")
    assert json.loads(rehook("errors", "--json").stdout) == []


# ------------------------------------------------------------ doctor


def test_doctor(rehook, box):
    done = rehook("doctor", "--json")
    findings = json.loads(done.stdout)
    assert done.returncode == (1 if findings["problems"] else 0)
    assert set(findings) == {"versions", "store", "settings", "hook", "problems"}
    assert findings["versions"]["python"].startswith(f"{sys.version_info.major}.")
    for tool in ("cmake", "ninja", "compiler", "libgit2", "xxHash", "rehook"):
        assert findings["versions"][tool], tool
    assert findings["store"]["folder"] == str(box.store)
    assert findings["settings"]["store-dir"] == {
        "value": str(box.store),
        "origin": "REHOOK_STORE_DIR",
    }
    shown = rehook("doctor").stdout
    assert str(box.store) in shown
    assert "REHOOK_STORE_DIR" in shown


def test_doctor_finds_problems(rehook, box):
    box.store.chmod(0o777)
    try:
        done = rehook("doctor", "--json", env={"PATH": "/nowhere"})
    finally:
        box.store.chmod(0o700)
    assert done.returncode == 1
    problems = {one["problem"]: one["fix"] for one in json.loads(done.stdout)["problems"]}
    text = "\n".join(problems)
    for missing in ("cmake", "ninja", "c++"):
        assert f"{missing} is not on PATH" in text
    assert all(fix for problem, fix in problems.items() if "PATH" in problem)
    assert any("chmod 700" in fix for fix in problems.values())


def test_doctor_with_wrong_settings(rehook):
    done = rehook("doctor", "--json", env={"REHOOK_BUILD_TIPE": "x"})
    assert done.returncode == 1
    (problem,) = json.loads(done.stdout)["problems"]
    assert "REHOOK_BUILD_TIPE" in problem["problem"]
    assert "REHOOK_BUILD_TYPE" in problem["fix"]


# ------------------------------------------------------------ terminals


def on_terminal(box, *arguments, env=None):
    """What `rehook` writes when both its streams are a terminal."""
    controller, terminal = pty.openpty()
    child = subprocess.Popen(
        [sys.executable, "-m", "rehook", *arguments],
        cwd=box.root,
        env=box.environment(path=[], env={"TERM": "xterm", "COLUMNS": "200", **(env or {})}),
        stdin=subprocess.DEVNULL,
        stdout=terminal,
        stderr=terminal,
    )
    os.close(terminal)
    said = b""
    while True:
        try:
            chunk = os.read(controller, 65536)
        except OSError:  # EIO: nobody has it open any more
            break
        if not chunk:
            break
        said += chunk
    os.close(controller)
    return child.wait(), said.decode()


def test_colours(box):
    """On a terminal, unless NO_COLOR; never in a pipe."""
    box.edit("core.c", "(long)(1)", "(long)(1")
    _, said = on_terminal(box, "build", env={"NO_COLOR": None})
    assert "\x1b[1;31merror" in said
    code, said = on_terminal(box, "build", env={"NO_COLOR": "1"})
    assert code == 1
    assert "\x1b[1;31m" not in said
    assert "\x1b[31m" not in said
    assert "error: " in said


def test_a_pipe_gets_no_colours(rehook, box):
    box.edit("core.c", "(long)(1)", "(long)(1")
    for command in (["build"], ["errors"], ["status"], ["doctor"], ["explain", "box._core"]):
        done = rehook(*command)
        assert "\x1b" not in done.stdout + done.stderr


def test_progress(box):
    """On a terminal one line tells what is compiled; in the end it is gone."""
    box.edit("core.c", "(long)(1)", "(long)(2)")
    code, said = on_terminal(box, "build", "--force")
    assert code == 0
    assert "configuring box" in said
    assert "core.c" in said
    assert "[1/2]" in said
    assert said.rstrip("\r\n").splitlines()[-1].strip()  # what was built
    quiet = on_terminal(box, "build", "--force", env={"REHOOK_PROGRESS": "0"})[1]
    assert "configuring" not in quiet


def test_progress_of_an_import(built):
    """The setting `progress` shows it for imports, too; without it nothing is printed."""
    box = built("box", files=BOX)
    script = "import rehook; rehook.install(projects=[ROOT]); import box; print(box.value())"
    box.edit("core.c", "(long)(1)", "(long)(2)")
    done = box.run(script)
    assert (done.stdout, done.stderr) == ("2\n", "")
