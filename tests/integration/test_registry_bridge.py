"""The pybind11 bridge, in child interpreters, against each pybind11 that must work.

REHOOK_PYBIND11_DIRS="2.13.6=/path/include:3.1.0=/path/include" names the headers; without it they
are downloaded into build/. Compiled modules are kept in build/ by content.
"""

import ast
import hashlib
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FIXTURE = ROOT / "fixtures" / "registry"
BRIDGE = ROOT / "hook" / "registry"
CACHE = ROOT / "build" / "registry-tests"
DEFAULT_VERSIONS = ("2.13.6", "3.1.0")
GIVEN = dict(
    entry.split("=", 1)
    for entry in os.environ.get("REHOOK_PYBIND11_DIRS", "").split(":")
    if "=" in entry
)
MODULE_FLAGS = ("-O0", "-fno-gnu-unique")  # the shadow copy takes care of UNIQUE symbols


def scenarios():
    """Return pairs of a file and the name of a scenario in it."""
    return [
        (file.name, node.name)
        for file in sorted(FIXTURE.glob("*scenarios.py"))
        for node in ast.parse(file.read_text()).body
        if isinstance(node, ast.FunctionDef) and node.decorator_list
    ]


def headers_of(version):
    if version in GIVEN:
        return Path(GIVEN[version])
    folder = ROOT / "build" / "pybind11" / version
    if not (folder / "pybind11").is_dir():
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet", "-d", folder]
        done = subprocess.run(
            [*command, f"pybind11=={version}"], capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            pytest.fail(f"pybind11 {version} cannot be downloaded: {done.stderr.strip()[-200:]}")
        with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
            wheel.extractall(folder)
    return folder / "pybind11" / "include"


class Compiler:
    """Compiles shared libraries of the fixture against one pybind11, each content once."""

    def __init__(self, include):
        self.include = include
        self.flags = [
            *("-std=gnu++17", "-fPIC", "-shared", "-fvisibility=hidden", "-g0"),
            *(f"-I{include}", f"-I{sysconfig.get_path('include')}", f"-I{FIXTURE}"),
        ]

    def build(self, name, source, *extra):
        command = ["c++", *self.flags, *extra]
        content = hashlib.sha256(repr(command).encode())
        for path in sorted([source, *source.parent.glob("*.h*"), *self.include.rglob("*.h")]):
            content.update(path.read_bytes())
        output = CACHE / content.hexdigest()[:16] / name
        if not output.exists():
            partial = output.with_suffix(f".{os.getpid()}")
            partial.parent.mkdir(parents=True, exist_ok=True)
            # Options after the source: -l must follow what needs it.
            done = subprocess.run(
                [*command[:1], *self.flags, str(source), *extra, "-o", str(partial)],
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, done.stderr
            partial.rename(output)
        return str(output)


@pytest.fixture(scope="module", params=sorted(GIVEN) or DEFAULT_VERSIONS)
def builds(request):
    """Return the paths of the compiled bridge and modules."""
    if shutil.which("c++") is None:
        pytest.fail("no C++ compiler")
    compiler = Compiler(headers_of(request.param))
    suffix = sysconfig.get_config_var("EXT_SUFFIX")

    def module(name, *extra):
        return compiler.build(name + suffix, FIXTURE / f"{name}.cpp", *MODULE_FLAGS, *extra)

    # As CMake builds a shared library: everything visible; modules of pybind11 are not.
    library = compiler.build("liboutside.so", FIXTURE / "outside_lib.cpp", "-fvisibility=default")
    link = (library, f"-Wl,-rpath,{Path(library).parent}")
    return {
        "bridge": compiler.build("bridge.so", BRIDGE / "pybind11_bridge.cpp", "-O1"),
        "vectors": module("vectors"),
        "painter": module("painter"),
        "mortal": module("mortal"),
        "outside": module("outside", *link),
        "borrower": module("borrower", *link),
        "borrower_visible": module("borrower", *link, "-fvisibility=default"),
        "shapes1": module("shapes", "-DGENERATION=1"),
        "shapes2": module("shapes", "-DGENERATION=2"),
        "records1": module("records", "-DGENERATION=1"),
        "records2": module("records", "-DGENERATION=2"),
        "probe": module("probe"),
        "kennel": module("kennel"),
        "zoo1": module("zoo", "-DGENERATION=1"),
        "zoo2": module("zoo", "-DGENERATION=2"),
        "zoo3": module("zoo", "-DGENERATION=3"),
        "zoo_holder": module("zoo", "-DGENERATION=2", "-DOTHER_HOLDER"),
        "zoo_attributes": module("zoo", "-DGENERATION=2", "-DOTHER_ATTRIBUTES"),
    }


@pytest.mark.compile
@pytest.mark.parametrize(("file", "name"), scenarios())
def test_scenario(builds, file, name, tmp_path):
    if name == "numpy_dtypes":
        pytest.importorskip("numpy")
    child = subprocess.run(
        [sys.executable, FIXTURE / file, name],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env={
            **os.environ,
            "REGISTRY_BUILDS": json.dumps(builds),
            "TMPDIR": str(tmp_path),
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONMALLOC": os.environ.get("PYTHONMALLOC", "debug"),
        },
    )
    assert child.returncode == 0, f"exit code {child.returncode}\n{child.stdout}{child.stderr}"
    assert child.stdout == "passed\n"


# With rehook's bindings loaded before or after the user's module, or not at all.
LOOK = """
import json, sys
from harness import interpreter_dict, load
from common import BUILDS
if "before" in sys.argv:
    import rehook._core
probe = load("probe", BUILDS["probe"])
zoo = load("zoo", BUILDS["zoo1"])
if "after" in sys.argv:
    import rehook._core
import builtins
registries = [key for key in map(str, [*interpreter_dict(), *vars(builtins)]) if "internals" in key]
print(json.dumps([
    sum("_rehook_" in key for key in registries),
    sorted(key for key in registries if "_rehook_" not in key and "numpy" not in key),
    probe.internals_id, sorted(probe.types()), probe.translators(), zoo.describe(zoo.Dog(1)),
]))
"""


@pytest.mark.compile
def test_our_bindings_have_a_registry_of_their_own(builds, tmp_path):
    def look(*when):
        done = subprocess.run(
            [sys.executable, "-c", LOOK, *when],
            capture_output=True,
            text=True,
            check=False,
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join([str(FIXTURE), *filter(None, sys.path)]),
                "REGISTRY_BUILDS": json.dumps(builds),
                "TMPDIR": str(tmp_path),
                "PYTHONDONTWRITEBYTECODE": "1",
            },
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    ours, *without = look()
    assert ours == 0
    assert "5Probe" in without[2]
    for when in ("before", "after"):
        ours, *with_rehook = look(when)
        assert ours > 0
        assert with_rehook == without
