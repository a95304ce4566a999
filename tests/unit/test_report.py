"""What a person reads after a reload."""

import json
import pickle

import pytest

pytestmark = pytest.mark.usefixtures("rehook")


def report(**values):
    from rehook import ReloadReport

    return ReloadReport(values)


EXTENSION = {
    "name": "geo._core",
    "kind": "extension",
    "old_generation": 3,
    "new_generation": 4,
    "reason": "src/geo.cpp changed",
    "seconds": 1.92,
}
PYTHON = {"name": "geo", "kind": "python", "reason": "geo/__init__.py changed", "seconds": 0.002}


def test_full_report():
    made = report(
        modules=[EXTENSION, PYTHON],
        unchanged=["geo.io"],
        left=[{"what": "instances of geo.Point", "why": "layout changed", "count": 3}],
        built=1,
        reused=1,
        durations={"decide": 0.001, "build": 1.9, "load": 0.03, "total": 2.0},
    )
    assert str(made).splitlines() == [
        (
            "reloaded 2 modules in 2.00 s (build 1.90 s, load 30.0 ms, 1 built, "
            "1 from the store); 1 unchanged"
        ),
        "  geo._core  generation 3 -> 4  1.92 s  src/geo.cpp changed",
        "  geo        Python module      2.0 ms  geo/__init__.py changed",
        "left on the old code:",
        "  instances of geo.Point (3): layout changed",
    ]
    assert made.names == ["geo._core", "geo"]
    assert made.changed
    assert made.seconds == 2.0
    assert made.left[0]["count"] == 3


def test_nothing_changed():
    assert str(report()) == "nothing changed"
    assert str(report(unchanged=["a", "b"])) == "nothing changed (2 modules checked)"
    assert not report().changed


def test_stale_modules_are_named_with_the_first_line_of_the_error():
    made = report(stale=[{"module": "geo._core", "error": "a.cpp:1: error: x\nmore"}])
    assert "  geo._core: a.cpp:1: error: x" in str(made).splitlines()
    assert "more" not in str(made)
    assert str(made).endswith("see: rehook errors")


def test_first_load_has_no_old_generation():
    made = report(modules=[{**EXTENSION, "old_generation": None}])
    assert "generation 4 " in str(made)


def test_a_report_is_data():
    made = report(modules=[EXTENSION])
    assert json.loads(json.dumps(made))["modules"] == [EXTENSION]
    assert pickle.loads(pickle.dumps(made)) == made
    assert made["built"] == made.built == 0


def test_unknown_attribute():
    with pytest.raises(AttributeError, match="'ReloadReport' object has no attribute 'nonsense'"):
        _ = report().nonsense


def test_defaults_are_not_shared():
    one = report()
    one.modules.append(1)
    assert report().modules == []


def test_status():
    from rehook import Status

    assert "nothing loaded" in str(Status({}))
    made = Status(
        {
            "projects": [
                {
                    "root": "/p",
                    "state": "changed",
                    "commit": "0123456789abcdef",
                    "branch": "main",
                    "dirty": True,
                }
            ],
            "modules": [
                {"name": "geo", "generation": 1, "stale": False, "running_equals_saved": True},
                {"name": "geo.io", "generation": 0, "loaded": False, "running_equals_saved": False},
                {"name": "geo._core", "generation": 2, "stale": True, "error": "a.cpp:1: x\ny"},
            ],
            "counters": {"built": 2},
        }
    )
    assert str(made).splitlines() == [
        "/p: changed (main 0123456789, with changes)",
        "  geo        generation 1",
        "  geo.io     not loaded",
        "  geo._core  generation 2  stale: a.cpp:1: x",
    ]
    assert made.counters["built"] == 2


def test_explanation():
    from rehook import Explanation

    made = Explanation(
        {
            "module": "geo._core",
            "project": "/p",
            "decision": "rebuild",
            "reason": "src/geo.cpp changed",
            "inputs": 2,
            "changes": [{"name": "src/geo.cpp", "kind": "file", "before": "aa", "after": "bb"}],
            "target": "_core",
            "artifact": "",
        }
    )
    assert str(made).splitlines() == [
        "geo._core: rebuild: src/geo.cpp changed",
        "  project /p",
        "  target _core",
        "  2 inputs, 1 changed",
        "    src/geo.cpp (file): aa -> bb",
    ]


def test_failure():
    from rehook import Failure

    made = Failure({"message": "did not build", "text": "ld: no", "hint": "repair it"})
    assert str(made) == "did not build\n  ld: no\nhint: repair it"
    assert made.modules == []
