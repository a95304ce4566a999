"""Classes whose layout changed, or is not known: no object ever meets code of another layout.

zoo's third build gives Lion, Ticket and Fence new members; Point, Badge and Animal stay.
"""

import shlex

import pytest

from support.zoo import HELPERS

pytestmark = pytest.mark.compile

STRICT = {"PYTHONMALLOC": "debug"}
VERSIONS = ("2.13.6", "")  # "": the installed one
A_AND_B = ((2, 1), (1, 1))
UNKNOWN = {"cmake_args": ("-DCMAKE_CXX_FLAGS=-g0",), "variants": ((2, 2), (2, 1), (1, 1))}


@pytest.fixture(params=VERSIONS, ids=lambda version: f"pybind11-{version or 'installed'}")
def zoo(request, zoo_of):
    return zoo_of(pybind11=request.param)


def test_old_instances_stay_valid_on_the_old_code(zoo):
    told = zoo.run(
        HELPERS
        + """
lion, ticket, fence = zoo.Lion(4), zoo.Ticket(6), zoo.Fence(10)
ticket.mark = "mine"
bound = lion.roar
before = zoo_base.alive(0), zoo_base.alive(1), zoo_base.alive(2)
become(animals=3)
fresh = zoo.Lion(8)
facts = dict(
    old=[lion.roar(), lion.age, lion.loudness, bound(), ticket.total(), ticket.mark,
         fence.measure(), lion.nap()],
    new=[fresh.roar(), fresh.mane, zoo.Ticket(1).fee, fresh.loudness],
    types=[type(lion) is zoo.Lion, isinstance(lion, zoo.Lion), type(lion).__name__],
    made=[type(zoo.born(1)) is zoo.Lion, zoo.born(1).mane],
    alive=[one == zoo_base.alive(kind) for kind, one in enumerate(before)],
)
del lion, ticket, fence, fresh, bound
gc.collect()
tell(**facts, after=[zoo_base.alive(kind) for kind in range(3)])
""",
        env=STRICT,
    )
    assert told.json == {
        "old": ["roar1/4", 4, 10, "roar1/4", 106, "mine", 1010, "nap"],
        "new": ["roar3/8", "brushed", 7.0, 30],
        "types": [False, False, "Lion"],
        "made": [True, "brushed"],
        "alive": [False, True, True],  # one more lion
        "after": [0, 0, 0],
    }
    assert told.stderr == ""


def test_new_functions_refuse_old_instances(zoo):
    told = zoo.run(
        HELPERS
        + """
lion, ticket, fence = zoo.Lion(4), zoo.Ticket(6), zoo.Fence(10)
pay = zoo.pay
become(animals=3)
tell(
    old=[refused(zoo.Lion.roar, lion), refused(zoo.pay, ticket), refused(zoo.climb, fence),
         refused(pay, ticket), refused(zoo.Ticket.total, ticket)],
    new=[refused(type(lion).roar, zoo.Lion(1)), refused(type(ticket).total, zoo.Ticket(1))],
    fine=[zoo.pay(zoo.Ticket(1)), zoo.climb(zoo.Fence(2)), pay(zoo.Ticket(1)), pay(2)],
)
""",
        env=STRICT,
    ).json
    assert told == {
        "old": [True] * 5,
        "new": [True, True],
        "fine": [3001, 2, 3001, 3002],
    }


def test_the_report_names_and_counts_what_was_left(zoo):
    told = zoo.run(
        HELPERS
        + """
lions = [zoo.Lion(age) for age in range(3)]
class Tiger(zoo.Ticket):
    pass
tickets, points = [zoo.Ticket(1), Tiger(2)], [zoo.Point(1, 2)]
report = become(animals=3)
text = str(report)
tell(
    left={name: left(report, name) for name in ("Lion", "Ticket", "Fence", "Point", "Animal")},
    lines=[[name for name in ("Lion", "Ticket", "Fence") if name in line and "left" not in line]
           + [digit for digit in "23" if digit in line]
           for line in text.splitlines() if "Lion" in line or "Ticket" in line],
    why=[one["why"] for one in report.left if "Lion" in one["what"] or "Ticket" in one["what"]],
    subclass=[one["what"] for one in report.left if "Tiger" in str(one)],
    text=text,
)
"""
    ).json
    assert told["left"]["Lion"] == 3, told["text"]
    assert told["left"]["Ticket"] == 2, told["text"]
    assert told["left"]["Fence"] in {0, None}  # there was none
    assert told["left"]["Point"] is None, told["text"]
    assert ["Lion", "3"] in told["lines"], told["text"]
    assert ["Ticket", "2"] in told["lines"], told["text"]
    assert ["layout changed" in why for why in told["why"]] == [True] * len(told["why"])
    assert told["subclass"], told["text"]  # a Python subclass of a class that stays old


def test_what_did_not_grow_is_adopted_beside_it(zoo):
    told = zoo.run(
        HELPERS
        + """
point, badge, secret, Point = zoo.Point(1, 2), zoo.Badge(), zoo.Secret(3), zoo.Point
meat, EscapeError, animal, lion = zoo.Diet.MEAT, zoo.EscapeError, zoo.Animal(5), zoo.Lion(6)
become(animals=3)
tell(
    same=[zoo.Point is Point, zoo.Diet.MEAT is meat, zoo.EscapeError is EscapeError,
          type(animal) is zoo.Animal],
    runs=[point.sum(), badge.show(), secret.tell(), animal.kind(), zoo.diet_name(meat)],
    # the base is adopted, so an old lion is an animal to new code, as its own class is not
    base=[isinstance(lion, zoo.Animal), lion.age, zoo.Lion.__mro__[1] is zoo.Animal],
)
""",
        env=STRICT,
    ).json
    assert told == {
        "same": [True] * 4,
        "runs": [303, "badge3/7", "secret3/3", "kind3", "diet3/1"],
        "base": [True, 6, True],
    }


def test_back_and_forth_between_two_layouts(zoo):
    """Each generation keeps its lions; they answer to the end, and no one takes the others'."""
    told = zoo.run(
        HELPERS
        + """
kept = [(1, zoo.Lion(0), zoo.Ticket(0))]
wrong = []
for turn in range(1, 13):
    version = 3 if turn % 2 else 1
    become(animals=version)
    kept.append((version, zoo.Lion(turn), zoo.Ticket(turn)))
    for number, (was, lion, ticket) in enumerate(kept):
        taken = isinstance(lion, zoo.Lion)
        facts = [lion.roar() == f"roar{was}/{number}", ticket.total() == number + 100 * was,
                 refused(zoo.pay, ticket) != isinstance(ticket, zoo.Ticket),
                 refused(zoo.Lion.roar, lion) != taken, taken or number != turn,
                 not taken or was == version]
        if not all(facts) and len(wrong) < 3:
            wrong.append([turn, number, facts])
del kept, lion, ticket
gc.collect()
tell(wrong=wrong, alive=[zoo_base.alive(0), zoo_base.alive(1)])
""",
        env=STRICT,
    )
    assert told.json == {"wrong": [], "alive": [0, 0]}
    assert told.stderr == ""


# ------------------------------------------------------------ builds that tell less


def test_an_unknown_layout_is_not_the_same(zoo_of):
    zoo = zoo_of(**UNKNOWN)
    told = zoo.run(
        HELPERS
        + """
lion, point = zoo.Lion(4), zoo.Point(1, 2)
report = become(animals=2)
tell(
    old=[lion.roar(), point.sum(), type(lion) is zoo.Lion],
    refused=[refused(zoo.Lion.roar, lion), refused(zoo.Point.sum, point)],
    new=[zoo.Lion(5).roar(), zoo.version()],
    left=[left(report, "Lion"), left(report, "Point")],
    why=[one["why"] for one in report.left if "Lion" in one["what"]],
)
""",
        env=STRICT,
    ).json
    assert told["old"] == ["roar1/4", 103, False]
    assert told["refused"] == [True, True]
    assert told["new"] == ["roar2/5", 2]
    assert told["left"] == [1, 1]
    assert any("not known" in why or "unknown" in why or "debug info" in why for why in told["why"])


@pytest.mark.parametrize("flags", ["-O3 -DNDEBUG -flto", "-O2 -g -gsplit-dwarf"])
def test_release_builds_that_are_stripped(zoo_of, flags):
    """A stripped binary tells nothing of its layouts, or its own build did before: never a mix."""
    options = shlex.split(flags)
    link = "-Wl,-z,relro,-z,now" + (" -s" if "-flto" in options else "")
    zoo = zoo_of(
        cmake_args=(f"-DCMAKE_CXX_FLAGS={flags}", f"-DCMAKE_MODULE_LINKER_FLAGS={link}"),
        variants=A_AND_B,
    )
    told = zoo.run(
        HELPERS
        + """
lion, secret, version = zoo.Lion(4), zoo.Secret(5), zoo.version
report = become(animals=2)
adopted = type(lion) is zoo.Lion
tell(
    consistent=[lion.roar() == ("roar2/4" if adopted else "roar1/4"),
                refused(zoo.Lion.roar, lion) != adopted, isinstance(lion, zoo.Lion) == adopted,
                left(report, "Lion") == (None if adopted else 1)],
    new=[zoo.Lion(5).roar(), zoo.version(), zoo.Secret(6).tell(), version()],
    caught=type(raised(zoo.escape)) is zoo.EscapeError,
)
become(animals=1)
assert (zoo.Lion(1).roar(), lion.roar(), version()) == ("roar1/1", "roar1/4", 1)
""",
        env=STRICT,
    )
    assert told.json == {
        "consistent": [True] * 4,
        "new": ["roar2/5", 2, "secret2/6", 2],
        "caught": True,
    }
    assert told.stderr == ""


def test_types_of_an_anonymous_namespace(zoo):
    """They have no name that a second build could share: found again by their qualified name."""
    told = zoo.run(
        HELPERS
        + """
secret, Secret = zoo.Secret(5), zoo.Secret
keeper, Keeper = _keepers.Keeper(zoo.Lion(1)), _keepers.Keeper
become(animals=2, keepers=2)
tell(
    same=[zoo.Secret is Secret, _keepers.Keeper is Keeper],
    runs=[secret.tell(), zoo.ask(secret), zoo.ask(zoo.Secret(6)),
          voice(keeper.call(), keeper.animal)],
)
""",
        env=STRICT,
    ).json
    assert told == {
        "same": [True, True],
        "runs": ["secret2/5", "secret2/5", "secret2/6", "keeper2/its voice"],
    }
