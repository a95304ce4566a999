"""Many processes reload at once after each edit: one of them compiles, all have the same file."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

from torture.workbench import PATIENCE, Box, Child

BACK = 5  # every so many edits one goes back to an earlier state


class Many:
    """One project and its processes; `seen` counts, `wrong` says what was wrong."""

    def __init__(self, box: Box, processes: int, seed: int) -> None:
        self.box = box
        self.chance = random.Random(seed)
        self.seen: Counter[str] = Counter()
        self.wrong: list[str] = []
        box.env.update(box.count_compilers())
        # The first build is one of the questions, too.
        self.children = [Child(box, "reload", f"many-{i}") for i in range(processes)]
        self.history = [box.state]
        self._hear("the first import", compiled=["core.c", "other.c"])

    def edit(self, number: int) -> None:
        """Save something, and have everybody reload it at the same moment."""
        box = self.box
        box.forget()
        if number % BACK == 0:
            earlier = [one for one in self.history if one != box.state]
            box.become(self.chance.choice(earlier))
            compiled, kind = list[str](), "reloads of an earlier state"
        else:
            # One file: after an earlier state, all that differs from the last build is compiled.
            box.become(box.fresh("value"))
            compiled, kind = ["core.c"], "reloads of an edit"
        self.history.append(box.state)
        for child in self.children:
            child.send()
        self.seen[kind] += len(self.children)
        self._hear(f"edit {number}", compiled=compiled)

    def _hear(self, what: str, *, compiled: list[str]) -> None:
        told: list[Any] = [child.hear(PATIENCE) for child in self.children]
        wanted = self.box.state.answer()
        for child, line in zip(self.children, told, strict=True):
            if line is None or line.get("answer") != wanted:
                text = f"{what}: {child.name} says {line}, not {wanted}\n{child.said()[-2000:]}"
                self.wrong.append(text)
        for key in ("artifact", "generation"):
            if len(found := {str((line or {}).get(key)) for line in told}) != 1:
                self.wrong.append(f"{what}: not everybody has the same {key}: {sorted(found)}")
        found_compiles = sorted(self.box.compiles())
        self.seen["compilers"] += len(found_compiles)
        self.seen["compilers wanted"] += len(compiled)
        if found_compiles != compiled:
            self.wrong.append(f"{what}: compiled {found_compiles}, not {compiled}")

    def end(self) -> None:
        for child in self.children:
            if (status := child.end()) != 0:
                self.wrong.append(f"{child.name} ended with {status}:\n{child.said()[-2000:]}")
                child.kill()
