"""Sixty generations of `make soak`: counted, not measured."""

import pytest

from soak.soak import run
from support.subject import BINDINGS, make_subject

pytestmark = pytest.mark.compile


@pytest.mark.parametrize("binding", ["pybind11-installed", "capi-multi-heap"])
def test_sixty_generations(tmp_path, binding):
    project = make_subject(BINDINGS[binding], tmp_path, tmp_path)
    told, wrong = run(project, binding, 60)
    assert wrong == []
    assert (told["generations"], told["built"]) == (60, 4)
