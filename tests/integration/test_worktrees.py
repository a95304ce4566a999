"""Working trees of one git repository share what was built of the same inputs."""

import subprocess

import pytest

from support.project import Project
from support.sources import c_module, cmake_lists

pytestmark = pytest.mark.compile

BOX = {
    "CMakeLists.txt": cmake_lists(
        "box", "python_add_library(_core MODULE WITH_SOABI core.c part.c)"
    ),
    "core.c": c_module("_core", {"value": "1", "part": "part_value()"}, head='#include "part.h"'),
    "part.c": '#include "part.h"\nlong part_value(void) { return 1; }\n',
    "part.h": "long part_value(void);\n",
    "box/__init__.py": "from . import _core\nVALUE = 1\n",
}

LOOK = """
import rehook
rehook.install(projects=[HERE])
import box

def look():
    log = Path(ROOT).parent / "compiles.txt"
    compiled = log.read_text().splitlines() if log.exists() else []
    log.unlink(missing_ok=True)
    return [box._core.value(), box._core.part(), sorted(Path(one).name for one in compiled)]
"""
TELL = "print(json.dumps(look()))\n"


def git(folder, *arguments):
    command = ["git", "-c", "user.name=n", "-c", "user.email=e@example.com", *arguments]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)


@pytest.fixture
def tree(tmp_path):
    return repository(tmp_path, {})


def repository(home, changes):
    project = Project.of_files(home, "box", {**BOX, **changes})
    project.env.update(project.count_compilers())
    git(project.root, "init", "-q", "-b", "trunk")
    git(project.root, "add", ".")
    git(project.root, "commit", "-q", "-m", "one")
    return project


def worktree(project):
    folder = project.root / "trees" / "other"  # compilers are counted below the root
    git(project.root, "worktree", "add", "-q", "--detach", str(folder))
    return folder


def look(project, folder, script=TELL):
    """Import the package from `folder`; give its values, and what was compiled meanwhile."""
    return project.run(f"HERE = {str(folder)!r}\n{LOOK}{script}", path=[folder]).json


def edit(file, old, new):
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def test_a_new_working_tree_compiles_nothing(tree):
    assert look(tree, tree.root) == [1, 1, ["core.c", "part.c"]]
    other = worktree(tree)
    assert look(tree, other) == [1, 1, []]
    assert look(tree, other) == [1, 1, []]
    # Its own edits are its own.
    edit(other / "part.c", "return 1", "return 2")
    value, part, compiled = look(tree, other)
    assert (value, part) == (1, 2)
    assert "part.c" in compiled
    edit(other / "part.c", "return 2", "return 3")
    assert look(tree, other) == [1, 3, ["part.c"]]
    assert look(tree, tree.root) == [1, 1, []]


def test_a_state_that_another_tree_has_built(tree):
    """Both have builds of their own; what one made last is new to the other."""
    look(tree, tree.root)
    other = worktree(tree)
    edit(other / "part.c", "return 1", "return 4")
    look(tree, other)
    assert look(tree, other) == [1, 4, []]
    edit(tree.path("part.c"), "return 1", "return 4")
    assert look(tree, tree.root) == [1, 4, []]
    edit(tree.path("part.c"), "return 4", "return 5")
    assert look(tree, tree.root) == [1, 5, ["part.c"]]


def test_a_reload_finds_it_too(tree):
    other = worktree(tree)
    edit(other / "core.c", "(long)(1)", "(long)(7)")
    look(tree, other)
    script = """
first = look()
edit("core.c", "(long)(1)", "(long)(7)")
report = rehook.reload()
print(json.dumps([first, look(), report.names]))
"""
    first, second, names = look(tree, tree.root, script)
    assert first == [1, 1, ["core.c", "part.c"]]
    assert second == [7, 1, []]
    assert "box._core" in names


@pytest.mark.parametrize("name", ["definition", "file"])
def test_what_has_the_name_of_its_tree_inside(tmp_path, name):
    """It would look for its data in the other tree: each has a build of its own."""
    changes = {
        "definition": {
            "CMakeLists.txt": BOX["CMakeLists.txt"]
            + 'target_compile_definitions(_core PRIVATE HERE="${CMAKE_CURRENT_SOURCE_DIR}/data")\n',
            "part.c": '#include "part.h"\nconst char* here = HERE;\n'
            "long part_value(void) { return 1; }\n",
        },
        "file": {
            "part.c": '#include "part.h"\nconst char* here = __FILE__;\n'
            "long part_value(void) { return 1; }\n",
        },
    }
    tree = repository(tmp_path, changes[name])
    assert look(tree, tree.root)[2] == ["core.c", "part.c"]
    other = worktree(tree)
    assert look(tree, other) == [1, 1, ["core.c", "part.c"]]
    assert look(tree, other) == [1, 1, []]


@pytest.mark.parametrize("link", [False, True])
def test_sources_outside_of_the_project_are_the_trees_own(tmp_path, link):
    """A project in a folder of its repository: what it compiles from beside it counts, too."""
    changes = {
        "python/CMakeLists.txt": cmake_lists(
            "box",
            """
            python_add_library(_core MODULE WITH_SOABI core.c ../src/part.c)
            target_include_directories(_core PRIVATE ../src)
            """,
        ),
        "python/core.c": BOX["core.c"],
        "python/box/__init__.py": BOX["box/__init__.py"],
        "src/part.c": BOX["part.c"],
        "src/part.h": BOX["part.h"],
    }
    tree = repository(tmp_path, changes)
    assert look(tree, tree.root / "python") == [1, 1, ["core.c", "part.c"]]
    other = worktree(tree)
    here = other / "python"
    if link:
        (tree.home / "link").symlink_to(other)
        here = tree.home / "link" / "python"
    edit(other / "src" / "part.c", "return 1", "return 6")
    assert look(tree, here)[:2] == [1, 6]
    edit(other / "src" / "part.c", "return 6", "return 1")
    assert look(tree, here) == [1, 1, []]


def test_a_tree_that_reads_another_ones_files(tree):
    """Through a link that leads into it: what is read there may change under both."""
    look(tree, tree.root)
    other = worktree(tree)
    (other / "part.h").unlink()
    (other / "part.h").symlink_to(tree.path("part.h"))
    assert look(tree, other) == [1, 1, ["core.c", "part.c"]]


def test_a_copy_that_is_no_working_tree(tree):
    """Nothing says that it is the same project."""
    look(tree, tree.root)
    copy = tree.root / "trees" / "copy"
    git(tree.root, "clone", "-q", ".", str(copy))
    assert look(tree, copy) == [1, 1, ["core.c", "part.c"]]


def test_a_damaged_artifact_is_not_shared(tree):
    look(tree, tree.root)
    (artifact,) = tree.store.glob("objects/*/*_core*")
    artifact.chmod(0o700)
    artifact.write_bytes(artifact.read_bytes()[:-100])
    assert look(tree, worktree(tree)) == [1, 1, ["core.c", "part.c"]]
