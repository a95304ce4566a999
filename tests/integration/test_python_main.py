"""What the main script and a notebook imported by name follows; nothing of theirs runs again."""

import os
import subprocess
import sys
import textwrap

import pytest

MODULE = 'X = {number}\nY = "{number}"\ndef f(): return X\n'

SCRIPT = """
import sys
from pathlib import Path
sys.dont_write_bytecode = True
module = Path(__file__).with_name("settings_of_mine.py")
import rehook
rehook.install()
runs = globals().get("runs", 0) + 1
from settings_of_mine import X, Y as text, f
mine = X
overwritten = "mine"
from settings_of_mine import Y as overwritten
overwritten = "mine"
module.write_text(module.read_text().replace("1", "22"))
rehook.reload("settings_of_mine")
print(X, text, f(), mine, overwritten, runs)
"""

CELLS = """
import sys
from pathlib import Path
sys.dont_write_bytecode = True
module = Path(sys.argv[1])
sys.path.insert(0, str(module.parent))
import rehook
rehook.install()
import settings_of_mine
In = ["", "%load_ext rehook", "from settings_of_mine import X", "unrelated = 1"]
X = settings_of_mine.X
unrelated = 1
module.write_text(module.read_text().replace("1", "22"))
rehook.reload()
print(X, unrelated)
"""


@pytest.fixture
def run(tmp_path):
    """Return a function that runs a program beside the module and gives what it prints."""
    module = tmp_path / "settings_of_mine.py"
    module.write_text(MODULE.format(number=1))
    env = {k: v for k, v in os.environ.items() if not k.startswith("REHOOK_")}
    env["REHOOK_STORE_DIR"] = str(tmp_path / "store")

    def start(*words):
        done = subprocess.run(
            [sys.executable, *words],
            capture_output=True,
            text=True,
            env=env,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.split()

    start.module = module
    return start


def test_a_script(run, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(SCRIPT))
    assert run(str(script)) == ["22", "22", "22", "1", "mine", "1"]


def test_the_cells_of_a_notebook(run):
    assert run("-c", CELLS, str(run.module)) == ["22", "1"]
