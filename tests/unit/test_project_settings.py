"""How projects of each backend are configured."""

import importlib.metadata
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

pytestmark = pytest.mark.usefixtures("rehook")

CMAKE = "cmake_minimum_required(VERSION 3.15)\nproject(demo LANGUAGES NONE)\n"
CORE = (
    '[build-system]\nrequires = ["scikit-build-core"]\nbuild-backend = "scikit_build_core.build"\n'
)
PROJECT = '[project]\nname = "My.Demo"\nversion = "2024.01.05rc1"\n'

needs_core = pytest.mark.skipif(
    importlib.util.find_spec("scikit_build_core") is None, reason="scikit-build-core is missing"
)
needs_cmake = pytest.mark.skipif(shutil.which("cmake") is None, reason="cmake is missing")


@pytest.fixture
def make(tmp_path):
    """A function that writes files of a project and gives its folder."""

    def write(files):
        root = tmp_path / "project"
        for name, text in files.items():
            file = root / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        return root

    return write


@pytest.fixture
def describe():
    from rehook.config import resolve
    from rehook.project_settings import describe_project

    def work(root, arguments=None):
        return describe_project(str(root), resolve(arguments))

    return work


@pytest.fixture(params=["asked", "read"])
def reading(request, monkeypatch):
    """Both ways to get the settings of scikit-build-core: ask it, and the own reading."""
    from rehook import _scikit_build

    if request.param == "read":
        monkeypatch.setattr(_scikit_build, "ask_scikit_build_core", nobody_to_ask)
    elif importlib.util.find_spec("scikit_build_core") is None:
        pytest.skip("scikit-build-core is missing")
    return request.param


def nobody_to_ask(_root, *, want_version):
    return None, ""


def values(described):
    """The last value of each -D, without its type."""
    result = {}
    for one in described["cmake_args"]:
        if one.startswith("-D"):
            name, _, value = one[2:].partition("=")
            result[name.partition(":")[0]] = value
    return result


# --- scikit-build-core ---------------------------------------------------------------------------


def test_scikit_build_core_defaults(make, describe, reading):
    root = make(
        {"pyproject.toml": CORE + PROJECT, "CMakeLists.txt": CMAKE, "src/my_demo/__init__.py": ""}
    )
    found = describe(root)
    assert found["root"] == str(root)
    assert found["name"] == "my-demo"
    assert found["version"] == "2024.01.05rc1"
    assert found["backend"] == "scikit-build-core"
    assert found["cmake_source_dir"] == str(root)
    assert found["build_type"] == "Release"
    assert found["packages"] == {"my_demo": str(root / "src" / "my_demo")}
    assert found["targets"] == []
    assert found["install_dir"] == ""
    assert found["inputs"] == [str(root / "pyproject.toml")]
    assert found["missing_requirements"] == []
    assert found["suffixes"][0] == sysconfig.get_config_var("EXT_SUFFIX")
    assert "-DCMAKE_INTERPROCEDURAL_OPTIMIZATION:BOOL=OFF" in found["cmake_args"][:2]
    defined = values(found)
    assert defined["SKBUILD"] == "2"
    assert defined["SKBUILD_STATE"] == "editable"
    assert defined["SKBUILD_PROJECT_NAME"] == "My_Demo"
    assert defined["SKBUILD_PROJECT_VERSION"] == "2024.1.5"
    assert defined["SKBUILD_PROJECT_VERSION_FULL"] == "2024.01.05rc1"
    assert defined["SKBUILD_PLATLIB_DIR"] == "@BUILD@/wheel/platlib"
    assert defined["SKBUILD_NULL_DIR"] == "@BUILD@/wheel/null"
    assert defined["CMAKE_INSTALL_PREFIX"] == "@BUILD@/wheel/platlib"
    assert defined["Python_EXECUTABLE"] == defined["Python3_EXECUTABLE"] == sys.executable
    assert sysconfig.get_path("purelib") in defined["CMAKE_PREFIX_PATH"].split(";")
    assert defined["SKBUILD_SOABI"] in sysconfig.get_config_var("EXT_SUFFIX")


TABLE = """
[tool.scikit-build]
cmake.source-dir = "cpp"
cmake.build-type = "RelWithDebInfo"
cmake.args = ["-Wno-dev", "-G", "Ninja", "-DFROM_ARGS=1"]
build.targets = ["_core"]
wheel.packages = ["python/demo", "other"]
wheel.install-dir = "demo/inner"
search.site-packages = true
[tool.scikit-build.cmake.define]
SWITCH = true
OFF_SWITCH = false
TEXT = "a b"
LIST = ["one", "t;wo"]
FROM_ENV = {env = "DEMO_VALUE", default = "unset"}
FROM_ENV_FLAG = {env = "DEMO_FLAG", default = false}
GIVEN = {env = "DEMO_GIVEN", default = "no"}
[[tool.scikit-build.overrides]]
if.python-version = ">=3.11"
inherit.cmake.define = "append"
cmake.define.NEW_PYTHON = "yes"
[[tool.scikit-build.overrides]]
if.python-version = "<3.11"
inherit.cmake.define = "append"
cmake.define.OLD_PYTHON = "yes"
[[tool.scikit-build.overrides]]
if.platform-system = "^(linux|darwin|win32)"
if.state = "editable"
inherit.cmake.args = "append"
cmake.args = ["-DAPPENDED=1"]
[[tool.scikit-build.overrides]]
if.state = "^wheel$"
cmake.build-type = "MinSizeRel"
[[tool.scikit-build.overrides]]
if.any.env.DEMO_GIVEN = "^v"
if.any.platform-machine = "never"
inherit.cmake.define = "append"
cmake.define.ANY = "1"
[[tool.scikit-build.overrides]]
if.env.DEMO_UNSET = true
inherit.cmake.define = "append"
cmake.define.UNSET = "1"
[[tool.scikit-build.overrides]]
if.not.env.DEMO_UNSET = true
inherit.cmake.define = "append"
cmake.define.NOT_UNSET = "1"
"""
TREE = {
    "pyproject.toml": CORE + PROJECT + TABLE,
    "cpp/CMakeLists.txt": CMAKE,
    "python/demo/__init__.py": "",
    "other/thing.py": "",
}


def test_scikit_build_core_table(make, describe, reading, monkeypatch):
    monkeypatch.setenv("DEMO_GIVEN", "value")
    monkeypatch.setenv("DEMO_FLAG", "on")
    root = make(TREE)
    found = describe(root)
    assert found["cmake_source_dir"] == str(root / "cpp")
    assert found["build_type"] == "RelWithDebInfo"
    assert found["targets"] == ["_core"]
    assert found["install_dir"] == "demo/inner"
    assert found["generator"] == "Ninja"
    assert "-G" not in found["cmake_args"]
    assert found["packages"] == {
        "demo": str(root / "python" / "demo"),
        "other": str(root / "other"),
    }
    defined = values(found)
    assert defined["CMAKE_INSTALL_PREFIX"] == "@BUILD@/wheel/platlib/demo/inner"
    assert {name: defined.get(name) for name in TABLE_DEFINES} == TABLE_DEFINES
    assert "-Wno-dev" in found["cmake_args"]


TABLE_DEFINES = {
    "SWITCH": "TRUE",
    "OFF_SWITCH": "FALSE",
    "TEXT": "a b",
    "LIST": "one;t\\;wo",
    "FROM_ENV": "unset",
    "FROM_ENV_FLAG": "TRUE",
    "GIVEN": "value",
    "NEW_PYTHON": "yes",
    "OLD_PYTHON": None,
    "APPENDED": "1",
    "ANY": "1",
    "UNSET": None,
    "NOT_UNSET": "1",
    "FROM_ARGS": "1",
}


def test_environment_variables_of_scikit_build_core(make, describe, reading, monkeypatch):
    monkeypatch.setenv("SKBUILD_CMAKE_DEFINE", "TEXT=env;MORE=1")
    monkeypatch.setenv("SKBUILD_CMAKE_BUILD_TYPE", "Debug")
    monkeypatch.setenv("SKBUILD_CMAKE_ARGS", "-DE1=1;-DE2=2")
    monkeypatch.setenv("CMAKE_ARGS", "-DC=1 -DCMAKE_BUILD_TYPE=No -D CMAKE_INSTALL_PREFIX=/no")
    defined = values(describe(make(TREE)))
    assert defined["TEXT"] == "env"
    assert defined["MORE"] == "1"
    assert defined["CMAKE_BUILD_TYPE"] == "Debug"
    assert (defined["E1"], defined["E2"], defined["C"]) == ("1", "2", "1")
    assert defined["CMAKE_INSTALL_PREFIX"] == "@BUILD@/wheel/platlib/demo/inner"
    assert defined["SWITCH"] == "TRUE"


def test_env_table(make, describe, reading, monkeypatch):
    monkeypatch.setenv("DEMO_SET", "mine")
    table = (
        "[tool.scikit-build.env]\n"
        'DEMO_NEW = "new"\nDEMO_SET = "other"\n'
        'DEMO_COPY = {env = "DEMO_SET"}\nDEMO_NONE = {env = "DEMO_NOTHING"}\n'
        'CXX = {default = "forced-cxx", force = true}\n'
    )
    found = describe(make({"pyproject.toml": CORE + PROJECT + table, "CMakeLists.txt": CMAKE}))
    mine = {name: text for name, text in found["env"].items() if name.startswith("DEMO")}
    assert mine == {"DEMO_NEW": "new", "DEMO_COPY": "mine"}
    assert found["env"]["CXX"] == "forced-cxx"


@needs_core
@pytest.mark.parametrize("py_api", ["", "cp39", "cp399", "cp3", "py3"])
@pytest.mark.parametrize(
    "install_dir", ["", "demo", "${SKBUILD_DATA_DIR}/x", "${SKBUILD_PLATLIB_DIR}/y"]
)
def test_own_reading_equals_scikit_build_core(make, describe, monkeypatch, py_api, install_dir):
    """Differential: everything but the version of the one that answered is the same."""
    from rehook import _scikit_build

    monkeypatch.setenv("DEMO_GIVEN", "value")
    table = TABLE.replace("demo/inner", install_dir)
    table = table.replace(
        "[tool.scikit-build]\n", f'[tool.scikit-build]\nwheel.py-api = "{py_api}"\n'
    )
    root = make({**TREE, "pyproject.toml": CORE + PROJECT + table})
    asked = describe(root)
    assert asked["notes"] == []
    installed = importlib.metadata.version("scikit-build-core")
    monkeypatch.setattr(_scikit_build, "ask_scikit_build_core", nobody_to_ask)
    monkeypatch.setattr("rehook.project_settings._CORE_VERSION", installed)
    read = describe(root)
    # Only the installed one can offer its copy of FindPython.
    asked["cmake_args"] = [one for one in asked["cmake_args"] if "CMAKE_MODULE_PATH" not in one]
    assert read == asked


def test_toolchain_relative_to_the_project(make, describe, reading, monkeypatch):
    monkeypatch.setenv("SKBUILD_CMAKE_TOOLCHAIN_FILE", "tool.cmake")
    root = make(TREE)
    assert values(describe(root))["CMAKE_TOOLCHAIN_FILE"] == str(root / "tool.cmake")


def test_without_python_hints(make, describe, reading):
    table = "[tool.scikit-build]\ncmake.python-hints = false\n"
    found = describe(make({"pyproject.toml": CORE + PROJECT + table, "CMakeLists.txt": CMAKE}))
    assert "Python_EXECUTABLE" not in values(found)


def test_purelib(make, describe, reading):
    table = "[tool.scikit-build]\nwheel.platlib = false\n"
    found = describe(make({"pyproject.toml": CORE + PROJECT + table, "CMakeLists.txt": CMAKE}))
    assert values(found)["CMAKE_INSTALL_PREFIX"] == "@BUILD@/wheel/purelib"
    assert "SKBUILD_PURELIB_DIR" in values(found)


def test_packages_table(make, describe, reading):
    table = '[tool.scikit-build.wheel.packages]\n"ns/inner" = "code/inner"\n"gone" = "no/gone"\n'
    root = make(
        {
            "pyproject.toml": CORE + PROJECT + table,
            "CMakeLists.txt": CMAKE,
            "code/inner/__init__.py": "",
        }
    )
    assert describe(root)["packages"] == {"ns.inner": str(root / "code" / "inner")}


def test_hatch_plugin(make, describe, reading):
    text = (
        '[build-system]\nrequires = ["hatchling", "scikit-build-core"]\n'
        'build-backend = "hatchling.build"\n'
        '[tool.hatch.build.targets.wheel.hooks.scikit-build]\ncmake.source-dir = "cpp"\n'
        "experimental = true\n"
    )
    root = make({"pyproject.toml": PROJECT + text, "cpp/CMakeLists.txt": CMAKE})
    found = describe(root)
    assert found["backend"] == "scikit-build-core"
    assert found["cmake_source_dir"] == str(root / "cpp")


def test_generated_files_are_described(make, describe, reading):
    table = '[[tool.scikit-build.generate]]\npath = "v.py"\ntemplate = "x"\n'
    found = describe(make({"pyproject.toml": CORE + PROJECT + table, "CMakeLists.txt": CMAKE}))
    assert [text for _, text, _ in found["generated"]] == ["x"]


@needs_core
def test_settings_scikit_build_core_refuses_are_read_anyway_with_a_note(make, describe):
    table = "[tool.scikit-build]\nnonsense = true\n"
    found = describe(make({"pyproject.toml": CORE + PROJECT + table, "CMakeLists.txt": CMAKE}))
    assert found["build_type"] == "Release"
    assert any("scikit-build-core cannot read" in one for one in found["notes"])


@pytest.mark.parametrize(
    "table",
    [
        "[tool.scikit-build]\ncmake = 3\n",
        "[tool.scikit-build]\ncmake.args = 'x'\n",
        "[[tool.scikit-build.overrides]]\ncmake.args = []\n",
        "[[tool.scikit-build.overrides]]\nif.moon-phase = 'full'\ncmake.args = []\n",
        "[[tool.scikit-build.overrides]]\nif.state = '.'\ninherit.env = 'x'\nenv = 3\n",
    ],
)
def test_wrong_tables_name_the_file(make, describe, table):
    from rehook.errors import ConfigError

    root = make({"pyproject.toml": CORE + PROJECT + table, "CMakeLists.txt": CMAKE})
    with pytest.raises(ConfigError) as caught:
        describe(root)
    assert str(root / "pyproject.toml") in str(caught.value)


@needs_core
def test_a_dynamic_version_is_computed_by_its_provider(make, describe):
    text = (
        CORE
        + '[project]\nname = "demo_unheard_of"\ndynamic = ["version"]\n'
        + "[tool.scikit-build.metadata.version]\n"
        + 'provider = "scikit_build_core.metadata.regex"\ninput = "src/d.py"\n'
    )
    root = make(
        {"pyproject.toml": text, "CMakeLists.txt": CMAKE, "src/d.py": "__version__ = '3.4'\n"}
    )
    assert describe(root)["version"] == "3.4"


def test_a_dynamic_version_without_its_provider(make, describe, reading):
    text = CORE + '[project]\nname = "demo_unheard_of"\ndynamic = ["version"]\n'
    root = make({"pyproject.toml": text, "CMakeLists.txt": CMAKE})
    found = describe(root)
    assert found["version"] == "0.0.0"
    (root / "PKG-INFO").write_text("Metadata-Version: 2.1\nName: d\nVersion: 7.8\n\nVersion: 9\n")
    assert describe(root)["version"] == "7.8"


@needs_core
@needs_cmake
def test_the_cache_equals_the_one_of_an_editable_build(make, describe, tmp_path, monkeypatch):
    """Differential: configure with our arguments and with scikit-build-core; compare the caches."""
    monkeypatch.setenv("DEMO_GIVEN", "value")
    root = make(TREE)
    theirs = tmp_path / "theirs"
    subprocess.run(
        [sys.executable, "-c", BUILD_EDITABLE, tmp_path / "wheels", theirs],
        cwd=root,
        check=True,
        capture_output=True,
    )
    found = describe(root)
    ours = tmp_path / "ours"
    arguments = [one.replace("@BUILD@", str(ours)) for one in found["cmake_args"]]
    subprocess.run(
        [
            "cmake",
            "-G",
            found["generator"],
            "-S",
            found["cmake_source_dir"],
            "-B",
            ours,
            *arguments,
        ],
        cwd=root,
        env={**os.environ, **found["env"]},
        check=True,
        capture_output=True,
    )
    own = {
        "CMAKE_INTERPROCEDURAL_OPTIMIZATION",  # ours, on purpose
        "CMAKE_PROJECT_TOP_LEVEL_INCLUDES",
        "CMAKE_STRIP",
        "CMAKE_CACHEFILE_DIR",
        "CMAKE_FIND_PACKAGE_REDIRECTS_DIR",
        "demo_BINARY_DIR",
    }
    left, right = read_cache(theirs), read_cache(ours)
    for name in own:
        left.pop(name, None)
        right.pop(name, None)
    left = {name: in_wheel(value) for name, value in left.items()}
    right = {name: in_wheel(value) for name, value in right.items()}
    assert right == left


BUILD_EDITABLE = """
import sys
from scikit_build_core.build import build_editable
build_editable(sys.argv[1], {"build-dir": sys.argv[2], "build.targets": "help"})
"""


def read_cache(folder):
    result = {}
    for line in (folder / "CMakeCache.txt").read_text().splitlines():
        if line and not line.startswith(("#", "//")):
            name, _, value = line.partition("=")
            result[name.partition(":")[0]] = value
    return result


def in_wheel(value):
    """Cut a path off before its wheel folder, which is temporary for scikit-build-core."""
    return value[value.index("/wheel/") :] if "/wheel/" in value else value


# --- setuptools ----------------------------------------------------------------------------------

SETUP_PY = """
import os, sys, subprocess
from pathlib import Path
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

class CMakeExtension(Extension):
    def __init__(self, name: str, sourcedir: str = "") -> None:
        super().__init__(name, sources=[])
        self.sourcedir = os.fspath(Path(sourcedir).resolve())

class CMakeBuild(build_ext):
    def build_extension(self, ext):
        extdir = Path(self.get_ext_fullpath(ext.name)).parent
        debug = int(os.environ.get("DEBUG", 0))
        cfg = "Debug" if debug else "Release"
        standard = "17"
        cmake_args = [
            f"-DCMAKE_LIBRARY_OUTPUT_DIRECTORY={extdir}{os.sep}",
            f"-DPYTHON_EXECUTABLE={sys.executable}",
            f"-DCMAKE_BUILD_TYPE={cfg}",
            "-DDEMO_FLAG=ON",
            "-DDEMO_TYPED:BOOL=OFF",
            f"-DDEMO_STANDARD={standard}",
            "-DDEMO_PREFIX=" + sys.prefix,
            f"-DDEMO_UNKNOWN={extdir}",
            "-GNinja",
        ]
        if "CMAKE_ARGS" in os.environ:
            cmake_args += [item for item in os.environ["CMAKE_ARGS"].split(" ") if item]
        cmake_args += [f"-DEXAMPLE_VERSION_INFO={self.distribution.get_version()}"]
        if self.compiler.compiler_type == "msvc":
            cmake_args += ["-DDEMO_MSVC=ON"]
        cmake_args.append("-DDEMO_APPENDED=1")
        subprocess.run(["cmake", ext.sourcedir, "-DDEMO_INLINE=1"] + cmake_args, check=True)

setup(
    name="demo_setup",
    version="0.0.3",
    ext_modules=[CMakeExtension("demo_setup._core")],
    cmdclass={"build_ext": CMakeBuild},
)
"""


def test_setup_py_of_cmake_example_style(make, describe):
    root = make({"setup.py": SETUP_PY, "CMakeLists.txt": CMAKE, "demo_setup/__init__.py": ""})
    found = describe(root)
    assert found["backend"] == "setuptools"
    assert found["name"] == "demo-setup"
    assert found["version"] == "0.0.3"
    assert found["extension_modules"] == ["demo_setup._core"]
    assert found["packages"] == {"demo_setup": str(root / "demo_setup")}
    assert found["inputs"] == [str(root / "setup.py")]
    defined = values(found)
    assert defined["PYTHON_EXECUTABLE"] == sys.executable
    assert defined["CMAKE_BUILD_TYPE"] == "Release"
    assert "CMAKE_LIBRARY_OUTPUT_DIRECTORY" not in defined
    mirrored = {
        name: value for name, value in defined.items() if name.startswith(("DEMO_", "EXAMPLE_"))
    }
    assert mirrored == {
        "DEMO_FLAG": "ON",
        "DEMO_TYPED": "OFF",
        "DEMO_STANDARD": "17",
        "DEMO_PREFIX": sys.prefix,
        "EXAMPLE_VERSION_INFO": "0.0.3",
        "DEMO_APPENDED": "1",
        "DEMO_INLINE": "1",
    }


def test_cmake_args_variable_only_for_projects_that_read_it(make, describe, monkeypatch):
    monkeypatch.setenv("CMAKE_ARGS", "-DFROM_VARIABLE=1")
    root = make({"setup.py": SETUP_PY, "CMakeLists.txt": CMAKE})
    assert values(describe(root))["FROM_VARIABLE"] == "1"
    (root / "setup.py").write_text("from setuptools import setup\nsetup()\n")
    assert "FROM_VARIABLE" not in values(describe(root))


def test_setup_py_with_the_sources_in_a_folder(make, describe):
    text = SETUP_PY.replace('"demo_setup._core"', '"demo_setup._core", sourcedir="native"')
    files = {"setup.py": text, "native/CMakeLists.txt": CMAKE, "CMakeLists.txt": CMAKE}
    assert describe(make(files))["cmake_source_dir"].endswith("/native")


def test_setup_py_that_only_names_the_folder(make, describe):
    text = "import os\nfrom setuptools import setup\nsource = os.path.join('x', 'cpp')\nsetup()\n"
    files = {"setup.py": text, "cpp/CMakeLists.txt": CMAKE, "bench/CMakeLists.txt": CMAKE}
    assert describe(make(files))["cmake_source_dir"].endswith("/cpp")


def test_classic_scikit_build(make, describe):
    text = (
        "from skbuild import setup\n"
        "setup(name='old', version='1', cmake_source_dir='cpp',\n"
        "      cmake_args=['-DDEMO:BOOL=ON', f'-DWITH_{1}=2'])\n"
    )
    root = make({"setup.py": text, "cpp/CMakeLists.txt": CMAKE})
    found = describe(root)
    defined = values(found)
    assert found["cmake_source_dir"] == str(root / "cpp")
    assert (defined["SKBUILD"], defined["DEMO"], defined["WITH_1"]) == ("TRUE", "ON", "2")


def test_setup_py_that_is_no_python(make, describe):
    found = describe(make({"setup.py": "print 'old'\n", "CMakeLists.txt": CMAKE}))
    assert found["backend"] == "setuptools"
    assert any("setup.py cannot be read" in one for one in found["notes"])


def test_setup_cfg_and_setuptools_table(make, describe):
    root = make(
        {
            "setup.cfg": "[metadata]\nname = From_Cfg\nversion = 4.5\n",
            "pyproject.toml": '[build-system]\nrequires=["setuptools"]\n'
            'build-backend="setuptools.build_meta"\n'
            '[tool.setuptools]\npackages = ["pkg", "pkg.sub"]\npackage-dir = {"" = "lib"}\n',
            "CMakeLists.txt": CMAKE,
            "lib/pkg/__init__.py": "",
        }
    )
    found = describe(root)
    assert (found["name"], found["version"]) == ("from-cfg", "4.5")
    assert found["packages"] == {"pkg": str(root / "lib" / "pkg")}
    assert found["inputs"] == [str(root / "pyproject.toml"), str(root / "setup.cfg")]


# --- plain and meson-python ----------------------------------------------------------------------


def test_plain_project(make, describe):
    root = make(
        {"CMakeLists.txt": CMAKE, "py/x.py": "", "tests/__init__.py": "", "b/__init__.py": ""}
    )
    found = describe(root)
    assert found["backend"] == "plain"
    assert found["name"] == "project"
    assert found["version"] == "0.0.0"
    assert found["packages"] == {"b": str(root / "b")}
    defined = values(found)
    assert defined["CMAKE_BUILD_TYPE"] == "Release"
    assert defined["CMAKE_INTERPROCEDURAL_OPTIMIZATION"] == "OFF"
    assert defined["Python_EXECUTABLE"] == defined["PYTHON_EXECUTABLE"] == sys.executable
    assert "SKBUILD" not in defined
    assert found["installed"] == {}


@pytest.mark.parametrize("library", ["pybind11", "nanobind"])
@needs_cmake
def test_binding_libraries_of_the_environment_are_found_by_cmake(make, describe, tmp_path, library):
    if importlib.util.find_spec(library) is None:
        pytest.skip(f"{library} is missing")
    text = CMAKE.replace("NONE", "CXX") + (
        "find_package(Python REQUIRED COMPONENTS Interpreter Development.Module)\n"
        f"find_package({library} CONFIG REQUIRED)\n"
        f"set(found ${{{library}_DIR}} ${{Python_EXECUTABLE}})\n"
        'file(WRITE "${CMAKE_BINARY_DIR}/found.txt" "${found}")\n'
    )
    found = describe(make({"CMakeLists.txt": text}))
    folder = tmp_path / "build"
    subprocess.run(
        [
            "cmake",
            "-G",
            found["generator"],
            "-S",
            found["root"],
            "-B",
            folder,
            *found["cmake_args"],
        ],
        check=True,
        capture_output=True,
    )
    where, python = (folder / "found.txt").read_text().split(";")
    assert where.startswith(sysconfig.get_path("purelib"))
    assert python == sys.executable


def test_meson_python(make, describe):
    text = (
        '[build-system]\nrequires=["meson-python"]\nbuild-backend="mesonpy"\n[project]\nname="m"\n'
    )
    found = describe(make({"pyproject.toml": text, "CMakeLists.txt": CMAKE}))
    assert found["backend"] == "meson-python"


# --- [tool.rehook] -------------------------------------------------------------------------------


def test_own_settings_of_a_project(make, describe, reading):
    table = (
        '[tool.rehook]\nbuild-type = "Debug"\n'
        'cmake-args = ["-DLAST=2", "-DCMAKE_BUILD_TYPE=Mine"]\n'
        'targets = ["t"]\nbuild-dir = "out"\nexclude = ["demo.slow"]\n'
        "[tool.scikit-build]\ncmake.define.LAST = '1'\nbuild.targets = ['x']\n"
    )
    root = make({"pyproject.toml": CORE + PROJECT + table, "CMakeLists.txt": CMAKE})
    found = describe(root)
    assert found["build_type"] == "Mine"
    assert values(found)["LAST"] == "2"
    assert found["targets"] == ["t"]
    assert found["build_dir"] == str(root / "out")
    assert found["exclude"] == ["demo.slow"]
    given = describe(root, {"targets": ["u"], "cmake-args": [], "build-type": "Other"})
    assert given["targets"] == ["u"]
    assert given["build_type"] == "Other"
    assert values(given)["LAST"] == "1"


def test_own_build_type_goes_before_the_projects_arguments(make, describe, reading):
    table = "[tool.scikit-build]\ncmake.args = ['-DCMAKE_BUILD_TYPE=MinSizeRel']\n"
    root = make({"pyproject.toml": CORE + PROJECT + table, "CMakeLists.txt": CMAKE})
    assert describe(root)["build_type"] == "MinSizeRel"
    assert describe(root, {"build-type": "Debug"})["build_type"] == "Debug"


def test_unknown_key_of_a_project(make, describe):
    from rehook.errors import ConfigError

    root = make({"pyproject.toml": "[tool.rehook]\nbuildtype = 'x'\n", "CMakeLists.txt": CMAKE})
    with pytest.raises(ConfigError) as caught:
        describe(root)
    assert f"{root}/pyproject.toml:2: " in str(caught.value)
    assert "did you mean 'build-type'?" in str(caught.value)


@pytest.mark.parametrize("text", ["[project\n", "project = 1\n", "[[tool]]\na = 1\n"])
def test_wrong_pyproject(make, describe, text):
    from rehook.errors import ConfigError

    root = make({"pyproject.toml": text, "CMakeLists.txt": CMAKE})
    with pytest.raises(ConfigError, match=r"pyproject\.toml:"):
        describe(root)


def test_unreadable_pyproject(make, describe):
    from rehook.errors import ConfigError

    root = make({"CMakeLists.txt": CMAKE, "pyproject.toml/file": ""})
    with pytest.raises(ConfigError, match="cannot be read"):
        describe(root)


def test_no_cmakelists(make, describe):
    from rehook.errors import ConfigError

    root = make({"pyproject.toml": CORE + PROJECT})
    with pytest.raises(ConfigError, match=r"there is no CMakeLists\.txt"):
        describe(root)


# --- the rest ------------------------------------------------------------------------------------


def test_presets_and_what_they_include(make, describe):
    presets = {"version": 4, "include": ["more/a.json", "$penv{X}/b.json", "${sourceDir}/c.json"]}
    root = make(
        {
            "CMakeLists.txt": CMAKE,
            "CMakePresets.json": json.dumps(presets),
            "CMakeUserPresets.json": '{"include": ["CMakePresets.json"]',
            "more/a.json": '{"include": ["../CMakePresets.json", "gone.json"]}',
            "c.json": "[]",
        }
    )
    names = [os.path.relpath(one, root) for one in describe(root)["inputs"]]
    assert names == ["CMakePresets.json", "CMakeUserPresets.json", "c.json", "more/a.json"]


def test_missing_requirements(make, describe):
    text = (
        "[build-system]\n"
        'requires = ["scikit-build-core>=99", "setuptools_scm[toml]", "no-such-thing>=1",\n'
        '  "pytest>=999", "pytest", "no-such-other; python_version < \'3\'", "wheel", "Ninja"]\n'
    )
    found = describe(make({"pyproject.toml": text, "CMakeLists.txt": CMAKE}))
    assert found["missing_requirements"] == ["no-such-thing>=1", "pytest>=999"]


def test_installed_modules_of_the_distribution(make, describe, tmp_path, monkeypatch):
    site = tmp_path / "site"
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    info = site / "my_demo-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my.demo\nVersion: 1.0\n")
    (info / "WHEEL").write_text("Wheel-Version: 1.0\nGenerator: scikit-build-core 0.9.2\n")
    (info / "RECORD").write_text(
        f"my_demo/_core{suffix},,\nmy_demo/sub/_abi.abi3.so,,\ntop{suffix},,\n"
        f"my_demo/__init__.py,,\n../../../bin/x{suffix},,\nmy_demo/lib-bad{suffix},,\n"
    )
    monkeypatch.syspath_prepend(site)
    root = make({"pyproject.toml": CORE + PROJECT, "CMakeLists.txt": CMAKE})
    found = describe(root)
    expected = {
        "my_demo._core": str(site / f"my_demo/_core{suffix}"),
        "top": str(site / f"top{suffix}"),
    }
    if ".abi3.so" in found["suffixes"]:
        expected["my_demo.sub._abi"] = str(site / "my_demo/sub/_abi.abi3.so")
    assert found["installed"] == expected


def test_the_scikit_build_core_that_installed_it_is_stood_in_for(
    make, describe, tmp_path, monkeypatch
):
    from rehook import _scikit_build

    monkeypatch.setattr(_scikit_build, "ask_scikit_build_core", nobody_to_ask)
    test_installed_modules_of_the_distribution(make, describe, tmp_path, monkeypatch)
    found = describe(tmp_path / "project")
    assert values(found)["SKBUILD_CORE_VERSION"] == "0.9.2"


def test_paths_with_spaces_and_other_alphabets(make, describe, tmp_path, reading):
    root = make({"pyproject.toml": CORE + PROJECT, "CMakeLists.txt": CMAKE})
    strange = tmp_path / "größe und 名前"
    root.rename(strange)
    assert describe(strange)["cmake_source_dir"] == str(strange)


def test_result_is_plain_data_and_always_the_same(make, describe):
    root = make(TREE)
    assert json.loads(json.dumps(describe(root))) == describe(root)


def test_nothing_of_the_project_is_run_or_written(make, describe):
    root = make({"setup.py": SETUP_PY + "\nopen('ran', 'w')\n", "CMakeLists.txt": CMAKE})
    describe(root)
    assert sorted(one.name for one in root.iterdir()) == ["CMakeLists.txt", "setup.py"]


def test_find_project(make, tmp_path):
    from rehook.project_settings import find_project

    root = make(
        {
            "pyproject.toml": PROJECT,
            "CMakeLists.txt": CMAKE,
            "src/CMakeLists.txt": CMAKE,
            "src/deep/x.cpp": "",
            "plain/CMakeLists.txt": CMAKE,
            "plain/sub/CMakeLists.txt": CMAKE,
            "only_py/pyproject.toml": PROJECT,
        }
    )
    assert find_project(str(root / "src" / "deep")) == str(root)
    (root / "plain" / ".git").mkdir()
    assert find_project(str(root / "plain" / "sub")) == str(root / "plain")
    assert find_project(str(root / "only_py")) == ""
    assert find_project(str(tmp_path)) == ""


def test_class_layouts_are_kept_in_a_build_folder_of_ours(make, describe):
    root = make({"CMakeLists.txt": CMAKE})
    defined = values(describe(root))
    (include,) = defined["CMAKE_PROJECT_TOP_LEVEL_INCLUDES"].split(";")
    assert Path(include).is_file()
    assert Path(defined["CMAKE_STRIP"]).name == "true"
    theirs = values(describe(root, {"build-dir": "out"}))
    assert "CMAKE_PROJECT_TOP_LEVEL_INCLUDES" not in theirs
    assert "CMAKE_STRIP" not in theirs


def test_what_the_user_includes_and_strips_with_stays(make, describe):
    root = make({"CMakeLists.txt": CMAKE})
    arguments = ["-DCMAKE_PROJECT_TOP_LEVEL_INCLUDES=a.cmake;b.cmake", "-DCMAKE_STRIP=/my/strip"]
    defined = values(describe(root, {"cmake-args": arguments}))
    assert defined["CMAKE_PROJECT_TOP_LEVEL_INCLUDES"].startswith("a.cmake;b.cmake;/")
    assert defined["CMAKE_STRIP"] == "/my/strip"
