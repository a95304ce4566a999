"""The nanobind bridge, in child interpreters, against each nanobind that must work.

REHOOK_NANOBIND_VERSIONS="2.2.0 3.1.0" names others than the default ones; they are downloaded into
build/. An entry "2.9.2+abi3" means builds for the stable ABI, which needs Python 3.12;
REHOOK_NANOBIND_PYTHON names the interpreter for them. Compiled modules are kept in build/ by
content.
"""

import ast
import hashlib
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FIXTURE = ROOT / "fixtures" / "nanobind_types"
BRIDGE = ROOT / "hook" / "registry"
CACHE = ROOT / "build" / "registry-tests"
VERSIONS = os.environ.get("REHOOK_NANOBIND_VERSIONS", "2.2.0 2.9.2 3.1.0").split()
PYTHON = os.environ.get("REHOOK_NANOBIND_PYTHON", sys.executable)
INCLUDE = "sysconfig.get_path('include')"
STABLE = "-DPy_LIMITED_API=0x030C0000"


def scenario_names():
    tree = ast.parse((FIXTURE / "scenarios.py").read_text())
    functions = (node for node in tree.body if isinstance(node, ast.FunctionDef))
    return [f.name for f in functions if f.decorator_list]


def nanobind_folder(version):
    """The unpacked wheel, whose sources are part of it."""
    folder = ROOT / "build" / "nanobind" / version
    if not (folder / "nanobind").is_dir():
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet", "-d", folder]
        done = subprocess.run(
            [*command, f"nanobind=={version}"], capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            pytest.fail(f"nanobind {version} cannot be downloaded: {done.stderr.strip()[-200:]}")
        partial = folder / f"partial-{os.getpid()}"
        with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
            wheel.extractall(partial)
        (partial / "nanobind").rename(folder / "nanobind")
    return folder / "nanobind"


def asked(what):
    """What PYTHON says of itself."""
    command = [PYTHON, "-c", f"import sysconfig; print({what})"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


class Compiler:
    """Compiles against one nanobind, each content once."""

    def __init__(self, version, *defines):
        self.nanobind = nanobind_folder(version)
        folders = ["include", "src", "ext/robin_map/include"]
        self.flags = [
            *("-std=gnu++17", "-fPIC", "-fvisibility=hidden", "-g0", "-w"),
            *("-fno-strict-aliasing", "-fno-gnu-unique", *defines),
            *(f"-I{self.nanobind / folder}" for folder in folders),
            f"-I{asked(INCLUDE)}",
            f"-I{FIXTURE}",
        ]

    def build(self, name, source, *extra):
        command = ["c++", *self.flags, *extra]
        content = hashlib.sha256(repr((name, command)).encode())
        for path in sorted([source, *source.parent.glob("*.h*"), *self.nanobind.rglob("*.h")]):
            content.update(path.read_bytes())
        output = CACHE / content.hexdigest()[:16] / name
        if not output.exists():
            partial = output.with_suffix(f".{os.getpid()}")
            partial.parent.mkdir(parents=True, exist_ok=True)
            done = subprocess.run(
                [*command[:1], *self.flags, str(source), *extra, "-o", str(partial)],
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, done.stderr
            partial.rename(output)
        return str(output)


@pytest.fixture(scope="module", params=VERSIONS)
def builds(request):
    """Return the paths of the compiled bridge and modules."""
    if shutil.which("c++") is None:
        pytest.fail("no C++ compiler")
    version, *stable = request.param.split("+")
    compiler = Compiler(version, *([STABLE] if stable else []))
    library = compiler.build(
        "nanobind.o", compiler.nanobind / "src" / "nb_combined.cpp", "-c", "-O0", "-DNB_BUILD"
    )
    suffix = ".abi3.so" if stable else asked("sysconfig.get_config_var('EXT_SUFFIX')")

    def module(name, *extra):
        source = FIXTURE / f"{name}.cpp"
        return compiler.build(name + suffix, source, "-shared", "-O0", library, *extra)

    bridge = BRIDGE / "nanobind_bridge.cpp"
    return {
        "bridge": compiler.build("nanobind_bridge.so", bridge, "-shared", "-O1"),
        "vectors": module("vectors"),
        "painter": module("painter"),
        "shapes1": module("shapes", "-DGENERATION=1"),
        "shapes2": module("shapes", "-DGENERATION=2"),
        "shapes3": module("shapes", "-DGENERATION=2", "-DSAME_LAYOUT"),
    }


@pytest.mark.compile
@pytest.mark.parametrize("name", scenario_names())
def test_scenario(builds, name, tmp_path):
    child = subprocess.run(
        [PYTHON, FIXTURE / "scenarios.py", name],
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
    assert child.stderr == ""  # nanobind reports leaks there
