"""One number of the benchmark."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Row:
    """One number and what it is held against; `detail` is for the JSON file."""

    name: str
    value: float
    unit: str
    against: str | None
    against_value: float | None
    ratio: float | None
    budget: str
    detail: dict[str, Any] = field(default_factory=dict)

    def line(self) -> str:
        """Give the row as the table shows it."""
        other = "" if self.against_value is None else f"{self.against_value:9.3f}"
        ratio = "" if self.ratio is None else f"x{self.ratio:.3f}"
        return (
            f"{self.name:<18}{self.value:>9.3f} {self.unit:<3}{other:>10}{ratio:>9}"
            f"  {self.budget:<12}  {self.against}"
        )


def median_row(
    name: str, unit: str, a: list[float], b: list[float], against: str, budget: str
) -> Row:
    """Give the row of paired runs in seconds: ours, and the other side's."""
    scale = {"ns": 1e9, "ms": 1000.0, "s": 1.0}[unit]
    ratio = statistics.median(x / y for x, y in zip(a, b, strict=True))
    mine, others = statistics.median(a) * scale, statistics.median(b) * scale
    return Row(name, mine, unit, against, others, ratio, budget)
