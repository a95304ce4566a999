"""The long checks (make test-matrix, soak, test-valgrind, bench) notice what they are there for."""

import json

import pytest

from bench.bench import BENCHMARKS
from bench.header_package import HeaderPackage
from matrix.matrix import judge
from matrix.promises import expected_names
from memory.valgrind_report import read_errors
from soak.soak import end_of_layout, judge_budgets, problems, step_of, turn_of
from support.subject import BINDINGS, STEP

BINDING = BINDINGS["capi-multi-heap"]


def told(problems_by_name):
    names = expected_names(BINDING.language)
    return "\n".join(json.dumps([name, problems_by_name.get(name)]) for name in names)


def test_a_cell_that_kept_every_promise():
    assert judge(BINDING, told({}), 0, "") == {}


def test_a_cell_that_broke_one():
    assert judge(BINDING, told({"bound": "30 instead of 1030"}), 0, "") == {
        "bound": "30 instead of 1030"
    }


def test_a_crash_has_a_name():
    failed = judge(BINDING, '["import", null]\n', -11, "Fatal Python error")
    assert list(failed) == ["crash:SIGSEGV"]
    assert "Fatal Python error" in failed["crash:SIGSEGV"]


@pytest.mark.parametrize("code", [0, 1])
def test_a_cell_that_stopped_early_is_not_ok(code):
    assert judge(BINDING, '["import", null]\n', code, "") != {}


def test_the_reports_of_valgrind(tmp_path):
    report = tmp_path / "report.xml"
    report.write_text(
        """<?xml version="1.0"?><valgrindoutput>
        <error><kind>InvalidRead</kind><what>Invalid read of size 8</what><stack>
          <frame><obj>/x/lib.so</obj><fn>retire</fn><file>a.cpp</file><line>7</line></frame>
          <frame><obj>/x/python</obj></frame></stack></error>
        <error><kind>UninitCondition</kind><what>Conditional jump</what><stack/></error>
        </valgrindoutput>"""
    )
    (error,) = read_errors(report)
    assert str(error) == (
        "InvalidRead: Invalid read of size 8\n  retire (a.cpp:7)\n  ??? (in python)"
    )
    assert error.signature == ("InvalidRead", "retire (a.cpp:7)", "??? (in python)")


@pytest.mark.parametrize("text", [None, "", "<valgrindoutput><error>"])
def test_a_report_that_is_cut_off_is_an_error(tmp_path, text):
    report = tmp_path / "report.xml"
    if text is not None:
        report.write_text(text)
    assert [one.kind for one in read_errors(report)] == ["NoReport"]


def test_who_is_adopted_by_whom():
    turns = [turn_of(generation) for generation in range(1, 6)]
    assert turns == [(), ("step",), ("layout",), ("layout", "step"), ()]
    assert [end_of_layout(generation, 5) for generation in range(1, 6)] == [2, 2, 4, 4, 5]
    assert [step_of(generation) for generation in (1, 2, 3, 4)] == [0, STEP, 0, STEP]


FINE = {"generations": 9, "built": 4, "wrong": [], "stale": [], "uncounted": []}


def test_a_life_without_a_fault():
    assert problems(FINE, 9) == []


@pytest.mark.parametrize(
    "fault",
    [
        {"generations": 8},
        {"built": 5},
        {"wrong": [[1, [10], 1010]]},
        {"stale": [2]},
        {"uncounted": [3]},
    ],
)
def test_a_life_with_a_fault(fault):
    assert len(problems({**FINE, **fault}, 9)) == 1


def test_memory_and_time_have_limits():
    flat = {"seconds": [0.01] * 200, "cpu_seconds": [0.01] * 200, "mapped": 1000.0}
    assert judge_budgets({**flat, "resident": 1499.0})[1] == []
    assert len(judge_budgets({**flat, "resident": 1501.0})[1]) == 1
    slow = {**flat, "seconds": [0.01] * 150 + [0.021] * 50, "resident": 1.0}
    assert len(judge_budgets(slow)[1]) == 1


# What is read from build/bench.json, by these names.
MEASURED = {
    "noop_import",
    "noop_import_55",
    "noop_import_500",
    "noop_import_5000",
    "first_look_100k",
    "edit_to_live",
    "noop_reload",
    "noop_reload_500",
    "return_to_earlier",
    "return_to_earlier_ccache",
    "pause_per_million",
    "call_after_reload",
}


def test_the_benchmarks_have_their_names():
    assert set(BENCHMARKS) >= MEASURED


def test_the_generated_package_has_the_headers_it_says(tmp_path):
    package = HeaderPackage(tmp_path / "pebbles", 25, folders=3, padding=40)
    headers = list(package.include.rglob("*.hpp"))
    assert sorted(headers) == sorted(package.headers)
    assert len([path for path in headers if path.name != "all.hpp"]) == 25
    assert len({path.stat().st_size for path in headers}) > 10
