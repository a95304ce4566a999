"""Several processes and threads at once, Ctrl-C, kill -9: counted outcomes, nothing left behind."""

import json
import os
import select
import signal

import pytest

from support.project import Mailbox, Project, wait_until_gone
from support.sources import c_module, cmake_lists

pytestmark = [pytest.mark.compile, pytest.mark.race]

BOX = {
    "CMakeLists.txt": cmake_lists("box", "python_add_library(_core MODULE WITH_SOABI core.c)"),
    "core.c": c_module("_core", {"value": "1"}),
    "box/__init__.py": "from . import _core\n",
}

# Tells a mailbox when this process begins to wait for another one's build.
TELL_WHEN_WAITING = """
import rehook
rehook.install(projects=[ROOT])
def on_progress(event):
    if event["phase"] == "wait" and not told:
        told.append(1)
        with open(sys.argv[1], "w") as mailbox:
            print("waits", file=mailbox, flush=True)
told = []
rehook._session.set_progress(on_progress)
"""
OUTCOME = """
counters = rehook.status().counters
artifact = rehook.generations()[-1]["artifact"]
print(json.dumps([box._core.value(), counters["built"], counters["waited"], artifact]))
"""


@pytest.fixture
def box(tmp_path):
    """The project `box`, never built, with its compilers counted."""
    project = Project.of_files(tmp_path, "box", BOX)
    project.env.update(project.count_compilers())
    yield project
    project.close()


@pytest.fixture
def ready(built):
    """`box` after its first build."""
    return built("box", files=BOX)


def release(child):
    child.stdin.write("\n")
    child.stdin.flush()


# ------------------------------------------------------------ several processes


def test_three_processes_import_a_fresh_project(box):
    """One builds, two wait for it, all have the same file. The compiler runs while they wait."""
    mailbox = Mailbox(box.home / "mailbox")
    gate = box.hold_compilers()
    script = TELL_WHEN_WAITING + "import box\n" + OUTCOME
    children = [box.start(script, str(mailbox.path)) for _ in range(3)]
    gate.wait()
    assert [mailbox.read(), mailbox.read()] == ["waits", "waits"]
    gate.open()
    results = [box.finish(child).json for child in children]
    assert [one[0] for one in results] == [1, 1, 1]
    assert sorted(one[1] for one in results) == [0, 0, 1]
    assert sorted(one[2] for one in results) == [0, 1, 1]
    assert len({one[3] for one in results}) == 1
    assert box.compiles() == ["core.c"]
    assert len(box.trace("build")) == 1


def test_three_processes_reload(ready):
    mailbox = Mailbox(ready.home / "mailbox")
    script = TELL_WHEN_WAITING + (
        "import box\n"
        "print('ready', flush=True)\n"
        "sys.stdin.readline()\n"
        "told.clear()\n"
        "rehook.reload()\n" + OUTCOME
    )
    children = [ready.start(script, str(mailbox.path)) for _ in range(3)]
    for child in children:
        assert child.stdout.readline() == "ready\n"
    gate = ready.hold_compilers()
    ready.edit("core.c", "(long)(1)", "(long)(2)")
    for child in children:
        release(child)
    gate.wait()
    assert [mailbox.read(), mailbox.read()] == ["waits", "waits"]
    gate.open()
    results = [ready.finish(child).json for child in children]
    assert [one[0] for one in results] == [2, 2, 2]
    assert sorted(one[1] for one in results) == [0, 0, 1]
    assert len({one[3] for one in results}) == 1
    assert ready.compiles() == ["core.c"]


def test_processes_at_a_barrier_many_times(ready):
    """No gate: whatever the timing, each state is compiled once and everybody has it."""
    script = """
        import rehook
        rehook.install(projects=[ROOT])
        import box
        for line in sys.stdin:
            rehook.reload()
            print(box._core.value(), flush=True)
        print(json.dumps(rehook.status().counters["built"]))
        """
    children = [ready.start(script) for _ in range(3)]
    for turn in range(2, 8):
        ready.edit("core.c", f"(long)({turn - 1})", f"(long)({turn})")
        for child in children:
            release(child)
        said = [child.stdout.readline() for child in children]
        assert said == [f"{turn}\n"] * 3
    results = [ready.finish(child).json for child in children]
    assert sum(results) == 6
    assert ready.compiles() == ["core.c"] * 6


def test_waiting_has_an_end(box):
    gate = box.hold_compilers()
    script = "import rehook\nrehook.install(projects=[ROOT])\nimport box\nprint(1)"
    builder = box.start(script)
    gate.wait()
    result = box.run(
        """
        import rehook
        rehook.install(projects=[ROOT], lock_timeout=0.2)
        try:
            import box
        except rehook.BuildError as error:
            print(json.dumps([error.message, error.hint, rehook.errors()]))
        """
    ).json
    message, hint, errors = result
    assert "another process" in message
    assert str(box.root) in message
    assert "lock-timeout" in hint
    assert errors == []  # nothing is wrong with the project
    gate.open()
    assert box.finish(builder).json == 1


# ------------------------------------------------------------ Ctrl-C


def test_interrupt_during_the_first_build(box):
    """KeyboardInterrupt; the compiler is dead before Python goes on; the next import works."""
    gate = box.hold_compilers()
    child = box.start(
        """
import rehook
rehook.install(projects=[ROOT])
try:
    import box
except KeyboardInterrupt:
    print("interrupted", flush=True)
sys.stdin.readline()
left = [name for name in sys.modules if name.split(".")[0] == "box"]
errors = rehook.errors()
import box
print(json.dumps([left, errors, box._core.value()]))
"""
    )
    pids = gate.wait()
    child.send_signal(signal.SIGINT)
    assert child.stdout.readline() == "interrupted\n"
    wait_until_gone(pids, timeout=0)
    gate.remove()
    release(child)
    assert box.finish(child).json == [[], [], 1]


@pytest.mark.parametrize("way", ["rehook.reload()", "importlib.reload(box)"])
def test_interrupt_during_a_reload(ready, way):
    """The old code goes on, the interrupt is no failure to remember, the next reload builds."""
    gate = ready.hold_compilers()
    child = ready.start(
        """
import importlib
import rehook
rehook.install(projects=[ROOT])
import box
edit("core.c", "(long)(1)", "(long)(2)")
try:
    eval(sys.argv[1])
except KeyboardInterrupt:
    print("interrupted", flush=True)
sys.stdin.readline()
seen = [box._core.value(), rehook.errors()]
eval(sys.argv[1])
print(json.dumps([*seen, box._core.value()]))
""",
        way,
    )
    pids = gate.wait()
    child.send_signal(signal.SIGINT)
    assert child.stdout.readline() == "interrupted\n"
    wait_until_gone(pids, timeout=0)
    gate.remove()
    release(child)
    assert ready.finish(child).json == [1, [], 2]


def test_interrupt_while_waiting_for_another_process(box):
    mailbox = Mailbox(box.home / "mailbox")
    gate = box.hold_compilers()
    script = TELL_WHEN_WAITING + "import box\n" + OUTCOME
    builder = box.start(script, str(mailbox.path))
    gate.wait()
    waiting = box.start(script, str(mailbox.path))
    assert mailbox.read() == "waits"
    waiting.send_signal(signal.SIGINT)
    done = box.finish(waiting, check=False)
    assert done.returncode == -signal.SIGINT or "KeyboardInterrupt" in done.stderr
    gate.open()
    assert box.finish(builder).json[:2] == [1, 1]


def test_a_signal_handler_of_the_program_runs_meanwhile(box):
    """A handler that returns does not stop the build; one that raises does, with its exception."""
    gate = box.hold_compilers()
    child = box.start(
        """
        import signal
        import rehook
        rehook.install(projects=[ROOT])
        def note(number, frame):
            print("handled", flush=True)
        class Stop(Exception):
            pass
        def stop(number, frame):
            raise Stop
        signal.signal(signal.SIGUSR1, note)
        signal.signal(signal.SIGUSR2, stop)
        try:
            import box
        except BaseException as error:
            print(json.dumps([type(error).__name__, type(error.__cause__).__name__]), flush=True)
        """
    )
    pids = gate.wait()
    child.send_signal(signal.SIGUSR1)
    assert child.stdout.readline() == "handled\n"
    child.send_signal(signal.SIGUSR2)
    names = box.finish(child).json
    assert "Stop" in names
    wait_until_gone(pids, timeout=0)


# ------------------------------------------------------------ kill -9


@pytest.mark.crash
@pytest.mark.parametrize("at_end", [False, True])
def test_the_building_process_is_killed(box, at_end):
    """Its compiler follows it; the lock is free; the next import builds and is right."""
    gate = box.hold_compilers(at_end=at_end)
    script = "import rehook\nrehook.install(projects=[ROOT])\nimport box\n"
    child = box.start(script)
    pids = gate.wait()
    box.kill(child)
    wait_until_gone(pids)
    gate.remove()
    box.edit("core.c", "(long)(1)", "(long)(2)")
    assert box.run(script + OUTCOME).json[:3] == [2, 1, 0]


@pytest.mark.crash
@pytest.mark.parametrize("at_end", [False, True])
def test_the_reloading_process_is_killed(ready, at_end):
    gate = ready.hold_compilers(at_end=at_end)
    script = "import rehook\nrehook.install(projects=[ROOT])\nimport box\n"
    child = ready.start(script + "edit('core.c', '(long)(1)', '(long)(2)')\nrehook.reload()\n")
    pids = gate.wait()
    ready.kill(child)
    wait_until_gone(pids)
    gate.remove()
    # Back to the state before, with the stamp from before: nothing of the torn build is taken.
    stamp = ready.path("core.c").stat().st_mtime_ns - 10**12
    ready.edit("core.c", "(long)(2)", "(long)(1)")
    os.utime(ready.path("core.c"), ns=(stamp, stamp))
    assert ready.run(script + OUTCOME).json[0] == 1
    ready.edit("core.c", "(long)(1)", "(long)(3)")
    assert ready.run(script + OUTCOME).json[0] == 3


@pytest.mark.crash
def test_a_waiting_process_takes_over_from_a_killed_one(box):
    mailbox = Mailbox(box.home / "mailbox")
    gate = box.hold_compilers()
    script = TELL_WHEN_WAITING + "import box\n" + OUTCOME
    builder = box.start(script, str(mailbox.path))
    pids = gate.wait()
    waiting = box.start(script, str(mailbox.path))
    assert mailbox.read() == "waits"
    box.kill(builder)
    wait_until_gone(pids)
    gate.wait()  # the other one's compiler
    gate.open()
    assert box.finish(waiting).json[:3] == [1, 1, 1]


@pytest.mark.crash
def test_only_the_compiler_is_killed(ready):
    """As by the kernel when memory runs out: no fault of the sources, so it is tried again."""
    gate = ready.hold_compilers()
    child = ready.start(
        """
        import rehook
        rehook.install(projects=[ROOT])
        import box
        edit("core.c", "(long)(1)", "(long)(2)")
        try:
            rehook.reload()
        except rehook.BuildError as error:
            print(json.dumps([error.message, error.hint]), flush=True)
        sys.stdin.readline()
        rehook.reload()
        print(json.dumps([box._core.value(), rehook.errors()]))
        """
    )
    # The waiting `cat` is killed first; the launcher's shell says so by its own end.
    for pid in gate.wait():
        os.kill(pid, signal.SIGKILL)
    message, hint = json.loads(child.stdout.readline())
    assert "was killed" in message
    assert "memory" in hint
    gate.remove()
    release(child)
    assert ready.finish(child).json == [2, []]


# ------------------------------------------------------------ threads

# While the new build initialises, it lets other threads run.
SLOW_INIT = {
    **BOX,
    "core.c": c_module(
        "_core",
        {"value": "1"},
        head="#include <unistd.h>",
        body="Py_BEGIN_ALLOW_THREADS usleep(2000); Py_END_ALLOW_THREADS",
    ),
}
BOTH_STATES = """
edit("core.c", "(long)(1)", "(long)(2)")
rehook.reload()
edit("core.c", "(long)(2)", "(long)(1)")
rehook.reload()
"""


def test_threads_call_while_modules_are_reloaded(built):
    """Functions that are held follow, and nobody ever sees a half-made or another module."""
    project = built("box", files=SLOW_INIT, prepare=BOTH_STATES)
    result = project.run(
        """
        import importlib, threading
        import rehook
        rehook.install(projects=[ROOT])
        import box
        core, old = box._core, box._core.value
        problems, counts, stop = [], [], threading.Event()
        def work():
            count = 0
            try:
                while not stop.is_set():
                    assert old() in (1, 2)  # it follows
                    assert core.value() in (1, 2)
                    assert box._core is core
                    assert importlib.import_module("box._core") is core
                    from box import _core
                    assert _core is core
                    count += 1
            except BaseException as error:
                problems.append(repr(error))
            counts.append(count)
        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        path = Path(ROOT, "core.c")
        texts = [path.read_text(), path.read_text().replace("(long)(1)", "(long)(2)")]
        seen = []
        for turn in range(50):
            write("core.c", texts[(turn + 1) % 2])
            seen.append([rehook.reload().reused, core.value()])
        stop.set()
        for thread in threads:
            thread.join()
        print(json.dumps([problems, min(counts) > 0, seen, rehook.status().counters["reloaded"]]))
        """
    ).json
    problems, all_worked, seen, reloaded = result
    assert problems == []
    assert all_worked
    assert seen == [[1, 2], [1, 1]] * 25
    assert reloaded == 50
    assert project.compiles() == []


def test_threads_reload_at_once(ready):
    """Eight threads, one edit: one build, one reload, the others find it done."""
    result = ready.run(
        """
        import importlib, threading
        import rehook
        rehook.install(projects=[ROOT])
        import box
        barrier, results, problems = threading.Barrier(8), [], []
        # One importlib.reload() each: a second one of a module returns at once while one runs.
        ways = [rehook.reload, lambda: rehook.reload("box")] * 3
        ways += [lambda: importlib.reload(box), lambda: importlib.reload(box._core)]
        def work(way):
            barrier.wait()
            try:
                way()
                results.append(box._core.value())
            except BaseException as error:
                problems.append(repr(error))
        edit("core.c", "(long)(1)", "(long)(2)")
        threads = [threading.Thread(target=work, args=(way,)) for way in ways]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        counters = rehook.status().counters
        print(json.dumps([problems, results, counters["built"], counters["reloaded"]]))
        """
    ).json
    assert result == [[], [2] * 8, 1, 1]
    assert ready.compiles() == ["core.c"]


def test_threads_reload_in_every_way_many_times(built):
    """Each edit, of the C and of the package's body, is taken over once; nobody waits for ever."""
    project = built("box", files=SLOW_INIT, prepare=BOTH_STATES)
    result = project.run(
        """
        import importlib, threading
        import rehook
        rehook.install(projects=[ROOT])
        import box
        sys.setswitchinterval(1e-6)  # threads alternate at every chance
        ways = [rehook.reload, lambda: rehook.reload("box"), lambda: importlib.reload(box),
                lambda: importlib.reload(box._core), lambda: importlib.import_module("box._core")]
        rounds, problems, seen = 15, [], []
        barrier = threading.Barrier(len(ways) + 1)
        def work(way):
            for turn in range(rounds):
                barrier.wait()
                try:
                    way()
                except BaseException as error:
                    problems.append(repr(error))
                barrier.wait()
        threads = [threading.Thread(target=work, args=(way,), daemon=True) for way in ways]
        for thread in threads:
            thread.start()
        path = Path(ROOT, "core.c")
        texts = [path.read_text(), path.read_text().replace("(long)(1)", "(long)(2)")]
        for turn in range(rounds):
            write("core.c", texts[(turn + 1) % 2])
            write("box/__init__.py", f"from . import _core\\nimport colorsys\\nTURN = {turn}\\n")
            barrier.wait()
            barrier.wait()
            seen.append([box._core.value(), box.TURN, sys.modules["box._core"] is box._core])
        counters = rehook.status().counters
        print(json.dumps([problems, seen, counters["reloaded"], rehook.errors()]))
        """,
        timeout=120,
    ).json
    problems, seen, reloaded, errors = result
    assert problems == []
    assert seen == [[2 - turn % 2, turn, True] for turn in range(15)]
    assert reloaded == 15
    assert errors == []


def test_threads_import_at_once(box):
    result = box.run(
        """
        import importlib, threading
        import rehook
        rehook.install(projects=[ROOT])
        barrier, modules, problems = threading.Barrier(6), [], []
        def work(name):
            barrier.wait()
            try:
                modules.append(importlib.import_module(name))
            except BaseException as error:
                problems.append(repr(error))
        names = ["box", "box._core"] * 3
        threads = [threading.Thread(target=work, args=(name,)) for name in names]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        print(json.dumps([problems, len(set(map(id, modules))), rehook.status().counters["built"]]))
        """
    ).json
    assert result == [[], 2, 1]


def test_other_threads_run_during_a_build(ready):
    """The build holds no lock of the interpreter's: a thread opens the gate it waits at."""
    gate = ready.hold_compilers()
    child = ready.start(
        """
        import threading
        import rehook
        rehook.install(projects=[ROOT])
        import box
        def work():
            sys.stdin.readline()
            print(box._core.value(), rehook.currently_reloading(), flush=True)
        thread = threading.Thread(target=work)
        thread.start()
        edit("core.c", "(long)(1)", "(long)(2)")
        rehook.reload()
        thread.join()
        print(json.dumps([box._core.value(), rehook.currently_reloading()]))
        """
    )
    gate.wait()
    release(child)
    assert child.stdout.readline() == "1 True\n"
    gate.open()
    assert ready.finish(child).json == [2, False]


@pytest.mark.parametrize("way", ["importlib.import_module('box')", "importlib.reload(box)"])
def test_other_threads_import_during_a_build(ready, way):
    """Python calls finders with its global import lock held; a build must not keep it."""
    gate = ready.hold_compilers()
    child = ready.start(
        """
        import importlib, threading
        import rehook
        rehook.install(projects=[ROOT])
        if "reload" in sys.argv[1]:
            import box
        def work():
            sys.stdin.readline()
            import colorsys  # any module that is not loaded yet
            print("imported", flush=True)
        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        edit("core.c", "(long)(1)", "(long)(2)")
        print(json.dumps(eval(sys.argv[1])._core.value()))
        """,
        way,
    )
    gate.wait()
    release(child)
    with_patience = select.select([child.stdout], [], [], 20)[0]
    gate.open()
    assert with_patience, "the import waits for the compiler"
    assert child.stdout.readline() == "imported\n"
    assert ready.finish(child).json == 2


# ------------------------------------------------------------ fork


def test_a_forked_child_reloads(ready):
    """Parent and child go their own ways; neither disturbs the other's files."""
    result = ready.run(
        """
        import rehook
        rehook.install(projects=[ROOT])
        import box
        edit("core.c", "(long)(1)", "(long)(2)")
        rehook.reload()
        child = os.fork()
        if child == 0:
            try:
                edit("core.c", "(long)(2)", "(long)(3)")
                rehook.reload()
                code = 33 if box._core.value() == 3 else 1
            except BaseException:
                code = 2
            os._exit(code)
        status = os.waitpid(child, 0)[1]
        seen = [os.waitstatus_to_exitcode(status), box._core.value()]
        rehook.reload()
        seen.append(box._core.value())
        edit("core.c", "(long)(3)", "(long)(4)")
        rehook.reload()
        print(json.dumps([*seen, box._core.value()]))
        """
    ).json
    assert result == [33, 2, 3, 4]
