"""A nanobind project edited and reloaded in one interpreter.

nanobind ends the process when an enumeration is registered twice; without retired types every
reload of this project would.
"""

import os
import shlex
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from support.project import FIXTURES

pytestmark = pytest.mark.compile

CACHE = Path(__file__).resolve().parents[2] / "build" / "nanobind"
VERSIONS = ("2.9.2", "3.1.0")
FOLDER = FIXTURES / "nanobind_zoo"
FILES = {
    file: (FOLDER / file).read_text(encoding="utf-8")
    for file in ("CMakeLists.txt", "zoo.cpp", "nanobind_zoo/__init__.py")
}

# become("B") reloads a build in which everything differs, the layout of the classes, too.
HELPERS = """
import rehook
rehook.install(projects=[ROOT])
import nanobind_zoo as zoo

CHANGES = {
    "Color color = Color::red;": "Color color = Color::green;\\n  double added[4] = {1, 2, 3, 4};",
    "enum class Color { red, green };": "enum class Color { red, green, blue };",
    '.value("GREEN", Color::green)': '.value("GREEN", Color::green).value("BLUE", Color::blue)',
    "return side_ * side_;": "return side_ * side_ + 1000;",
    'return "shape";': 'return "shape B";',
    'return "square";': 'return "square B";',
    'return "tile";': 'return "tile B";',
    "nothing to eat": "nothing at all",
    "return 2 * x;": "return 2 * x + 1000;",
    "return x / 2;": "return x / 2 + 1000;",
    '"UNIT") = 1.0': '"UNIT") = 2.0',
}
A = Path(ROOT, "zoo.cpp").read_text()
B = A
for old, new in CHANGES.items():
    assert B.count(old) == 1, old
    B = B.replace(old, new)

now = "A"  # what the program runs

def become(letter):
    global now
    write("zoo.cpp", {"A": A, "B": B}[letter])
    report = rehook.reload()
    now = letter
    return report

class World:
    "What a program may hold of one build, and how that must behave for ever."

    def __init__(self, letter):
        self.plus = {"A": 0, "B": 1000}[letter]
        self.mark = {"A": "", "B": " B"}[letter]
        self.classes = zoo.Shape, zoo.Square, zoo.Tile
        self.functions = zoo.total_area, zoo.make, zoo.feed, zoo.name_of, zoo.double, zoo.math.half
        self.error = zoo.ZooError
        self.Color, self.red, self.green = zoo.Color, zoo.Color.RED, zoo.Color.GREEN
        self.blue = getattr(zoo.Color, "BLUE", None)
        self.made, self.square = zoo.make(3.0), zoo.Square(2.0)
        self.bound = self.square.area

        class Mine(zoo.Shape):
            def area(self):
                return 10.0

        class MySquare(zoo.Square):
            def more(self):
                return self.area() + super().side

        self.mine, self.my_square = Mine(), MySquare(4.0)

    def check(self):
        self.check_objects()
        self.check_names()
        self.check_colors()

    def check_objects(self):
        "Objects run the build that made them: the layout of their classes changes."
        Tile, Square, Shape = type(self.made).__mro__[:3]
        assert type(self.square) is Square and isinstance(self.mine, Shape)
        assert self.made.kind() == "tile" + self.mark and self.square.kind() == "square" + self.mark
        assert self.mine.kind() == "shape" + self.mark
        assert self.square.area() == self.bound() == 4 + self.plus
        assert self.my_square.more() == 16 + self.plus + 4
        assert type(Square(1.0)) is Square and Square(1.0).area() == 1 + self.plus

    def check_colors(self):
        "There is one enumeration: no member of it changed."
        assert self.Color is zoo.Color
        assert self.red is zoo.Color.RED and self.green is zoo.Color.GREEN
        assert hasattr(self.Color, "BLUE") == (now == "B")
        for color in self.Color:
            assert vars(color)["_name_"] == color.name and vars(color)["_value_"] == color.value
            assert vars(color)["__objclass__"] is self.Color
        assert self.square.color is (self.green if self.plus else self.red)
        self.square.color = self.green
        assert self.square.color is self.green
        self.square.color = self.green if self.plus else self.red

    def check_names(self):
        "Functions, and classes held anywhere, are those of the build that runs."
        plus = {"A": 0, "B": 1000}[now]
        Shape, Square, Tile = self.classes
        assert self.classes == (zoo.Shape, zoo.Square, zoo.Tile)
        total, make, feed, name_of, double, half = self.functions
        assert self.functions[:3] == (zoo.total_area, zoo.make, zoo.feed)
        assert self.functions[3:] == (zoo.name_of, zoo.double, zoo.math.half)
        fresh = make(6.0)
        assert type(fresh) is Tile and fresh.area() == 36 + plus
        assert total([fresh, Square(1.0)]) == 36 + 1 + 2 * plus
        assert double(2) == 4 + plus and half(8.0) == 4 + plus
        assert name_of(self.green) == "1"
        if self.blue is not None and now == "A":
            try:
                name_of(self.blue)
            except TypeError:
                pass
            else:
                raise AssertionError("a member that is gone was taken")
        assert self.error is zoo.ZooError
        try:
            feed(0)
        except self.error as error:
            assert str(error) == {"A": "nothing to eat", "B": "nothing at all"}[now]
        else:
            raise AssertionError("feed() did not raise")

    def check_refused(self):
        "Instances of an earlier build are refused by the functions, which are today's."
        for stranger in (self.made, self.square, self.mine, self.my_square):
            try:
                self.functions[0]([stranger])
            except TypeError:
                continue
            raise AssertionError(f"{stranger} was taken")

def check_new(letter):
    "What the names lead to now."
    plus = {"A": 0, "B": 1000}[letter]
    World(letter).check()
    assert zoo.Square(2.0).area() == zoo._core.Square(2.0).area() == 4 + plus
    assert zoo.math is zoo._core.math is sys.modules["nanobind_zoo._core.math"]
    assert zoo.math.UNIT == 1.0 + plus / 1000
"""
BOTH = HELPERS + "become('B')\nbecome('A')\n"
STRICT = {"PYTHONMALLOC": "debug"}
COUNTS = {"Shape": 4, "Square": 3, "Tile": 1}  # instances in a World, those of subclasses, too


def folder_of(version):
    """nanobind's CMake package of one version, downloaded into build/."""
    folder = CACHE / version
    found = folder / "nanobind" / "cmake"
    if not found.is_dir():
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
    return found


@pytest.fixture(params=VERSIONS)
def zoo(request, built):
    """nanobind_zoo with one nanobind, after the builds A, B and A again."""
    folder = folder_of(request.param)
    argument = shlex.quote(f"-Dnanobind_DIR={folder}")
    env = {"REHOOK_BUILD_TYPE": "Debug", "REHOOK_CMAKE_ARGS": argument}
    project = built("nanobind_zoo", files=FILES, env=env, prepare=BOTH)
    (cache,) = project.store.glob("projects/*/*/build/CMakeCache.txt")
    assert f"={folder}\n" in cache.read_text(encoding="utf-8")
    yield project
    assert project.compiles() == []  # both builds were in the store


def test_what_is_held_lives_on(zoo):
    result = zoo.run(
        HELPERS
        + """
first = World("A")
first.check()
report = become("B")
first.check()
check_new("B")
assert [color.name for color in zoo.Color] == ["RED", "GREEN", "BLUE"]
assert zoo.name_of(zoo.Color.BLUE) == "2"
first.check_refused()
print(json.dumps(report))
""",
        env=STRICT,
    ).json
    assert [one["name"] for one in result["modules"]] == ["nanobind_zoo._core"]
    assert (result["built"], result["reused"]) == (0, 1)
    left = {one["what"]: one["count"] for one in result["left"]}
    assert {name: left.get(f"instances of nanobind_zoo._core.{name}") for name in COUNTS} == COUNTS


def test_ten_reloads(zoo):
    """Instances of every generation are kept to the end; the interpreter ends with exit code 0."""
    result = zoo.run(
        HELPERS
        + """
import gc
worlds = [World("A")]
for turn in range(10):
    letter = "BA"[turn % 2]
    become(letter)
    worlds.append(World(letter))
    check_new(letter)
    worlds[turn].check()
gc.collect()
for world in worlds:
    world.check()
for world in worlds[:-1]:
    world.check_refused()
counters = rehook.status().counters
print(json.dumps([counters["reloaded"], counters["reused"], len(rehook.generations())]))
""",
        env=STRICT,
    )
    assert result.json == [10, 10, 11]
    assert result.returncode == 0
    assert result.stderr == ""


def test_an_enumerator_gets_another_value(built):
    """It is another object then, and the one that was held is refused, not taken for a number."""
    argument = shlex.quote(f"-Dnanobind_DIR={folder_of(VERSIONS[-1])}")
    env = {"REHOOK_BUILD_TYPE": "Debug", "REHOOK_CMAKE_ARGS": argument}
    result = built("nanobind_zoo", files=FILES, env=env).run(
        HELPERS
        + """
first = {color.name: color for color in zoo.Color}

def check(values):
    assert {color.name: color.value for color in zoo.Color} == values
    square = zoo.Square(1.0)
    for color in zoo.Color:
        assert getattr(zoo.Color, color.name) is color is zoo.Color(color.value)
        square.color = color
        assert square.color is color and zoo.name_of(color) == str(color.value)
    assert zoo.Color.RED is first["RED"]

check({"RED": 0, "GREEN": 1})
left = []
for enumerators, values in (
    ("red, green = 7", {"RED": 0, "GREEN": 7}),
    ("red, green", {"RED": 0, "GREEN": 1}),
):
    write("zoo.cpp", A.replace("{ red, green }", "{ " + enumerators + " }"))
    report = rehook.reload()
    check(values)
    assert zoo.Color.GREEN is not first["GREEN"] and type(first["GREEN"]) is zoo.Color
    try:
        zoo.name_of(first["GREEN"])
    except TypeError:
        pass
    else:
        raise AssertionError("the old enumerator was taken")
    left.append([one["what"] for one in report.left])
print(json.dumps(left))
""",
        env=STRICT,
    )
    assert result.json == [["enumerator nanobind_zoo._core.Color.GREEN"]] * 2


def test_exceptions_that_a_shared_libnanobind_makes(built):
    """The class in `except` stays the one that is raised."""
    argument = shlex.quote(f"-Dnanobind_DIR={folder_of(VERSIONS[-1])}")
    env = {"REHOOK_BUILD_TYPE": "Debug", "REHOOK_CMAKE_ARGS": argument}
    lists = FILES["CMakeLists.txt"].replace("NB_STATIC", "NB_SHARED")
    assert lists != FILES["CMakeLists.txt"]
    files = {**FILES, "CMakeLists.txt": lists}
    result = built("nanobind_zoo", files=files, env=env).run(
        HELPERS
        + """
error, feed = zoo.ZooError, zoo.feed
texts = []
for letter in "BAB":
    become(letter)
    for call in (feed, zoo.feed):
        try:
            call(0)
        except error as raised:
            assert type(raised) is zoo.ZooError is error
            texts.append(str(raised))
print(json.dumps(texts))
""",
        env=STRICT,
    )
    new, old = ["nothing at all"] * 2, ["nothing to eat"] * 2
    assert result.json == [*new, *old, *new]


@pytest.mark.parametrize("place", ["the middle", "the end"])
def test_a_failed_initialisation(zoo, place):
    """The classes that were registered before it failed are gone, the old ones are back."""
    result = zoo.run(
        HELPERS
        + """
first = World("A")
held = {name: id(value) for name, value in vars(zoo._core).items()}
os.environ["FAIL_AT"] = sys.argv[1]
texts = []
for attempt in range(3):
    try:
        become("B") if attempt == 0 else rehook.retry()
    except rehook.ReloadError as error:
        texts.append(str(error.__cause__))
    first.check()
    check_new("A")
    assert held == {name: id(value) for name, value in vars(zoo._core).items()}
assert type(zoo.make(1.0)) is first.classes[2]
del os.environ["FAIL_AT"]
rehook.retry()
now = "B"
first.check()
check_new("B")
become("A")
check_new("A")
first.check()
print(json.dumps([texts, rehook.errors()]))
""",
        place,
        env=STRICT,
    ).json
    texts, errors = result
    assert [f"failed at {place}" in text for text in texts] == [True] * 3
    assert errors == []


def test_a_bridge_that_does_not_compile(built):
    """Nothing is touched, and the compiler's first error is in the message."""
    folder = folder_of(VERSIONS[0])
    argument = shlex.quote(f"-Dnanobind_DIR={folder}")
    env = {"REHOOK_BUILD_TYPE": "Debug", "REHOOK_CMAKE_ARGS": argument}
    # A name that the module does not use and the bridge does.
    files = {
        **FILES,
        "CMakeLists.txt": FILES["CMakeLists.txt"]
        + "target_compile_definitions(_core PRIVATE made_by_user=1,2)\n",
    }
    project = built("nanobind_zoo", files=files, env=env)
    result = project.run(
        HELPERS
        + """
first = World("A")
try:
    become("B")
except rehook.BuildError as error:
    text = str(error)
first.check()
check_new("A")
print(json.dumps(text))
""",
        env=STRICT,
    )
    assert result.json.startswith("error: expected unqualified-id")
    assert "nanobind" in result.json
