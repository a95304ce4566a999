"""Every scenario of stale builds and endless rebuilds is named with the test that shows it."""

import re
from pathlib import Path

INTEGRATION = Path(__file__).resolve().parents[1] / "integration"
NATIVE = INTEGRATION.parent / "native"
LAST_SCENARIO = 42


def rows():
    text = (INTEGRATION / "README.md").read_text(encoding="utf-8")
    for line in text.splitlines():
        if re.match(r"\| [0-9, ]+ \|", line):
            yield [cell.strip() for cell in line.strip("|").split("|")]


def test_no_scenario_is_missing():
    numbers = {int(one) for row in rows() for one in row[0].split(",")}
    assert numbers == set(range(1, LAST_SCENARIO + 1))


def test_every_test_exists():
    for row in rows():
        for place in row[2].split(";"):
            for file in re.findall(r"\w+_test\.cpp", place):
                assert (NATIVE / file).exists(), row
            found = re.match(r"\s*(here|test_\w+)(?:: (.*))?", place)
            assert found, row
            name = "test_scenarios" if found[1] == "here" else found[1]
            source = (INTEGRATION / f"{name}.py").read_text(encoding="utf-8")
            for test in (found[2] or "all").split(","):
                assert test.strip() == "all" or f"def test_{test.strip()}(" in source, (name, test)
