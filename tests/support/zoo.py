"""The project family of fixtures/zoo, built in several variants once per session.

home/zoo/        the project that is reloaded: `zoo._animals` and `zoo._keepers`
home/zoo_base/   installed without rehook, never rebuilt; home/zoo_tour/ too
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from support.project import FIXTURES, Project
from support.pybind11_packages import folder_of, installed

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

# Which builds of (_animals, _keepers) are in the store before a test starts. Number 3 of _animals
# has other layouts: Lion, Ticket and Fence grew. In this order each build changes one extension.
VARIANTS = ((1, 2), (2, 2), (2, 1), (3, 1), (1, 1))

# What every scenario starts with.
HELPERS = """
import rehook
rehook.install(projects=[ROOT], settings=json.loads(os.environ.get("ZOO_SETTINGS", "{}")) or None)
import gc, importlib, pickle, time
import zoo, zoo_base
from zoo import _animals, _keepers

def save(**versions):
    for name, version in versions.items():
        text = f"#pragma once\\n\\n#define VERSION {version}\\n"
        if name == "animals":
            text += f"#define GROWN {int(version == 3)}\\n"
        if Path(ROOT, f"{name}_variant.hpp").read_text() != text:
            write(f"{name}_variant.hpp", text)

def become(**versions):
    save(**versions)
    return rehook.reload()

def refused(function, *arguments):
    "Whether the call is refused with TypeError."
    try:
        function(*arguments)
    except TypeError:
        return True
    return False

def raised(function, *arguments, **named):
    "The exception that a call raises."
    try:
        function(*arguments, **named)
    except Exception as error:
        return error
    raise AssertionError(f"{function} did not raise")

def voice(text, animal):
    "Whatever build its virtual function is of, `text` has what the animal itself says."
    return text.replace(animal.speak(), "its voice")

def left(report, name):
    "How many objects the report says were left, of the class or other thing `name`."
    counts = [one.get("count") or 0 for one in report.left if name in str(one["what"])]
    return sum(counts) if counts else None

def tell(**facts):
    print(json.dumps(facts, default=str))
"""


@dataclass(frozen=True)
class Recipe:
    """What one kind of zoo is built with; an empty `pybind11` means the installed one."""

    pybind11: str = ""
    cmake_args: tuple[str, ...] = ()
    variants: tuple[tuple[int, int], ...] = VARIANTS


class ZooWorkshop:
    """Makes each kind of zoo once; a test gets a copy of that moment, at the same path."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._names: dict[Recipe, str] = {}

    def take(self, recipe: Recipe) -> Project:
        name = self._names.setdefault(recipe, f"zoo-{len(self._names)}")
        home, snapshot = self._folder / name, self._folder / f"{name}.snapshot"
        if home.exists():  # a test that was interrupted
            shutil.rmtree(home)
        if snapshot.exists():
            subprocess.run(["cp", "-a", snapshot, home], check=True)
            return self._project(home, recipe)
        package = folder_of(recipe.pybind11) if recipe.pybind11 else installed()[1]
        install_plainly("zoo_base", home, package)
        shutil.copytree(FIXTURES / "zoo", home / "zoo")
        install_plainly("zoo_tour", home, package, f"-DZOO_INCLUDE={home}/zoo/include")
        project = self._project(home, recipe)
        for animals, keepers in recipe.variants:
            set_variant(project, animals, keepers)
            project.run("import rehook; rehook.install(projects=[ROOT])\nimport zoo")
        # Whatever comes of a first reload: the bridge is compiled now.
        project.run(HELPERS + "become(animals=2)", check=False)
        set_variant(project, *recipe.variants[-1])
        project.forget()
        subprocess.run(["cp", "-a", home, snapshot], check=True)
        return project

    @staticmethod
    def _project(home: Path, recipe: Recipe) -> Project:
        project = Project(home / "zoo")
        arguments = [f"-DZOO_BASE_INCLUDE={home}/zoo_base/include", *recipe.cmake_args]
        if recipe.pybind11:
            arguments.append(f"-Dpybind11_DIR={folder_of(recipe.pybind11)}")
        project.env["REHOOK_CMAKE_ARGS"] = shlex.join(arguments)
        project.env.update(project.count_compilers())
        return project


def set_variant(project: Project, animals: int, keepers: int) -> None:
    """Save the sources of one variant; a file that has that text already is not touched."""
    start = "#pragma once\n\n#define VERSION"
    files = {
        "animals_variant.hpp": f"{start} {animals}\n#define GROWN {int(animals == 3)}\n",
        "keepers_variant.hpp": f"{start} {keepers}\n",
    }
    for file, text in files.items():
        if project.read(file) != text:
            project.write(file, text)


def install_plainly(fixture: str, home: Path, pybind11: Path, *arguments: str) -> None:
    """Build a fixture as its owner would, without rehook, and install it into `home`."""
    build = home.parent / f"{home.name}-{fixture}.build"
    environment = {k: v for k, v in os.environ.items() if not k.startswith("REHOOK_")}
    commands: list[Sequence[str]] = [
        [
            *("cmake", "-S", str(FIXTURES / fixture), "-B", str(build), "-G", "Ninja"),
            *("-DCMAKE_BUILD_TYPE=Release", f"-DCMAKE_INSTALL_PREFIX={home}"),
            *(f"-DPython_EXECUTABLE={sys.executable}", f"-Dpybind11_DIR={pybind11}"),
            *arguments,
        ],
        ["cmake", "--build", str(build)],
        ["cmake", "--install", str(build)],
    ]
    for command in commands:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{fixture}:\n{done.stdout}\n{done.stderr}"
