"""The kinds of values a setting can have: read from text, checked, brought into one form."""

from __future__ import annotations

import os

from rehook.errors import ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["checked", "from_text"]

_INSTANCES = ("adopt", "migrate", "keep")
_UNITS = {
    "": 1,
    "b": 1,
    "k": 1024,
    "kb": 1000,
    "kib": 1024,
    "m": 1024**2,
    "mb": 1000**2,
    "mib": 1024**2,
    "g": 1024**3,
    "gb": 1000**3,
    "gib": 1024**3,
    "t": 1024**4,
    "tb": 1000**4,
    "tib": 1024**4,
}
_DAYS = {"": 1.0, "hour": 1 / 24, "day": 1.0, "week": 7.0, "month": 30.0, "year": 365.0}


def from_text(kind: str, value: str, where: str) -> object:
    """Turn the text of an environment variable into what TOML would have given."""
    if kind == "texts":
        import shlex  # noqa: PLC0415 - only for a list in the environment

        try:
            return shlex.split(value)
        except ValueError as error:
            message = f"{where}: cannot be split as a shell would: {str(error).lower()}"
            raise ConfigError(message) from error
    if kind == "folders":
        return [one for one in value.split(os.pathsep) if one]
    if kind == "flag":
        word = value.strip().lower()
        if word in {"1", "true", "yes", "on"}:
            return True
        if word in {"0", "false", "no", "off"}:
            return False
    if kind == "seconds":
        try:
            return float(value)
        except ValueError:
            return value
    return value


def checked(kind: str, value: object, where: str, folder: str) -> object:
    result = _CHECKS[kind](value, folder)
    if result is None:
        message = f"{where}: {_WANTED[kind]}, not {value!r}"
        raise ConfigError(message)
    return result


def _check_choice(value: object, _folder: str) -> object:
    return value if value in _INSTANCES else None


def _check_text(value: object, _folder: str) -> object:
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    return value if isinstance(value, str) and value.strip() and "\0" not in value else None


def _check_texts(value: object, _folder: str) -> object:
    if not isinstance(value, (list, tuple)):
        return None
    good = all(isinstance(one, str) and one and "\0" not in one for one in value)
    return tuple(value) if good else None


def _check_folder(value: object, folder: str) -> object:
    text = _check_text(value, folder)
    if not isinstance(text, str):
        return None
    try:
        return os.path.abspath(os.path.join(folder, os.path.expanduser(text)))
    except OSError:  # relative to a working directory that was deleted
        return None


def _check_folders(value: object, folder: str) -> object:
    if not isinstance(value, (list, tuple)):
        return None
    folders = [_check_folder(one, folder) for one in value]
    return None if None in folders else tuple(folders)


def _check_size(value: object, _folder: str) -> object:
    if isinstance(value, int) and not isinstance(value, bool):
        return value if value > 0 else None
    if not isinstance(value, str):
        return None
    text = value.strip().lower()
    digits = text.rstrip("abcdefghijklmnopqrstuvwxyz ")
    unit = _UNITS.get(text[len(digits) :].strip())
    try:
        amount = float(digits) if unit else 0.0
    except ValueError:
        return None
    return int(amount * unit) if unit and 0.0 < amount < float("inf") else None


def _check_days(value: object, _folder: str) -> object:
    """Give seconds for a number of days, or for a text like "2 weeks"."""
    if isinstance(value, str):
        number, _, unit = value.strip().lower().partition(" ")
        days = _DAYS.get(unit.strip().removesuffix("s"))
        try:
            value = float(number) * days if days else None
        except ValueError:
            return None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return value * 86400.0 if 0.0 <= value <= 10_000 else None  # noqa: PLR2004 - 27 years


def _check_seconds(value: object, _folder: str) -> object:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if 0.0 <= value <= 1e9 else None  # noqa: PLR2004 - thirty years is enough


def _check_flag(value: object, _folder: str) -> object:
    return value if isinstance(value, bool) else None


_CHECKS: dict[str, Callable[[object, str], object]] = {
    "choice": _check_choice,
    "text": _check_text,
    "texts": _check_texts,
    "folder": _check_folder,
    "folders": _check_folders,
    "size": _check_size,
    "days": _check_days,
    "seconds": _check_seconds,
    "flag": _check_flag,
}
_WANTED = {
    "choice": "must be one of " + ", ".join(repr(one) for one in _INSTANCES),
    "text": "must be a text that is not empty",
    "texts": "must be a list of texts",
    "folder": "must be the path of a folder",
    "folders": "must be a list of paths of folders",
    "size": "must be a number of bytes above 0, or a text like '2 GiB'",
    "days": "must be a number of days, or a text like '2 weeks'",
    "seconds": "must be a number of seconds, 0 or more",
    "flag": "must be true or false",
}
