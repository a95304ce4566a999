"""Settings: `[tool.rehook]` in pyproject.toml < `REHOOK_*` environment < arguments.

`resolve` reads all three, and is on the path of every `rehook.install()`: it imports nothing
unless there is something to read.

| key | value | meaning |
|---|---|---|
| instances | "adopt", "migrate", "keep" | what happens to living instances of a reloaded class |
| projects | list of folders | projects to serve, besides those installed or allowed by the user |
| exclude | list of patterns | modules (fnmatch on the full name) that are never reloaded |
| build-dir | folder | where to build, relative to the project; default: a folder of rehook's own |
| build-type | text | CMAKE_BUILD_TYPE; default: the project's, or Release |
| cmake-args | list of text | further arguments of cmake, after the project's own |
| targets | list of text | CMake targets to look for modules in; default: all |
| store-dir | folder | the store; default: rehook in the user's cache folder |
| store-size | bytes, or "2 GiB" | what the garbage collector keeps, 5 GiB by default |
| store-age | days, or "2 weeks" | what was not used for longer is collected; default: 30 days |
| lock-timeout | seconds | how long to wait for another process that builds the same |
| progress | true, false | show builds on standard error |

Each is also an environment variable: REHOOK_BUILD_TYPE; lists of folders are separated like PATH,
other lists are split as a shell would. An empty variable counts as unset. Two variables are not
settings: REHOOK_TRACE (a file: one line of JSON per step) and REHOOK_LOG (debug, info, warning or
error: log lines of that level go to standard error).

build-dir, build-type, cmake-args and targets in a pyproject.toml hold for that project alone;
from the environment or an argument they hold for every project.
"""

from __future__ import annotations

import os

from rehook import _platform, _values
from rehook.errors import ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["KEYS", "PROJECT_KEYS", "Settings", "did_you_mean", "read_toml", "resolve"]

_PREFIX = "REHOOK_"
# Set for the programs that a build starts (they get no hook), and for rehook's own tests.
_IGNORED = ("REHOOK_BUILDING", "REHOOK_PYBIND11_DIRS")
_LOG_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}
# What scikit-build-core and CMake read from the environment when a project is configured.
_BUILD_VARIABLES = ("CMAKE_ARGS", "CMAKE_BUILD_TYPE", "CMAKE_GENERATOR")

# Key -> (kind of value, default). The order is the one people see.
KEYS: dict[str, tuple[str, object]] = {
    "instances": ("choice", "adopt"),
    "projects": ("folders", ()),
    "exclude": ("texts", ()),
    "build-dir": ("text", ""),
    "build-type": ("text", ""),
    "cmake-args": ("texts", ()),
    "targets": ("texts", ()),
    "store-dir": ("folder", ""),
    "store-size": ("size", 5 * 1024**3),
    "store-age": ("days", 30 * 86400.0),
    "lock-timeout": ("seconds", 120.0),
    "progress": ("flag", False),
}
# What a project says about itself, and only about itself.
PROJECT_KEYS = ("build-dir", "build-type", "cmake-args", "targets")

DEFAULT = "default"
ARGUMENT = "argument"


class Settings:
    """The resolved settings.

    Attributes: `values` (key -> value, every key present), `origins` (key -> "default", the path
    of a pyproject.toml, the name of an environment variable, or "argument"), `trace_file` and
    `log_level` (0: nothing to standard error), `environment` (what else in the environment
    changes a build, as text).
    """

    __slots__ = ("environment", "log_level", "origins", "trace_file", "values")

    def __init__(self) -> None:
        self.values: dict[str, object] = {key: default for key, (_, default) in KEYS.items()}
        self.values["store-dir"] = _platform.user_cache_dir("rehook")
        self.origins: dict[str, str] = dict.fromkeys(KEYS, DEFAULT)
        self.trace_file = ""
        self.log_level = 0
        self.environment = ""

    def text(self, key: str) -> str:
        """Give the value of a key that holds a text."""
        value = self.values[key]
        return value if isinstance(value, str) else ""

    def texts(self, key: str) -> list[str]:
        """Give the value of a key that holds a list of texts."""
        value = self.values[key]
        return list(value) if isinstance(value, tuple) else []

    def number(self, key: str) -> float:
        """Give the value of a key that holds a number."""
        value = self.values[key]
        return float(value) if isinstance(value, (int, float)) else 0.0

    def flag(self, key: str) -> bool:
        """Give the value of a key that is on or off."""
        return bool(self.values[key])

    def overrides(self, key: str) -> bool:
        """Tell whether `key` comes from the environment or an argument."""
        origin = self.origins[key]
        return origin == ARGUMENT or origin.startswith(_PREFIX)

    def for_session(self) -> dict[str, object]:
        """Give the plain values that hold for every project.

        A `PROJECT_KEYS` value from a pyproject.toml is left out (its default stands instead).
        """
        result: dict[str, object] = {}
        for key, (_, default) in KEYS.items():
            value = self.values[key]
            if key in PROJECT_KEYS and not self.overrides(key):
                value = default
            result[key] = list(value) if isinstance(value, tuple) else value
        return result

    def build_key(self) -> str:
        """Give a canonical text of all that changes a build and is no file of the project."""
        lines = [
            f"{key}={self.values[key]!r}"
            for key in PROJECT_KEYS
            if key != "build-dir" and self.overrides(key)
        ]
        if self.environment:
            lines.append(self.environment)
        return "\n".join(lines)

    def with_project(self, file: str, table: Mapping[str, object]) -> Settings:
        """Give settings for the project whose pyproject.toml `file` holds `table`.

        Raises `ConfigError` for an unknown key or a wrong value.
        """
        result = Settings()
        result.trace_file = self.trace_file
        result.log_level = self.log_level
        result.environment = self.environment
        result.apply(table, file, os.path.dirname(file))
        for key in KEYS:
            if self.overrides(key):
                result.values[key] = self.values[key]
                result.origins[key] = self.origins[key]
        return result

    def apply(self, table: Mapping[str, object], origin: str, folder: str) -> None:
        """Take over the values of one layer; `folder` is what relative paths start from."""
        for key, value in table.items():
            where = _where(origin, str(key))
            if key not in KEYS:
                message = f"{where}: unknown key {key!r}"
                raise ConfigError(message, hint=did_you_mean(str(key), KEYS))
            self.values[key] = _values.checked(KEYS[key][0], value, where, folder)
            self.origins[key] = origin

    def __repr__(self) -> str:
        given = {key: self.values[key] for key in KEYS if self.origins[key] != DEFAULT}
        return f"<Settings {given}>"


def resolve(
    arguments: Mapping[str, object] | None = None,
    *,
    directory: str | None = None,
    environ: Mapping[str, str] | None = None,
) -> Settings:
    """Resolve the settings from the three places they are given in.

    Takes the arguments (keys as in pyproject.toml), the folder to look for a pyproject.toml in
    and upwards (the working directory) and the environment (the process's).
    Gives `Settings`. Raises `ConfigError` for an unknown key, with what was probably meant, a
    wrong value, or a pyproject.toml that cannot be read; every message names the place.
    """
    settings = Settings()
    if directory is None:
        directory = _working_directory()
    if directory:
        file, data = _find_pyproject(directory)
        if b"[tool.rehook" in data:
            settings.apply(tool_table(file, read_toml(file, data)), file, os.path.dirname(file))
    _apply_environment(settings, os.environ if environ is None else environ, directory)
    if arguments is not None:
        if not hasattr(arguments, "items"):
            message = f"settings= takes a mapping, not {type(arguments).__name__}"
            raise ConfigError(message)
        settings.apply(arguments, ARGUMENT, directory)
    return settings


def read_toml(file: str, data: bytes) -> dict[str, object]:
    """Parse a TOML file's bytes. Raises `ConfigError` with file:line for what is no TOML."""
    import tomllib  # noqa: PLC0415 - only when there is a table to read

    try:
        return tomllib.loads(data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        message = f"{file}:{line}: not UTF-8 text"
        raise ConfigError(message, hint="save the file as UTF-8") from error
    except tomllib.TOMLDecodeError as error:
        text, line = _toml_problem(str(error), data)
        message = f"{file}:{line}: not valid TOML: {text}"
        raise ConfigError(message, hint="correct this line") from error


def tool_table(file: str, document: Mapping[str, object]) -> Mapping[str, object]:
    """Give `[tool.rehook]` of a parsed pyproject.toml, empty if there is none."""
    tool = document.get("tool")
    table = tool.get("rehook", {}) if isinstance(tool, dict) else {}
    if not isinstance(table, dict):
        message = f"{file}: tool.rehook must be a table, [tool.rehook]"
        raise ConfigError(message)
    return table


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Give "did you mean 'x'?", or the list of what is known when nothing is close."""
    import difflib  # noqa: PLC0415 - only for an error message

    names = list(known)
    plain = {name.lower().replace("_", "-"): name for name in names}
    close = difflib.get_close_matches(word.lower().replace("_", "-"), list(plain), n=1, cutoff=0.5)
    return f"did you mean {plain[close[0]]!r}?" if close else "known: " + ", ".join(names)


def _working_directory() -> str:
    try:
        return os.getcwd()
    except OSError:  # it was deleted
        return ""


def _find_pyproject(directory: str) -> tuple[str, bytes]:
    """Give path and bytes of the nearest pyproject.toml, or empty ones.

    A folder that anyone may write to ends the search, unless it is the first: what a stranger
    puts into /tmp must not decide what runs in /tmp/work.
    """
    folder = os.path.abspath(directory)
    first = True
    while True:
        if not first and _platform.anyone_may_write(folder):
            return "", b""
        file = os.path.join(folder, "pyproject.toml")
        try:
            with open(file, "rb") as stream:
                return file, stream.read()
        except (FileNotFoundError, NotADirectoryError):
            pass
        except OSError as error:
            message = f"{file}: cannot be read: {error.strerror}"
            raise ConfigError(message) from error
        parent = os.path.dirname(folder)
        if parent == folder:
            return "", b""
        folder, first = parent, False


def _apply_environment(settings: Settings, environ: Mapping[str, str], folder: str) -> None:
    others = []
    for name in environ:
        if name.startswith(_PREFIX):
            _apply_variable(settings, name, environ[name], folder)
        elif name in _BUILD_VARIABLES or (
            name.startswith("SKBUILD_") and not name.startswith("SKBUILD_EDITABLE_")
        ):
            others.append(f"{name}={environ[name]!r}")
    settings.environment = "\n".join(sorted(others))


def _apply_variable(settings: Settings, name: str, value: str, folder: str) -> None:
    if not value.strip() or name in _IGNORED:
        return
    if name == "REHOOK_TRACE":
        settings.trace_file = os.path.join(folder, os.path.expanduser(value))
        return
    if name == "REHOOK_LOG":
        settings.log_level = _log_level(value)
        return
    key = name.removeprefix(_PREFIX).lower().replace("_", "-")
    if key not in KEYS or name != variable(key):
        known = [variable(key) for key in KEYS]
        message = f"{name}: unknown environment variable"
        hint = did_you_mean(name, [*known, "REHOOK_TRACE", "REHOOK_LOG"])
        raise ConfigError(message, hint=hint)
    settings.apply({key: _values.from_text(KEYS[key][0], value, name)}, name, folder)


def variable(key: str) -> str:
    """Give the environment variable of a key."""
    return _PREFIX + key.upper().replace("-", "_")


def _log_level(value: str) -> int:
    level = _LOG_LEVELS.get(value.strip().lower())
    if level is None:
        message = f"REHOOK_LOG: {value!r} is no level"
        raise ConfigError(message, hint="use one of: " + ", ".join(_LOG_LEVELS))
    return level


def _where(origin: str, key: str) -> str:
    """Name the place of a key for an error message."""
    if origin == ARGUMENT:
        return f"argument {key!r}"
    if origin.startswith(_PREFIX):
        return origin
    return f"{origin}:{_line_of(origin, key)}: [tool.rehook] {key}"


def _line_of(file: str, key: str) -> int:
    """Give the line of a key in `[tool.rehook]`, or the line of the table, or 1."""
    try:
        with open(file, encoding="utf-8-sig", errors="replace") as stream:
            lines = stream.read().splitlines()
    except OSError:
        return 1
    table = 0
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if text.startswith("["):
            inside = text.startswith("[tool.rehook")
            table = number if inside else (-table if table > 0 else table)
            if inside and text.startswith(f"[tool.rehook.{key}"):
                return number
        elif table > 0 and text.split("=")[0].strip().strip("\"'") == key:
            return number
    return abs(table) or 1


def _toml_problem(text: str, data: bytes) -> tuple[str, int]:
    """Split tomllib's "Expected '=' (at line 3, column 5)" into what and the line."""
    what, _, place = text.partition(" (at ")
    words = place.replace(",", " ").replace(")", " ").split()
    if len(words) > 1 and words[0] == "line" and words[1].isdigit():
        return what, int(words[1])
    return what, len(data.rstrip().splitlines()) or 1
