"""Reads what valgrind writes with --xml=yes."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path

DEPTH = 6  # frames that tell one error from another

# Accesses and frees; a jump into nowhere; a signal that ended the program.
KINDS = {
    "InvalidRead",
    "InvalidWrite",
    "InvalidJump",
    "InvalidFree",
    "MismatchedFree",
    "Overlap",
    "InvalidMemPool",
    "FatalSignal",
}


@dataclass(frozen=True)
class Error:
    """One error, with where it happened."""

    kind: str
    what: str
    frames: tuple[str, ...]

    @property
    def signature(self) -> tuple[str, ...]:
        """What is the same for this error in another run."""
        return (self.kind, *self.frames[:DEPTH])

    def __str__(self) -> str:
        return "\n".join([f"{self.kind}: {self.what}", *(f"  {one}" for one in self.frames[:16])])


def read_errors(path: Path) -> list[Error]:
    """Give the errors of a report; one that stops in its middle (a crash) is an error itself."""
    try:
        root = ET.parse(path).getroot()  # noqa: S314 - written by valgrind, just now
    except (ET.ParseError, OSError) as error:
        return [Error("NoReport", f"{path.name}: {error}", ())]
    found = []
    for node in [*root.iter("error"), *root.iter("fatal_signal")]:
        kind = node.findtext("kind") or "FatalSignal"
        if kind not in KINDS:
            continue
        what = node.findtext("what") or node.findtext("xwhat/text") or node.findtext("event") or ""
        stack = node.find("stack")
        frames = [] if stack is None else [_frame(one) for one in stack.iter("frame")]
        found.append(Error(kind, what, tuple(frames)))
    return found


def _frame(node: ET.Element) -> str:
    name = node.findtext("fn") or "???"
    file, line = node.findtext("file"), node.findtext("line")
    if file:
        return f"{name} ({file}:{line})"
    return f"{name} (in {Path(node.findtext('obj') or '?').name})"
