"""A short `make torture`: kill -9 at random moments, and reloads at once; counted outcomes."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.compile, pytest.mark.crash, pytest.mark.race]

TORTURE = Path(__file__).resolve().parents[1] / "torture" / "torture.py"


# In a process of its own: it adopts what the killed leave running.
@pytest.mark.parametrize(
    "what",
    [
        ["--only", "kill", "--kills", "12"],
        ["--only", "many", "--processes", "3", "--edits", "3"],
    ],
)
def test_a_short_torture(tmp_path, what):
    done = subprocess.run(
        [sys.executable, TORTURE, *what, "--seed", "11", "--folder", tmp_path],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "nothing wrong" in done.stdout
