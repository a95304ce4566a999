"""instances = "migrate": objects of a class that grew get a value of the new class, all or none.

Lion has pickle support, Ticket gets it from its Python subclass, Permit says itself what becomes of
an old one, and Fence can do none of it.
"""

import json

import pytest

from support.zoo import HELPERS

pytestmark = pytest.mark.compile

VERSIONS = ("2.13.6", "")  # "": the installed one
MIGRATE = {"ZOO_SETTINGS": json.dumps({"instances": "migrate"}), "PYTHONMALLOC": "debug"}


@pytest.fixture(params=VERSIONS, ids=lambda version: f"pybind11-{version or 'installed'}")
def zoo(request, zoo_of):
    return zoo_of(pybind11=request.param)


def test_all_instances_change_in_place(zoo):
    told = zoo.run(
        HELPERS
        + """
import weakref
lions = [zoo.Lion(age) for age in range(5)]
box, ids = {"held": lions[1]}, [id(one) for one in lions]
watched = weakref.ref(lions[3])
report = become(animals=3)
facts = dict(
    same=[[id(one) for one in lions] == ids, box["held"] is lions[1], watched() is lions[3]],
    runs=[one.roar() for one in lions],
    grown=[lions[0].mane, box["held"].mane],
    types=[type(one) is zoo.Lion for one in lions],
    virtual=[zoo.describe(lions[0])],
    taken=[zoo.share(one) for one in lions],
    left=left(report, "Lion"),
    alive=zoo_base.alive(0) >= 5,
)
del lions, box
gc.collect()
tell(**facts, after=zoo_base.alive(0))
""",
        env=MIGRATE,
    )
    assert told.json == {
        "same": [True, True, True],
        "runs": [f"roar3/{age}" for age in range(5)],
        "grown": ["brushed", "brushed"],
        "types": [True] * 5,
        "virtual": ["describe3/roar3"],
        "taken": [300 + age for age in range(5)],
        "left": None,
        "alive": True,
        "after": 0,
    }
    assert told.stderr == ""


def test_a_value_that_cpp_shares_is_left(zoo):
    """The keeper has a std::shared_ptr to the old lion: two lions would be the outcome."""
    told = zoo.run(
        HELPERS
        + """
lion = zoo.Lion(4)
keeper = _keepers.Keeper(lion)
report = become(animals=3)
facts = dict(roar=lion.roar(), same=keeper.animal is lion, left=left(report, "Lion"),
             told="shared" in str(report))
del lion, keeper
gc.collect()
tell(**facts, after=zoo_base.alive(0))
""",
        env=MIGRATE,
    )
    assert told.json == {"roar": "roar1/4", "same": True, "left": 1, "told": True, "after": 0}
    assert told.stderr == ""


def test_one_that_fails_reverts_all(zoo):
    """The third lion's __setstate__ raises: every lion is what it was, and the report says why."""
    told = zoo.run(
        HELPERS
        + """
lions = [zoo.Lion(age) for age in (1, 2, 13, 4)]
ids, before = [id(one) for one in lions], zoo_base.alive(0)
try:
    report = become(animals=3)
    counted, why = left(report, "Lion"), str(report)
except rehook.ReloadError as error:
    counted, why = 4, str(error) + str(error.__cause__)
facts = dict(
    same=[id(one) for one in lions] == ids,
    runs=[one.roar() for one in lions],
    ages=[one.age for one in lions],
    grown=[hasattr(one, "mane") for one in lions],
    alive=zoo_base.alive(0) - before,
    told=["13" in why, counted],
)
lions.clear()
gc.collect()
tell(**facts, after=zoo_base.alive(0))
""",
        env=MIGRATE,
    )
    assert told.json == {
        "same": True,
        "runs": ["roar1/1", "roar1/2", "roar1/13", "roar1/4"],
        "ages": [1, 2, 13, 4],
        "grown": [False] * 4,
        "alive": 0,
        "told": [True, 4],
        "after": 0,
    }
    assert told.stderr == ""


def test_a_class_without_pickle_support_is_left(zoo):
    told = zoo.run(
        HELPERS
        + """
fences, lion = [zoo.Fence(1), zoo.Fence(2)], zoo.Lion(3)
report = become(animals=3)
facts = dict(
    old=[one.measure() for one in fences], refused=[refused(zoo.climb, one) for one in fences],
    new=zoo.Fence(3).measure(), lion=lion.roar(),
    left=[left(report, "Fence"), left(report, "Lion")],
)
del fences, lion
gc.collect()
tell(**facts, after=[zoo_base.alive(0), zoo_base.alive(2)])
""",
        env=MIGRATE,
    )
    assert told.json == {
        "old": [1001, 1002],
        "refused": [True, True],
        "new": 3003,
        "lion": "roar3/3",
        "left": [2, None],
        "after": [0, 0],
    }
    assert told.stderr == ""


def test_instances_of_a_python_subclass(zoo):
    """Their class gets the new base, their __dict__ and identity stay."""
    told = zoo.run(
        HELPERS
        + """
class Pride(zoo.Ticket):
    def __reduce__(self):
        return type(self), (self.price,), self.__dict__
    def both(self):
        return self.total() + self.price
tickets = [Pride(4), Pride(5)]
tickets[0].mark = "mine"
ids = [id(one) for one in tickets]
report = become(animals=3)
facts = dict(
    same=[[id(one) for one in tickets] == ids, type(tickets[0]) is Pride,
          Pride.__bases__ == (zoo.Ticket,), isinstance(tickets[1], zoo.Ticket)],
    runs=[one.both() for one in tickets],
    data=[tickets[0].mark, tickets[0].fee],
    new=[Pride(6).both(), zoo.pay(Pride(7)), zoo.pay(tickets[1])],
    left=left(report, "Pride"),
)
del tickets
gc.collect()
tell(**facts, after=zoo_base.alive(1))
""",
        env=MIGRATE,
    )
    assert told.json == {
        "same": [True] * 4,
        "runs": [308, 310],
        "data": ["mine", 7.0],
        "new": [312, 3007, 3005],
        "left": None,
        "after": 0,
    }
    assert told.stderr == ""


def test_a_class_that_says_what_becomes_of_an_old_object(zoo):
    """__rehook_migrate__ takes the old state and gives what the new __init__ takes."""
    told = zoo.run(
        HELPERS
        + """
permits = [zoo.Permit(1), zoo.Permit(2)]
ids = [id(one) for one in permits]
report = become(animals=3)
facts = dict(
    same=[id(one) for one in permits] == ids,
    values=[[one.days, one.hours] for one in permits if hasattr(one, "hours")],
    left=left(report, "Permit"),
)
del permits
gc.collect()
tell(**facts, after=zoo_base.alive(3))
""",
        env=MIGRATE,
    )
    assert told.json == {"same": True, "values": [[1, 24], [2, 48]], "left": None, "after": 0}
    assert told.stderr == ""


def test_a_new_init_that_refuses_an_old_object_reverts_all(zoo):
    told = zoo.run(
        HELPERS
        + """
permits, lion = [zoo.Permit(1), zoo.Permit(13), zoo.Permit(2)], zoo.Lion(4)
try:
    told = str(become(animals=3))
except rehook.ReloadError as error:
    told = str(error) + str(error.__cause__)
facts = dict(
    values=[one.days for one in permits], grown=[hasattr(one, "hours") for one in permits],
    told=["13" in told, "Permit" in told], lion=[lion.roar(), hasattr(lion, "mane")],
)
del permits, lion
gc.collect()
tell(**facts, after=[zoo_base.alive(3), zoo_base.alive(0)])
""",
        env=MIGRATE,
    )
    # all or none: nor is the lion migrated, which could have been
    assert told.json == {
        "values": [1, 13, 2],
        "grown": [False] * 3,
        "told": [True, True],
        "lion": ["roar1/4", False],
        "after": [0, 0],
    }
    assert told.stderr == ""


def test_a_python_subclass_that_cannot_gets_its_bases_back(zoo):
    told = zoo.run(
        HELPERS
        + """
class Pride(zoo.Ticket):
    def __reduce__(self):
        if self.price == 13:
            raise ValueError("a ticket for 13")
        return type(self), (self.price,)
tickets, base = [Pride(4), Pride(13)], id(zoo.Ticket)
try:
    told = str(become(animals=3))
except rehook.ReloadError as error:
    told = str(error) + str(error.__cause__)
facts = dict(
    bases=[id(one) for one in Pride.__bases__] == [base],
    types=[type(one) is Pride for one in tickets],
    runs=[one.total() for one in tickets], prices=[one.price for one in tickets],
    told=["13" in told, "Pride" in told or "Ticket" in told],
)
del tickets
gc.collect()
tell(**facts, after=zoo_base.alive(1))
""",
        env=MIGRATE,
    )
    assert told.json == {
        "bases": True,
        "types": [True, True],
        "runs": [104, 113],
        "prices": [4, 13],
        "told": [True, True],
        "after": 0,
    }
    assert told.stderr == ""


def test_migration_twice_and_back(zoo):
    told = zoo.run(
        HELPERS
        + """
lions = [zoo.Lion(age) for age in range(3)]
runs = []
for version in (3, 1, 2, 3):
    become(animals=version)
    lions.append(zoo.Lion(version))
    runs.append([one.roar() for one in lions])
facts = dict(runs=runs, types={type(one) is zoo.Lion for one in lions} == {True})
del lions
gc.collect()
tell(**facts, after=zoo_base.alive(0))
""",
        env=MIGRATE,
    )
    ages, runs = [0, 1, 2], []
    for version in (3, 1, 2, 3):
        ages.append(version)
        runs.append([f"roar{version}/{age}" for age in ages])
    assert told.json == {"runs": runs, "types": True, "after": 0}
    assert told.stderr == ""


def test_without_the_setting_nothing_is_migrated(zoo):
    told = zoo.run(
        HELPERS
        + """
lion = zoo.Lion(4)
report = become(animals=3)
tell(roar=lion.roar(), left=left(report, "Lion"))
"""
    ).json
    assert told == {"roar": "roar1/4", "left": 1}


def test_keep_leaves_every_instance_on_its_build(zoo):
    told = zoo.run(
        HELPERS
        + """
lion, point = zoo.Lion(4), zoo.Point(1, 2)
report = become(animals=2)
tell(old=[lion.roar(), point.sum(), zoo.Lion(5).roar()], refused=refused(zoo.Lion.roar, lion),
     left=[left(report, "Lion"), left(report, "Point")])
""",
        env={"ZOO_SETTINGS": json.dumps({"instances": "keep"})},
    ).json
    assert told == {
        "old": ["roar1/4", 103, "roar2/5"],
        "refused": True,
        "left": [1, 1],
    }
