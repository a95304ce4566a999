"""Power cuts: the store's file system is cut off from its disk at a random moment of builds.

An ext4 file system in a file. Its shutdown call (without flushing its log) lets nothing reach the
disk from then on, which is what a power cut does: what was not synced is lost, a file that was just
written may be empty, and what is mounted again is what a machine finds when it starts.
"""

from __future__ import annotations

import fcntl
import os
import random
import shutil
import struct
import subprocess
import tempfile
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

from torture.workbench import PATIENCE, Box, Child, adopt_orphans, wait_for_end_of

SIZE = 256 * 2**20
# Some file systems commit often, some delay what they write; some order data before names.
OPTIONS = (
    "data=ordered",
    "data=ordered,commit=1",
    "data=ordered,noauto_da_alloc",
    "data=writeback,commit=1",
)
FS_IOC_SHUTDOWN = 0x8004587D  # _IOR('X', 125, __u32)
NO_LOG_FLUSH = 2


def _run(*command: str | Path) -> None:
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(f"{command[0]}: {(done.stderr or done.stdout).strip()}")


class Disk:
    """A file system in a file, mounted at `point`."""

    def __init__(self, folder: Path) -> None:
        self.image, self.point = folder / "disk.img", folder / "disk"
        self.point.mkdir()
        with self.image.open("wb") as image:
            image.truncate(SIZE)
        _run("mkfs.ext4", "-q", "-F", self.image)

    def mount(self, options: str) -> None:
        _run("mount", "-o", f"loop,{options}", self.image, self.point)

    def cut(self) -> None:
        """From now on nothing that is written reaches the image."""
        handle = os.open(self.point, os.O_RDONLY)
        try:
            fcntl.ioctl(handle, FS_IOC_SHUTDOWN, struct.pack("I", NO_LOG_FLUSH))
        finally:
            os.close(handle)

    def unmount(self) -> None:
        end = time.monotonic() + 10
        while True:  # what the dead had open may take a moment
            try:
                _run("umount", self.point)
            except OSError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.05)
            else:
                return


def obstacle() -> str:
    """Say why there can be no power cuts here; empty when there can."""
    if os.geteuid() != 0:
        return "only root may mount a file system"
    for program in ("mkfs.ext4", "mount", "umount"):
        if shutil.which(program) is None:
            return f"there is no {program}"
    folder = Path(tempfile.mkdtemp(prefix="rehook-torture-"))
    try:
        disk = Disk(folder)
        disk.mount(OPTIONS[0])
        try:
            disk.cut()
        finally:
            disk.unmount()
    except OSError as error:
        return f"no file system can be mounted and shut down here: {error}"
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return ""


class PowerCuts:
    """One disk, many cuts; after each the next starts have to answer what the sources say."""

    def __init__(self, home: Path, seed: int) -> None:
        adopt_orphans()
        home.mkdir()
        self.disk = Disk(home)
        self.box = Box(home)
        self.box.store = self.disk.point / "store"
        self.chance = random.Random(seed)
        self.seen: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.history = [self.box.state]
        self.number = 0
        self.disk.mount(OPTIONS[0])
        self._check("the first start")
        self.disk.unmount()

    def cut(self) -> None:
        """Let two processes work, cut, and ask."""
        self.number += 1
        options = self.chance.choice(OPTIONS)
        self.disk.mount(options)
        roles = ["reload", self.chance.choice(["reload", "import", "rebuild", "collect"])]
        if "collect" in roles:
            self.box.grow_old(40)
        children = [Child(self.box, one, f"p{self.number}-{i}") for i, one in enumerate(roles)]
        self._work(children, time.monotonic() + 5 * self.chance.random() ** 2)
        self.disk.cut()
        for child in children:
            child.kill()
            child.end()
            wait_for_end_of(child.pid)
        self.disk.unmount()
        self.seen[f"cuts with {options}"] += 1
        self.disk.mount(options)
        # What a build left half written is used by a later one.
        self._check(f"cut {self.number}, the next start")
        for kind in ("value", "other", "scale"):
            self.box.become(self.box.fresh(kind))
            self._check(f"cut {self.number}, an edit later ({kind})")
        self.disk.unmount()

    def _work(self, children: list[Child], end: float) -> None:
        """Edit, and have them reload, until it is time."""
        while time.monotonic() < end:
            for child in children:
                if child.hear(0.001) is None:
                    continue
                self.seen["answers before the cut"] += 1
                if self.chance.random() < 0.7:
                    kinds = ["value", "value", "other", "scale", "comment"]
                    self.box.become(self.box.fresh(self.chance.choice(kinds)))
                else:
                    self.box.become(self.chance.choice(self.history))
                self.history = [*self.history, self.box.state][-8:]
                child.send()

    def _check(self, what: str) -> None:
        child = Child(self.box, "check", "check")
        line = child.hear(PATIENCE)
        if child.end() is None:
            child.kill()
            child.end()
        self.seen["next starts"] += 1
        wanted = self.box.state.answer()
        if line is None:
            self.wrong.append(f"{what} failed:\n{child.said()[-3000:]}")
        elif line["answer"] != wanted or line["dead"] or line["damaged"]:
            self.wrong.append(f"{what} says {line}, not {wanted}")
        elif orphans := self.box.orphans():
            self.wrong.append(f"{what} leaves {[*map(str, orphans)]}")

    def end(self) -> None:
        with suppress(OSError):
            self.disk.unmount()
