"""The one pass over the heap: random containers, and threads that change theirs meanwhile."""

import pytest

pytestmark = pytest.mark.compile

HELPERS = """
import collections, functools, gc, random, re, threading
import rehook
rehook.install(projects=[ROOT])
import patch_capi._core as m

def become(version):
    text = Path(ROOT, "core.c").read_text()
    write("core.c", re.sub(r"#define VERSION \\d+", f"#define VERSION {version}", text))
    return rehook.reload()
"""
BOTH = HELPERS + "become(2)\nbecome(1)\n"


@pytest.fixture
def capi(built):
    return built("patch_capi", prepare=BOTH)


def test_random_containers(capi):
    """Afterwards nothing holds the old object any more, and every key is found."""
    result = capi.run(
        HELPERS
        + """
rng = random.Random(7)
class Plain:
    pass
class Slots:
    __slots__ = ("a", "b")
def grow(depth):
    kind = rng.randrange(12)
    inner = [m.becomes_class, m.one, m.Box, rng.random(), "text"]
    leaf = inner[rng.randrange(5)] if depth == 0 or rng.random() < 0.3 else grow(depth - 1)
    if kind == 0: return [leaf, m.becomes_class]
    if kind == 1: return (leaf, m.one)
    if kind == 2: return {m.becomes_class: leaf, "k": m.Box}
    if kind == 3: return {(m.becomes_class, m.one): leaf, frozenset([m.one]): 1}
    if kind == 4: return {m.becomes_class, m.one, m.Box}
    if kind == 5: return frozenset([m.becomes_class, (m.one, m.Box)])
    if kind == 6: return collections.deque([leaf, m.becomes_class])
    if kind == 7: return functools.partial(m.becomes_class, leaf)
    if kind == 8: return (lambda held=m.becomes_class, box=m.Box: (held, box, leaf))
    if kind == 9: return collections.OrderedDict([(m.one, leaf), (m.becomes_class, 0)])
    if kind == 10:
        thing = Plain()
        thing.a, thing.b = leaf, m.becomes_class
        return thing
    thing = Slots()
    thing.a, thing.b = leaf, m.becomes_class
    return thing
heap = [grow(3) for _ in range(3000)]

def check():
    "Every table finds each of its keys."
    tables = 0
    for thing in gc.get_objects():
        if type(thing) in (dict, collections.OrderedDict):
            if any(k is m.becomes_class or k is m.one or type(k) in (tuple, frozenset)
                   for k in thing):
                tables += 1
                assert all(key in thing for key in thing), thing
        elif type(thing) in (set, frozenset) and (m.becomes_class in thing or m.one in thing):
            tables += 1
            assert all(key in thing for key in thing), thing
    return tables

tables = check()
seen = []
for version in (2, 1, 3, 1):
    old = [m.becomes_class, m.Box]
    become(version)
    assert old[0] is m.becomes_class and old[1] is m.Box  # a list follows, too
    assert check() > 1000
    seen.append(len(heap))
print(json.dumps([tables > 1000, seen]))
""",
        env={"PYTHONMALLOC": "debug"},
    ).json
    assert result == [True, [3000] * 4]


def test_nothing_refers_to_the_old_function(capi):
    """What was replaced is held by nobody but rehook, which never frees it."""
    result = capi.run(
        HELPERS
        + """
import weakref
held = [[m.becomes_class] for _ in range(100)] + [{m.becomes_class: 1}, (m.becomes_class,)]
weak = weakref.ref(m.becomes_class)
become(2)
print(json.dumps([type(one).__name__ for one in gc.get_referrers(weak())]))
""",
    ).json
    assert result == []


def test_threads_that_change_their_containers(capi):
    """Three threads fill, empty and rehash containers of functions while reloads go on."""
    result = capi.run(
        HELPERS
        + """
sys.setswitchinterval(1e-5)
stop, problems, rounds = [], [], [0, 0, 0]
def mutate(number):
    rng = random.Random(number)
    table, things, seen = {}, [], set()
    try:
        while not stop:
            for _ in range(50):
                key = rng.randrange(40)
                table[(m.one, key)] = m.becomes_class
                table[key] = [m.one, m.Box, m.becomes_class]
                things.append((m.one, m.becomes_class, key))
                seen.add(m.one)
                if len(things) > 200:
                    del things[:100]
                if rng.random() < 0.2:
                    table.pop(key, None)
                for one in list(table):
                    if one not in table:
                        problems.append(f"lost {one!r}")
            if m.one not in seen and stop == []:
                problems.append("lost one()")
            rounds[number] += 1
    except BaseException as error:
        problems.append(repr(error))
threads = [threading.Thread(target=mutate, args=(n,)) for n in range(3)]
for thread in threads:
    thread.start()
for version in (2, 1) * 8:
    become(version)
stop.append(1)
for thread in threads:
    thread.join()
print(json.dumps([problems[:5], min(rounds) > 0]))
""",
        env={"PYTHONMALLOC": "debug"},
    ).json
    assert result == [[], True]
