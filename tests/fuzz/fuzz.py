"""Fuzz the readers of rehook's file formats, one after the other, with libFuzzer.

    fuzz.py [--seconds N] [--max-length N] [TARGET ...]

Each target begins with its seeds (corpus/<target>) and with what earlier runs found
(build/fuzz/found/<target>). Exit status 1 when a reader crashed, ran too long or took too much
memory; the input is then in build/fuzz/crashes, and the report in build/fuzz/logs.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
BUILD = ROOT / "build" / "fuzz"
PROGRAMS = BUILD / "tests" / "fuzz"
SLOWEST = 20  # seconds for one input; more is a reader that does not end
MEMORY = 2048  # megabytes


@dataclass(frozen=True)
class Outcome:
    """What one run of one target came to."""

    target: str
    returncode: int
    seconds: float
    executions: int
    edges: int
    inputs: int
    crashes: tuple[Path, ...]


def targets() -> list[str]:
    """Give the names of all targets, from the list that CMake reads."""
    text = (HERE / "targets.cmake").read_text(encoding="utf-8")
    found = re.search(r"set\(REHOOK_FUZZ_TARGETS\s+([^)]*)\)", text)
    if not found:
        message = "targets.cmake names no targets"
        raise SystemExit(message)
    return found[1].split()


def last_number(pattern: str, text: str) -> int:
    """Give the last number that libFuzzer printed in this place."""
    found = re.findall(pattern, text)
    return int(found[-1]) if found else 0


def fuzz(target: str, seconds: int, longest: int) -> Outcome:
    """Run one target for some seconds."""
    found, crashes, logs = (BUILD / name for name in ("found", "crashes", "logs"))
    for folder in (found / target, crashes, logs):
        folder.mkdir(parents=True, exist_ok=True)
    prefix = f"{crashes}{os.sep}{target}-"
    before = set(crashes.glob(f"{target}-*"))
    command = [
        str(PROGRAMS / f"fuzz_{target}"),
        str(found / target),
        str(HERE / "corpus" / target),
        f"-max_total_time={seconds}",
        f"-max_len={longest}",
        f"-timeout={SLOWEST}",
        f"-rss_limit_mb={MEMORY}",
        f"-artifact_prefix={prefix}",
        "-print_final_stats=1",
        "-use_value_profile=1",
    ]
    words = HERE / "dictionaries" / f"{target}.dict"
    if words.exists():
        command.append(f"-dict={words}")
    log = logs / f"{target}.log"
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="rehook-fuzz-") as folder, log.open("wb") as out:
        env = {**os.environ, "TMPDIR": folder}
        done = subprocess.run(command, stdout=out, stderr=out, env=env, check=False)
    text = log.read_text(encoding="utf-8", errors="replace")
    return Outcome(
        target,
        done.returncode,
        time.monotonic() - start,
        last_number(r"stat::number_of_executed_units:\s+(\d+)", text),
        last_number(r"\bcov: (\d+)", text),
        last_number(r"\bcorp: (\d+)", text),
        tuple(sorted(set(crashes.glob(f"{target}-*")) - before)),
    )


def tell(outcome: Outcome) -> None:
    """Print the line of a target, and how to look at what it found."""
    verdict = "ok" if outcome.returncode == 0 else "FAILED"
    print(
        f"{outcome.target:<22}{verdict:<8}{outcome.executions:>12,} runs"
        f"{outcome.edges:>8,} edges{outcome.inputs:>8,} inputs{outcome.seconds:>8.0f} s",
        flush=True,
    )
    if outcome.returncode == 0:
        return
    print(f"  the report: build/fuzz/logs/{outcome.target}.log")
    for crash in outcome.crashes:
        program = (PROGRAMS / f"fuzz_{outcome.target}").relative_to(ROOT)
        print(f"  again: {program} {crash.relative_to(ROOT)}")


def main() -> int:
    """Run the targets that were asked for, or all."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("targets", nargs="*", metavar="TARGET", help="default: all")
    parser.add_argument("--seconds", type=int, default=600, help="for each target")
    parser.add_argument("--max-length", type=int, default=32768, help="of an input, in bytes")
    options = parser.parse_args()
    unknown = set(options.targets) - set(targets())
    if unknown:
        parser.error(f"no target {', '.join(sorted(unknown))}; there are {', '.join(targets())}")
    failed = 0
    for target in options.targets or targets():
        outcome = fuzz(target, options.seconds, options.max_length)
        tell(outcome)
        failed += outcome.returncode != 0
    print(f"{failed} of {len(options.targets or targets())} targets failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
