"""Version comparison without `packaging` agrees with it."""

import sys

import pytest

pytestmark = pytest.mark.usefixtures("rehook")

VERSIONS = ["3.9", "3.10", "3.11", "3.11.2", "3.12.0", "4", "0.11.6", "1.0.0", "2024.1.5"]
SPECIFIERS = [
    ">=3.9",
    ">3.10,<4",
    "==3.11",
    "==3.11.*",
    "!=3.11.*",
    "!=3.11.2",
    "~=3.9",
    "~=3.11.0",
    "<=3.11",
    "<1",
    "",
    " >= 3.9 , < 3.12 ",
]


@pytest.mark.parametrize("specifier", SPECIFIERS)
def test_same_answers_without_packaging(specifier, monkeypatch):
    from rehook._versions import satisfies

    pytest.importorskip("packaging")
    expected = [satisfies(one, specifier) for one in VERSIONS]
    monkeypatch.setitem(sys.modules, "packaging.specifiers", None)
    assert [satisfies(one, specifier) for one in VERSIONS] == expected


@pytest.mark.parametrize("packaging", [True, False])
def test_nonsense_is_refused(packaging, monkeypatch):
    from rehook._versions import satisfies

    if packaging:
        pytest.importorskip("packaging")
    else:
        monkeypatch.setitem(sys.modules, "packaging.specifiers", None)
    with pytest.raises(ValueError, match="newest"):
        satisfies("1.0", "the newest")


def test_release():
    from rehook._versions import capped_release, release

    assert release("v1.2.3rc1+local") == (1, 2, 3)
    assert release("1!2.0") == (2, 0)
    assert release("no number") == ()
    assert capped_release("2024.01.05.6.7") == "2024.1.5.6"


def test_missing_requirements_without_packaging(monkeypatch):
    from rehook._versions import missing

    monkeypatch.setitem(sys.modules, "packaging.specifiers", None)
    monkeypatch.setitem(sys.modules, "packaging.markers", None)
    requirements = [
        "pytest",
        "pytest>=999",
        "pytest (>=1)",
        "oldest-supported-numpy-like",
        "maybe; python_version < '3'",
        "here @ https://example.org/here.zip",
    ]
    assert missing(requirements) == [
        "pytest>=999",
        "oldest-supported-numpy-like",
        "here @ https://example.org/here.zip",
    ]
