"""Stores on disks that are full, read-only, or that nothing may be run from."""

import json
import os
import shutil
import subprocess
import sys
import textwrap

import pytest

from support.sources import c_module, cmake_lists

BOX = {
    "CMakeLists.txt": cmake_lists("box", "python_add_library(_core MODULE WITH_SOABI core.c)"),
    "core.c": c_module("_core", {"value": "1"}),
    "box/__init__.py": "from . import _core\n",
}

# Mounts need a mount namespace of our own, which root can have, and others where users may.
_MOUNTS = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--user", "-r", "--mount"]


def can_mount(folder):
    if shutil.which("unshare") is None:
        return False
    command = [*_MOUNTS, "mount", "-t", "tmpfs", "tmpfs", str(folder)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.fixture
def box(built, tmp_path):
    if not can_mount(tmp_path):
        pytest.skip("this user may not mount anything here")
    return built("box", files=BOX)


def run_with_disk(project, options, script, *, before=""):
    """Run Python with a store on a disk of its own; `before` is shell code at $STORE."""
    store = project.home / "disk"
    store.mkdir(exist_ok=True)
    shell = f"""
        set -e
        mount -t tmpfs -o mode=0700,{options} tmpfs {store}
        export STORE={store} REHOOK_STORE_DIR={store}
        {before}
        exec "$PYTHON" -c "$SCRIPT"
        """
    prelude = f"import json, os, subprocess, sys\nROOT = {str(project.root)!r}\n"
    return subprocess.run(
        [*_MOUNTS, "sh", "-c", textwrap.dedent(shell)],
        cwd=project.home,
        env={
            **project.environment(),
            "PYTHON": sys.executable,
            "IMPORT": prelude + "import rehook\nrehook.install(projects=[ROOT])\nimport box",
            "SCRIPT": prelude + textwrap.dedent(script),
        },
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


TRY = """
import rehook
def attempt():
    try:
        import box
        return box._core.value()
    except rehook.RehookError as error:
        return [type(error).__name__, str(error)]
"""


def test_nothing_may_be_run_from_the_store(box):
    done = run_with_disk(
        box,
        "size=64m,noexec",
        "import rehook\nrehook.install(projects=[ROOT])\nprint('installed')",
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert "StoreError" in done.stderr
    assert "noexec" in done.stderr
    assert "store-dir" in done.stderr


@pytest.mark.parametrize("size", ["16k", "64k", "160k", "400k"])
def test_a_full_disk(box, size):
    """Wherever it gets full, the error says so; with room again, everything works."""
    done = run_with_disk(
        box,
        f"size={size}",
        TRY
        + """
try:
    rehook.install(projects=[ROOT])
except rehook.RehookError as error:
    first = [type(error).__name__, str(error)]
else:
    first = attempt()
subprocess.run(["mount", "-o", "remount,size=64m", os.environ["STORE"]], check=True)
rehook.install(projects=[ROOT])
rehook.install(projects=[ROOT])
try:
    rehook.retry()
except rehook.RehookError:
    pass
print(json.dumps([first, attempt()]))
""",
    )
    assert done.returncode == 0, done.stderr
    first, then = json.loads(done.stdout)
    assert then == 1
    assert first == 1 or "space" in first[1].lower(), first


def test_a_read_only_store(box):
    """What is in it serves imports; a build says why it cannot be."""
    done = run_with_disk(
        box,
        "size=64m",
        TRY
        + """
rehook.install(projects=[ROOT])
seen = [attempt(), rehook.status().counters["built"]]
path = os.path.join(ROOT, "core.c")
text = open(path).read()
with open(path, "w") as stream:
    stream.write(text.replace("(long)(1)", "(long)(2)"))
try:
    rehook.reload()
except rehook.RehookError as error:
    seen.append(str(error))
import box
seen.append(box._core.value())
subprocess.run(["mount", "-o", "remount,rw", os.environ["STORE"]], check=True)
rehook.reload()
print(json.dumps([*seen, box._core.value()]))
""",
        before=f"""
        cp -a {box.store}/. $STORE/
        "$PYTHON" -c "$IMPORT"
        mount -o remount,ro $STORE
        """,
    )
    assert done.returncode == 0, done.stderr
    value, built, error, still, after = json.loads(done.stdout)
    assert (value, built) == (1, 0)
    assert "read-only" in error
    assert (still, after) == (1, 2)
