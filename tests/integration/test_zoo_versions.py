"""pybind11 itself changes between two builds, as after `pip install -U pybind11`."""

import pytest

from support.pybind11_packages import folder_of
from support.zoo import HELPERS

pytestmark = pytest.mark.compile

STRICT = {"PYTHONMALLOC": "debug"}

# The user points CMake elsewhere; everything of the project is compiled anew.
UPGRADE = """
def upgrade():
    text = Path(ROOT, "CMakeLists.txt").read_text()
    line = "find_package(pybind11 CONFIG REQUIRED)"
    assert text.count(line) == 1
    new = f"set(pybind11_DIR {json.dumps(sys.argv[1])} CACHE PATH \\"\\" FORCE)"
    write("CMakeLists.txt", text.replace(line, f"{new}\\n{line}"))
    save(animals=2)
"""


def test_another_pybind11_is_refused_with_a_clear_message(zoo_of):
    zoo = zoo_of(pybind11="2.13.6")
    folder = folder_of("3.1.0")
    told = zoo.run(
        HELPERS
        + UPGRADE
        + """
lion, version = zoo.Lion(4), zoo.version
upgrade()
try:
    report = rehook.reload()
    text = str(report)
    facts = dict(reloaded=report.names)
except rehook.RehookError as error:
    text = f"{error}\\n{error.reason}\\n{error.hint}"
    facts = dict(reloaded=[])
tell(**facts, old=[lion.roar(), lion.age, version()], module=zoo.version(),
     error=str(type(raised(zoo.escape)) is zoo.EscapeError), text=text)
""",
        str(folder),
        env=STRICT,
    ).json
    # the binding library's two internals know nothing of each other: not one reload, so the old
    # world stays, and the message says which module, what changed, and the way out
    assert told["reloaded"] == []
    assert told["old"] == ["roar1/4", 4, 1]
    assert told["module"] == 1
    assert told["error"] == "True"
    text = told["text"].lower()
    assert "zoo._animals" in text or "zoo._keepers" in text, text
    assert "pybind11" in text, text
    assert "restart" in text, text


def test_a_change_that_keeps_the_internals_is_a_reload(zoo_of):
    """2.13.5 to 2.13.6: the same internals, so the types are retired or adopted as ever."""
    zoo = zoo_of(pybind11="2.13.5", variants=((1, 1),))
    told = zoo.run(
        HELPERS
        + UPGRADE
        + """
lion = zoo.Lion(4)
upgrade()
report = rehook.reload()
adopted = type(lion) is zoo.Lion
tell(names=sorted(report.names), roar=lion.roar() == f"roar{2 if adopted else 1}/4",
     new=[zoo.Lion(5).roar(), zoo.version(), _keepers.listen(zoo.Lion(6))])
""",
        str(folder_of("2.13.6")),
        env=STRICT,
    )
    assert told.json == {
        "names": ["zoo", "zoo._animals", "zoo._keepers"],
        "roar": True,
        "new": ["roar2/5", 2, "listen1/roar2"],
    }
    assert told.stderr == ""


@pytest.mark.slow
@pytest.mark.parametrize("version", ["2.10.4", "3.0.1"])
def test_each_pybind11(zoo_of, version):
    """The copy imports under the module's own name, and is not the old module."""
    zoo = zoo_of(pybind11=version, variants=((2, 1), (3, 1), (1, 1)))
    told = zoo.run(
        HELPERS
        + """
lion, keeper, hidden, version = zoo.Lion(4), _keepers.Keeper(zoo.Lion(5)), zoo.maps, zoo.version
become(animals=2)
first = [lion.roar(), version(), hidden.north(), zoo.pay(5), keeper.animal.roar(),
         type(raised(zoo.escape)) is zoo.EscapeError]
become(animals=3)
second = [lion.roar(), zoo.Lion(1).roar(), zoo.Lion(1).mane, refused(zoo.Lion.roar, lion)]
become(animals=1)
tell(first=first, second=second, last=[lion.roar(), zoo.Lion(6).roar(), version()])
""",
        env=STRICT,
    )
    assert told.json == {
        "first": ["roar2/4", 2, "north2", 2005, "roar2/5", True],
        "second": ["roar2/4", "roar3/1", "brushed", True],
        "last": ["roar2/4", "roar1/6", 1],
    }
    assert told.stderr == ""
