"""`import rehook` and `install()` cost next to nothing in modules imported."""

import subprocess
import sys

import pytest

HEAVY = {
    "collections",
    "dataclasses",
    "enum",
    "functools",
    "importlib.metadata",
    "inspect",
    "json",
    "logging",
    "pathlib",
    "re",
    "shlex",
    "subprocess",
    "threading",
    "tomllib",
    "typing",
    "warnings",
}


def imported(environment, code, folder):
    # -S and an import of sitecustomize by hand: site-packages of the test environment may import
    # anything at start-up.
    done = subprocess.run(
        [sys.executable, "-S", "-X", "importtime", "-c", "import sitecustomize\n" + code],
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    )
    lines = [one for one in done.stderr.splitlines() if one.startswith("import time:")]
    return {one.rpartition("|")[2].strip() for one in lines[1:]}


@pytest.mark.parametrize(
    "code",
    [
        "import rehook",
        "import rehook; rehook.install()",
        "import rehook; rehook.install(projects=['.'], store_dir='s', settings={'targets': ['a']})",
        "import rehook; rehook.install(); rehook.reload(); rehook.modified(); rehook.status()",
        "import rehook; rehook.install(); rehook._session.options['log'](20, 'a line')",
    ],
)
def test_nothing_heavy_is_imported(child_environment, tmp_path, code):
    (tmp_path / "pyproject.toml").write_text("[project]\nname = 'x'\nversion = '1'\n")
    found = imported(child_environment, code, tmp_path)
    assert "rehook" in found
    assert not found & HEAVY
    assert not {one for one in found if one.startswith(("rehook.cli", "click", "rich"))}


def test_a_table_is_read_when_there_is_one(child_environment, tmp_path):
    (tmp_path / "pyproject.toml").write_text("[tool.rehook]\nbuild-type = 'Debug'\n")
    assert "tomllib" in imported(child_environment, "import rehook; rehook.install()", tmp_path)


def test_without_the_compiled_part_the_error_says_what_to_do(child_environment, tmp_path):
    environment = {
        **child_environment,
        "PYTHONPATH": child_environment["PYTHONPATH"].rpartition(":")[2],
    }
    code = (
        "import sys\n"
        "sys.modules['rehook._core'] = None\n"
        "import rehook\n"
        "try:\n    rehook.install()\n"
        "except ImportError as error:\n    print(error.name, error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", code],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith("rehook._core the compiled part of rehook")
    assert "hint: install rehook again" in done.stdout
