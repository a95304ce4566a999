"""What is run under valgrind and the sanitizers: scenarios.py ROOT BINDING NAME.

Each goes through something that moves pointers about, uses everything old and new afterwards, and
lets it go. "plain" is the same program without rehook, for comparison. Prints "done" when it got to
its end; a promise that was not kept is an AssertionError.
"""

from __future__ import annotations

import gc
import os
import pickle
import sys
import threading
from functools import partial
from pathlib import Path

# The sanitizer's library is loaded by now; compilers that are started from here need it not.
os.environ.pop("LD_PRELOAD", None)

TESTS = str(Path(__file__).resolve().parents[1])
sys.path.append(TESTS)
from support.project import Project  # noqa: E402
from support.subject import BINDINGS, STEP, Editor  # noqa: E402

sys.path.remove(TESTS)


def raised_by(call, kinds):
    try:
        call()
    except kinds as error:
        return error
    raise AssertionError("nothing was raised")


class Held:
    """Instances of the class as it is now, a Python subclass's too, and what is bound to them."""

    def __init__(self, subject):
        class Mine(subject.Thing):
            def more(self):
                return self.answer() + 1

        self.thing, self.mine = subject.Thing(3), Mine(5)
        self.bound = self.thing.answer
        self.mine.note = [self.thing]
        self.value, self.fail, self.error = subject.value, subject.fail, subject.SubjectError

    def check(self, step):
        found = self.thing.answer(), self.bound(), self.mine.more(), self.thing.n
        wanted = 30 + step, 30 + step, 51 + step, 3
        assert found == wanted, f"{found} instead of {wanted}"

    def check_exception(self):
        assert str(raised_by(self.fail, self.error)) == "failed as asked"


class Story:
    """The interpreter of one scenario."""

    def __init__(self, root, binding, settings=None):
        self.editor = Editor(BINDINGS[binding].language, Project(Path(root)).write)
        self.editor.become()
        import rehook

        self.rehook = rehook
        rehook.install(projects=[root], settings=settings or {})
        import subject

        self.subject = subject
        self.held = Held(subject)

    def become(self, *edits):
        self.editor.become(*edits)
        return self.rehook.reload()


def use_everything(subject, step):
    """Call each function, make and drop instances."""
    things = [subject.Thing(number) for number in range(20)]
    assert [subject.take(one) for one in things] == [number + step for number in range(20)]
    assert subject.value() == step
    again = pickle.loads(pickle.dumps(things[7]))
    assert again.answer() == 70 + step
    if hasattr(subject, "Level"):
        assert subject.level(subject.Level.LOW) == 1 + step
        assert subject.level(subject.highest()) == 2 + step
    raised_by(lambda: subject.take("no thing"), TypeError)


def reload(root, binding):
    """Reload time and again; everything of every build is used and most of it let go."""
    story = Story(root, binding)
    for turn in range(1, 7):
        edits, step = ((), 0) if turn % 2 == 0 else (("step",), STEP)
        story.become(*edits)
        use_everything(story.subject, step)
        held = Held(story.subject)
        held.check(step)
        held.check_exception()
        del held
        gc.collect()
    story.held.check_exception()


def adoption(root, binding):
    """Instances of the first build run the code of all that follow."""
    story = Story(root, binding)
    for turn in range(1, 6):
        edits, step = ((), 0) if turn % 2 == 0 else (("step",), STEP)
        story.become(*edits)
        story.held.check(step)
        assert story.subject.take(story.held.thing) == 3 + step
        assert isinstance(story.held.mine, story.subject.Thing)
        story.held.thing.n = 3
        newest = Held(story.subject)
        newest.check(step)
        del newest
        gc.collect()
    story.held = None
    gc.collect()
    use_everything(story.subject, STEP)


def layout(root, binding):
    """Instances of an old layout stay valid, are refused, and go away in peace."""
    story = Story(root, binding)
    for edits, step in ((("layout", "step"), STEP), ((), 0), (("layout",), 0)):
        worlds = [story.held, Held(story.subject)]
        story.become(*edits)
        for world in worlds:
            assert world.bound() == world.thing.answer()
            for stranger in (world.thing, world.mine):
                raised_by(partial(story.subject.take, stranger), TypeError)
        use_everything(story.subject, step)
        del worlds, world, stranger
        gc.collect()
        story.held = Held(story.subject)


def rollback(root, binding):
    """A build whose initialisation fails at its end; twice, then it is repaired."""
    story = Story(root, binding)
    for attempt in range(2):
        story.editor.become("step", "broken")
        call = story.rehook.reload if attempt == 0 else story.rehook.retry
        error = raised_by(call, (RuntimeError, ImportError))
        assert "no start" in f"{error} {error.__cause__}"
        del error
        gc.collect()
        story.held.check(0)
        story.held.check_exception()
        use_everything(story.subject, 0)
    story.become("step")
    use_everything(story.subject, STEP)
    story.held.check(STEP)


def functions(root, binding):
    """Two threads call held functions and methods all the while."""
    story = Story(root, binding)
    value, held = story.held.value, story.held
    wrong, stop = [], threading.Event()

    def call():
        while not stop.is_set():
            for _ in range(200):
                found = value(), held.bound(), held.thing.answer()
                if not {found[0], found[1] - 30, found[2] - 30} <= {0, STEP}:
                    wrong.append(found)

    threads = [threading.Thread(target=call) for _ in range(2)]
    for one in threads:
        one.start()
    try:
        for turn in range(1, 6):
            story.become(*(() if turn % 2 == 0 else ("step",)))
    finally:
        stop.set()
        for one in threads:
            one.join()
    assert wrong == []
    assert value() == STEP, "a held function runs old code"
    held.check(STEP)


def migration(root, binding):
    """Instances get a value of the new layout, there and back; destructors included."""
    story = Story(root, binding, {"instances": "migrate"})
    for edits, step in ((("layout", "step"), STEP), ((), 0), (("layout",), 0)):
        story.become(*edits)
        assert story.subject.take(story.held.thing) == 3 + step, "not migrated"
        story.held.check(step)
        use_everything(story.subject, step)
        gc.collect()
    story.held = None
    gc.collect()


def plain(_root, _binding):
    """Do the same work without a reload, and without rehook."""
    import subject

    for _ in range(6):
        use_everything(subject, 0)
        held = Held(subject)
        held.check(0)
        held.check_exception()
        del held
        gc.collect()
    assert "rehook" not in sys.modules


SCENARIOS = {
    function.__name__: function
    for function in (reload, rollback, adoption, layout, functions, migration)
}

if __name__ == "__main__":
    {**SCENARIOS, "plain": plain}[sys.argv[3]](*sys.argv[1:3])
    print("done")
