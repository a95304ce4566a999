"""Types of several builds in one interpreter: what was held before lives on, new code is new.

pybind11 refuses to register a C++ class twice; without rehook a reload of these modules raises
`generic_type: type "Shape" is already registered!`. Nothing here is py::module_local().
"""

import shlex

import pytest

from support.project import FIXTURES
from support.pybind11_packages import folder_of

pytestmark = pytest.mark.compile

VERSIONS = ("2.13.6", "3.1.0")

# types.cpp of the fixture, whose initialisation fails where the variable FAIL_AT says.
FILES = {
    file: (FIXTURES / "pybind11_types" / file).read_text(encoding="utf-8")
    for file in ("CMakeLists.txt", "types.cpp", "pybind11_types/__init__.py")
}
FAIL_AT = """
#include <cstdlib>
static void fail_at(const std::string& place) {
  const char* wanted = std::getenv("FAIL_AT");
  if (wanted != nullptr && place == wanted) throw std::runtime_error("failed at " + place);
}
PYBIND11_MODULE("""
FILES["types.cpp"] = (
    FILES["types.cpp"]
    .replace("PYBIND11_MODULE(", FAIL_AT)
    .replace('  m.def("total_area"', '  fail_at("the middle");\n  m.def("total_area"')
    .replace('  math.attr("UNIT") = 1.0;', '  math.attr("UNIT") = 1.0;\n  fail_at("the end");')
)
assert FILES["types.cpp"].count("fail_at(") == 3

# become("B") reloads a build in which everything differs, the layout of the classes, too.
HELPERS = """
import rehook
rehook.install(projects=[ROOT])
import pybind11_types as zoo

CHANGES = {
    "Color color = Color::red;": "Color color = Color::green;\\n  double added[4] = {1, 2, 3, 4};",
    "return side_ * side_;": "return side_ * side_ + 1000;",
    'return "shape";': 'return "shape B";',
    'return "square";': 'return "square B";',
    'return "tile";': 'return "tile B";',
    "nothing to eat": "nothing at all",
    "return factor * x;": "return factor * x + 1;",
    "return x / 2;": "return x / 2 + 1;",
    '"UNIT") = 1.0': '"UNIT") = 2.0',
}
A = Path(ROOT, "types.cpp").read_text()
B = A
for old, new in CHANGES.items():
    assert B.count(old) == 1, old
    B = B.replace(old, new)

now = "A"  # what the program runs

def become(letter):
    global now
    write("types.cpp", {"A": A, "B": B}[letter])
    report = rehook.reload()
    now = letter
    return report

class World:
    "What a program may hold of one build, and how that must behave for ever."

    def __init__(self, letter):
        self.plus = {"A": 0, "B": 1000}[letter]
        self.mark = {"A": "", "B": " B"}[letter]
        self.classes = zoo.Shape, zoo.Square, zoo.Tile
        self.functions = zoo.total_area, zoo.make, zoo.feed, zoo.scaler, zoo.math.half
        self.errors = zoo.ZooError, zoo.FeedingError
        self.green = zoo.Color.GREEN
        self.made, self.square = zoo.make(3.0), zoo.Square(2.0)
        self.bound = self.square.area
        self.scale = zoo.scaler(5.0)

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

    def check_objects(self):
        "Objects run the build that made them: the layout of their classes changes."
        Tile, Square, Shape = type(self.made).__mro__[:3]
        assert type(self.square) is Square
        assert self.made.kind() == "tile" + self.mark and self.square.kind() == "square" + self.mark
        assert self.mine.kind() == "shape" + self.mark
        assert self.square.area() == self.bound() == 4 + self.plus
        assert self.my_square.more() == 16 + self.plus + 4
        assert type(Square(1.0)) is Square and Square(1.0).area() == 1 + self.plus
        assert self.scale(2.0) == 10 + self.plus / 1000
        Color = type(self.green)
        assert self.square.color == (Color.GREEN if self.plus else Color.RED)
        self.square.color = self.green
        assert self.square.color == self.green and int(self.green) == 1
        self.square.color = Color.GREEN if self.plus else Color.RED

    def check_names(self):
        "Functions, and classes held anywhere, are those of the build that runs."
        plus = {"A": 0, "B": 1000}[now]
        Shape, Square, Tile = self.classes
        assert self.classes == (zoo.Shape, zoo.Square, zoo.Tile)
        total, make, feed, scaler, half = self.functions
        assert self.functions == (zoo.total_area, zoo.make, zoo.feed, zoo.scaler, zoo.math.half)
        fresh = make(6.0)
        assert type(fresh) is Tile and fresh.area() == 36 + plus
        assert total([fresh, Square(1.0)]) == 36 + 1 + 2 * plus
        assert scaler(5.0)(2.0) == 10 + plus / 1000 and half(8.0) == 4 + plus / 1000
        assert self.errors == (zoo.ZooError, zoo.FeedingError)
        try:
            feed(0)
        except self.errors[1] as error:
            assert isinstance(error, self.errors[0])
            assert str(error) == {"A": "nothing to eat", "B": "nothing at all"}[now]
        else:
            raise AssertionError("feed() did not raise")

    def check_stranger(self, other):
        "Instances of another build are refused by this one's methods."
        for stranger in (other.made, other.square, other.mine, other.my_square):
            try:
                type(self.made).kind(stranger)
            except TypeError:
                continue
            raise AssertionError(f"{stranger} was taken")
        for cls in type(self.made).__mro__[:3]:
            assert not isinstance(other.made, cls)

    def check_refused(self):
        "Instances of an earlier build are refused by the functions, which are today's."
        for thing in (self.made, self.square, self.mine, self.my_square):
            try:
                self.functions[0]([thing])
            except TypeError:
                continue
            raise AssertionError(f"{thing} was taken")
"""
BOTH = HELPERS + "become('B')\nbecome('A')\n"
STRICT = {"PYTHONMALLOC": "debug"}


@pytest.fixture(params=VERSIONS)
def zoo(request, built):
    """pybind11_types with one pybind11, after the builds A, B and A again."""
    folder = folder_of(request.param)
    argument = shlex.quote(f"-Dpybind11_DIR={folder}")
    env = {"REHOOK_BUILD_TYPE": "Debug", "REHOOK_CMAKE_ARGS": argument}
    project = built("pybind11_types", files=FILES, env=env, prepare=BOTH)
    (cache,) = project.store.glob("projects/*/*/build/CMakeCache.txt")
    assert f"={folder}\n" in cache.read_text(encoding="utf-8")  # not the installed one, by mistake
    yield project
    assert project.compiles() == []  # both builds were in the store


# ------------------------------------------------------------ pybind11


def test_what_is_held_lives_on(zoo):
    result = zoo.run(
        HELPERS
        + """
first = World("A")
first.check()
report = become("B")
first.check()
second = World("B")
second.check()
first.check_stranger(second)
second.check_stranger(first)
first.check_refused()
assert zoo.Square(2.0).area() == zoo._core.Square(2.0).area() == 1004
assert zoo.math.UNIT == 2.0 and zoo.math is zoo._core.math
assert sys.modules["pybind11_types._core.math"] is zoo.math
print(json.dumps(report))
""",
        env=STRICT,
    ).json
    assert [one["name"] for one in result["modules"]] == ["pybind11_types._core"]
    assert (result["built"], result["reused"]) == (0, 1)


@pytest.mark.parametrize("way", ["importlib.reload(zoo)", "importlib.reload(zoo._core)"])
def test_importlib_reload(zoo, way):
    result = zoo.run(
        HELPERS
        + """
import importlib
first = World("A")
write("types.cpp", B)
eval(sys.argv[1])
now = "B"
first.check()
World("B").check()
print(json.dumps("fine"))
""",
        way,
        env=STRICT,
    )
    assert result.json == "fine"


def test_thirty_reloads(zoo):
    """Instances of every generation are kept to the end; the interpreter ends with exit code 0."""
    result = zoo.run(
        HELPERS
        + """
import gc
worlds = [World("A")]
for turn in range(30):
    letter = "BA"[turn % 2]
    become(letter)
    worlds.append(World(letter))
    worlds[turn].check()
gc.collect()
for world in worlds:
    world.check()
for world in worlds[:-1]:
    world.check_refused()
for one, other in zip(worlds, worlds[1:]):
    one.check_stranger(other)
worlds[0].check_stranger(worlds[2])  # the same build, loaded twice: another generation
counters = rehook.status().counters
print(json.dumps([counters["reloaded"], counters["reused"], len(rehook.generations())]))
""",
        env=STRICT,
    )
    assert result.json == [30, 30, 31]
    assert result.returncode == 0
    assert result.stderr == ""


def test_what_was_let_go_is_freed(zoo):
    """No reference of rehook's own keeps the instances of old generations."""
    result = zoo.run(
        HELPERS
        + """
import gc, weakref
alive = []
for turn in range(4):
    world = World("AB"[turn % 2])
    class Watched(zoo.Square):
        pass
    thing = Watched(1.0)
    alive.append(weakref.ref(thing))
    become("BA"[turn % 2])
    world.check()
    del world, thing, Watched
gc.collect()
print(json.dumps([one() is None for one in alive]))
""",
        env=STRICT,
    ).json
    assert result == [True] * 4


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
    World("A").check()
    assert held == {name: id(value) for name, value in vars(zoo._core).items()}
assert type(zoo.make(1.0)) is first.classes[2]
del os.environ["FAIL_AT"]
rehook.retry()
now = "B"
first.check()
World("B").check()
become("A")
World("A").check()
first.check()
print(json.dumps([texts, rehook.errors()]))
""",
        place,
        env=STRICT,
    ).json
    texts, errors = result
    assert [text.endswith(f"failed at {place}") for text in texts] == [True] * 3
    assert errors == []


def test_old_instances_in_new_containers(zoo):
    """Old instances stay ordinary objects: in lists and dicts, copied, compared, as attributes."""
    result = zoo.run(
        HELPERS
        + """
first = World("A")
box = {first.square: [first.made], "f": first.bound}
become("B")
assert box[first.square][0].kind() == "tile"
assert box["f"]() == 4
assert first.square == first.square and first.square != zoo.Square(2.0)
first.mine.note = zoo.Square(3.0)
assert first.mine.note.area() == 1009
assert repr(first.square).startswith("<pybind11_types")
print(json.dumps("fine"))
""",
        env=STRICT,
    )
    assert result.json == "fine"


def test_pickles_by_name(zoo):
    """What was pickled before a reload is read as an instance of the new class."""
    result = zoo.run(
        HELPERS
        + """
import pickle
data = pickle.dumps(zoo.Square(2.0))
become("B")
again = pickle.loads(data)
print(json.dumps([type(again) is zoo.Square, again.area()]))
""",
        env=STRICT,
    )
    assert result.json == [True, 1004]


# ------------------------------------------------------------ by hand


@pytest.mark.parametrize("fixture", ["hello_capi_single", "hello_capi_multi"])
def test_generations_of_the_c_api(built, fixture):
    """Static and heap types, in one phase and in several: thirty reloads, instances of all kept."""
    source, phases, cls, make = {
        "hello_capi_single": ("core.cpp", "one phase", "Point", "Point(1.5)"),
        "hello_capi_multi": ("core.c", "many phases", "Box", "Box()"),
    }[fixture]
    body = """
import importlib, gc
import rehook
rehook.install(projects=[ROOT])
name, source, phases, cls, make = sys.argv[1:]
pkg = importlib.import_module(name)
described = eval(f"pkg.{make}").describe()
def edit_to(old, new):
    edit(source, old, new)
    rehook.reload()
kept = []
for turn in range(30):
    kept.append((pkg.greet, pkg.calls, getattr(pkg, cls), eval(f"pkg.{make}"), turn % 3))
    for _ in range(turn % 3):
        pkg.greet()
    edit_to(*((phases, "another"), ("another", phases))[turn % 2])
gc.collect()
assert pkg.calls() == 0  # the state of the last generation
for number, (greet, calls, kind, thing, count) in enumerate(kept):
    assert (greet, calls, kind) == (pkg.greet, pkg.calls, getattr(pkg, cls)), number
    assert greet() == f"hello from {phases}" and calls() == number + 1
    assert thing.describe() == described
    assert isinstance(thing, kind)
assert isinstance(eval(f"pkg.{make}"), getattr(pkg, cls))
counters = rehook.status().counters
print(json.dumps([counters["built"], counters["reused"], counters["reloaded"]]))
"""
    project = built(fixture)
    done = project.run(body, fixture, source, phases, cls, make, env=STRICT)
    assert done.json == [1, 29, 30]
    assert done.stderr == ""
    assert len(project.compiles()) == 1
