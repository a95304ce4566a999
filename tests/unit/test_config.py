"""Where settings come from, who wins, and what a mistake in them says."""

import os
import sys

import pytest

pytestmark = pytest.mark.usefixtures("rehook")


@pytest.fixture
def config():
    import rehook.config

    return sys.modules[rehook.config.__name__]


def resolve(config, arguments=None, **environ):
    return config.resolve(arguments, environ=environ)


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def failure(config, *arguments, **environ):
    from rehook.errors import ConfigError

    with pytest.raises(ConfigError) as caught:
        resolve(config, *arguments, **environ)
    return str(caught.value)


def test_defaults(config, tmp_path):
    settings = resolve(config)
    assert settings.values["instances"] == "adopt"
    assert settings.values["lock-timeout"] == 120.0
    assert settings.text("store-dir") == str(tmp_path / "cache" / "rehook")
    assert set(settings.origins.values()) == {"default"}
    assert settings.build_key() == ""


def test_default_store_without_a_usable_cache_variable(config, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "relative/is/ignored")
    monkeypatch.setenv("HOME", "/home/someone")
    monkeypatch.setattr(sys, "platform", "linux")
    assert resolve(config).text("store-dir") == "/home/someone/.cache/rehook"


def test_precedence_file_environment_argument(config, tmp_path):
    file = write(
        tmp_path / "work" / "pyproject.toml",
        '[tool.rehook]\nbuild-type = "A"\ncmake-args = ["-DA=1"]\nlock-timeout = 1\n',
    )
    settings = resolve(
        config, {"build-type": "C"}, REHOOK_BUILD_TYPE="B", REHOOK_CMAKE_ARGS="-DX='a b' -DY=2"
    )
    assert settings.text("build-type") == "C"
    assert settings.texts("cmake-args") == ["-DX=a b", "-DY=2"]
    assert settings.number("lock-timeout") == 1.0
    assert settings.origins["build-type"] == "argument"
    assert settings.origins["cmake-args"] == "REHOOK_CMAKE_ARGS"
    assert settings.origins["lock-timeout"] == str(file)
    assert settings.origins["targets"] == "default"


def test_nearest_pyproject_upwards_and_paths_relative_to_it(config, tmp_path, monkeypatch):
    write(tmp_path / "work" / "pyproject.toml", '[tool.rehook]\nprojects = ["a", "/b"]\n')
    inner = tmp_path / "work" / "src" / "deep"
    inner.mkdir(parents=True)
    monkeypatch.chdir(inner)
    settings = resolve(config)
    assert settings.texts("projects") == [str(tmp_path / "work" / "a"), "/b"]
    write(tmp_path / "work" / "src" / "pyproject.toml", "[project]\nname='x'\n")
    assert resolve(config).texts("projects") == []


def test_a_file_without_a_table_is_not_even_parsed(config, tmp_path):
    write(tmp_path / "work" / "pyproject.toml", "this is [not TOML\n")
    assert resolve(config).origins["projects"] == "default"


@pytest.mark.skipif(os.name != "posix", reason="permissions of posix")
def test_a_file_a_stranger_could_have_put_above_is_ignored(config, tmp_path, monkeypatch):
    shared = tmp_path / "shared"
    write(shared / "pyproject.toml", '[tool.rehook]\ninstances = "keep"\n')
    inner = shared / "mine"
    inner.mkdir()
    monkeypatch.chdir(inner)
    shared.chmod(0o777)
    assert resolve(config).text("instances") == "adopt"
    shared.chmod(0o755)
    assert resolve(config).text("instances") == "keep"


def test_working_directory_is_gone(config, tmp_path, monkeypatch):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert resolve(config).text("instances") == "adopt"
    assert "folder" in failure(config, {"store-dir": "relative"})
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("name", "value", "key", "expected"),
    [
        ("REHOOK_PROJECTS", os.pathsep.join(["/a", "/b"]), "projects", ("/a", "/b")),
        ("REHOOK_EXCLUDE", "a.* b", "exclude", ("a.*", "b")),
        ("REHOOK_STORE_SIZE", "2 GiB", "store-size", 2 * 1024**3),
        ("REHOOK_STORE_SIZE", "1.5MB", "store-size", 1_500_000),
        ("REHOOK_STORE_SIZE", "500", "store-size", 500),
        ("REHOOK_LOCK_TIMEOUT", "2.5", "lock-timeout", 2.5),
        ("REHOOK_PROGRESS", "Yes", "progress", True),
        ("REHOOK_PROGRESS", "0", "progress", False),
        ("REHOOK_STORE_DIR", "/s", "store-dir", "/s"),
        ("REHOOK_BUILD_DIR", "out", "build-dir", "out"),
        ("REHOOK_INSTANCES", "migrate", "instances", "migrate"),
        ("REHOOK_TARGETS", "_core", "targets", ("_core",)),
    ],
)
def test_every_key_from_the_environment(config, name, value, key, expected):
    settings = resolve(config, **{name: value})
    assert settings.values[key] == expected
    assert settings.origins[key] == name


def test_every_key_has_a_variable(config):
    assert all(config.variable(key).startswith("REHOOK_") for key in config.KEYS)


def test_empty_variable_is_unset(config):
    assert resolve(config, REHOOK_BUILD_TYPE=" ").origins["build-type"] == "default"


def test_variables_of_rehooks_own_are_let_through(config):
    settings = resolve(config, REHOOK_BUILDING="1", REHOOK_PYBIND11_DIRS="3.1.0=/p")
    assert set(settings.origins.values()) == {"default"}


def test_variables_that_are_no_settings(config, tmp_path):
    settings = resolve(config, REHOOK_TRACE="t.jsonl", REHOOK_LOG="Info")
    assert settings.trace_file == str(tmp_path / "work" / "t.jsonl")
    assert settings.log_level == 20
    assert "REHOOK_LOG" in failure(config, REHOOK_LOG="loud")


def test_unknown_key_in_the_file_names_file_line_and_what_was_meant(config, tmp_path):
    file = write(
        tmp_path / "work" / "pyproject.toml",
        '[project]\nbuild_type = 1\n[tool.rehook]\n# a comment\nbuild_type = "Debug"\n',
    )
    text = failure(config)
    assert f"{file}:5: " in text
    assert "did you mean 'build-type'?" in text


def test_unknown_table_in_the_file(config, tmp_path):
    file = write(tmp_path / "work" / "pyproject.toml", "\n[tool.rehook.target]\na = 1\n")
    assert f"{file}:2: " in failure(config)
    assert "did you mean 'targets'?" in failure(config)


def test_unknown_key_in_an_argument(config):
    text = failure(config, {"cmake_arg": []})
    assert "argument 'cmake_arg'" in text
    assert "did you mean 'cmake-args'?" in text


def test_unknown_key_like_nothing_lists_what_there_is(config):
    assert "known: instances, projects" in failure(config, {"zzz": 1})


def test_unknown_variable(config):
    text = failure(config, REHOOK_BUILDTYPE="Debug")
    assert "REHOOK_BUILDTYPE: unknown" in text
    assert "did you mean 'REHOOK_BUILD_TYPE'?" in text


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("instances", "adapt"),
        ("projects", "one"),
        ("projects", [1]),
        ("cmake-args", "-DA=1"),
        ("cmake-args", ["ok", 3]),
        ("cmake-args", ["nul\0"]),
        ("build-type", ""),
        ("build-type", 3),
        ("store-size", 0),
        ("store-size", True),
        ("store-size", "many"),
        ("store-size", "5 parsecs"),
        ("store-size", "-1 GB"),
        ("store-size", "inf GB"),
        ("lock-timeout", -1),
        ("lock-timeout", float("nan")),
        ("lock-timeout", float("inf")),
        ("lock-timeout", True),
        ("lock-timeout", "10"),
        ("progress", "yes"),
        ("store-dir", None),
    ],
)
def test_wrong_values(config, key, value):
    text = failure(config, {key: value})
    assert f"argument {key!r}: must be" in text


def test_wrong_values_in_variables(config):
    assert "REHOOK_PROGRESS: must be true or false" in failure(config, REHOOK_PROGRESS="maybe")
    assert "REHOOK_LOCK_TIMEOUT: must be" in failure(config, REHOOK_LOCK_TIMEOUT="soon")
    assert "REHOOK_CMAKE_ARGS: cannot be split" in failure(config, REHOOK_CMAKE_ARGS="'open")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (b"[tool.rehook]\nbuild-type = \n", 2),
        (b'[tool.rehook]\n\nbuild-type = "Debug\n', 3),
        (b"[tool.rehook]\na = '\xff'\n", 2),
        (b"[tool.rehook]\na = [1,\n", 2),
    ],
)
def test_invalid_files_name_the_line(config, tmp_path, text, line):
    file = tmp_path / "work" / "pyproject.toml"
    file.write_bytes(text)
    assert f"{file}:{line}: not " in failure(config)


def test_table_of_the_wrong_type(config, tmp_path):
    write(tmp_path / "work" / "pyproject.toml", "[[tool.rehook]]\na = 1\n")
    assert "must be a table" in failure(config)


def test_a_byte_order_mark_is_fine(config, tmp_path):
    file = tmp_path / "work" / "pyproject.toml"
    file.write_bytes(b'\xef\xbb\xbf[tool.rehook]\nbuild-type = "Debug"\n')
    assert resolve(config).text("build-type") == "Debug"


def test_settings_must_be_a_mapping(config):
    assert "mapping" in failure(config, ["build-type"])


def test_a_projects_own_build_settings_hold_for_it_alone(config, tmp_path):
    write(
        tmp_path / "work" / "pyproject.toml",
        '[tool.rehook]\nbuild-type = "Debug"\ntargets = ["a"]\n'
        'instances = "keep"\nexclude = ["x"]\n',
    )
    session = resolve(config, REHOOK_TARGETS="b").for_session()
    assert session["build-type"] == ""
    assert session["targets"] == ["b"]
    assert session["instances"] == "keep"
    assert session["exclude"] == ["x"]
    assert set(session) == set(config.KEYS)


def test_build_key_is_canonical_and_leaves_files_out(config, tmp_path):
    one = resolve(config, {"cmake-args": ["-DA=1"], "build-type": "Debug"})
    two = resolve(config, {"build-type": "Debug", "cmake-args": ("-DA=1",)})
    assert one.build_key() == two.build_key() != ""
    write(tmp_path / "work" / "pyproject.toml", '[tool.rehook]\nbuild-type = "Debug"\n')
    assert resolve(config).build_key() == ""


def test_build_key_covers_what_a_configure_reads_from_the_environment(config):
    keys = {
        resolve(config).build_key(),
        resolve(config, CMAKE_ARGS="-DA=1").build_key(),
        resolve(config, SKBUILD_CMAKE_DEFINE="A=1").build_key(),
        resolve(config, CMAKE_GENERATOR="Ninja").build_key(),
    }
    assert len(keys) == 4
    assert resolve(config, SKBUILD_EDITABLE_SKIP="/b", PATH="/p").build_key() == ""


def test_project_layer_goes_below_environment_and_arguments(config):
    session = resolve(config, {"targets": ["t"]}, REHOOK_BUILD_TYPE="B")
    table = {"build-type": "A", "targets": ["u"], "cmake-args": ["-DA=1"], "build-dir": "out"}
    project = session.with_project("/p/pyproject.toml", table)
    assert project.text("build-type") == "B"
    assert project.texts("targets") == ["t"]
    assert project.texts("cmake-args") == ["-DA=1"]
    assert project.text("build-dir") == "out"
