"""install, uninstall and what they hand to the compiled part."""

import logging
import sys
import threading
import types

import pytest


def test_install_puts_the_finder_first_and_uninstall_restores(rehook, sessions):
    before = list(sys.meta_path)
    where = sys.meta_path
    assert not rehook.is_installed()
    rehook.install()
    assert sys.meta_path[0] is sessions[0].finder
    assert sys.meta_path[1:] == before
    assert rehook.is_installed()
    rehook.uninstall()
    assert sys.meta_path is where
    assert [id(one) for one in sys.meta_path] == [id(one) for one in before]
    assert not rehook.is_installed()
    assert sessions[0].closed


def test_uninstall_twice_and_without_install(rehook, sessions):
    rehook.uninstall()
    rehook.install()
    rehook.uninstall()
    rehook.uninstall()
    assert len(sessions) == 1


def test_uninstall_leaves_finders_of_others_that_equal_everything(rehook):
    class Agreeable:
        def __eq__(self, other):
            return True

        __hash__ = None

        def find_spec(self, *_):
            return None

    agreeable = Agreeable()
    rehook.install()
    sys.meta_path.insert(0, agreeable)
    rehook.uninstall()
    assert sys.meta_path[0] is agreeable


def test_installing_again_with_the_same_arguments_does_nothing(rehook, sessions, tmp_path):
    rehook.install(projects=[tmp_path], lock_timeout=3)
    rehook.install(projects=[str(tmp_path)], lock_timeout=3.0)
    assert len(sessions) == 1
    assert sys.meta_path.count(sessions[0].finder) == 1


def test_installing_again_puts_a_lost_finder_back(rehook, sessions):
    rehook.install()
    sys.meta_path.remove(sessions[0].finder)
    assert not rehook.is_installed()
    rehook.install()
    assert sys.meta_path[0] is sessions[0].finder
    assert len(sessions) == 1


def test_installing_again_with_other_arguments_is_refused(rehook, sessions):
    rehook.install()
    with pytest.raises(rehook.ConfigError, match=r"other arguments: force_rebuild") as caught:
        rehook.install(force_rebuild=True)
    assert "rehook.uninstall()" in caught.value.hint
    rehook.uninstall()
    rehook.install(force_rebuild=True)
    assert len(sessions) == 2


def test_another_copy_of_rehook_is_noticed(rehook, fake_core, sessions):
    foreign = fake_core.ModuleFinder()
    sys.meta_path.append(foreign)
    with pytest.raises(rehook.ConfigError, match="two finders installed"):
        rehook.install()
    assert sessions == []
    sys.meta_path.remove(foreign)
    rehook.install()


def test_a_failing_session_leaves_nothing_behind(rehook, fake_core, monkeypatch):
    before = list(sys.meta_path)

    def fail(self, options):
        raise rehook.StoreError("the store is full")

    monkeypatch.setattr(fake_core.Session, "__init__", fail)
    with pytest.raises(rehook.StoreError):
        rehook.install()
    assert sys.meta_path == before
    assert not rehook.is_installed()


def test_options_of_the_session(rehook, sessions, tmp_path, monkeypatch):
    monkeypatch.setenv("REHOOK_TRACE", "/tmp/trace")
    rehook.install(
        projects=["a"],
        settings={"build-type": "Debug"},
        store_dir=tmp_path / "store",
        force_rebuild=True,
        enable_reloading=False,
        lock_timeout=7,
    )
    options = dict(sessions[0].options)
    assert set(options) == {
        "store_dir",
        "projects",
        "settings",
        "settings_key",
        "enable_reloading",
        "enable_project_importer",
        "force_rebuild",
        "lock_timeout",
        "show_warnings",
        "describe_project",
        "on_progress",
        "log",
        "bridge_dir",
        "trace_file",
        "allowed_list",
        "allowed",
    }
    assert options["store_dir"] == str(tmp_path / "store")
    assert options["projects"] == [str(tmp_path / "work" / "a")]
    assert options["settings"]["build-type"] == "Debug"
    assert "Debug" in options["settings_key"]
    assert options["force_rebuild"] is True
    assert options["enable_reloading"] is False
    assert options["lock_timeout"] == 7.0
    assert options["trace_file"] == "/tmp/trace"
    assert options["on_progress"] is None
    assert options["bridge_dir"]


def test_the_default_timeout_does_not_hide_a_setting_but_a_given_one_does(
    rehook, sessions, monkeypatch
):
    monkeypatch.setenv("REHOOK_LOCK_TIMEOUT", "5")
    rehook.install()
    rehook.uninstall()
    rehook.install(lock_timeout=float("120.0"))
    assert [one.options["lock_timeout"] for one in sessions] == [5.0, 120.0]


def test_describe_project_uses_the_sessions_settings(rehook, sessions, tmp_path):
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "CMakeLists.txt").write_text("project(p)\n")
    rehook.install(settings={"targets": ["only_this"]})
    described = sessions[0].options["describe_project"](str(tmp_path / "p"))
    assert described["targets"] == ["only_this"]


def test_the_same_setting_twice(rehook, tmp_path):
    with pytest.raises(rehook.ConfigError, match="'store-dir' is given twice"):
        rehook.install(store_dir=tmp_path, settings={"store-dir": "/x"})


@pytest.mark.parametrize(
    "arguments",
    [
        {"projects": "one"},
        {"projects": [1]},
        {"store_dir": 3},
        {"store_dir": ""},
        {"settings": "x"},
        {"settings": []},
    ],
)
def test_arguments_of_a_wrong_type(rehook, arguments):
    with pytest.raises(rehook.ConfigError) as caught:
        rehook.install(**arguments)
    assert isinstance(caught.value, TypeError)
    assert not rehook.is_installed()


def test_reload_takes_modules_and_names_each_once(rehook, sessions, fake_core):
    fake_core.Session.answers = {"reload": {"modules": [{"name": "a"}]}}
    rehook.install()
    report = rehook.reload(types.ModuleType("a"), "b.c", "a")
    assert sessions[0].calls == [("reload", ["a", "b.c"])]
    assert isinstance(report, rehook.ReloadReport)
    assert report.names == ["a"]
    rehook.reload()
    assert sessions[0].calls[-1] == ("reload", [])


@pytest.mark.parametrize("wrong", [3, None, b"a", ["a"], object()])
def test_reload_of_what_is_no_module(rehook, wrong):
    rehook.install()
    with pytest.raises(rehook.ConfigError, match="module or its name") as caught:
        rehook.reload("fine", wrong)
    assert isinstance(caught.value, TypeError)


def test_reload_of_an_empty_name(rehook):
    rehook.install()
    with pytest.raises(rehook.ConfigError):
        rehook.reload("")


def test_errors_of_the_session_arrive_as_they_are(rehook, fake_core):
    failure = rehook.BuildError("it failed")
    fake_core.Session.answers = {"reload": failure}
    rehook.install()
    with pytest.raises(rehook.BuildError) as caught:
        rehook.reload("a")
    assert caught.value is failure


def test_the_other_questions(rehook, sessions, fake_core, tmp_path):
    fake_core.Session.answers = {
        "modified": ["a"],
        "status": {"counters": {"built": 1}},
        "explain": {"module": "a", "decision": "up to date"},
        "errors": [{"message": "no", "modules": ["a"]}],
        "retry": {"modules": []},
        "generations": [{"module": "a"}],
        "is_reloading": True,
    }
    rehook.install()
    assert rehook.modified() == ["a"]
    assert rehook.modified("x.cpp") == ["a"]
    assert rehook.status().counters["built"] == 1
    assert rehook.explain(types.ModuleType("a")).decision == "up to date"
    assert [one.modules for one in rehook.errors()] == [["a"]]
    assert str(rehook.retry()) == "nothing changed"
    assert rehook.generations() == [{"module": "a"}]
    assert rehook.currently_reloading()
    assert sessions[0].calls[:2] == [
        ("modified", None),
        ("modified", str(tmp_path / "work" / "x.cpp")),
    ]


def test_questions_without_an_installed_hook(rehook):
    assert not rehook.currently_reloading()
    for ask in (
        rehook.reload,
        rehook.modified,
        rehook.status,
        rehook.errors,
        rehook.retry,
        rehook.generations,
        lambda: rehook.explain("a"),
    ):
        with pytest.raises(rehook.ConfigError, match="not installed") as caught:
            ask()
        assert "rehook.install()" in caught.value.hint


def test_installing_from_several_threads_makes_one_session(rehook, sessions):
    barrier = threading.Barrier(8)

    def work():
        barrier.wait()
        rehook.install()

    threads = [threading.Thread(target=work) for _ in range(8)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert len(sessions) == 1
    assert sys.meta_path.count(sessions[0].finder) == 1


def test_everything_public_exists_and_is_sorted(rehook):
    assert rehook.__all__ == sorted(rehook.__all__)
    assert all(hasattr(rehook, name) for name in rehook.__all__)
    assert rehook.__version__ == "0.0.test"
    with pytest.raises(AttributeError):
        _ = rehook.nonsense


# --- log lines -----------------------------------------------------------------------------------


def test_reminders_go_to_stderr(rehook, sessions, capsys):
    rehook.install()
    log = sessions[0].options["log"]
    log(30, "geo._core is stale: see rehook errors")
    log(20, "rebuild module=geo")
    assert capsys.readouterr().err == "rehook: geo._core is stale: see rehook errors\n"


def test_no_reminders_when_not_wanted(rehook, sessions, capsys, caplog):
    rehook.install(show_warnings=False)
    with caplog.at_level(logging.INFO, "rehook"):
        sessions[0].options["log"](30, "geo._core is stale")
    assert capsys.readouterr().err == ""
    assert caplog.messages == ["geo._core is stale"]


def test_other_lines_go_to_logging(rehook, sessions, caplog):
    rehook.install()
    with caplog.at_level(logging.DEBUG, "rehook"):
        sessions[0].options["log"](10, "100% of %s")
        sessions[0].options["log"](40, "bad")
    assert [(one.levelno, one.message) for one in caplog.records] == [
        (10, "100% of %s"),
        (40, "bad"),
    ]


def test_a_program_that_is_importing_logging(rehook, sessions, monkeypatch):
    rehook.install()
    monkeypatch.setitem(sys.modules, "logging", types.ModuleType("logging"))
    sessions[0].options["log"](40, "nobody hears this")


def test_log_level_from_the_environment(rehook, sessions, monkeypatch, capsys):
    monkeypatch.setenv("REHOOK_LOG", "info")
    rehook.install()
    sessions[0].options["log"](20, "shown")
    sessions[0].options["log"](10, "not shown")
    assert capsys.readouterr().err == "rehook: shown\n"


def test_no_stderr_at_all(rehook, sessions, monkeypatch):
    rehook.install(settings={"progress": True})
    monkeypatch.setattr(sys, "stderr", None)
    sessions[0].options["log"](30, "nowhere to go")
    sessions[0].options["on_progress"]({"phase": "build", "done": 1, "total": 2, "text": "a.cpp"})


def test_progress_is_one_line_and_goes_away(rehook, sessions, monkeypatch):
    class Terminal:
        written = ""

        def isatty(self):
            return True

        def write(self, text):
            self.written += text

        def flush(self):
            pass

    terminal = Terminal()
    rehook.install(settings={"progress": True})
    show = sessions[0].options["on_progress"]
    monkeypatch.setattr(sys, "stderr", terminal)
    show({"phase": "build", "done": 1, "total": 2, "text": "a.cpp", "project": "/p"})
    assert "[1/2] a.cpp" in terminal.written
    show({"phase": "load", "done": 0, "total": 0, "text": "", "project": "/p"})
    assert "\n" not in terminal.written
    assert terminal.written.endswith("\r\x1b[K\r")
