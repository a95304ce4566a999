"""What a failure says."""

import copy
import pickle
import sys

import pytest

pytestmark = pytest.mark.usefixtures("rehook")

DIAGNOSTICS = [
    {"file": "lib.hpp", "line": 3, "column": 0, "severity": "warning", "text": "unused"},
    {
        "file": "src/geo.cpp",
        "line": 12,
        "column": 5,
        "severity": "error",
        "text": "expected ';' before 'return'",
        "excerpt": "   12 |     return x\n      |     ^~~~~~\n",
    },
    {"file": "src/geo.cpp", "line": 20, "column": 0, "severity": "error", "text": "no 'y' here"},
]


@pytest.fixture
def errors():
    import rehook.errors  # noqa: F401 - the attribute of that name is the function

    return sys.modules["rehook.errors"]


def test_every_kind_is_an_import_error(errors):
    for kind, name in {
        "build": "BuildError",
        "reload": "ReloadError",
        "store": "StoreError",
        "config": "ConfigError",
        "rehook": "RehookError",
        "what is this": "RehookError",
    }.items():
        made = errors.make(kind, "it failed", "do this", "because", "text", [])
        assert type(made).__name__ == name
        assert isinstance(made, ImportError)
        assert (made.message, made.hint, made.reason, made.text) == (
            "it failed",
            "do this",
            "because",
            "text",
        )


def test_build_error_starts_with_the_first_error_and_its_place(errors):
    made = errors.make(
        "build", "geo._core did not build", "the old one runs", "", "raw", DIAGNOSTICS
    )
    assert str(made).splitlines() == [
        "src/geo.cpp:12:5: error: expected ';' before 'return'",
        "   12 |     return x",
        "      |     ^~~~~~",
        "and 1 more error",
        "geo._core did not build",
        "hint: the old one runs",
        "see: rehook errors",
    ]


def test_a_message_that_repeats_the_first_error_is_left_out(errors):
    text = "src/geo.cpp:12: expected ';' before 'return'"
    shown = str(errors.make("build", text, "", "", "", DIAGNOSTICS)).splitlines()
    assert shown[0].startswith("src/geo.cpp:12:5: error:")
    assert text not in shown


def test_many_more_errors(errors):
    made = errors.make("build", "", "", "", "", DIAGNOSTICS * 3)
    assert "and 5 more errors" in str(made)


def test_without_diagnostics_the_end_of_the_text_is_shown(errors):
    text = "\n".join(f"line {number}" for number in range(40))
    shown = str(errors.make("build", "it failed", "", "", text, []))
    assert shown.startswith("it failed\n")
    assert "line 39" in shown
    assert "line 20" not in shown
    assert "28 more lines" in shown


def test_warnings_alone_do_not_hide_the_text(errors):
    shown = str(errors.make("build", "it failed", "", "", "ld: cannot find -lfoo", DIAGNOSTICS[:1]))
    assert "cannot find -lfoo" in shown


def test_config_error_is_its_message_and_hint(errors):
    assert str(errors.ConfigError("wrong", hint="right")) == "wrong\nhint: right"


def test_an_empty_error_says_something(errors):
    assert str(errors.RehookError()) == "unknown failure"


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"file": "a.c", "line": 1, "column": 2, "text": "t"}, "a.c:1:2: error: t"),
        ({"file": "a.c", "line": 1, "column": 0, "text": "t"}, "a.c:1: error: t"),
        ({"file": "a.o", "line": 0, "column": 7, "text": "t"}, "a.o: error: t"),
        ({"text": "undefined reference"}, "error: undefined reference"),
        ({"file": "a.c", "line": "x", "severity": None, "text": None}, "a.c: error: "),
    ],
)
def test_diagnostic_text(errors, values, expected):
    assert str(errors.Diagnostic.of(values)) == expected


def test_diagnostic_equality_and_data(errors):
    one, two = errors.Diagnostic.of(DIAGNOSTICS[1]), errors.Diagnostic.of(DIAGNOSTICS[1])
    assert one == two
    assert len({one, two}) == 1
    assert one.as_dict() == DIAGNOSTICS[1]
    assert one != "something else"
    assert "geo.cpp" in repr(one)


def test_errors_survive_pickling_and_copying(errors):
    made = errors.make("build", "m", "h", "r", "t", DIAGNOSTICS)
    for again in (pickle.loads(pickle.dumps(made)), copy.copy(made)):
        assert type(again) is errors.BuildError
        assert str(again) == str(made)
        assert again.diagnostics == made.diagnostics


def test_caught_as_a_missing_module(errors):
    try:
        raise errors.make("build", "m")
    except ImportError as error:
        assert error.message == "m"  # noqa: PT017
