"""Extensions that share types: one of them reloaded, the other, both, and one that cannot be.

`_keepers` uses and derives from the classes of `_animals`; the installed `zoo_tour` does, too.
"""

import pytest

from support.zoo import HELPERS

pytestmark = pytest.mark.compile

STRICT = {"PYTHONMALLOC": "debug"}
VERSIONS = ("2.13.6", "")  # "": the installed one
UNKNOWN = {"cmake_args": ("-DCMAKE_CXX_FLAGS=-g0",), "variants": ((2, 2), (2, 1), (1, 1))}


@pytest.fixture(params=VERSIONS, ids=lambda version: f"pybind11-{version or 'installed'}")
def zoo(request, zoo_of):
    project = zoo_of(pybind11=request.param)
    yield project
    assert project.compiles() == []


def test_only_the_first(zoo):
    """The extension that was not changed takes and makes objects of the new build."""
    told = zoo.run(
        HELPERS
        + """
lion, elephant = zoo.Lion(4), _keepers.Elephant(5)
keeper, buy = _keepers.Keeper(lion), _keepers.buy
report = become(animals=2)
tell(
    old=[lion.roar(), elephant.kind(), elephant.trunk(), elephant.speak(), keeper.animal is lion],
    crossing=[voice(zoo.describe(elephant), elephant), zoo.share(elephant),
              voice(_keepers.listen(lion), lion), _keepers.listen(zoo.Lion(6)),
              type(buy(1)) is zoo.Animal, buy(1).kind()],
    new=[_keepers.Elephant(7).kind(), zoo.share(_keepers.Elephant(7)),
         isinstance(_keepers.Elephant(7), zoo.Animal)],
    versions=[zoo.VERSION if hasattr(zoo, "VERSION") else _animals.VERSION, _keepers.VERSION],
    names=[name for name in report.names if name == "zoo._animals"],
)
""",
        env=STRICT,
    ).json
    assert told == {
        "old": ["roar2/4", "kind2", "trunk1", "trumpet1", True],
        "crossing": [
            "describe2/its voice",
            205,
            "listen1/its voice",
            "listen1/roar2",
            True,
            "kind2",
        ],
        "new": ["kind2", 207, True],
        "versions": [2, 1],
        "names": ["zoo._animals"],
    }


def test_only_the_second(zoo):
    told = zoo.run(
        HELPERS
        + """
lion, elephant, Elephant = zoo.Lion(4), _keepers.Elephant(5), _keepers.Elephant
keeper, describe = _keepers.Keeper(lion), zoo.describe
report = become(keepers=2)
tell(
    old=[lion.roar(), elephant.kind(), elephant.trunk(), keeper.call()],
    crossing=[voice(describe(elephant), elephant), describe(_keepers.Elephant(6)),
              _keepers.listen(lion)],
    same=[_keepers.Elephant is Elephant, type(_keepers.buy(1)) is zoo.Animal],
    names=report.names,
)
""",
        env=STRICT,
    ).json
    assert told == {
        "old": ["roar1/4", "kind1", "trunk2", "keeper2/roar1"],
        "crossing": ["describe1/its voice", "describe1/trumpet2", "listen2/roar1"],
        "same": [True, True],
        "names": ["zoo._keepers"],
    }


def test_both_in_one_transaction(zoo):
    told = zoo.run(
        HELPERS
        + """
lion, elephant, keeper = zoo.Lion(4), _keepers.Elephant(5), _keepers.Keeper(zoo.Lion(6))
classes = zoo.Animal, zoo.Lion, _keepers.Elephant, _keepers.Keeper
report = become(animals=2, keepers=2)
tell(
    names=sorted(report.names),
    same=[a is b for a, b in zip(classes, (zoo.Animal, zoo.Lion, _keepers.Elephant,
                                           _keepers.Keeper))],
    old=[lion.roar(), elephant.kind(), elephant.trunk(), voice(keeper.call(), keeper.animal),
         keeper.animal.roar()],
    crossing=[zoo.share(elephant), _keepers.listen(zoo.Lion(1)),
              voice(zoo.describe(elephant), elephant)],
    new=[_keepers.Elephant(1).speak(), voice(_keepers.Keeper(elephant).call(), elephant)],
)
become(animals=1, keepers=1)
assert [lion.roar(), elephant.trunk(), zoo.share(elephant)] == ["roar1/4", "trunk1", 105]
""",
        env=STRICT,
    ).json
    assert told == {
        "names": ["zoo", "zoo._animals", "zoo._keepers"],  # zoo imports names from them
        "same": [True] * 4,
        "old": ["roar2/4", "kind2", "trunk2", "keeper2/its voice", "roar2/6"],
        "crossing": [205, "listen2/roar2", "describe2/its voice"],
        "new": ["trumpet2", "keeper2/its voice"],
    }


def test_the_old_pair_stays_consistent(zoo_of):
    """Nothing is known of the layouts: the pair that ran before goes on running among itself."""
    zoo = zoo_of(**UNKNOWN)
    told = zoo.run(
        HELPERS
        + """
import types
lion, elephant, keeper = zoo.Lion(4), _keepers.Elephant(5), _keepers.Keeper(zoo.Lion(6))
become(animals=2, keepers=2)
tell(
    old=[lion.roar(), elephant.kind(), elephant.trunk(), keeper.call(), keeper.animal.roar(),
         isinstance(keeper.animal, type(lion)), isinstance(elephant, type(lion).__mro__[1])],
    refused=[refused(zoo.describe, elephant), refused(_keepers.listen, lion),
             refused(type(elephant).trunk, _keepers.Elephant(1)),
             refused(_keepers.Keeper, lion)],
    new=[zoo.describe(_keepers.Elephant(1)), _keepers.listen(zoo.Lion(1))],
)
""",
        env=STRICT,
    ).json
    assert told == {
        "old": ["roar1/4", "kind1", "trunk1", "keeper1/roar1", "roar1/6", True, True],
        "refused": [True] * 4,
        "new": ["describe2/trumpet2", "listen2/roar2"],
    }


def test_forty_turns_of_either(zoo):
    told = zoo.run(
        HELPERS
        + """
kept, wrong = [], []
now = {"animals": 1, "keepers": 1}
for turn in range(40):
    name = ("animals", "keepers")[turn % 2]
    now[name] = 3 - now[name]
    become(**now)
    a, k = now["animals"], now["keepers"]
    kept.append((zoo.Lion(turn), _keepers.Elephant(turn)))
    for number, (lion, elephant) in enumerate(kept):
        facts = [lion.roar() == f"roar{a}/{number}", elephant.kind() == f"kind{a}",
                 elephant.trunk() == f"trunk{k}", zoo.share(elephant) == number + 100 * a,
                 _keepers.listen(lion).startswith(f"listen{k}/roar"),
                 isinstance(elephant, zoo.Animal)]
        if not all(facts) and len(wrong) < 3:
            wrong.append([turn, number, facts])
del kept, lion, elephant
gc.collect()
tell(wrong=wrong, alive=zoo_base.alive(0))
""",
        env=STRICT,
    )
    assert told.json == {"wrong": [], "alive": 0}
    assert told.stderr == ""


# ------------------------------------------------------------ a dependant of somebody else


TOUR = """
import zoo_tour
parrot, Parrot = zoo_tour.Parrot(3), zoo_tour.Parrot
assert zoo_tour.listen(parrot) == "heard hello" and zoo_tour.listen(zoo.Lion(1)) == "heard roar1"
"""


def test_an_installed_dependant_goes_on_working(zoo):
    told = zoo.run(
        HELPERS
        + TOUR
        + """
lion = zoo.Lion(4)
report = become(animals=2)
tell(
    parrot=[zoo_tour.listen(parrot), zoo_tour.repeat(parrot), parrot.age, parrot.kind(),
            isinstance(parrot, zoo.Animal), zoo_tour.Parrot is Parrot],
    new=[zoo_tour.listen(zoo_tour.Parrot(5)), zoo_tour.Parrot(5).kind(),
         zoo_tour.listen(zoo.Lion(1)), zoo.share(zoo_tour.Parrot(5)),
         voice(zoo_tour.listen(lion), lion)],
)
""",
        env=STRICT,
    ).json
    assert told == {
        "parrot": ["heard hello", "again hello", 3, "kind2", True, True],
        "new": ["heard hello", "kind2", "heard roar2", 205, "heard its voice"],
    }


def test_an_installed_dependant_that_cannot_follow_is_named(zoo_of):
    """Nothing is known of Animal's layout, so its class changes and Parrot cannot come along."""
    zoo = zoo_of(**UNKNOWN)
    told = zoo.run(
        HELPERS
        + TOUR
        + """
report = become(animals=2)
tell(
    named=[str(one) for one in report.left if "zoo_tour" in str(one)],
    text="zoo_tour" in str(report),
    parrot=[zoo_tour.repeat(parrot), parrot.age, parrot.kind(), zoo_tour.repeat(Parrot(5))],
    refused=refused(zoo.describe, parrot),
    new=[zoo.Lion(1).roar(), zoo.version()],
)
""",
        env=STRICT,
    )
    assert told.json["named"], told.stdout
    assert told.json["text"]
    assert told.json["parrot"] == ["again hello", 3, "kind1", "again hello"]
    assert told.json["refused"]
    assert told.json["new"] == ["roar2/1", 2]
    assert told.stderr == ""
