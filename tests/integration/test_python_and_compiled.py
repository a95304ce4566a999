"""Compiled modules and Python modules of one batch: one transaction."""

import pytest

pytestmark = pytest.mark.compile


@pytest.mark.parametrize("broken", [False, True])
def test_a_compiled_module_and_python_ones_are_one_batch(built, broken):
    project = built("hello_capi_multi")
    project.write("hello_capi_multi/helper.py", "from ._core import greet\nX = 1\n")
    project.write("hello_capi_multi/user.py", "from .helper import X\ndef f(): return X\n")
    told = project.run(
        """
        import rehook
        rehook.install(projects=[ROOT])
        import hello_capi_multi as pkg
        import hello_capi_multi.helper as helper, hello_capi_multi.user as user
        f, state = user.f, []
        user.state = state
        edit("core.c", "many phases", "a better place")
        edit("hello_capi_multi/helper.py", "X = 1", "X = 2")
        text = "from .helper import X\\ndef f(): return X + 10\\n"
        last = "raise LookupError" if sys.argv[1] == "True" else "Y = 1"
        write("hello_capi_multi/user.py", text + last)
        failed = None
        try:
            rehook.reload()
        except rehook.ReloadError as error:
            failed = type(error.__cause__).__name__
        facts = [failed, pkg.greet(), helper.X, user.X, f(), user.state is state]
        if failed:
            write("hello_capi_multi/user.py", "from .helper import X\\ndef f(): return X + 100\\n")
            rehook.reload()
        facts += [pkg.greet(), helper.X, user.X, f(), helper.greet(), rehook.errors()]
        print(json.dumps(facts))
        """,
        str(broken),
        env={"PYTHONMALLOC": "debug"},
    ).json
    old, new = "hello from many phases", "hello from a better place"
    if broken:
        assert told == ["LookupError", old, 1, 1, 1, True, new, 2, 2, 102, new, []]
    else:
        assert told == [None, new, 2, 2, 12, True, new, 2, 2, 12, new, []]


def test_a_compiled_module_that_fails_takes_the_python_ones_back(built):
    project = built("hello_capi_multi")
    project.write("hello_capi_multi/helper.py", "X = 1\ndef f(): return 1\n")
    told = project.run(
        """
        import rehook
        rehook.install(projects=[ROOT])
        import hello_capi_multi as pkg
        import hello_capi_multi.helper as helper
        f = helper.f
        edit("core.c", "many phases", "a better place")
        text = Path(ROOT, "core.c").read_text()
        write("core.c", text.replace("many", "many") + "\\n#error not today\\n")
        write("hello_capi_multi/helper.py", "X = 2\\ndef f(): return 2\\n")
        failed = None
        try:
            rehook.reload("hello_capi_multi._core", "hello_capi_multi.helper")
        except rehook.BuildError as error:
            failed = "not today" in str(error)
        facts = [failed, pkg.greet(), helper.X, f()]
        edit("core.c", "\\n#error not today\\n", "\\n")
        rehook.reload()
        print(json.dumps([*facts, pkg.greet(), helper.X, f()]))
        """
    ).json
    old, new = "hello from many phases", "hello from a better place"
    assert told == [True, old, 1, 1, new, 2, 2]
