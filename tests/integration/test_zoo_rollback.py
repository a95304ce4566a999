"""An initialisation that fails: at its end, in its middle, in the second of two extensions.

Afterwards the old world is there exactly: modules, registry, exceptions, functions, classes.
"""

import json

import pytest

from support.zoo import HELPERS

pytestmark = pytest.mark.compile

STRICT = {"PYTHONMALLOC": "debug"}
VERSIONS = ("2.13.6", "")  # "": the installed one

# A picture of everything that can be told apart, and a world that must go on working.
WORLD = (
    HELPERS
    + """
def picture():
    told = {name: id(module) for name, module in sys.modules.items() if name.startswith("zoo")}
    for module in (zoo, _animals, _keepers, zoo.maps):
        for name, value in vars(module).items():
            told[f"{module.__name__}.{name}"] = id(value)
            if isinstance(value, type):
                for inner, one in vars(value).items():
                    told[f"{module.__name__}.{name}.{inner}"] = id(one)
                told[f"{module.__name__}.{name}()"] = [id(one) for one in value.__mro__]
        told[f"{module.__name__}()"] = id(vars(module))
    told["finders"] = [id(one) for one in sys.meta_path]
    return told

def difference(before, after):
    return sorted(name for name in before.keys() | after.keys()
                  if before.get(name) != after.get(name))

class Tiger(zoo.Animal):
    def speak(self):
        return "growl"

lion, tiger, ticket, meat = zoo.Lion(4), Tiger(2), zoo.Ticket(6), zoo.Diet.MEAT
elephant, keeper = _keepers.Elephant(5), _keepers.Keeper(lion)
bound, version, EscapeError, closure = lion.roar, zoo.version, zoo.EscapeError, zoo.counter(3)
data = pickle.dumps(lion)

def check(a=1, k=1):
    "The facts that are not as they should be with these versions."
    facts = {
        "lion": lambda: lion.roar() == bound() == zoo.Lion(4).roar() == f"roar{a}/4",
        "made": lambda: type(zoo.born(1)) is type(lion) is zoo.Lion,
        "version": lambda: version() == zoo.version() == _animals.VERSION == a,
        "tiger": lambda: zoo.describe(tiger) == zoo.describe(Tiger(1)) == f"describe{a}/growl",
        "ticket": lambda: ticket.total() == 6 + 100 * a and zoo.pay(5) == 5 + 1000 * a,
        "enum": lambda: zoo.diet_name(meat) == f"diet{a}/1" and zoo.Diet.MEAT is meat,
        "error": lambda: type(raised(zoo.escape)) is EscapeError is zoo.EscapeError,
        "text": lambda: str(raised(zoo.escape)) == f"escape{a}",
        "std": lambda: type(raised(zoo.fall)) is IndexError,
        "keepers": lambda: elephant.trunk() == _keepers.Elephant(1).trunk() == f"trunk{k}",
        "crossing": lambda: zoo.describe(elephant).startswith(f"describe{a}/trumpet")
        and _keepers.listen(lion).startswith(f"listen{k}/roar") and keeper.animal is lion,
        "buy": lambda: type(_keepers.buy(1)) is zoo.Animal,
        "pickle": lambda: type(pickle.loads(data)) is zoo.Lion,
        "submodule": lambda: zoo.maps is sys.modules["zoo._animals.maps"]
        and zoo.maps.north() == f"north{a}",
        "base": lambda: zoo_base.weigh(zoo.Badge()) == 0
        and zoo.heavy(zoo_base.Thing(5)) == 5 + 100 * a,
        "closure": lambda: closure(1) in (103, 203, 303),
        "iterator": lambda: list(zoo.walk([1, 2])) == [1, 2],
    }
    broken = []
    for name, fact in facts.items():
        try:
            if not fact():
                broken.append(name)
        except Exception as error:
            broken.append(f"{name}: {error}".splitlines()[0])
    return broken
"""
)


@pytest.fixture(params=VERSIONS, ids=lambda version: f"pybind11-{version or 'installed'}")
def zoo(request, zoo_of):
    project = zoo_of(pybind11=request.param)
    yield project
    assert project.compiles() == []


@pytest.mark.parametrize(
    ("place", "versions"),
    [
        ("the end of animals", {"animals": 2}),
        ("the middle of animals", {"animals": 2}),
        ("the end of animals", {"animals": 3}),
        ("the middle of animals", {"animals": 3}),
        ("the end of keepers", {"keepers": 2}),
        ("the middle of keepers", {"keepers": 2}),
        ("the end of keepers", {"animals": 2, "keepers": 2}),
        ("the middle of keepers", {"animals": 2, "keepers": 2}),
        ("the end of animals", {"animals": 2, "keepers": 2}),
    ],
    ids=lambda value: value.replace(" ", "_") if isinstance(value, str) else "+".join(value),
)
def test_a_failed_initialisation_changes_nothing(zoo, place, versions):
    told = zoo.run(
        WORLD
        + """
place, versions = sys.argv[1], json.loads(sys.argv[2])
at_first = check()
gc.collect()
before, counts = picture(), zoo_base.alive(0)
os.environ["FAIL_AT"] = place
causes = []
for attempt in range(3):
    try:
        become(**versions) if attempt == 0 else rehook.retry()
    except rehook.ReloadError as error:
        causes.append(f"{type(error.__cause__).__name__}: {error.__cause__}")
        del error
gc.collect()
after = picture()
facts = dict(at_first=at_first, causes=causes, difference=difference(before, after),
             counts=zoo_base.alive(0) - counts, broken=check(),
             errors=len(rehook.errors()))
del os.environ["FAIL_AT"]
rehook.retry()
a, k = versions.get("animals", 1), versions.get("keepers", 1)
if a != 3:  # the old lions of another layout are another test's business
    facts["repaired"] = check(a, k)
else:
    facts["repaired"] = [] if zoo.Lion(1).mane == "brushed" else ["mane"]
become(animals=1, keepers=1)
facts["at_last"] = [zoo.Lion(4).roar(), _keepers.Elephant(1).trunk(), version(), lion.roar()]
tell(**facts, no_errors=rehook.errors())
""",
        place,
        json.dumps(versions),
        env=STRICT,
    )
    texts = told.json["causes"]
    assert len(texts) == 3
    assert [f"failed at {place}" in text for text in texts] == [True] * 3, texts
    expected = {
        "at_first": [],
        "difference": [],
        "counts": 0,
        "broken": [],
        "errors": 1,
        "repaired": [],
        "at_last": ["roar1/4", "trunk1", 1, "roar1/4"],
        "no_errors": [],
    }
    assert {key: told.json[key] for key in expected} == expected


def test_no_class_of_a_failed_build_is_seen(zoo):
    """Not among the subclasses of a class that stays, nor as what a name means."""
    told = zoo.run(
        WORLD
        + """
classes = zoo.Animal, zoo_base.Thing, LookupError
before = [sorted(map(id, one.__subclasses__())) for one in classes]
os.environ["FAIL_AT"] = "the end of keepers"
error = str(raised(become, animals=2, keepers=2))
gc.collect()
after = [sorted(map(id, one.__subclasses__())) for one in classes]
tell(failed="keepers" in error, same=[a == b for a, b in zip(before, after)])
""",
        env=STRICT,
    ).json
    assert told == {"failed": True, "same": [True, True, True]}


def test_a_python_module_of_the_batch_fails(zoo):
    """The extension is loaded and patched already when the package's own body raises."""
    told = zoo.run(
        WORLD
        + """
before = picture()
text = Path(ROOT, "zoo", "__init__.py").read_text()
write("zoo/__init__.py", text + "\\nraise ValueError('no entry')\\n")
try:
    become(animals=2)
except Exception as error:
    cause = error if isinstance(error, ValueError) else error.__cause__
    facts = dict(cause=f"{type(cause).__name__}: {cause}")
    del error, cause
gc.collect()
facts.update(difference=difference(before, picture()), broken=check())
write("zoo/__init__.py", text)
rehook.reload()
tell(**facts, repaired=check(a=2))
""",
        env=STRICT,
    ).json
    assert told["cause"].endswith("no entry")
    assert {**told, "cause": ""} == {"cause": "", "difference": [], "broken": [], "repaired": []}


def test_a_failure_after_an_adoption(zoo):
    """The classes that stay are by now run by the second build: that is the world that returns."""
    told = zoo.run(
        WORLD
        + """
become(animals=2)
broken = check(a=2)
gc.collect()
before = picture()
os.environ["FAIL_AT"] = "the end of animals"
for number in (1, 3):
    try:
        become(animals=number)
    except rehook.ReloadError as failure:
        error = str(failure.__cause__)
    else:
        error = "did not fail"
    gc.collect()
    assert "failed at" in error, error
tell(broken=broken, difference=difference(before, picture()), after=check(a=2))
""",
        env=STRICT,
    ).json
    assert told == {"broken": [], "difference": [], "after": []}


def test_a_link_error_changes_nothing(zoo_of):
    zoo = zoo_of()
    told = zoo.run(
        WORLD
        + """
before = picture()
edit("keepers.cpp", "class Keeper final {", "int nobody_defines_this();\\nclass Keeper final {")
edit("keepers.cpp", "  m.attr(\\"VERSION\\") = VERSION;",
     "  m.attr(\\"VERSION\\") = VERSION + nobody_defines_this();")
error = raised(become)
text = str(error) + str(error.__cause__)
kind = isinstance(error, (rehook.BuildError, rehook.ReloadError))
del error
gc.collect()
tell(kind=kind, named="nobody_defines_this" in text, difference=difference(before, picture()),
     broken=check())
""",
        env=STRICT,
    ).json
    assert told == {"kind": True, "named": True, "difference": [], "broken": []}
