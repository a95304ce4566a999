"""Shared libraries of a project are reloaded with the extensions that need them."""

import shutil
import subprocess
import textwrap

import pytest

from support.project import Project

SETUP = """
import rehook
rehook.install(projects=[ROOT])
from shared_libs import ea, eb
def options(text):
    write("variant.cmake", text)
def bumps():
    return [ea.bump(), eb.bump(), ea.core_bump(), *ea.totals(), *eb.totals()]
def foreign_maps():
    '''What this process has mapped of files that a build tool may write.'''
    lines = Path("/proc/self/maps").read_text(encoding="utf-8").splitlines()
    names = {line.split(maxsplit=5)[5] for line in lines if line.count("/") > 0}
    return sorted(one for one in names if ".so" in one and
                  (one.startswith(ROOT) or "/build/" in one))
"""


def run(project, script, **options):
    return project.run(SETUP + textwrap.dedent(script), **options)


INLINE = "add_compile_definitions(USE_INLINE START=100)\n"


def usable(linker):
    return shutil.which(f"ld.{linker}") is not None


LINKERS = [
    pytest.param(one, marks=pytest.mark.skipif(not usable(one), reason=f"there is no ld.{one}"))
    for one in ("bfd", "gold", "lld", "mold")
]


@pytest.fixture
def shared(project):
    """Return a function that gives the fixture with other options: shared(variant) -> Project."""

    def make(variant="", **files):
        made = project("shared_libs")
        made.write("variant.cmake", variant)
        for name, text in files.items():
            made.write(name.replace("_dot_", "."), text)
        return made

    return make


@pytest.mark.parametrize("linker", LINKERS)
def test_a_diamond_of_libraries(shared, linker):
    """Every generation has all of its libraries, once; the older ones keep theirs."""
    project = shared(INLINE)
    seen = run(
        project,
        """
        old = ea.values, ea.counts, eb.counts, ea.core_bump
        seen = {"first": [ea.values(), eb.values(), ea.counts(), eb.counts(), bumps()]}
        for file in ("core.cpp", "mid.cpp"):
            edit(file, "return 1;", "return 2;")
        edit("ea.cpp", "ea, 1", "ea, 2")
        edit("eb.cpp", "eb, 1", "eb, 2")
        rehook.reload()
        seen["second"] = [ea.values(), eb.values(), ea.counts(), eb.counts(), bumps()]
        seen["mapped"] = foreign_maps()
        print(json.dumps(seen))
        """,
        env={"LDFLAGS": f"-fuse-ld={linker}"},
    ).json
    fresh = [101, 102, 103, *[309] * 4]
    assert seen["first"] == [[1, 1, 1001], [1, 1, 1001], [1, 1], [1, 2], fresh]
    assert seen["second"] == [[2, 2, 2002], [2, 2, 2002], [1, 1], [1, 2], fresh]
    assert seen["mapped"] == []


VARIANTS = {
    "stripped": "add_link_options(-s)\nadd_compile_options(-O2)",
    "lto, bind now": "add_compile_options(-O2 -flto)\nadd_link_options(-flto -Wl,-z,now)",
    "split dwarf": "add_compile_options(-g -gsplit-dwarf)",
    "compressed debug": "add_compile_options(-g -gz)",
    "rpath": "add_link_options(-Wl,--disable-new-dtags)",
    "origin": "set(CMAKE_BUILD_WITH_INSTALL_RPATH ON)\nset(CMAKE_INSTALL_RPATH $ORIGIN)",
    "no rpath": "set(CMAKE_SKIP_RPATH ON)",
    "no soname": "set(CMAKE_PLATFORM_NO_VERSIONED_SONAME ON)\n"
    "function(finish_variant)\nset_target_properties(core PROPERTIES NO_SONAME ON)\n"
    "endfunction()",
    "versioned symbols": "file(WRITE ${CMAKE_BINARY_DIR}/core.map "
    '"CORE_1 { global: core_*; local: *; };")\n'
    "function(finish_variant)\n"
    "target_link_options(core PRIVATE -Wl,--version-script=${CMAKE_BINARY_DIR}/core.map)\n"
    "endfunction()",
}


@pytest.mark.parametrize("name", VARIANTS)
def test_ways_to_link(shared, name):
    """Only the lowest library changes, twice, and back; who needs it follows."""
    project = shared(VARIANTS[name] + "\n")
    seen = run(
        project,
        """
        seen = [[ea.values(), ea.counts(), eb.counts()]]
        for old, new in (("1", "2"), ("2", "3"), ("3", "1")):
            edit("core.cpp", f"return {old};", f"return {new};")
            rehook.reload()
            seen.append([ea.values(), ea.counts(), eb.counts()])
        print(json.dumps([seen, foreign_maps()]))
        """,
    ).json
    assert seen == [
        [[[1, 1, 1001 + 1000 * add], [1, 1], [1, 2]] for add in (0, 1, 2, 0)],
        [],
    ]


@pytest.mark.skipif(not shutil.which("clang++"), reason="there is no clang++")
def test_clang(shared):
    project = shared(INLINE)
    seen = run(
        project,
        """
        seen = [ea.values()]
        edit("core.cpp", "return 1;", "return 2;")
        rehook.reload()
        print(json.dumps([*seen, ea.values(), eb.counts()]))
        """,
        env={"CXX": "clang++", "CC": "clang"},
    ).json
    assert seen == [[1, 1, 1001], [1, 1, 2001], [1, 1]]


def test_a_version_that_is_renamed(shared):
    """The dynamic linker compares the names of versions and files; it would end the process."""
    variant = VARIANTS["versioned symbols"] + "\n"
    project = shared(variant)
    seen = run(
        project,
        """
        text = Path(ROOT, "variant.cmake").read_text(encoding="utf-8")
        options(text.replace("CORE_1", "CORE_2"))
        edit("core.cpp", "return 1;", "return 2;")
        rehook.reload()
        print(json.dumps([ea.values(), eb.values()]))
        """,
    ).json
    assert seen == [[1, 1, 2001], [1, 1, 2001]]


def test_what_does_not_change_keeps_its_state(shared):
    """An extension gets a new build; the libraries it needs are the ones that ran."""
    project = shared()
    seen = run(
        project,
        """
        seen = [ea.counts(), eb.counts()]
        edit("ea.cpp", "ea, 1", "ea, 2")
        report = rehook.reload()
        seen += [report.names, ea.values(), ea.counts(), eb.counts()]
        print(json.dumps(seen))
        """,
    ).json
    assert seen == [[1, 1], [1, 2], ["shared_libs.ea"], [2, 1, 1001], [1, 3], [2, 4]]


@pytest.mark.parametrize("wanted", ["", '"shared_libs.ea"'])
def test_shared_variables_are_shared_again(shared, wanted):
    """A new member of a group would have variables of its own: all members are new."""
    project = shared(INLINE)
    seen = run(
        project,
        f"""
        seen = [bumps()]
        edit("ea.cpp", "ea, 1", "ea, 2")
        seen.append(rehook.reload({wanted}).names)
        seen.append(bumps())
        print(json.dumps(seen))
        """,
    ).json
    fresh = [101, 102, 103, *[309] * 4]
    assert seen == [fresh, ["shared_libs.ea", "shared_libs.eb"], fresh]


def test_a_group_without_libraries(shared):
    """Two extensions that share nothing but a header's variables."""
    project = shared(INLINE)
    project.write("core.cpp", "")
    project.write("mid.cpp", "")
    project.edit("CMakeLists.txt", "  target_link_libraries(${name} PRIVATE mid core)\n", "")
    stubs = "".join(
        f'extern "C" int {name}() {{ return 0; }}\n'
        for name in ("core_count", "core_bump", "core_total", "mid_value", "mid_sum")
    )
    for name in ("ea.cpp", "eb.cpp"):
        project.write(name, project.read(name) + stubs)
    seen = project.run(
        """
        import rehook
        rehook.install(projects=[ROOT])
        from shared_libs import ea, eb
        seen = [ea.bump(), eb.bump()]
        edit("inline.hpp", "return ++g_inline;", "return g_inline += 10;")
        rehook.reload()
        seen += [ea.bump(), eb.bump()]
        edit("ea.cpp", "ea, 1", "ea, 2")
        rehook.reload()
        seen += [ea.bump(), eb.bump(), ea.values()]
        print(json.dumps(seen))
        """
    ).json
    assert seen == [101, 102, 110, 120, 110, 120, [2, 0, 0]]


def test_a_variable_that_grows(shared):
    """A new build writes as much as it has; the old one's variable is as small as it was."""
    variant = INLINE + "add_compile_definitions(SIZE=5)\n"
    project = shared(variant)
    text = project.read("inline.hpp")
    text = text.replace("inline int g_inline = START;", "inline int g_room[SIZE] = {1};")
    text = text.replace("++g_inline", "*[] { for (int& i : g_room) ++i; return g_room; }()")
    project.write("inline.hpp", text.replace("g_inline", "g_room[SIZE - 1]"))
    seen = run(
        project,
        """
        old = ea.bump
        seen = [ea.bump()]
        text = Path(ROOT, "variant.cmake").read_text(encoding="utf-8")
        options(text.replace("SIZE=5", "SIZE=1000000"))
        rehook.reload()
        seen += [ea.bump(), eb.bump()]
        print(json.dumps(seen))
        """,
    ).json
    assert seen == [2, 2, 3]


def test_a_library_of_somebody_else(shared, tmp_path):
    """What lies beside the build, not in it, is found from the copies and used where it is."""
    place = tmp_path / "x.libs"
    place.mkdir()
    (place / "other.c").write_text("int other(void) { return 7; }", encoding="utf-8")
    command = ["cc", "-shared", "-fPIC", "-o", "libother.so", "other.c", "-Wl,-soname,libother.so"]
    subprocess.run(command, cwd=place, check=True)
    project = shared(
        f"""
        set(core_libraries {place}/libother.so)
        set(CMAKE_BUILD_WITH_INSTALL_RPATH ON)
        file(RELATIVE_PATH way ${{CMAKE_BINARY_DIR}} {place})
        set(CMAKE_INSTALL_RPATH $ORIGIN/${{way}})
        """
    )
    project.edit("core.cpp", "return 1;", "return other();")
    project.edit("core.cpp", "#include", 'extern "C" int other(void);\n#include')
    seen = run(
        project,
        """
        seen = [ea.values()]
        edit("core.cpp", "return other();", "return 1 + other();")
        rehook.reload()
        text = Path("/proc/self/maps").read_text(encoding="utf-8")
        print(json.dumps([*seen, ea.values(), "x.libs/libother.so" in text]))
        """,
    ).json
    assert seen == [[1, 1, 7001], [1, 1, 8001], True]


def test_libraries_that_need_each_other(shared):
    """A ring has no order to load copies in: used where it is, and a new build is refused."""
    project = shared(
        """
        function(finish_variant)
          target_link_options(core PRIVATE -Wl,--no-as-needed -L${CMAKE_BINARY_DIR}/ring -lring)
        endfunction()
        file(MAKE_DIRECTORY ${CMAKE_BINARY_DIR}/ring)
        file(WRITE ${CMAKE_BINARY_DIR}/ring/ring.c "")
        execute_process(COMMAND cc -shared -fPIC -o ${CMAKE_BINARY_DIR}/ring/libring.so
          -Wl,-soname,libmid.so ${CMAKE_BINARY_DIR}/ring/ring.c)
        """
    )
    seen = run(
        project,
        """
        seen = [ea.values()]
        edit("mid.cpp", "return 1;", "return 2;")
        try:
            rehook.reload()
        except rehook.ReloadError as error:
            seen += ["libmid.so" in str(error), "ring" in error.hint]
        print(json.dumps([*seen, ea.values()]))
        """,
    ).json
    assert seen == [[1, 1, 1001], True, True, [1, 1, 1001]]


def test_overwriting_libraries_in_place(shared):
    """`cp` over the files of the build, while they are in use: the process runs copies."""
    project = shared()
    seen = run(
        project,
        """
        for file in _project.store.glob("projects/*/*/build/*.so*"):
            if not file.is_symlink():
                file.write_bytes(b"x" * 100)
        print(json.dumps([ea.values(), eb.counts()]))
        """,
    ).json
    assert seen == [[1, 1, 1001], [1, 1]]


def test_a_failed_reload_leaves_the_libraries(shared):
    """The first extension loads with the new library, the second fails: nobody sees it."""
    project = shared()
    seen = run(
        project,
        """
        seen = [ea.counts(), eb.counts()]
        edit("core.cpp", "return 1;", "return 2;")
        edit("eb.cpp", "SHARED", '''__attribute__((constructor)) static void set() {}
        extern "C" int nowhere(); int use() { return nowhere(); }
        SHARED''')
        try:
            rehook.reload()
        except rehook.ReloadError as error:
            seen.append("nowhere" in str(error))
        seen += [ea.values(), eb.values(), ea.counts(), eb.counts()]
        edit("eb.cpp", "nowhere(); int use() { return nowhere(); }", "nowhere();")
        rehook.reload()
        seen += [ea.values(), eb.values(), ea.counts(), eb.counts()]
        print(json.dumps(seen))
        """,
    ).json
    old, new = [1, 1, 1001], [1, 1, 2001]
    assert seen == [[1, 1], [1, 2], True, old, old, [2, 3], [2, 4], new, new, [1, 1], [1, 2]]


def test_generations_are_shown(shared):
    project = shared()
    seen = run(
        project,
        """
        edit("core.cpp", "return 1;", "return 2;")
        rehook.reload()
        shown = rehook.generations()
        print(str(shown))
        print(json.dumps([list(shown), shown.totals]))
        """,
    )
    builds, totals = seen.json
    assert [(one["module"][-2:], one["generation"], one["current"]) for one in builds] == [
        ("ea", 1, False), ("ea", 2, True), ("eb", 1, False), ("eb", 2, True),
    ]  # fmt: skip
    for one in builds:
        assert [library["name"] for library in one["libraries"]] == ["libcore.so.1.2", "libmid.so"]
        assert one["mapped"] > 0
        assert one["mappings"] > 0
    # Both builds of a generation run the same copies.
    assert builds[0]["libraries"] == builds[2]["libraries"] != builds[1]["libraries"]
    assert set(totals) == {
        "memory mappings", "bytes of memory", "bytes of static thread-local storage",
    }  # fmt: skip
    assert 0 < totals["memory mappings"]["used"] < totals["memory mappings"]["limit"]
    assert 0 < totals["bytes of memory"]["used"] < totals["bytes of memory"]["limit"]
    assert "shared_libs.ea  generation 2  current" in seen.stdout


def test_classes_that_live_in_a_library(tmp_path):
    """pybind11 knows them by type information in the library, which is new with the extension."""
    files = {
        "CMakeLists.txt": """
            cmake_minimum_required(VERSION 3.18...3.30)
            project(typed LANGUAGES CXX)
            set(CMAKE_CXX_STANDARD 17)
            set(PYBIND11_FINDPYTHON ON)
            find_package(pybind11 CONFIG REQUIRED)
            add_library(shapes SHARED shapes.cpp)
            pybind11_add_module(_core MODULE core.cpp)
            target_link_libraries(_core PRIVATE shapes)
            install(TARGETS _core DESTINATION typed)
        """,
        "shapes.hpp": """
            #pragma once
            struct Shape {
              virtual ~Shape();
              virtual int sides() const;
            };
        """,
        "shapes.cpp": """
            #include "shapes.hpp"
            Shape::~Shape() = default;
            int Shape::sides() const { return 3; }
        """,
        "core.cpp": """
            #include <pybind11/pybind11.h>
            #include "shapes.hpp"
            PYBIND11_MODULE(_core, m) {
              pybind11::class_<Shape>(m, "Shape")
                  .def(pybind11::init<>())
                  .def("sides", [](const Shape& shape) { return 10 + shape.sides(); });
            }
        """,
        "typed/__init__.py": "from ._core import Shape",
    }
    project = Project.of_files(tmp_path, "typed", files)
    seen = project.run(
        """
        import rehook
        rehook.install(projects=[ROOT])
        import typed
        old = typed.Shape()
        seen = [old.sides()]
        edit("core.cpp", "10 +", "20 +")
        rehook.reload()
        seen.append(typed.Shape().sides())
        edit("shapes.cpp", "return 3;", "return 4;")
        rehook.reload()
        seen.append(typed.Shape().sides())
        edit("shapes.cpp", "return 4;", "return 3;")
        rehook.reload()
        seen.append(typed.Shape().sides())
        print(json.dumps([seen, old.sides() % 10]))
        """
    ).json
    assert seen[0] == [13, 23, 24, 23]
    assert seen[1] in {3, 4}
