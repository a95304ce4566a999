"""kill -9 at random moments: what the next start finds, answers and leaves."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from torture.workbench import (
    GRACE,
    PATIENCE,
    Box,
    Child,
    State,
    adopt_orphans,
    descendants,
    left_of,
    wait_for_end_of,
)

ROLES = {"reload": 10, "import": 4, "rebuild": 3, "build": 1, "collect": 4}
KINDS = {"python": 5, "all": 3, "tool": 1}
KIND_TEXTS = {
    "python": "the Python process",
    "all": "it and all that it started",
    "tool": "one of the tools that it started",
}
# What a moment is counted from; the end of a step is a line in the trace.
TRIGGERS = {
    "begin": 6,
    "cmake": 3,
    "ninja": 3,
    "cc1": 3,
    "tools ended": 4,
    "configure": 1,
    "publish": 4,
    "build": 3,
    "look up": 2,
    "shadow_copy": 1,
    "swap": 1,
}
TOOLS = {"cmake", "ninja", "cc1", "cc", "gcc", "as", "ld", "collect2", "sh"}
# The last step that its trace names -> where it was, unless a tool ran.
PLACES = {
    "decide": "waiting, looking up",
    "collect": "garbage collection",
    "look up": "before and after the tools",
    "configure": "before and after the tools",
    "publish": "publishing, writing the state",
    "read layouts": "publishing, writing the state",
    "build": "loading",
    "plan": "loading",
    "shadow_copy": "loading",
    "init": "loading",
    "load": "loading",
    "stage": "loading",
}
HISTORY = 12  # states that are gone back to
OLD = 40.0  # days
CLEAN = 0.3  # of the next starts, how many collect what the dead left
LONGEST_LIFE = 4.0  # seconds that a victim waits for its moment


@dataclass
class Count:
    """What happened, in numbers, and what was wrong, in words."""

    kills: Counter[str] = field(default_factory=Counter)  # by kind
    places: Counter[str] = field(default_factory=Counter)
    roles: Counter[str] = field(default_factory=Counter)
    seen: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    def total(self) -> int:
        return sum(self.kills.values())


class Victim:
    """A child that is going to be killed."""

    def __init__(self, box: Box, role: str, name: str, chance: random.Random) -> None:
        self.child = Child(box, role, name)
        self.role, self.kind = role, chance.choices([*KINDS], [*KINDS.values()])[0]
        self.trigger = chance.choices([*TRIGGERS], [*TRIGGERS.values()])[0]
        if role == "collect":
            self.kind, self.trigger = "python", "begin"
        if self.kind == "tool" and self.trigger not in {"cmake", "ninja", "cc1"}:
            self.trigger = chance.choice(["cmake", "ninja", "cc1"])
        longest = {"begin": 1.2, "collect": 0.03}.get(role if role == "collect" else self.trigger)
        # Most moments are near the trigger, some far from it.
        self.delay = (longest or 0.06) * chance.random() ** (1 if longest else 2)
        self.triggered: float | None = None
        self.born = self.requested = time.monotonic()
        self.may_be: list[State] = [box.state]  # what it may answer
        self.tools: set[str] = set()  # that run now
        self.had_tools = False
        self.idle = False
        self.hurt = False
        self.steps: list[str] = []  # of the request, from the trace

    def look(self) -> None:
        """See what runs for it, and whether the moment has begun."""
        self.tools = {one for one in descendants(self.child.pid).values() if one in TOOLS}
        self.had_tools = self.had_tools or bool(self.tools)
        if self.triggered is not None:
            return
        if time.monotonic() - self.born > LONGEST_LIFE and self.trigger != "begin":
            self.trigger = "begin"  # what it waited for did not happen
            self.kind = "python" if self.kind == "tool" else self.kind
        begun = (
            (self.trigger == "begin" and (self.role != "collect" or not self.idle))
            or self.trigger in self.tools
            or self.trigger in self.steps
            or (self.trigger == "tools ended" and self.had_tools and not self.tools)
        )
        if begun:
            self.triggered = self.requested if self.trigger == "begin" else time.monotonic()

    def is_due(self) -> bool:
        return self.triggered is not None and time.monotonic() - self.triggered >= self.delay

    def ask(self, state: State) -> bool:
        self.requested, self.idle, self.may_be = time.monotonic(), False, [state]
        self.had_tools, self.steps = False, []
        return self.child.send()

    def place(self) -> str:
        """Say where it is."""
        if "cmake" in self.tools:
            return "configuring"
        if self.tools:
            return "compiling, linking"
        if self.role == "collect":
            return "garbage collection"
        return PLACES.get(self.steps[-1], "elsewhere") if self.steps else "starting, looking"


class Kills:
    """One project, many rounds; each kills some processes and asks the next ones."""

    def __init__(self, box: Box, seed: int) -> None:
        adopt_orphans()
        self.box = box
        self.chance = random.Random(seed)
        self.count = Count()
        self.history = [box.state]
        self.number = 0
        self.bystander: Child | None = None
        self._read = 0  # how much of the trace

    # ------------------------------------------------------------ edits

    def edit(self, *, one_file: bool = False) -> None:
        """Save something: new, or from before."""
        dice = self.chance.random()
        if dice < 0.35 and not one_file:
            state = self.chance.choice(self.history)
            self.box.become(state, old_stamps=self.chance.random() < 0.3)
        else:
            kinds = ["value"] * 6 + ["other", "scale", "comment"]
            self.box.become(self.box.fresh(self.chance.choice(kinds)))
        self.history = [*self.history, self.box.state][-HISTORY:]

    # ------------------------------------------------------------ a round

    def round(self) -> None:
        self.number += 1
        chance = self.chance
        if chance.random() < 0.06:
            self.count.seen["project removed from the store"] += 1
            shutil.rmtree(self.box.store / "projects", ignore_errors=True)
        roles = chance.choices([*ROLES], [*ROLES.values()], k=chance.choice([1, 2, 2, 3]))
        if "collect" in roles:
            self.box.grow_old(OLD)
        early = chance.random() < 0.5  # the others find an edit when they begin
        if early:
            self.edit()
        victims = [
            Victim(self.box, role, f"r{self.number}-{i}", chance) for i, role in enumerate(roles)
        ]
        self._let_live(victims)
        pids = [one.child.pid for one in victims]
        if chance.random() < 0.5:
            self._expect_no_processes(pids)
        if chance.random() < 0.3:
            self.edit()
        self._check("clean" if chance.random() < CLEAN else "check")
        self._expect_no_processes(pids)
        for one in victims:
            one.child.end(0)
            one.child.errors.unlink()

    def _let_live(self, victims: list[Victim]) -> None:
        """Give them work until each is dead."""
        living = list(victims)
        overtake = time.monotonic() + self.chance.uniform(0, 1.5)  # an edit in the middle
        may_overtake = self.chance.random() < 0.2
        while living:
            self._read_trace(living)
            for one in [*living]:
                if not self._attend(one, living):
                    living.remove(one)
            if may_overtake and time.monotonic() > overtake:
                may_overtake = False
                self.edit(one_file=True)
                for one in living:
                    one.may_be.append(self.box.state)
            time.sleep(0.002)

    def _attend(self, one: Victim, living: list[Victim]) -> bool:
        """Hear it, give it work, kill it if it is time; False when it is done."""
        ended = one.child.process.poll() is not None  # before the last words are heard
        while (line := one.child.hear(0)) is not None:
            one.idle = True
            self._judge_living(one, line)
        if ended:
            if one.child.process.returncode and not one.hurt:
                self._wrong(f"{one.role} failed by itself:\n{one.child.said()[-3000:]}")
            self.count.seen["ended before their kill"] += not one.hurt
            return False
        if one.hurt and one.idle:  # it went on without its tool, and has said so
            self._kill_all(one)
            return False
        if one.idle and one.role in {"reload", "collect"}:
            if one.role == "reload":
                self.edit()
                for other in living:
                    other.may_be.append(self.box.state)
            one.ask(self.box.state)
            return True
        one.look()
        if time.monotonic() - one.requested > PATIENCE:
            self._wrong(f"{one.role} is stuck for {PATIENCE:.0f} s ({one.place()})")
            self._kill_all(one)
            return False
        if not one.hurt and one.is_due():
            return self._kill(one)
        return True

    def _kill(self, one: Victim) -> bool:
        place = one.place()
        if one.kind == "tool":
            pids = [*descendants(one.child.pid)]
            if not pids:
                return True  # too late; the trigger will come again
            one.hurt = True
            with suppress(ProcessLookupError):
                os.kill(self.chance.choice(pids), signal.SIGKILL)
        elif one.kind == "all":
            pids = [*left_of(one.child.pid)]
            self.chance.shuffle(pids)
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        else:
            one.child.kill()
        self.count.kills[one.kind] += 1
        self.count.places[place] += 1
        self.count.roles[one.role] += 1
        if one.kind == "tool":
            return True
        one.child.process.wait()
        return False

    def _kill_all(self, one: Victim) -> None:
        one.child.kill()
        one.child.process.wait()

    def _read_trace(self, living: list[Victim]) -> None:
        """Note the steps that the processes have ended."""
        for step in self.box.trace_from(self._read):
            self._read += step.length
            for one in living:
                if step.pid == one.child.pid:
                    one.steps.append(step.name)

    # ------------------------------------------------------------ questions

    def _judge_living(self, one: Victim, line: Any) -> None:
        if line == "ready":
            return
        if "error" in line:
            self.count.seen["errors of those whose tool was killed"] += one.hurt
            if not one.hurt:
                self._wrong(f"{one.role} failed by itself: {line['error']}")
        elif "collected" in line:
            self.count.seen["collections"] += 1
        else:
            self.count.seen["answers of the living"] += 1
            # With several edits in the middle, each number may be of another moment.
            allowed = [*zip(*(state.answer() for state in one.may_be), strict=True)]
            if any(a not in b for a, b in zip(line["answer"], allowed, strict=True)):
                self._wrong(f"{one.role} answers {line['answer']}, not one of {allowed}")

    def _check(self, role: str) -> None:
        """The next start answers, in time, what the sources say.

        It removes what the dead left where it looks in any case; the garbage collector, which runs
        once a day, removes all of it.
        """
        child = Child(self.box, role, f"check{self.number}")
        line = child.hear(PATIENCE)
        if line is None and child.process.poll() is None and child.end(5) is None:
            self._wrong(f"the next start is stuck for {PATIENCE:.0f} s")
            child.kill()
        status = child.end()
        wanted = self.box.state.answer()
        self.count.seen["next starts"] += 1
        if line is None:
            self._wrong(f"the next start failed ({status}):\n{child.said()[-3000:]}")
            return
        child.errors.unlink()
        if line["answer"] != wanted:
            self._wrong(f"the next start answers {line['answer']}, not {wanted}")
        if line["damaged"]:
            self._wrong(f"damaged in the store: {line['damaged']}")
        left = self.box.orphans()
        self.count.seen["folders of the dead, found at the next start"] += len(line["dead"])
        self.count.seen["temporary files, found after the next start"] += len(left)
        if role == "check":
            left = [
                one for one in left if one.parent in {self.box.store, self.box.store / "objects"}
            ]
        if left:
            self._wrong(f"temporary files of dead processes after {role}: {[*map(str, left)]}")
        if role == "clean" and line["dead"]:
            self._wrong(f"folders of dead processes: {line['dead']}")
        self._ask_bystander()

    def _ask_bystander(self) -> None:
        """A process that lives on is not disturbed."""
        if self.bystander is None:
            self.bystander = Child(self.box, "reload", f"by{self.number}")
        else:
            self.bystander.send()
        line = self.bystander.hear(PATIENCE)
        self.count.seen["answers of bystanders"] += 1
        if line is None or line.get("answer") != self.box.state.answer():
            wanted = self.box.state.answer()
            said = self.bystander.said()[-3000:]
            self._wrong(f"a bystander answers {line}, not {wanted}\n{said}")
            self.end_bystander()
        elif self.chance.random() < 0.05:
            self.end_bystander()

    def end_bystander(self) -> None:
        if self.bystander is None:
            return
        self.bystander.kill()
        self.bystander.end()
        self.bystander = None

    def _expect_no_processes(self, children: list[int]) -> None:
        for child in children:
            left = wait_for_end_of(child)
            if left:
                self._wrong(f"still running {GRACE:.0f} s after the kill: {left}")
                for pid in left:
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)

    def _wrong(self, text: str) -> None:
        where = f"round {self.number}, after {self.count.total()} kills"
        self.count.wrong.append(f"{where}: {text}")
        print(f"WRONG, {where}: {text}", flush=True)
        kept = self.box.home.parent / f"round-{self.number}"
        if not kept.exists() and len(self.count.wrong) <= 5:
            shutil.copytree(self.box.home, kept, symlinks=True, ignore_dangling_symlinks=True)

    def finish(self) -> None:
        """When all is quiet: one more start, then `rehook store` finds nothing wrong."""
        self.end_bystander()
        self.edit(one_file=True)
        self._check("clean")
        self.end_bystander()
        for question in (["verify"], ["gc", "--dry-run"]):
            done = subprocess.run(
                [sys.executable, "-m", "rehook", "store", *question, "--json"],
                cwd=self.box.home,
                env=self.box.environment(path=[]),
                capture_output=True,
                text=True,
                check=False,
            )
            told = json.loads(done.stdout)
            items = [one["path"] for one in told.get("items", []) if one["kind"] == "orphan"]
            if done.returncode or items:
                self._wrong(f"rehook store {question[0]} at the end: {done.stdout}{done.stderr}")
