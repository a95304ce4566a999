"""Threads stop outside the files of a reload while their code is exchanged, then go on."""

import pytest

from support.project import Project

pytestmark = pytest.mark.race

# Two files that belong together: first.number and second.number must always be seen equal.
FILES = {
    "first.py": """
        import second

        number = 0

        def pair(calls):
            calls[0] += 1
            before = number
            return before, second.read()

        class Reader:
            def method(self, calls):
                return pair(calls)

            @property
            def pair(self):
                calls[0] += 1
                before = number
                return [second.read() if step else before for step in range(2)]

        def comprehension(calls):
            calls[0] += 1
            return [number if step else second.read() for step in range(2)]

        def stream(calls):
            while True:
                yield pair(calls)

        async def coroutine(calls):
            return pair(calls)

        def recursion(calls, outside, depth=20):
            before = number
            if depth == 0:
                return pair(calls)
            found = outside(recursion, calls, depth - 1)
            return found if before == number else (before, number)

        def failure(calls):
            raise ValueError(pair(calls))

        def wait(inside, end):
            inside.set()
            end.wait()
            return number
        """,
    "second.py": """
        number = 0

        def read():
            return deeper(3)

        def deeper(depth):
            return deeper(depth - 1) if depth else number
        """,
}

PRELUDE = """
import asyncio, collections, ctypes, functools, gc, itertools, threading, time
from rehook import _core
import first, second
ours = [first.__file__, second.__file__]

def close(callback, limit=60_000, longest_stop=60_000):
    return _core._thread_gate(ours, limit, callback, longest_stop)

def start(*functions, daemon=False):
    threads = [threading.Thread(target=one, daemon=daemon) for one in functions]
    for one in threads:
        one.start()
    return threads

def tell(**what):
    print(json.dumps(what))

stop = False
"""


@pytest.fixture
def child(tmp_path):
    """Return a function that runs a script beside the two files, and gives what it told."""

    def run(script, *args):
        project = Project.of_files(tmp_path, "batch", FILES)
        return project.run(PRELUDE + script, *args, path=[project.root]).json

    return run


def test_no_call_sees_two_halves(child):
    told = child(
        """
made, mixed = [], []
def outside(function, calls, depth):
    return function(calls, outside, depth)

def caught(calls):
    try:
        first.failure(calls)
    except ValueError as error:
        return error.args[0]

def key(calls):
    found = []
    sorted([1], key=lambda _: found.append(first.pair(calls)))
    return found[0]

async def await_it(calls):
    return await first.coroutine(calls)

reader, streams = first.Reader(), {}
def stream(calls):
    return next(streams.setdefault(id(calls), first.stream(calls)))

shapes = [
    first.pair, reader.method, first.comprehension, stream, caught, key,
    lambda calls: first.recursion(calls, outside),
    lambda calls: asyncio.run(await_it(calls)),
]

def worker(shape):
    calls, number = [0], 0
    for number in itertools.count(1):
        before, after = shape(calls)
        if before != after:
            mixed.append([shapes.index(shape), before, after])
        if stop:
            break
    made.append([number, calls[0]])

sys.setswitchinterval(0.0005)  # more to see in less time
threads = start(*(functools.partial(worker, one) for one in shapes))
inside = []
def exchange(count):
    inside.append(count)
    first.number += 1
    time.sleep(0.0005)  # all others could run now
    second.number += 1

for _ in range(200):
    assert close(exchange) == 0
    time.sleep(0.0005)
stop = True
for one in threads:
    one.join()
interval = sys.getswitchinterval()
tell(mixed=mixed[:5], made=made, inside=sum(inside), rounds=len(inside), interval=interval)
"""
    )
    assert told["mixed"] == []
    assert told["inside"] == 0  # also of calls that the interpreter specialised and inlined
    assert told["rounds"] == 200
    assert len(told["made"]) == 8
    assert all(made == counted and made > 0 for made, counted in told["made"])
    assert told["interval"] == pytest.approx(0.0005)


def test_a_call_that_has_chosen_its_code_ends_in_the_old_world(child):
    told = child(
        """
# What changes is a signature, so that an old caller of the new function fails.
def codes(version):
    text = f"def pair(calls):\\n return {version}, read(v{version}={version})"
    more = f"def read(*, v{version}):\\n return v{version}"
    names = {}
    exec(compile(text, first.__file__, "exec"), names)
    exec(compile(more, second.__file__, "exec"), names)
    return names["pair"].__code__, names["read"].__code__

first.read = second.read
old, new = codes(1), codes(2)
wrong, seen = [], set()
def worker():
    while not stop:
        try:
            seen.add(first.pair([0]))
        except Exception as error:
            wrong.append(repr(error))

def swap(codes):
    # In C from end to end, as a reload does it: no other thread runs between the two.
    work = map(setattr, (first.pair, second.read), ("__code__",) * 2, codes)
    return close(functools.partial(collections.deque, work))  # (work, inside): keeps 0 results

swap(old)
sys.setswitchinterval(0.0005)
threads = start(*[worker] * 8)
for turn in range(200):
    swap((new, old)[turn % 2])
    time.sleep(0.0005)
stop = True
for one in threads:
    one.join()
tell(wrong=wrong[:5], seen=sorted(seen))
"""
    )
    assert told == {"wrong": [], "seen": [[1, 1], [2, 2]]}


BLOCKED = """
inside, end, results = threading.Event(), threading.Event(), []
blocked = start(lambda: results.append(first.wait(inside, end)))[0]
inside.wait()
"""


def test_a_thread_that_waits_inside_is_counted_and_does_not_stop_the_reload(child):
    told = child(
        BLOCKED
        + """
counted = []
def exchange(count):
    counted.append([count, blocked.is_alive()])
    first.number = 7
early = close(exchange, limit=50)
end.set()
blocked.join()
tell(counted=counted, results=results, early=early)
"""
    )
    assert told == {"counted": [[1, True]], "results": [7], "early": 0}


def test_threads_that_never_call_into_the_files_run_on(child):
    told = child(
        """
turns = 0
def elsewhere():
    global turns
    while not stop:
        turns += 1
threads = start(elsewhere)
def exchange(count):
    before = turns
    while turns < before + 1000:
        time.sleep(0)
    told.append(count)
told = []
close(exchange)
stop = True
threads[0].join()
tell(told=told)
"""
    )
    assert told == {"told": [0]}


def test_what_runs_while_the_gate_is_closed_stops_where_it_enters(child):
    told = child(
        """
calls, go, results = [0], threading.Event(), []
def worker():
    go.wait()
    results.append(first.pair(calls))
threads = start(worker)
def exchange(count):
    first.number = 1
    go.set()
    time.sleep(0.05)  # enough for the thread to come as far as it gets
    second.number = 1
    told.append([count, calls[0]])
told = []
close(exchange)
threads[0].join()
tell(told=told, calls=calls[0], results=results)
"""
    )
    assert told == {"told": [[0, 0]], "calls": 1, "results": [[1, 1]]}


def test_threads_begin_and_end_meanwhile(child):
    told = child(
        """
def short():
    while not stop:
        short_lived = start(lambda: [first.pair([0]) for _ in range(20)])
        short_lived[0].join()
threads = start(short, short)
go = threading.Event()
ends = start(go.wait)
counts, results = [], []
def exchange(count):
    counts.append(count)
    go.set()
    for one in [*ends, *start(lambda: results.append(first.pair([0])))]:
        one.join()
for _ in range(50):
    close(exchange)
stop = True
for one in threads:
    one.join()
tell(counts=counts, results=results)
"""
    )
    assert told == {"counts": [0] * 50, "results": [[0, 0]] * 50}


def test_no_profile_function_stays_and_a_foreign_one_is_left_alone(child):
    told = child(
        """
events, seen, set_ups = [], {}, []
def theirs(frame, event, argument):
    if event == "call" and frame.f_code.co_filename == first.__file__:
        events.append(event)
ask = {name: threading.Event() for name in ("plain", "profiled")}
answered = {name: threading.Event() for name in ask}
def worker(name):
    if name == "profiled":
        sys.setprofile(theirs)
    answered[name].set()
    while not stop:
        ask[name].wait()
        ask[name].clear()
        seen.setdefault(name, []).append(sys.getprofile())
        if name == "profiled":
            first.pair([0])  # is not stopped, only looked at
        answered[name].set()
def ask_all(count=0):
    for name in ask:
        answered[name].clear()
        ask[name].set()
        answered[name].wait()
threads = start(*(functools.partial(worker, name) for name in ask))
for one in answered.values():
    one.wait()
sys.addaudithook(lambda event, _: set_ups.append(event) if event == "sys.setprofile" else None)
ask_all()
before = len(events)
close(ask_all)
ask_all()
after = len(events)
stop = True
ask_all()
for one in threads:
    one.join()
kinds = {name: ["theirs" if one is theirs else type(one).__name__ for one in found[:3]]
         for name, found in seen.items()}
tell(kinds=kinds, set_ups=len(set_ups), events=[before, after],
     others=[sys.getprofile(), threading.getprofile()])
"""
    )
    assert told == {
        "kinds": {"plain": ["NoneType", "PyCapsule", "NoneType"], "profiled": ["theirs"] * 3},
        "set_ups": 2,  # set and taken away, once
        "events": [1, 3],
        "others": [None, None],
    }


@pytest.mark.skipif("sys.version_info < (3, 12)")
def test_code_is_as_fast_as_before(child):
    told = child(
        """
import dis
ends = threading.Event()
def names():
    first.pair([0])
    return {one.opname for one in dis.get_instructions(first.pair, adaptive=True)}
def instrumented():
    return any(one.startswith("INSTRUMENTED") for one in names())
def exchange(count):
    during.append(instrumented())
    ends.set()
    waiting[0].join()  # the only thread with a profile function is gone when the gate opens
during = []
waiting = start(ends.wait)
close(exchange)
tell(during=during, after=instrumented())
"""
    )
    assert told == {"during": [True], "after": False}


def test_nothing_is_set_without_other_threads(child):
    told = child(
        """
events = []
sys.addaudithook(lambda event, _: events.append(event) if event == "sys.setprofile" else None)
alone = []
close(alone.append)
during = list(events)
waiting = threading.Event()
other = start(waiting.wait)
close(alone.append)
waiting.set()
tell(alone=alone, during=during, events=len(events))
"""
    )
    assert told == {"alone": [0, 0], "during": [], "events": 2}


STOPPED = """
lock, entered = threading.Lock(), threading.Event()
def worker():
    with lock:
        entered.set()
        go.wait()
        first.pair([0])
    opened.wait()
    done.append(sys.getprofile())
go, opened, done = threading.Event(), threading.Event(), []
threads = start(worker)
entered.wait()
"""


def test_a_lock_that_a_stopped_thread_holds_blocks_nobody_for_ever(child):
    told = child(
        STOPPED
        + """
def exchange(count):
    go.set()
    with lock:
        pass
early = close(exchange, limit=10, longest_stop=100)
opened.set()
threads[0].join()
tell(early=early, done=done)
"""
    )
    assert told == {"early": 1, "done": [None]}


def test_an_import_goes_on_so_that_its_lock_is_given_up(child, tmp_path):
    late = tmp_path / "late.py"
    late.write_text("import __main__\n__main__.begun.set()\n__main__.go.wait()\n", encoding="utf-8")
    told = child(
        """
sys.path.append(sys.argv[1])
ours.append(sys.argv[1] + "/late.py")
begun, go, counts = threading.Event(), threading.Event(), []
def importer():
    import late
threads = start(importer)
begun.wait()
def exchange(count):
    counts.append(count)
    go.set()
    import late
early = close(exchange, limit=50)
threads[0].join()
tell(early=early, counts=counts)
""",
        str(tmp_path),
    )
    assert told == {"early": 0, "counts": [1]}


def test_an_exception_opens_the_gate(child):
    told = child(
        STOPPED
        + """
def exchange(count):
    go.set()
    raise LookupError("half-way")
try:
    close(exchange)
except LookupError as error:
    told = str(error)
opened.set()
threads[0].join()
tell(told=told, done=done)
"""
    )
    assert told == {"told": "half-way", "done": [None]}


def test_a_stopped_thread_can_be_ended(child):
    told = child(
        """
go, ended = threading.Event(), []
def worker():
    try:
        go.wait()
        while True:
            first.pair([0])
    except SystemExit:
        ended.append(sys.getprofile())
threads = start(worker)
def exchange(count):
    go.set()
    time.sleep(0.01)
    exit = ctypes.py_object(SystemExit)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(threads[0].ident), exit)
close(exchange)
threads[0].join()
tell(ended=ended)
"""
    )
    assert told == {"ended": [None]}


@pytest.mark.parametrize("by", ["the reloading thread", "another thread"])
def test_a_child_forked_meanwhile_is_free(child, by):
    told = child(
        """
import warnings
warnings.simplefilter("ignore", DeprecationWarning)  # of forks beside threads
reading, writing = os.pipe()
def fork():
    if os.fork():
        return
    first.pair([0])
    found = []
    def ask():
        found.append(sys.getprofile())
        found.append(first.pair([0]))
    ask()
    start(ask)[0].join()
    os.write(writing, json.dumps([*found, sys.getswitchinterval()]).encode())
    os._exit(0)
if sys.argv[1] == "another thread":
    # Between two looks, since one more thread is inside: the interval is lowered then.
    inside, end = threading.Event(), threading.Event()
    blocked = start(lambda: first.wait(inside, end))
    inside.wait()
    def forker():
        while sys.getswitchinterval() > 0.001:
            time.sleep(0.0001)
        fork()
        end.set()
    threads = start(forker)
    close(lambda count: None)
else:
    other, end = threading.Event(), threading.Event()
    threads = start(end.wait)
    close(lambda count: fork())
    end.set()
found = os.read(reading, 1000)
for one in threads:
    one.join()
tell(found=json.loads(found), status=os.wait()[1], after=sys.getswitchinterval())
""",
        by,
    )
    assert told["found"] == [None, [0, 0], None, [0, 0], pytest.approx(0.005)]
    assert told["status"] == 0
    assert told["after"] == pytest.approx(0.005)


@pytest.mark.parametrize("where", ["closing", "closed"])
def test_the_interpreter_ends_while_threads_are_stopped(child, where):
    told = child(
        """
inside, reached = threading.Event(), threading.Event()
never = threading.Event()
if sys.argv[1] == "closing":
    start(lambda: first.wait(inside, never), daemon=True)
    inside.wait()
def worker():
    while True:
        first.pair([0])
def exchange(count):
    reached.set()
    never.wait()
start(worker, worker, daemon=True)
start(lambda: close(exchange), daemon=True)
if sys.argv[1] == "closed":
    reached.wait()
time.sleep(0.1)
class Late:
    def __del__(self, sleep=time.sleep):
        sleep(0.3)  # the interpreter is being taken down; the others wake and find it so
late = Late()
tell(told="the end")
""",
        where,
    )
    assert told == {"told": "the end"}
