"""The garbage collector, `rehook store` and `rehook log`."""

import json
import os
import shutil
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from support.sources import c_module, cmake_lists

pytestmark = pytest.mark.compile

DAY = 86400
BOX = {
    "CMakeLists.txt": cmake_lists("box", "python_add_library(_core MODULE WITH_SOABI core.c)"),
    "core.c": c_module("_core", {"value": "1"}),
    "box/__init__.py": "from ._core import value\n",
}

VALUE = """
import rehook
rehook.install(projects=[ROOT])
import box
print(json.dumps([box.value(), rehook.status().counters["built"]]))
"""


@pytest.fixture
def box(built):
    return built("box", files=BOX)


@pytest.fixture
def rehook(box):
    """Return a function that runs `python -m rehook` in the project's folder."""

    def run(*arguments, env=None, check=True):
        done = subprocess.run(
            [sys.executable, "-m", "rehook", *arguments],
            cwd=box.root,
            env=box.environment(path=[], env=env),
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done

    return run


@pytest.fixture
def contents(rehook):
    return lambda: json.loads(rehook("store", "ls", "--json").stdout)


def edit_to(box, value):
    box.write("core.c", c_module("_core", {"value": str(value)}))


def build(box, value):
    """Save that value, import it, and tell how many builds it took."""
    edit_to(box, value)
    result, builds = box.run(VALUE).json
    assert result == value
    return builds


def grow_old(box, days, *, only=""):
    """Let everything in the store be that old, or what has `only` in its path."""
    then = time.time() - days * DAY
    for path in box.store.rglob("*"):
        if only in str(path) and not path.is_dir():
            os.utime(path, (then, then), follow_symlinks=False)


# ------------------------------------------------------------ what is removed


def test_what_is_old_goes_and_what_is_current_stays(box, rehook, contents):
    for value in (2, 3):
        assert build(box, value) == 1
    grow_old(box, 31, only="/records/")
    edit_to(box, 2)  # served from the store: used again
    assert box.run(VALUE).json == [2, 0]
    before = contents()
    assert len(before["projects"][0]["builds"]) == 3

    told = json.loads(rehook("store", "gc", "--dry-run", "--json").stdout)
    assert [one["kind"] for one in told["items"]].count("build") == 1
    assert contents()["objects"] == before["objects"], "a dry run removes nothing"

    done = json.loads(rehook("store", "gc", "--json").stdout)
    assert done["items"] == told["items"]
    assert done["removed"] == len(done["items"])
    assert not done["failures"]
    after = contents()
    # 1 is gone; 2 was used, and 3 was current until just now.
    assert len(after["projects"][0]["builds"]) == 2
    assert len(after["objects"]) < len(before["objects"])
    assert after["bytes"] < before["bytes"]
    for value, builds in ((3, 0), (2, 0), (1, 1)):
        assert build(box, value) == builds, value


def test_a_project_that_nobody_uses_goes_and_is_built_again(box, rehook, contents):
    grow_old(box, 40)
    done = json.loads(rehook("store", "gc", "--json").stdout)
    assert "project" in {one["kind"] for one in done["items"]}
    left = contents()
    assert left["projects"] == left["objects"] == []
    assert not list((box.store / "projects").iterdir())
    assert box.run(VALUE).json == [1, 1]


def test_a_project_in_use_never_grows_old(box, rehook, contents):
    """Importing it without a change is use, and costs a stamp a day."""
    grow_old(box, 40)
    assert box.run(VALUE).json == [1, 0]
    rehook("store", "gc")
    assert len(contents()["projects"]) == 1
    assert box.run(VALUE).json == [1, 0]


def test_the_budget(box, rehook, contents):
    for value in (2, 3, 4):
        build(box, value)
    for one, days in zip(
        sorted(box.store.glob("projects/*/*/records/*")), (9, 8, 7, 6), strict=True
    ):
        stamp = time.time() - days * DAY
        os.utime(one, (stamp, stamp))
    before = contents()
    size = str(before["bytes"] - 1)
    rehook("store", "gc", "--size", size)
    after = contents()
    assert len(after["projects"][0]["builds"]) < len(before["projects"][0]["builds"])
    assert after["projects"][0]["state"] == "built"
    assert box.run(VALUE).json == [4, 0]


def test_a_running_process_keeps_what_it_runs(box, rehook):
    """Everything else goes, whatever the budget; the process reloads and goes back."""
    child = box.start(
        """
        import rehook, sys
        rehook.install(projects=[ROOT])
        import box
        print("ready", flush=True)
        sys.stdin.readline()
        write("core.c", open(os.path.join(ROOT, "core.c")).read().replace("(long)(1)", "(long)(5)"))
        report = rehook.reload()
        print(json.dumps([box.value(), report.left, report.names]))
        """
    )
    assert child.stdout.readline().strip() == "ready"
    grow_old(box, 100)
    done = json.loads(rehook("store", "gc", "--size", "1", "--json").stdout)
    assert not done["failures"]
    assert not [one for one in done["items"] if one["kind"] in {"session", "project"}]
    child.stdin.write("\n")
    child.stdin.flush()
    assert box.finish(child).json == [5, [], ["box._core"]]


def test_what_a_process_loaded_first_is_in_use(box, rehook, contents):
    """It maps the stored file itself."""
    child = box.start(VALUE + "\nprint('ready', flush=True)\nsys.stdin.readline()")
    while child.stdout.readline().strip() != "ready":
        pass
    (mapped,) = [one for one in contents()["objects"] if one["mapped"]]
    assert "_core" in mapped["file"]
    grow_old(box, 100)
    assert json.loads(rehook("store", "gc", "--json").stdout)["removed"] == 0
    box.kill(child)
    assert not [one for one in contents()["objects"] if one["mapped"]]
    assert json.loads(rehook("store", "gc", "--json").stdout)["removed"]


def test_what_a_killed_process_left_goes(box, rehook, contents):
    child = box.start(
        """
        import rehook
        rehook.install(projects=[ROOT])
        import box
        write("core.c", open(os.path.join(ROOT, "core.c")).read().replace("(long)(1)", "(long)(5)"))
        rehook.reload()
        print("ready", flush=True)
        sys.stdin.readline()
        """
    )
    assert child.stdout.readline().strip() == "ready"
    (live,) = [one for one in contents()["sessions"] if one["live"]]
    assert live["pid"] == str(child.pid)
    assert live["files"][0]["artifact"]
    box.kill(child)
    orphan = box.store / "objects" / f".tmp-{child.pid}-0123456789abcdef"
    orphan.write_text("half")
    rehook("store", "gc")
    assert not Path(live["folder"]).exists()
    assert contents()["sessions"] == []
    assert not orphan.exists()


def test_after_a_build_once_a_day(box):
    """Collection is a matter of builds; an import that finds nothing to do never collects."""
    box.forget()
    assert box.run(VALUE).json == [1, 0]
    assert box.trace("collect") == []
    build(box, 2)
    assert box.trace("collect") == [], "the first build was less than a day ago"
    grow_old(box, 31)
    build(box, 3)
    assert len(box.trace("collect")) == 1
    build(box, 4)
    assert len(box.trace("collect")) == 1


def test_collecting_while_others_build(box, rehook):
    """Eight collections with no budget at all, among edits and imports: nothing is ever wrong."""
    child = box.start(
        """
        import rehook
        rehook.install(projects=[ROOT])
        import box
        text = open(os.path.join(ROOT, "core.c")).read()
        for number in [2, 3, 2, 4, 3, 5, 2, 6]:
            write("core.c", text.replace("(long)(1)", f"(long)({number})"))
            rehook.reload()
            assert box.value() == number
        print(json.dumps(box.value()))
        """
    )
    collections = 0
    while child.poll() is None:
        done = rehook("store", "gc", "--size", "1", "--age", "0", "--json", check=False)
        if done.returncode:  # somebody was publishing at that moment
            assert "being stored" in json.loads(done.stdout)["error"]["message"]
        collections += 1
    assert box.finish(child).json == 6
    assert collections


# ------------------------------------------------------------ ls, show, verify


def test_ls(box, rehook):
    text = rehook("store", "ls").stdout
    assert str(box.store) in text
    assert str(box.root) in text
    shutil.rmtree(box.root / "box")
    shutil.move(box.root, box.home / "away")
    box.root.mkdir()
    (box.root / "CMakeLists.txt").touch()
    assert "(gone)" not in rehook("store", "ls").stdout
    shutil.rmtree(box.root)
    done = subprocess.run(
        [sys.executable, "-m", "rehook", "store", "ls"],
        cwd=box.home,
        env=box.environment(path=[]),
        capture_output=True,
        text=True,
        check=True,
    )
    assert "(gone)" in done.stdout


def test_show(box, rehook, contents):
    (project,) = contents()["projects"]
    (build_,) = project["builds"]
    for what in (str(box.root), ".", "box._core", project["configuration"]):
        found = json.loads(rehook("store", "show", what, "--json").stdout)
        assert [one["root"] for one in found["projects"]] == [str(box.root)], what
    assert "box._core" in rehook("store", "show", ".").stdout
    found = json.loads(rehook("store", "show", build_["fingerprint"][:8], "--json").stdout)
    assert found["builds"][0]["current"]
    (core,) = [one for one in build_["objects"] if "_core" in one]
    (object_,) = json.loads(rehook("store", "show", core[:12], "--json").stdout)["objects"]
    assert object_["current_in"] == [str(box.root)]
    assert core in rehook("store", "show", core[:12]).stdout

    done = rehook("store", "show", "nonsense", check=False)
    assert done.returncode == 1
    assert "nothing in" in done.stderr
    assert "rehook store ls" in done.stderr


def test_verify(box, rehook):
    assert "everything is whole" in rehook("store", "verify").stdout
    artifact = next(box.store.glob("objects/*/*_core*"))
    artifact.chmod(0o700)
    data = bytearray(artifact.read_bytes())
    data[len(data) // 2] ^= 1
    artifact.write_bytes(data)
    (record,) = box.store.glob("projects/*/*/records/*")
    record.write_bytes(record.read_bytes()[:-1])
    done = rehook("store", "verify", "--json", check=False)
    assert done.returncode == 1
    damaged = {one["file"] for one in json.loads(done.stdout)["damaged"]}
    assert damaged == {str(artifact), str(record)}
    assert not artifact.exists()
    assert "everything is whole" in rehook("store", "verify").stdout
    assert box.run(VALUE).json == [1, 1]


def test_what_killed_processes_left_is_cleaned_and_told(box):
    killed = box.run(
        VALUE
        + """
write("core.c", open(f"{ROOT}/core.c").read().replace("(long)(1)", "(long)(2)"))
rehook.reload()
print(os.getpid(), flush=True)
os.kill(os.getpid(), 9)
""",
        check=False,
    )
    pid = int(killed.stdout.split()[-1])
    orphan = box.store / "objects" / f".tmp-{pid}-0123456789abcdef"
    orphan.write_bytes(b"half a file")
    (folder,) = (one for one in (box.store / "sessions").iterdir() if one.is_dir())
    told = box.run(
        "import logging\nlogging.basicConfig(level=logging.INFO)\n"
        + VALUE
        + """
write("core.c", open(f"{ROOT}/core.c").read().replace("(long)(2)", "(long)(3)"))
rehook.reload()
print(json.dumps(box.value()))
"""
    )
    assert told.stdout.split()[-1] == "3"
    assert "1 unfinished files of killed processes removed" in told.stderr
    assert "copies of 1 ended processes removed" in told.stderr
    assert not orphan.exists()
    assert not folder.exists()


# ------------------------------------------------------------ log


def test_log(box, rehook):
    build(box, 1)  # as `build` writes it
    git = ["git", "-c", "user.name=n", "-c", "user.email=e@example.com"]
    for command in (["init", "-q", "-b", "trunk"], ["add", "."], ["commit", "-q", "-m", "one"]):
        subprocess.run([*git, *command], cwd=box.root, check=True)
    head = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=box.root, capture_output=True, text=True, check=True
    ).stdout.strip()
    build(box, 1)  # the folder has got a .git
    build(box, 2)
    assert build(box, 1) == 0
    newest, middle, *_, first = json.loads(rehook("log", "--json").stdout)
    assert (newest["result"], middle["result"], first["result"]) == ("reused", "built", "built")
    assert (middle["commit"], middle["branch"], middle["dirty"]) == (head, "trunk", True)
    assert (newest["commit"], newest["dirty"]) == (head, False)
    assert middle["seconds"] > 0
    assert middle["reason"] == "core.c changed"
    assert all(one["stored"] for one in (newest, middle, first))

    text = rehook("log", "-n", "1").stdout
    assert "from the store" in text
    assert "trunk" in text
    assert len(text.strip().splitlines()) == 2  # the heading and one build
    assert json.loads(rehook("log", str(box.root), "--json").stdout)[0] == newest


def test_log_of_what_was_never_built(rehook, tmp_path):
    folder = tmp_path / "other"
    folder.mkdir()
    assert "nothing was built yet" in rehook("log", str(folder)).stdout


# ------------------------------------------------------------ private


def test_nobody_else_may_read_the_store(box):
    """Folders 0700, files 0600, artifacts 0500; only what CMake makes in build/ is its own."""
    box.run(VALUE)
    wrong = []
    for path in box.store.rglob("*"):
        inside = path.relative_to(box.store).parts
        if inside[0] == "projects" and "build" in inside[2:]:
            continue
        mode = stat.S_IMODE(path.lstat().st_mode)
        if mode not in ({0o700} if path.is_dir() else {0o600, 0o500}):
            wrong.append(f"{mode:o} {path}")
    assert not wrong
    assert stat.S_IMODE(box.store.stat().st_mode) == 0o700
