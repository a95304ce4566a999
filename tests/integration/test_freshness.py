"""What runs is what is saved: whatever changed, and however its time stamps look."""

import json
import os
import random
import shutil
import subprocess

import pytest

from support.parts import A_FILE_MORE, ALL_OF_CORE, HELPERS, ONE, PARTS
from support.project import Project, wait_until_gone

pytestmark = pytest.mark.compile


@pytest.fixture
def parts(built):
    return built("parts", files=PARTS)


# ------------------------------------------------------------ exactly what depends on it

EDITS = {
    "core": ["core.c"],
    "other": ["other.c"],
    "header": ["core.c"],
    "shared": ["core.c", "other.c"],
    "both": ["core.c", "other.c"],
    "table": ["core.c"],
    "config": ["core.c"],
    "lib": ["lib.c"],
    "lib_header": ["core.c", "lib.c"],
    "defined": ALL_OF_CORE,
}


def two(what):
    """What values() gives for a part whose number is 2."""
    return {what: 22 if what in {"shared", "both"} else 2}


@pytest.mark.parametrize("what", EDITS)
def test_an_edit_compiles_what_depends_on_it(parts, what):
    result = parts.run(
        HELPERS
        + """
what = sys.argv[1]
put(what, 2)
report = rehook.reload()
print(json.dumps([values(), compiled(), report.modules[0]["reason"], report.built, TEXTS[what][0]]))
""",
        what,
    ).json
    numbers, compiled, reason, built, file = result
    assert numbers == ONE | two(what)
    assert compiled == EDITS[what]
    assert file in reason
    assert built == 1


def test_a_generator_script_is_an_input(parts):
    result = parts.run(
        HELPERS
        + """
edit("table.cmake", "TABLE ${number}", "TABLE ${number}0")
rehook.reload()
print(json.dumps([values("table"), compiled()]))
"""
    ).json
    assert result == [{"table": 10}, ["core.c"]]


@pytest.mark.parametrize("folder", ["watched", "plain"])  # with and without CONFIGURE_DEPENDS
def test_a_new_source_in_a_glob(parts, folder):
    result = parts.run(
        HELPERS
        + f"FOLDER, TEXT = {folder!r}, {A_FILE_MORE!r}"
        + """
seen = []
write(f"{FOLDER}/more.c", TEXT)
seen.append((rehook.reload().built, values("globs")["globs"], compiled()))
os.unlink(f"{ROOT}/{FOLDER}/more.c")
report = rehook.reload()
seen.append((report.built, report.reused, values("globs")["globs"]))
write("notes.txt.swp", "not a source")
write(f"{FOLDER}/.hidden.c", "not a source")
write("parts/data.json", "{}")
seen.append(rehook.reload().names)
print(json.dumps(seen))
"""
    ).json
    added, removed, others = result
    assert added == [1, 1, ["more.c"]]
    assert removed == [0, 1, 0]  # the earlier state is in the store
    assert others == []


def test_a_header_that_takes_over(parts):
    """A new file found earlier on the include path than the old one of the same name."""
    result = parts.run(
        HELPERS
        + """
write("header.h", "#pragma once\\n#define HEADER 7\\n")  # beside core.c: "" finds it first
seen = [rehook.reload().names, values("header")["header"]]
put("other", 2)
rehook.reload()
edit("core.c", "(long)(1)", "(long)(2)")
rehook.reload()
print(json.dumps([*seen, values("header")["header"]]))
"""
    ).json
    assert result[2] == 7  # when core.c is compiled; before, only the compiler could know


def test_a_header_is_deleted(parts):
    """An error that names it, with everything else unchanged; restored, nothing is compiled."""
    result = parts.run(
        HELPERS
        + """
os.rename(f"{ROOT}/include/header.h", f"{ROOT}/include/header.away")
try:
    report = rehook.reload()
    error = None
except rehook.BuildError as caught:
    error = str(caught)
seen = values()
os.rename(f"{ROOT}/include/header.away", f"{ROOT}/include/header.h")
before = compiled()
report = rehook.reload()
print(json.dumps([error, seen, compiled() == before, report, rehook.errors()]))
"""
    ).json
    error, seen, same, report, errors = result
    assert error is not None
    assert "header.h" in error
    assert seen == ONE
    assert same
    assert (report["modules"], report["stale"]) == ([], [])
    assert errors == []


# ------------------------------------------------------------ time stamps that lie


@pytest.mark.parametrize("stamp", ["same", "older"])
@pytest.mark.parametrize("what", EDITS)
def test_an_edit_whose_time_stamp_does_not_tell(parts, what, stamp):
    """ninja would not see it; the next process, too, must have the new code and know it."""
    script = """
if len(sys.argv) > 2:
    put(sys.argv[1], 2, sys.argv[2])
    rehook.reload()
print(json.dumps([values(), compiled()]))
"""
    wanted = ONE | two(what)
    assert parts.run(HELPERS + script, what, stamp).json == [wanted, EDITS[what]]
    parts.forget()
    assert parts.run(HELPERS + script).json == [wanted, []]


@pytest.mark.parametrize("stamp", ["same", "older"])
def test_a_python_file_whose_time_stamp_does_not_tell(parts, stamp):
    result = parts.run(
        HELPERS
        + """
write("parts/helper.py", "VALUE = 1\\n")
import parts.helper
path = Path(ROOT, "parts/helper.py")
stat = path.stat()
path.write_text("VALUE = 2\\n")
mtime = stat.st_mtime_ns - (10**12 if sys.argv[1] == "older" else 0)
os.utime(path, ns=(mtime, mtime))
rehook.reload()
print(json.dumps(parts.helper.VALUE))
""",
        stamp,
    ).json
    assert result == 2


def test_the_object_file_is_younger_than_the_edit(parts):
    """An edit between two processes with an old stamp, as `tar x` or rsync makes it."""
    parts.run(HELPERS + "put('core', 2)\nrehook.reload()\nprint(1)")
    parts.forget()
    parts.edit("other.c", "return 1;", "return 5;")
    os.utime(parts.path("other.c"), (1_500_000_000, 1_500_000_000))
    result = parts.run(HELPERS + "print(json.dumps([values('core', 'other'), compiled()]))")
    assert result.json == [{"core": 2, "other": 5}, ["other.c"]]


# ------------------------------------------------------------ an edit while it is built


@pytest.mark.parametrize("what", ["core", "header", "table", "lib"])
def test_an_edit_during_the_build(parts, what):
    """The compiler has read the old text; what is loaded in the end, and on record, is the new."""
    gate = parts.hold_compilers(at_end=True)
    child = parts.start(
        HELPERS
        + """
put(sys.argv[1], 2)
rehook.reload()
first = values(sys.argv[1]), rehook.modified()
rehook.reload()
print(json.dumps([first, values()]))
""",
        what,
    )
    gate.wait()
    file, old = {
        "core": ("core.c", "(long)(2)"),
        "header": ("include/header.h", "HEADER 2"),
        "table": ("table.txt", "2"),
        "lib": ("lib/lib.c", "return 2"),
    }[what]
    parts.edit(file, old, old.replace("2", "3"))
    gate.open()
    (first, modified), final = parts.finish(child).json
    assert first == {what: 3} or modified  # new already, or known to be old
    assert final == ONE | {what: 3}
    assert parts.run(HELPERS + "print(json.dumps(values()))").json == final


def test_a_new_file_during_the_build(parts):
    gate = parts.hold_compilers(at_end=True)
    child = parts.start(
        HELPERS + "put('core', 2)\nrehook.reload()\nrehook.reload()\nprint(json.dumps(values()))"
    )
    gate.wait()
    parts.write("watched/more.c", A_FILE_MORE)
    gate.open()
    assert parts.finish(child).json == ONE | {"core": 2, "globs": 1}


# ------------------------------------------------------------ what is not a file of the project


def test_compiler_flags_from_the_environment(parts):
    """CFLAGS configures anew, in the same process and in the next one; going back is served."""
    result = parts.run(
        HELPERS
        + """
seen = []
for flags in ("-DFLAG=3", "-DFLAG=4", "-DFLAG=3"):
    os.environ["CFLAGS"] = flags
    report = rehook.reload()
    seen.append([values("flag")["flag"], report.built, report.reused])
print(json.dumps(seen))
"""
    ).json
    assert result == [[3, 1, 0], [4, 1, 0], [3, 0, 1]]
    script = HELPERS + "print(json.dumps([values('flag'), rehook.status().counters['built']]))"
    assert parts.run(script, env={"CFLAGS": "-DFLAG=5"}).json == [{"flag": 5}, 1]
    assert parts.run(script).json == [{"flag": 0}, 0]
    parts.edit("other.c", "return 1;", "return 2;")  # must not be compiled with the flags of before
    result = parts.run(HELPERS + "print(json.dumps(values('flag', 'other')))").json
    assert result == {"flag": 0, "other": 2}


def test_a_compiler_that_changes_in_place(tmp_path, built):
    wrapper = tmp_path / "my-cc"

    def install(number):
        wrapper.write_text(f'#!/bin/sh\nexec cc -DFLAG={number} "$@"\n')
        wrapper.chmod(0o755)

    install(6)
    parts = built("parts", files=PARTS, env={"CC": str(wrapper)})
    script = HELPERS + (
        "print(json.dumps([values('flag')['flag'], rehook.status().counters['built']]))"
    )
    assert parts.run(script).json == [6, 0]
    install(77)
    assert parts.run(script).json == [77, 1]
    assert parts.run(script).json == [77, 0]


def test_another_build_type_is_another_build(parts):
    """Two configurations live side by side; neither makes the other build again."""
    script = HELPERS + "print(json.dumps(rehook.status().counters['built']))"
    debug = {"REHOOK_BUILD_TYPE": "Debug"}
    assert [parts.run(script, env=env).json for env in (debug, {}, debug, {})] == [1, 0, 0, 0]


@pytest.mark.parametrize("generator", ["Unix Makefiles", "Ninja Multi-Config"])
def test_other_generators(built, generator):
    """Header dependencies, time stamps that lie, new files and undo, with other build tools."""
    if generator == "Unix Makefiles" and shutil.which("make") is None:
        pytest.skip("no make")
    parts = built("parts", files=PARTS, env={"CMAKE_GENERATOR": generator})
    result = parts.run(
        HELPERS
        + f"MORE = {A_FILE_MORE!r}"
        + """
seen = []
for what, stamp in (("header", "now"), ("shared", "same"), ("table", "older"), ("lib", "older")):
    put(what, 2, stamp)
    report = rehook.reload()
    seen.append([report.built, values(what)[what]])
write("watched/more.c", MORE)
seen.append([rehook.reload().built, values("globs")["globs"]])
for what in ("header", "shared", "table", "lib"):
    put(what, 1, "ancient")
os.unlink(f"{ROOT}/watched/more.c")
seen.append([rehook.reload().reused, values() == json.loads(sys.argv[1])])
put("other", 3)
rehook.reload()
print(json.dumps([seen, values()]))
""",
        json.dumps(ONE),
    ).json
    seen, final = result
    assert seen == [[1, 2], [1, 22], [1, 2], [1, 2], [1, 1], [1, True]]
    assert final == ONE | {"other": 3}


# ------------------------------------------------------------ back to an earlier state


@pytest.mark.parametrize("what", EDITS)
def test_undo_is_served_from_the_store(parts, what):
    result = parts.run(
        HELPERS
        + """
what = sys.argv[1]
put(what, 2)
rehook.reload()
before = compiled()
put(what, 1)
report = rehook.reload()
print(json.dumps([values(), compiled() == before, report.built, report.reused, report.names]))
""",
        what,
    ).json
    assert result == [ONE, True, 0, 1, ["parts._core"]]


# How an earlier text comes back: saved by an editor, or with the stamp it had (cp -p, rsync -t).
BACK = {
    "saved": "put(what, 1)",
    "with the stamp it had": "keep[0].replace(keep[1])",  # copied before, by rename
    "older than everything": "put(what, 1, 'ancient')",
    "with the stamp of the change": "put(what, 1, 'same')",
}


@pytest.mark.parametrize("back", BACK)
@pytest.mark.parametrize("what", EDITS)
def test_after_an_undo_the_next_edit_has_no_stale_objects(parts, what, back):
    """A -> B -> A served from the store, while the build folder still holds B's objects; then an
    edit elsewhere is compiled, and A's other code must be in the result."""
    other = "other" if what != "other" else "core"
    script = (
        HELPERS
        + """
import shutil
what, other, back = sys.argv[1:4]
path = Path(ROOT, TEXTS[what][0])
keep = path.with_name(path.name + ".kept"), path
shutil.copy2(path, keep[0])
put(what, 2)
rehook.reload()
eval(back)
reused = rehook.reload().reused
"""
    )
    in_the_same_process = """
put(other, 3)
rehook.reload()
print(json.dumps([reused, values()]))
"""
    wanted = ONE | {other: 3}
    result = parts.run(script + in_the_same_process, what, other, BACK[back]).json
    assert result == [1, wanted]
    # And the last build is what the next process believes it is.
    script = "put('header', 4)\nrehook.reload()\nprint(json.dumps(values()))"
    result = parts.run(HELPERS + script).json
    assert result == wanted | {"header": 4}


@pytest.mark.parametrize("stamp", ["now", "ancient", "same"])
def test_after_an_undo_only_the_next_edit_is_compiled(parts, stamp):
    """The objects of the earlier state come back, too, whatever their sources' stamps say."""
    result = parts.run(
        HELPERS
        + """
def all_three(number, stamp):
    for what in ("core", "shared", "lib"):
        put(what, number, stamp)
    return rehook.reload().built

def compiled_by(action):
    before = compiled()
    action()
    after = compiled()
    for one in before:
        after.remove(one)
    return after

stamp = sys.argv[1]
all_three(2, "now")
seen = [all_three(1, stamp)]
seen.append(compiled_by(lambda: (put("other", 3), rehook.reload())))
seen.append(values())
seen.append(compiled_by(lambda: all_three(2, stamp)))
seen.append(compiled_by(lambda: (put("header", 2), rehook.reload())))
seen.append(values())
print(json.dumps(seen))
""",
        stamp,
    ).json
    second = ONE | {"core": 2, "shared": 22, "lib": 2, "other": 3, "header": 2}
    # other.c with its edit was never compiled with the other shared.h before; core.c and lib.c
    # were, as they are now.
    edited = ONE | {"other": 3}
    assert result == [0, ["other.c"], edited, ["other.c"], ["core.c"], second]


def test_after_all_stamps_moved_only_the_next_edit_is_compiled(parts):
    """As after a checkout of another branch and back, with no look in between. (Generators run
    again when the stamps of their inputs moved, and what reads their output is compiled.)"""
    result = parts.run(
        HELPERS
        + """
for file in Path(ROOT).rglob("*"):
    if file.suffix in {".c", ".h"} and file.name != "both.h":
        file.touch()
before = compiled()
report = rehook.reload()
seen = [report.built, report.reused, compiled() == before]
put("other", 2)
rehook.reload()
after = compiled()
for one in before:
    after.remove(one)
print(json.dumps([seen, after, values()]))
"""
    ).json
    assert result == [[0, 0, True], ["other.c"], ONE | {"other": 2}]


def test_after_an_undo_in_another_process(parts):
    for edits in (
        "put('header', 2); put('lib', 2)",
        "put('header', 1, 'ancient'); put('lib', 1, 'ancient')",
        "put('other', 3)",
    ):
        parts.run(HELPERS + f"{edits}\nrehook.reload()\n")
    assert parts.run(HELPERS + "print(json.dumps(values()))").json == ONE | {"other": 3}


def test_back_and_forth(parts):
    """Ten times between two states of three files: nothing is compiled any more."""
    result = parts.run(
        HELPERS
        + """
def both(number, stamp):
    for what in ("core", "shared", "lib"):
        put(what, number, stamp)
both(2, "now")
rehook.reload()
before, seen = compiled(), []
for turn in range(10):
    both(1 + turn % 2, ("now", "ancient", "same", "older")[turn % 4])
    report = rehook.reload()
    seen.append([report.built, report.reused, *values("core", "shared", "lib").values()])
print(json.dumps([seen, compiled() == before]))
"""
    ).json
    assert result == [[[0, 1, 1, 11, 1], [0, 1, 2, 22, 2]] * 5, True]


@pytest.mark.parametrize("stamp", ["now", "ancient", "same"])
def test_a_failed_build_in_between(parts, stamp):
    """Its objects must not get into a later build: other.c was compiled, core.c was not."""
    result = parts.run(
        HELPERS
        + """
stamp = sys.argv[1]
put("other", 2)
put("shared", 2)
edit("core.c", "int files;", "int files = ;")
try:
    rehook.reload()
except rehook.BuildError:
    pass
put("other", 1, stamp)
put("shared", 1, stamp)
edit("core.c", "int files = ;", "int files;")
rehook.reload()
seen = [values()]
put("header", 3)
rehook.reload()
seen.append(values())
print(json.dumps(seen))
""",
        stamp,
    ).json
    assert result == [ONE, ONE | {"header": 3}]


def test_a_failed_configuration_in_between(parts):
    result = parts.run(
        HELPERS
        + """
put("defined", 2)
put("lib", 2)
edit("CMakeLists.txt", "install(", "message(FATAL_ERROR no)\\ninstall(")
try:
    rehook.reload()
except rehook.BuildError:
    pass
put("lib", 1, "ancient")
put("defined", 1)
edit("CMakeLists.txt", "message(FATAL_ERROR no)\\n", "")
rehook.reload()
put("other", 3)
rehook.reload()
print(json.dumps(values()))
"""
    ).json
    assert result == ONE | {"other": 3}


def test_the_first_build_fails_half_way(tmp_path):
    """Objects of the first attempt are not taken for sources that changed since, unnoticeably."""
    parts = Project.of_files(tmp_path, "parts", PARTS)
    parts.edit("core.c", "int files;", "int files = ;")
    parts.edit("other.c", "return 1;", "return 9;")
    failed = parts.run("import rehook; rehook.install(projects=[ROOT])\nimport parts", check=False)
    assert "BuildError" in failed.stderr
    stamp = parts.path("other.c").stat().st_mtime_ns
    parts.edit("other.c", "return 9;", "return 1;")
    os.utime(parts.path("other.c"), ns=(stamp, stamp))
    parts.edit("core.c", "int files = ;", "int files;")
    assert parts.run(HELPERS + "print(json.dumps(values()))").json == ONE


@pytest.mark.parametrize("seed", [1, 2])
def test_a_random_walk(parts, seed):
    """Any sequence of edits, undos, failures and lying time stamps: always what is saved now."""
    rng = random.Random(seed)
    steps = []
    for _ in range(25):
        kinds = rng.sample([*EDITS, "broken"], k=rng.choice([1, 1, 2, 3]))
        steps.append(
            [
                [kind, rng.randint(1, 2), rng.choice(["now", "same", "older", "ancient"])]
                for kind in kinds
            ]
        )
    result = parts.run(
        HELPERS
        + """
state = values()
broken = False
for number, step in enumerate(json.loads(sys.argv[1])):
    for what, new, stamp in step:
        if what == "broken":
            texts = ("int files;", "int files = ;")
            edit("core.c", texts[broken], texts[not broken])
            broken = not broken
        else:
            put(what, new, stamp)
    wanted = {name: next(n for n in range(1, 10) if text.format(n) in Path(ROOT, file).read_text())
              for name, (file, text) in TEXTS.items()}
    wanted["shared"] *= 11
    wanted["both"] *= 11
    try:
        rehook.reload()
        if not broken:
            state = wanted
    except rehook.BuildError:
        assert broken, (number, step)
    seen = values(*wanted)
    assert seen == {name: state[name] for name in wanted}, (number, step, seen, state)
print(json.dumps("fine"))
""",
        json.dumps(steps),
    )
    assert result.json == "fine"


@pytest.mark.parametrize("lost", ["state", "records"])
def test_what_was_known_is_lost(parts, lost):
    """Without the record of what the build folder holds, nothing in it is believed."""
    parts.run(HELPERS + "put('other', 2)\nrehook.reload()\nprint(1)")
    (folder,) = parts.store.glob("projects/*/*")
    if lost == "state":
        (folder / "state").write_text("torn")
    shutil.rmtree(folder / "records")
    parts.path("other.c").write_text(parts.read("other.c").replace("return 2;", "return 1;"))
    os.utime(parts.path("other.c"), (1_500_000_000, 1_500_000_000))
    assert parts.run(HELPERS + "print(json.dumps(values()))").json == ONE


@pytest.mark.crash
def test_the_first_build_is_killed_half_way(tmp_path):
    """There are objects, but nothing is known of them; an old stamp must not revive them."""
    parts = Project.of_files(tmp_path, "parts", PARTS)
    parts.env.update(parts.count_compilers())
    gate = parts.hold_compilers(at_end=True)
    child = parts.start("import rehook\nrehook.install(projects=[ROOT])\nimport parts")
    pids = gate.wait()  # an object file is complete
    parts.kill(child)
    wait_until_gone(pids)
    gate.remove()
    parts.edit("core.c", "(long)(1)", "(long)(2)")
    parts.edit("other.c", "return 1;", "return 2;")
    parts.edit("lib/lib.c", "return 1;", "return 2;")
    for what in ("core.c", "other.c", "lib/lib.c"):
        os.utime(parts.path(what), (1_500_000_000, 1_500_000_000))
    result = parts.run(HELPERS + "print(json.dumps(values()))").json
    assert result == ONE | {"core": 2, "other": 2, "lib": 2}


def test_a_later_build_is_killed_before_its_beginning_is_recorded(parts):
    """Objects of the earlier state are back already; they must not pass for those of the other."""
    parts.run(HELPERS + "put('core', 2)\nrehook.reload()")
    parts.run(HELPERS + "put('core', 1)\nassert rehook.reload().reused == 1")
    (state,) = parts.store.glob("projects/*/*/state")
    before = state.read_bytes()
    gate = parts.hold_compilers()
    child = parts.start(HELPERS + "put('other', 2)\nrehook.reload()")
    pids = gate.wait()
    parts.kill(child)
    wait_until_gone(pids)
    gate.remove()
    state.write_bytes(before)  # as if killed a moment earlier
    changing = state.with_name("changing")
    assert changing.exists()
    parts.forget()
    result = parts.run(HELPERS + "print(json.dumps([values(), compiled()]))").json
    assert result == [ONE | {"other": 2}, ["core.c", "other.c"]]
    assert not changing.exists()
    parts.run(HELPERS + "put('core', 2)\nput('other', 1)\nassert rehook.reload().reused == 1")
    result = parts.run(HELPERS + "put('other', 3)\nrehook.reload()\nprint(json.dumps(values()))")
    assert result.json == ONE | {"core": 2, "other": 3}


# ------------------------------------------------------------ git


@pytest.fixture
def repository(parts):
    """`parts` as a git repository with its state committed; a function that runs git in it."""
    if shutil.which("git") is None:
        pytest.skip("no git")

    def git(*arguments):
        identity = ("-c", "user.name=t", "-c", "user.email=t@t", "-c", "commit.gpgsign=false")
        command = ["git", *identity, *arguments]
        done = subprocess.run(command, cwd=parts.root, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    git("init", "-q", "-b", "main")
    git("add", ".")
    git("commit", "-q", "-m", "one")
    parts.git = git
    return parts


GIT = """
import subprocess
def git(*arguments):
    identity = ("-c", "user.name=t", "-c", "user.email=t@t", "-c", "commit.gpgsign=false")
    subprocess.run(["git", *identity, *arguments], cwd=ROOT, check=True, capture_output=True)
seen = []
def look():
    before = compiled()
    report = rehook.reload()
    same = compiled() == before
    seen.append([values("core", "header", "other"), report.built, report.reused, same])
"""


def test_branches(repository):
    """Switching builds once per branch; afterwards the store serves both."""
    result = repository.run(
        HELPERS
        + GIT
        + """
git("checkout", "-q", "-b", "topic")
put("core", 2); put("header", 2)
git("commit", "-q", "-a", "-m", "two")
look()
for _ in range(2):
    git("checkout", "-q", "main")
    look()
    git("checkout", "-q", "topic")
    look()
git("checkout", "-q", "main")
before = compiled()
put("other", 5)
look()
more = compiled()
for one in before:
    more.remove(one)
print(json.dumps([seen, more, rehook.status().projects[0]]))
"""
    ).json
    seen, more, project = result
    assert more == ["other.c"]
    main, topic = {"core": 1, "header": 1, "other": 1}, {"core": 2, "header": 2, "other": 1}
    assert seen[0] == [topic, 1, 0, False]
    assert seen[1:5] == [[main, 0, 1, True], [topic, 0, 1, True]] * 2
    assert seen[5] == [main | {"other": 5}, 1, 0, False]
    assert project["branch"] == "main"
    assert project["dirty"]
    assert len(project["commit"]) >= 10


def test_stash(repository):
    result = repository.run(
        HELPERS
        + GIT
        + """
put("core", 2); put("header", 2)
look()
git("stash", "-q")
look()
put("other", 7)
look()
git("checkout", "-q", ".")
git("stash", "pop", "-q")
look()
print(json.dumps(seen))
"""
    ).json
    old, new = {"core": 1, "header": 1, "other": 1}, {"core": 2, "header": 2, "other": 1}
    assert result == [
        [new, 1, 0, False],
        [old, 0, 1, True],
        [old | {"other": 7}, 1, 0, False],
        [new, 0, 1, True],
    ]
