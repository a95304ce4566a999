"""Fixtures that several scenarios share."""

import shutil

import pytest

from support.zoo import Recipe, ZooWorkshop


@pytest.fixture(scope="session")
def zoo_workshop(tmp_path_factory):
    return ZooWorkshop(tmp_path_factory.mktemp("zoo"))


@pytest.fixture
def zoo_of(zoo_workshop, tmp_path):
    """Return a function that gives a built zoo: zoo_of(pybind11="2.13.6") -> Project.

    The arguments are those of support.zoo.Recipe.
    """
    taken = []

    def make(**options):
        taken.append(zoo_workshop.take(Recipe(**options)))
        return taken[-1]

    yield make
    for project in taken:
        project.close()
        shutil.move(project.home, tmp_path)
        print(f"the project is kept in {tmp_path / project.home.name}")


@pytest.fixture
def zoo(zoo_of):
    """The zoo with the installed pybind11; all builds that a scenario needs are in its store."""
    return zoo_of()
