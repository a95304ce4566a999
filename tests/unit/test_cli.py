"""The command line, on a session that answers what a test wants."""

import importlib
import json
import os
import re
import subprocess
import sys

import pytest
from click.testing import CliRunner

FAILURE = {
    "project": "/p",
    "modules": ["geo._core"],
    "kind": "build",
    "message": "geo._core did not build",
    "hint": "repair it",
    "text": "raw text of the compiler",
    "diagnostics": [
        {
            "file": "a.hpp",
            "line": 1,
            "column": 0,
            "severity": "warning",
            "text": "[bold]odd[/bold]",
        },
        {
            "file": "a.cpp",
            "line": 2,
            "column": 3,
            "severity": "error",
            "text": "no [x] here",
            "excerpt": "  2 | y[x]\n    |   ^",
        },
    ],
    "time": "2026-01-02 03:04:05",
}


@pytest.fixture
def cli(rehook):
    return importlib.import_module("rehook.cli")


@pytest.fixture
def invoke(cli, capsys):
    """Run the command line: gives exit code, stdout and stderr."""

    def work(*arguments):
        code = cli.main(arguments)
        out, err = capsys.readouterr()
        return code, out, err

    return work


@pytest.fixture
def answers(fake_core):
    return fake_core.Session.answers


@pytest.fixture
def project(tmp_path, rehook):
    """The working directory, as a project."""
    root = tmp_path / "work"
    (root / "CMakeLists.txt").write_text("project(p)\n")
    (root / "pyproject.toml").write_text("[project]\nname = 'p'\n")
    return root


# --- how commands are found ----------------------------------------------------------------------


def test_help_and_version(invoke):
    code, out, _ = invoke()
    assert code == 0
    assert all(name in out for name in ("run", "build", "status", "explain", "errors", "doctor"))
    assert invoke("--version")[:2] == (0, "rehook 0.0.test\n")


def test_unknown_command(invoke):
    code, _, err = invoke("biuld")
    assert code == 2
    assert "did you mean 'build'?" in err


def test_misuse(invoke, tmp_path):
    assert invoke("explain")[0] == 2
    assert invoke("status", "--nonsense")[0] == 2
    assert invoke("status", str(tmp_path / "nowhere"))[0] == 2
    assert invoke("build", f"nowhere{os.sep}at-all")[0] == 2
    assert invoke("run")[0] == 2
    assert invoke("run", "-m")[0] == 2


def test_through_clicks_own_runner(cli, project, answers):
    answers["status"] = {"projects": [{"root": "/p", "state": "changed"}]}
    done = CliRunner().invoke(cli.rehook, ["status", "--json"], standalone_mode=False)
    assert done.exit_code == 0
    assert json.loads(done.output)["projects"] == [{"root": "/p", "state": "changed"}]


# --- questions -----------------------------------------------------------------------------------


def test_projects_default_to_the_one_of_the_working_directory(
    invoke, project, sessions, monkeypatch
):
    inner = project / "src"
    inner.mkdir()
    monkeypatch.chdir(inner)
    assert invoke("status")[0] == 0
    assert sessions[0].options["projects"] == [str(project)]
    assert sessions[0].closed
    assert sessions[0].options["enable_reloading"] is False
    assert sys.path[0] == str(inner)


def test_projects_named_and_set(invoke, project, sessions, tmp_path, monkeypatch):
    monkeypatch.setenv("REHOOK_PROJECTS", "/set")
    invoke("errors", str(tmp_path))
    assert sessions[0].options["projects"] == [str(tmp_path), "/set"]


def test_status_for_people(invoke, project, answers):
    answers["status"] = {
        "projects": [
            {
                "root": "/a/very/long/path/" + "x" * 120,
                "source": "explicit",
                "build_dir": "/b",
                "state": "changed",
                "commit": "0123456789abcdef",
                "branch": "main",
                "dirty": True,
            }
        ],
        "modules": [{"name": "geo", "generation": 1}],
    }
    code, out, _ = invoke("status")
    assert code == 0
    assert "/a/very/long/path/" + "x" * 120 in out
    assert "main 0123456789 with changes" in out
    assert "geo  generation 1" in out
    assert "\x1b[" not in out


def test_status_of_nothing(invoke):
    assert invoke("status")[:2] == (0, "no project found here\n")


def test_build(invoke, project, sessions, answers):
    answers["build"] = [
        {"project": "/p", "result": "built", "modules": ["geo._core", "geo.io"], "seconds": 1.234},
        {"project": "/q", "result": "reused", "modules": ["q"], "seconds": 0, "reason": "found"},
        {"project": "/r", "result": "up-to-date", "modules": [], "seconds": 0.0, "reason": None},
    ]
    code, out, _ = invoke("build", "--force")
    assert code == 0
    assert sessions[0].calls == [("build", [str(project)], True)]
    assert [line.split() for line in out.splitlines()] == [
        ["/p", "built", "1.23", "s", "geo._core,", "geo.io"],
        ["/q", "from", "the", "store", "0.00", "s", "q", "found"],
        ["/r", "up-to-date", "0.00", "s"],
    ]


def test_build_targets(invoke, project, sessions, tmp_path):
    (project / "geo").mkdir()
    other = tmp_path / "other"
    other.mkdir()
    (other / "CMakeLists.txt").write_text("")
    invoke("build", "geo.fast", "geo", str(other), "..", "../other")
    assert sessions[0].calls[0][1] == [
        str(other),
        str(tmp_path),
        str(other),
        "geo.fast",
        "geo",
    ]


def test_build_of_a_project_folder_named_without_a_slash(invoke, project, sessions):
    (project / "sub").mkdir()
    (project / "sub" / "pyproject.toml").write_text("")
    (project / "sub" / "CMakeLists.txt").write_text("")
    invoke("build", "sub")
    assert sessions[0].calls[0][1] == [str(project / "sub")]


def test_build_without_any_project(invoke):
    code, _, err = invoke("build")
    assert code == 1
    assert "no CMake project in" in err


def test_build_error_for_people(invoke, project, answers, rehook):
    answers["build"] = rehook.BuildError(
        FAILURE["message"], hint="repair it", diagnostics=FAILURE["diagnostics"]
    )
    code, out, err = invoke("build")
    assert code == 1
    assert out == ""
    assert err.splitlines() == [
        "a.cpp:2:3: error: no [x] here",
        "  2 | y[x]",
        "    |   ^",
        "a.hpp:1: warning: [bold]odd[/bold]",
        "geo._core did not build",
        "hint: repair it",
    ]


def test_build_error_as_data(invoke, project, answers, rehook, sessions):
    answers["build"] = rehook.BuildError("no", text="raw", diagnostics=FAILURE["diagnostics"])
    code, out, _ = invoke("build", "--json")
    assert code == 1
    error = json.loads(out)["error"]
    assert error["kind"] == "BuildError"
    assert error["diagnostics"][1]["line"] == 2
    assert sessions[0].closed


def test_explain(invoke, project, answers):
    answers["explain"] = {"module": "geo._core", "decision": "rebuild", "reason": "a.cpp changed"}
    code, out, _ = invoke("explain", "geo._core")
    assert code == 0
    assert out.startswith("geo._core: rebuild: a.cpp changed\n")
    data = json.loads(invoke("explain", "geo._core", "--json")[1])
    assert data["decision"] == "rebuild"
    assert data["changes"] == []


def test_errors(invoke, project, answers):
    assert invoke("errors")[:2] == (0, "no errors\n")
    answers["errors"] = [FAILURE]
    code, out, _ = invoke("errors")
    assert code == 0
    lines = out.splitlines()
    assert lines[0] == "/p  2026-01-02 03:04:05"
    assert lines[1] == "stale because of it: geo._core"
    assert lines[2] == "a.cpp:2:3: error: no [x] here"
    assert json.loads(invoke("errors", "--json")[1]) == [FAILURE]
    answers["errors"] = [{**FAILURE, "diagnostics": []}]
    assert "raw text of the compiler" in invoke("errors")[1]


def test_errors_retry(invoke, project, answers, sessions):
    answers["retry"] = {"modules": [{"name": "geo._core", "new_generation": 1}]}
    code, out, _ = invoke("errors", "--retry")
    assert code == 0
    assert out.startswith("reloaded 1 module")
    assert sessions[0].calls == [("retry",)]


def test_a_wrong_setting_is_an_error_message(invoke, project, monkeypatch):
    monkeypatch.setenv("REHOOK_BUILT_TYPE", "x")
    code, _, err = invoke("status")
    assert code == 1
    assert "did you mean 'REHOOK_BUILD_TYPE'?" in err
    code, out, _ = invoke("status", "--json")
    assert code == 1
    assert json.loads(out)["error"]["kind"] == "ConfigError"


def test_without_the_compiled_part(invoke, project, monkeypatch):
    monkeypatch.setitem(sys.modules, "rehook._core", None)
    code, _, err = invoke("status")
    assert code == 1
    assert "the compiled part of rehook" in err
    code, out, _ = invoke("doctor")
    assert code == 1
    assert "the compiled part of rehook" in out


# --- doctor --------------------------------------------------------------------------------------


def test_doctor_as_data(invoke, project, monkeypatch, tmp_path):
    monkeypatch.setenv("REHOOK_BUILD_TYPE", "Debug")
    code, out, _ = invoke("doctor", "--json")
    data = json.loads(out)
    assert code == (1 if data["problems"] else 0)
    assert set(data) == {"versions", "store", "settings", "hook", "problems"}
    assert data["versions"]["libgit2"] == "1.5.0"
    assert {"python", "rehook", "compiler", "cmake", "ninja", "git"} <= set(data["versions"])
    assert data["settings"]["build-type"] == {"value": "Debug", "origin": "REHOOK_BUILD_TYPE"}
    assert data["settings"]["targets"]["origin"] == "default"
    assert data["store"]["folder"].startswith(str(tmp_path / "cache" / "rehook"))
    assert data["hook"]["installed"] is False


def test_doctor_for_people(invoke, project):
    out = invoke("doctor")[1]
    assert "versions" in out
    assert "build-type" in out


def test_doctor_names_what_is_missing_and_how_to_get_it(invoke, project, monkeypatch, tmp_path):
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "apt-get").write_text("#!/bin/sh\n")
    (tools / "apt-get").chmod(0o755)
    monkeypatch.setenv("PATH", str(tools))
    monkeypatch.setenv("CXX", "no-such-compiler")
    code, out, _ = invoke("doctor", "--json")
    assert code == 1
    problems = {one["problem"]: one["fix"] for one in json.loads(out)["problems"]}
    assert problems["no-such-compiler is not on PATH"] == "sudo apt-get install g++"
    assert problems["cmake is not on PATH"] == "sudo apt-get install cmake"


@pytest.mark.skipif(os.name != "posix", reason="permissions of posix")
def test_doctor_looks_at_the_stores_permissions(invoke, project, monkeypatch, tmp_path):
    store = tmp_path / "a store"
    store.mkdir()
    store.chmod(0o777)
    monkeypatch.setenv("REHOOK_STORE_DIR", str(store))
    problems = json.loads(invoke("doctor", "--json")[1])["problems"]
    assert {"problem": f"others may write to the store {store}", "fix": f"chmod 700 '{store}'"} in (
        problems
    )


def test_doctor_with_a_wrong_setting(invoke, project, monkeypatch):
    monkeypatch.setenv("REHOOK_INSTANCES", "x")
    code, out, _ = invoke("doctor")
    assert code == 1
    assert "REHOOK_INSTANCES: must be one of" in out


# --- run, in an interpreter of its own -----------------------------------------------------------

SCRIPT = """
import json, sys
import rehook
print(json.dumps({
    "argv": sys.argv,
    "path0": sys.path[0],
    "name": __name__,
    "file": __file__,
    "main": sys.modules["__main__"].__file__ == __file__,
    "installed": rehook.is_installed(),
}))
"""


@pytest.fixture
def run(child_environment, tmp_path):
    def work(*arguments, env=None):
        return subprocess.run(
            [sys.executable, "-m", "rehook", "run", *arguments],
            env={**child_environment, **(env or {})},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )

    return work


def test_run_script(run, tmp_path):
    (tmp_path / "scripts").mkdir()
    script = tmp_path / "scripts" / "job.py"
    script.write_text(SCRIPT)
    done = run("scripts/job.py", "-m", "--json", "--help", "x")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "argv": ["scripts/job.py", "-m", "--json", "--help", "x"],
        "path0": str(tmp_path / "scripts"),
        "name": "__main__",
        "file": "scripts/job.py",
        "main": True,
        "installed": True,
    }


def test_run_module(run, tmp_path):
    (tmp_path / "tool").mkdir()
    (tmp_path / "tool" / "__init__.py").write_text("")
    (tmp_path / "tool" / "__main__.py").write_text(SCRIPT)
    done = run("-m", "tool", "--flag", "-m")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    file = str(tmp_path / "tool" / "__main__.py")
    assert found["argv"] == [file, "--flag", "-m"]
    assert found["path0"] == str(tmp_path)
    assert found["file"] == file
    assert found["installed"]


def test_run_exit_codes(run, tmp_path):
    script = tmp_path / "job.py"
    script.write_text("import sys\nsys.exit(int(sys.argv[1]))\n")
    assert run("job.py", "0").returncode == 0
    assert run("job.py", "7").returncode == 7
    missing = run("gone.py")
    assert missing.returncode == 2
    assert "no such file: gone.py" in missing.stderr


def test_run_shows_the_programs_own_frames_only(run, tmp_path):
    script = tmp_path / "job.py"
    script.write_text("def f():\n    raise ValueError('mine')\nf()\n")
    done = run("job.py")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "ValueError: mine"
    assert "job.py" in done.stderr
    assert "_program.py" not in done.stderr
    assert "runpy" not in done.stderr


def test_run_a_file_that_does_not_parse(run, tmp_path):
    (tmp_path / "job.py").write_text("def (\n")
    done = run("job.py")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "SyntaxError: invalid syntax"


def test_run_build_error_without_a_traceback(run, tmp_path):
    (tmp_path / "job.py").write_text(
        "import rehook\nprint('before')\n"
        "raise rehook.BuildError('geo did not build', diagnostics=[\n"
        "    dict(file='a.cpp', line=2, column=3, severity='error', text='bad',\n"
        "         excerpt='  2 | x')])\n"
    )
    done = run("job.py")
    assert done.returncode == 1
    assert done.stdout == "before\n"
    assert done.stderr.splitlines() == [
        "a.cpp:2:3: error: bad",
        "  2 | x",
        "geo did not build",
    ]


def test_run_lets_the_program_catch_a_build_error(run, tmp_path):
    (tmp_path / "job.py").write_text(
        "import rehook\ntry:\n    raise rehook.BuildError('no')\n"
        "except ImportError:\n    print('fallback')\n"
    )
    assert run("job.py").stdout == "fallback\n"


def test_run_with_a_wrong_setting(run, tmp_path):
    (tmp_path / "job.py").write_text("print('never')\n")
    done = run("job.py", env={"REHOOK_PROGRESS": "perhaps"})
    assert done.returncode == 1
    assert done.stdout == ""
    assert "REHOOK_PROGRESS: must be true or false" in done.stderr


def test_run_help(run):
    done = run("--help")
    assert done.returncode == 0
    assert "SCRIPT" in done.stdout


# --- progress ------------------------------------------------------------------------------------


def test_progress_only_on_a_terminal(rehook, sessions, answers, monkeypatch, cli, project):
    import rehook._console as console

    assert console.progress_callback() is None
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert console.progress_callback() is not None
    monkeypatch.setenv("REHOOK_PROGRESS", "0")
    assert console.progress_callback() is None


def test_progress_line(rehook, monkeypatch, capsys):
    import rehook._console as console

    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "40")
    line = console.progress_callback()
    line({"phase": "build", "done": 1, "total": 3, "text": "a[b].cpp " + "x" * 90, "project": "/p"})
    shown = capsys.readouterr().err
    assert shown.startswith("\r\x1b[K")
    assert "\n" not in shown
    shown = re.sub(r"\x1b\[[0-9;]*[mK]", "", shown)
    assert shown.startswith("\rrehook [1/3] a[b].cpp xxx")
    assert len(shown.strip()) == 39
    line({"phase": "build", "done": 3, "total": 3, "text": "done", "project": "/p"})
    assert capsys.readouterr().err == "\r\x1b[K"
    line.clear()
    assert capsys.readouterr().err == ""
