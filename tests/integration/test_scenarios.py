"""Scenarios in which builds go stale or never end; README.md says which test shows which."""

import json
import os
import shutil
import textwrap
import time

import pytest

from support.project import Project
from support.sources import c_module, cmake_lists

pytestmark = pytest.mark.compile

BOX = {
    "CMakeLists.txt": cmake_lists(
        "box",
        """
        set(number 1)
        find_path(other_headers other.h PATHS ${CMAKE_CURRENT_SOURCE_DIR}/../outside)
        python_add_library(_core MODULE WITH_SOABI core.c part.c)
        target_compile_definitions(_core PRIVATE NUMBER=${number})
        target_include_directories(_core SYSTEM PRIVATE ${other_headers})
        """,
    ),
    "core.c": c_module(
        "_core",
        {"value": "1", "part": "part_value()", "number": "NUMBER", "other": "OTHER"},
        head="#include <other.h>\nlong part_value(void);",
    ),
    "part.c": "long part_value(void) { return 1; }\n",
    "../outside/other.h": "#define OTHER 1\n",
    "box/__init__.py": "from . import _core\n",
}

HELPERS = """
import rehook
rehook.install(projects=[ROOT])
import box

def values():
    return [one() for one in (box._core.value, box._core.part, box._core.number, box._core.other)]

def compiled():
    log = Path(ROOT).parent / "compiles.txt"
    return sorted(Path(line).name for line in log.read_text().splitlines()) if log.exists() else []
"""
LOOK = HELPERS + "print(json.dumps([values(), compiled(), rehook.status().counters['built']]))"


@pytest.fixture
def box(built):
    return built("box", files=BOX)


def build_folder(project):
    (folder,) = project.store.glob("projects/*/*/build")
    return folder


@pytest.mark.parametrize("file", ["core.c", "CMakeLists.txt"])
def test_a_stamp_in_the_future(box, file):
    """Built once, not at every look; ninja alone would not come to an end."""
    old, new = ("(long)(1)", "(long)(2)") if file == "core.c" else ("number 1", "number 2")
    box.edit(file, old, new)
    tomorrow = time.time() + 86400
    os.utime(box.path(file), (tomorrow, tomorrow))
    seen, compiled, built = box.run(LOOK).json
    assert seen == ([2, 1, 1, 1] if file == "core.c" else [1, 1, 2, 1])
    assert compiled == (["core.c"] if file == "core.c" else ["core.c", "part.c"])
    assert built == 1
    box.forget()
    assert box.run(LOOK).json == [seen, [], 0]
    # An edit after it, with an honest stamp; ninja compiles the other one along with it.
    box.edit("part.c", "return 1", "return 3")
    seen[1] = 3
    after, compiled, built = box.run(LOOK).json
    assert (after, built) == (seen, 1)
    assert "part.c" in compiled
    box.forget()
    assert box.run(LOOK).json == [seen, [], 0]


def test_a_comment_in_cmake_code(box):
    result = box.run(
        HELPERS
        + """
edit("CMakeLists.txt", "set(number 1)", "set(number 1)  # still")
report = rehook.reload()
print(json.dumps([report.names, compiled(), rehook.status().counters["configured"]]))
"""
    ).json
    assert result == [[], [], 1]


def test_a_source_is_renamed(box):
    """Its old object does not get into the build: both would define the function."""
    result = box.run(
        HELPERS
        + """
os.rename(f"{ROOT}/part.c", f"{ROOT}/piece.c")
edit("CMakeLists.txt", "part.c", "piece.c")
edit("piece.c", "return 1", "return 4")
rehook.reload()
print(json.dumps([values(), compiled()]))
"""
    ).json
    assert result == [[1, 4, 1, 1], ["piece.c"]]


def test_a_cache_entry_changed_by_hand(box):
    """In rehook's own folder: the next build uses it, and says nothing is stale."""
    folder = build_folder(box)
    cache = (folder / "CMakeCache.txt").read_text()
    assert "CMAKE_C_FLAGS:STRING=\n" in cache
    (folder / "CMakeCache.txt").write_text(
        cache.replace("CMAKE_C_FLAGS:STRING=\n", "CMAKE_C_FLAGS:STRING=-DUNUSED=1\n")
    )
    box.edit("core.c", "(long)(1)", "(long)(2)")
    seen, compiled, _ = box.run(LOOK).json
    assert seen == [2, 1, 1, 1]
    assert "core.c" in compiled
    box.forget()
    assert box.run(LOOK).json == [seen, [], 0]


def test_another_interpreter_has_builds_of_its_own(box):
    """As far as one interpreter can show: the settings that tell them apart choose the folder."""
    before = set(box.store.glob("projects/*/*"))
    seen, _, built = box.run(LOOK, env={"REHOOK_BUILD_TYPE": "Debug"}).json
    assert (seen, built) == ([1, 1, 1, 1], 1)
    (other,) = set(box.store.glob("projects/*/*")) - before
    assert other.name.split("-")[:2] == next(iter(before)).name.split("-")[:2]  # the same ABI
    assert other.parent == next(iter(before)).parent
    box.forget()
    assert box.run(LOOK).json == [[1, 1, 1, 1], [], 0]


def test_a_header_of_another_package(box):
    """A package of the distribution keeps its stamps: its upgrade is older than the object."""
    header = box.home / "outside" / "other.h"
    header.write_text("#define OTHER 2\n")
    os.utime(header, (1_600_000_000, 1_600_000_000))
    seen, compiled, built = box.run(LOOK).json
    assert (seen, compiled, built) == ([1, 1, 1, 2], ["core.c"], 1)
    box.forget()
    assert box.run(LOOK).json == [seen, [], 0]


@pytest.mark.parametrize("damage", ["emptied", "cut", "deleted"])
def test_the_output_is_damaged(box, damage):
    """What ninja takes for built: not published, not loaded; made again with the next edit."""
    (output,) = build_folder(box).glob("_core*.so")
    content = output.read_bytes()
    output.unlink()
    if damage != "deleted":
        output.write_bytes(content[: len(content) // 2] if damage == "cut" else b"")
    assert box.run(LOOK).json == [[1, 1, 1, 1], [], 0]  # the store has it
    box.edit("core.c", "(long)(1)", "(long)(2)")
    assert box.run(LOOK).json == [[2, 1, 1, 1], ["core.c"], 1]


@pytest.mark.parametrize("damage", ["emptied", "cut", "garbage", "deleted"])
@pytest.mark.parametrize("log", [".ninja_deps", ".ninja_log"])
def test_the_logs_of_ninja_are_damaged(box, log, damage):
    """More may be compiled, once; never less, and never at every look."""
    file = build_folder(box) / log
    content = file.read_bytes()
    file.unlink()
    broken = {"emptied": b"", "cut": content[: len(content) * 2 // 3], "garbage": b"\xff\0" * 999}
    if damage != "deleted":
        file.write_bytes(broken[damage])
    box.edit("core.c", "(long)(1)", "(long)(2)")
    seen, compiled, built = box.run(LOOK).json
    assert (seen, built) == ([2, 1, 1, 1], 1)
    assert "core.c" in compiled
    box.forget()
    assert box.run(LOOK).json == [seen, [], 0]
    # The header is still known to be an input.
    (box.home / "outside" / "other.h").write_text("#define OTHER 3\n")
    seen, compiled, built = box.run(LOOK).json
    assert (seen, compiled, built) == ([2, 1, 1, 3], ["core.c"], 1)


def test_a_copy_of_a_project(box):
    """It has builds of its own, wherever its files came from."""
    copy = box.home / "copy"
    shutil.copytree(box.root, copy)
    (copy / "part.c").write_text("long part_value(void) { return 8; }\n")
    script = LOOK.replace("projects=[ROOT]", f"projects=[{str(copy)!r}]")
    assert box.run(script, path=[]).json[0] == [1, 8, 1, 1]
    box.forget()
    assert box.run(LOOK, path=[]).json == [[1, 1, 1, 1], [], 0]


def preset(flag):
    return json.dumps(
        {
            "version": 3,
            "configurePresets": [
                {
                    "name": "dev",
                    "generator": "Ninja",
                    "binaryDir": "${sourceDir}/not-here",
                    "cacheVariables": {"CMAKE_C_FLAGS": f"-DFROM_A_FILE={flag}"},
                }
            ],
        }
    )


def project_file(flag):
    return f"""
        [build-system]
        requires = ["scikit-build-core"]
        build-backend = "scikit_build_core.build"
        [project]
        name = "box"
        version = "1.0"
        [tool.scikit-build.cmake.define]
        CMAKE_C_FLAGS = "-DFROM_A_FILE={flag}"
        """


BESIDE = {
    "CMakePresets.json": (preset, "--preset=dev"),
    "pyproject.toml": (project_file, ""),
    "toolchain.cmake": (
        lambda flag: f'set(CMAKE_C_FLAGS_INIT "-DFROM_A_FILE={flag}")\n',
        "-DCMAKE_TOOLCHAIN_FILE={root}/toolchain.cmake",
    ),
}


@pytest.mark.parametrize("file", BESIDE)
def test_a_file_beside_cmake_code(tmp_path, file):
    """Neither CMake nor ninja see all of these change; what they say counts all the same."""
    text, argument = BESIDE[file]
    files = {
        **BOX,
        "core.c": c_module(
            "_core",
            {"value": "1", "part": "part_value()", "number": "NUMBER", "other": "FROM_A_FILE"},
            head="long part_value(void);",
        ),
        file: text(1),
    }
    box = Project.of_files(tmp_path, "box", files)
    env = {"REHOOK_CMAKE_ARGS": argument.format(root=box.root)}
    assert box.run(LOOK, env=env).json[0] == [1, 1, 1, 1]
    box.write(file, textwrap.dedent(text(2)))
    seen = box.run(LOOK, env=env).json
    assert seen[0] == [1, 1, 1, 2]
    box.forget()
    assert box.run(LOOK, env=env).json == [[1, 1, 1, 2], [], 0]
    assert not (box.root / "not-here").exists()
