"""Threads of C++ and Python while extensions are reloaded, and what the report says of them."""

import pytest

from support.zoo import HELPERS

pytestmark = [pytest.mark.compile, pytest.mark.race]

STRICT = {"PYTHONMALLOC": "debug"}
VERSIONS = ("2.13.6", "")  # "": the installed one


@pytest.fixture(params=VERSIONS, ids=lambda version: f"pybind11-{version or 'installed'}")
def zoo(request, zoo_of):
    return zoo_of(pybind11=request.param)


# A call that finds no half-made world: what it may see of one lion.
CALLBACK = """
seen, wrong = set(), []
def callback(lion):
    try:
        age, roar, kind = lion.age, lion.roar(), lion.kind()
        seen.add(roar)
        if age != 3 or roar[-2:] != "/3" or type(lion).__name__ != "Lion":
            wrong.append([age, roar, kind])
    except Exception as error:
        wrong.append(repr(error))
def wait(caller, calls):
    until = caller.calls + calls
    while caller.calls < until:
        time.sleep(0)
"""


@pytest.mark.parametrize("other", [2, 3], ids=["same_layout", "other_layout"])
def test_a_thread_calls_back_during_forty_reloads(zoo, other):
    told = zoo.run(
        HELPERS
        + CALLBACK
        + """
other = int(sys.argv[1])
caller = zoo.Caller(callback)
caller.start()
wait(caller, 3)
for turn in range(40):
    become(animals=(other, 1)[turn % 2])
    wait(caller, 3)
caller.stop()
calls = caller.calls
del caller
gc.collect()
tell(wrong=wrong[:3], seen=sorted(seen), enough=calls >= 120, alive=zoo_base.alive(0))
""",
        str(other),
        env=STRICT,
    )
    # the thread runs the code that it was started with; its lions are those of that code, whose
    # class follows only where the layout is the same
    seen = ["roar1/3", "roar2/3"] if other == 2 else ["roar1/3"]
    assert told.json == {"wrong": [], "seen": seen, "enough": True, "alive": 0}
    assert told.stderr == ""


def test_threads_of_several_generations(zoo):
    told = zoo.run(
        HELPERS
        + CALLBACK
        + """
callers = []
for turn in range(6):
    callers.append(zoo.Caller(callback))
    callers[-1].start()
    for caller in callers:
        wait(caller, 2)
    become(animals=(3, 1)[turn % 2])
for caller in callers:
    wait(caller, 2)
for caller in callers:
    caller.stop()
del callers, caller
gc.collect()
tell(wrong=wrong[:3], seen=sorted(seen), alive=zoo_base.alive(0))
""",
        env=STRICT,
    )
    assert told.json == {"wrong": [], "seen": ["roar1/3", "roar3/3"], "alive": 0}
    assert told.stderr == ""


def test_hot_loops_in_python_threads_follow(zoo):
    told = zoo.run(
        HELPERS
        + """
import threading
lion, version, stop, wrong = zoo.Lion(4), zoo.version, threading.Event(), []
turns = [0, 0, 0]
def loop(number):
    try:
        while not stop.is_set():
            for _ in range(50):
                if version() not in (1, 2) or lion.roar() not in ("roar1/4", "roar2/4"):
                    wrong.append("other")
                zoo.describe(lion)
            turns[number] += 1
    except Exception as error:
        wrong.append(repr(error))
threads = [threading.Thread(target=loop, args=(number,)) for number in range(3)]
for one in threads:
    one.start()
for turn in range(20):
    before = list(turns)
    become(animals=(2, 1)[turn % 2])
    while any(a == b and thread.is_alive() for a, b, thread in zip(before, turns, threads)):
        time.sleep(0)
stop.set()
for one in threads:
    one.join()
tell(wrong=sorted(set(wrong))[:3], last=[version(), lion.roar()])
""",
        env=STRICT,
    )
    assert told.json == {"wrong": [], "last": [1, "roar1/4"]}
    assert told.stderr == ""


# ------------------------------------------------------------ what stays old is said


def test_virtual_functions_follow_or_are_reported(zoo):
    """An object has the vtable of the build that made it: led to the new code, or told of."""
    told = zoo.run(
        HELPERS
        + """
lion = zoo.Lion(4)
report = become(animals=2)
tell(methods=lion.roar(), virtual=lion.speak(), through=zoo.describe(lion),
     text=str(report).lower(), left=json.dumps(report.left, default=str).lower())
"""
    ).json
    assert told["methods"] == "roar2/4"
    assert told["virtual"] in {"roar1", "roar2"}
    assert told["through"] == f"describe2/{told['virtual']}"
    stayed_old = told["virtual"] == "roar1"
    assert ("virtual" in told["left"]) == stayed_old, told["text"]
    assert ("virtual" in told["text"]) == stayed_old, told["text"]


def test_the_report_tells_of_old_threads(zoo):
    told = zoo.run(
        HELPERS
        + CALLBACK
        + """
caller = zoo.Caller(callback)
caller.start()
wait(caller, 1)
report = become(animals=2)
caller.stop()
quiet = become(animals=1)
tell(left=json.dumps(report.left, default=str).lower(), text=str(report).lower(),
     quiet=json.dumps(quiet.left, default=str).lower())
"""
    ).json
    assert "thread" in told["left"], told["text"]
    assert "thread" in told["text"], told["text"]
    assert "thread" not in told["quiet"]  # it has ended


def test_static_state_starts_anew(zoo):
    """Of inline and other static variables: each generation has its own (the README says so)."""
    told = zoo.run(
        HELPERS
        + """
visits = [zoo.visit(), zoo.visit()]
become(animals=2)
visits.append(zoo.visit())
become(animals=1)
visits.append(zoo.visit())
tell(visits=visits)
"""
    ).json
    assert told == {"visits": [1, 2, 1, 1]}
