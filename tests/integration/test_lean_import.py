"""`import rehook; rehook.install()` with the real compiled part pulls in next to nothing."""

import sys

import pytest

HEAVY = {
    "click",
    "dataclasses",
    "inspect",
    "json",
    "logging",
    "pathlib",
    "re",
    "rich",
    "tomllib",
    "typing",
}

# What each line may import besides: nothing of the above.
SCRIPTS = {
    "import": "import rehook",
    "install": "import rehook; rehook.install()",
    "install with arguments": "import rehook; rehook.install(projects=[FOLDER])",
    "another import": "import rehook; rehook.install(projects=[FOLDER]); import colorsys",
    "the package itself": (
        "import rehook; rehook.install(projects=[FOLDER]); import hello_capi_multi"
    ),
    "a reload of nothing": (
        "import rehook; rehook.install(projects=[FOLDER]); import hello_capi_multi; rehook.reload()"
    ),
}


@pytest.mark.compile
@pytest.mark.parametrize("script", SCRIPTS)
def test_nothing_heavy_is_imported(built, script):
    project = built("hello_capi_multi")
    source = SCRIPTS[script].replace("FOLDER", repr(str(project.root)))
    # What site imports at start-up (.pth files of the environment) is none of rehook's doing.
    before = imported(project, "pass")
    found = imported(project, source)
    assert "rehook" in found
    assert "rehook._core" in found or script == "import"
    added = found - before
    assert not added & HEAVY
    assert not {one for one in added if one.split(".")[0] in HEAVY}


def imported(project, source):
    done = project.run(source, flags=["-X", "importtime"], bare=True)
    lines = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    return {line.rpartition("|")[2].strip() for line in lines[1:]}


def test_the_measure_measures(built):
    """The test above can fail."""
    assert "json" in imported(built("hello_capi_multi"), "import json")
    assert "json" not in sys.builtin_module_names
