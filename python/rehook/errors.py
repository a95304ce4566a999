"""What can go wrong, as `ImportError`s that say what to do next."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = [
    "BuildError",
    "ConfigError",
    "Diagnostic",
    "RehookError",
    "ReloadError",
    "StoreError",
    "make",
]

# How much of a tool's own output str() shows when nothing in it could be read as a diagnostic.
_TEXT_LINES = 12


class Diagnostic:
    """One message of a compiler, a linker or CMake.

    Attributes: `file` (may be empty), `line` and `column` (from 1; 0 when unknown), `severity`
    ("error", "warning" or "note"), `text` (one line) and `excerpt` (the source line and the caret
    as the tool printed them, may be empty).
    """

    __slots__ = ("column", "excerpt", "file", "line", "severity", "text")

    file: str
    line: int
    column: int
    severity: str
    text: str
    excerpt: str

    def __init__(  # noqa: PLR0913 - one argument per attribute
        self,
        file: str = "",
        line: int = 0,
        column: int = 0,
        severity: str = "error",
        text: str = "",
        excerpt: str = "",
    ) -> None:
        self.file = file
        self.line = line
        self.column = column
        self.severity = severity
        self.text = text
        self.excerpt = excerpt

    @classmethod
    def of(cls, values: Mapping[str, object] | Diagnostic) -> Diagnostic:
        """Read a diagnostic from a mapping of its attributes; what is missing stays empty."""
        if isinstance(values, Diagnostic):
            return values
        return cls(
            str(values.get("file") or ""),
            _number(values.get("line")),
            _number(values.get("column")),
            str(values.get("severity") or "error"),
            str(values.get("text") or ""),
            str(values.get("excerpt") or ""),
        )

    @property
    def place(self) -> str:
        """Where it is: "file:line:column", as much of it as is known."""
        parts = [self.file] if self.file else []
        if self.file and self.line > 0:
            parts.append(str(self.line))
            if self.column > 0:
                parts.append(str(self.column))
        return ":".join(parts)

    def as_dict(self) -> dict[str, object]:
        """Give the attributes as a plain dict, ready for JSON."""
        return {
            "file": self.file,
            "line": self.line,
            "column": self.column,
            "severity": self.severity,
            "text": self.text,
            "excerpt": self.excerpt,
        }

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Diagnostic):
            return NotImplemented
        return self.as_dict() == other.as_dict()

    def __hash__(self) -> int:
        return hash((self.file, self.line, self.column, self.severity, self.text))

    def __repr__(self) -> str:
        return f"<Diagnostic {self}>"

    def __str__(self) -> str:
        text = f"{self.severity}: {self.text}"
        return f"{self.place}: {text}" if self.place else text


class RehookError(ImportError):
    """Base of everything rehook raises: the previous version of the code is still running.

    It is an `ImportError`, so `except ImportError` fallbacks keep working.

    Attributes: `message` (what failed, one sentence), `reason` (why the work was started, for
    example "src/geo.cpp changed"), `hint` (what to do next), `text` (the failing tool's own
    output) and `diagnostics` (a list of `Diagnostic`, errors first). All but `message` may be
    empty.
    """

    # The command to type next, if one helps.
    _see = ""

    def __init__(
        self,
        message: str = "",
        *,
        reason: str = "",
        hint: str = "",
        text: str = "",
        diagnostics: Iterable[Mapping[str, object] | Diagnostic] = (),
    ) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason
        self.hint = hint
        self.text = text
        self.diagnostics = [Diagnostic.of(one) for one in diagnostics]

    def __str__(self) -> str:
        lines = describe_failure(self.message, self.text, self.diagnostics)
        if self.hint:
            lines.append(f"hint: {self.hint}")
        if self._see:
            lines.append(f"see: {self._see}")
        return "\n".join(lines)


class BuildError(RehookError):
    """Configuring, compiling or linking failed; nothing was reloaded."""

    _see = "rehook errors"


class ReloadError(RehookError):
    """The new build could not take over; everything was put back as it was."""

    _see = "rehook errors"


class StoreError(RehookError):
    """The store of built artifacts cannot be used."""

    _see = "rehook doctor"


class ConfigError(RehookError):
    """A setting or an argument makes no sense."""


_KINDS: dict[str, type[RehookError]] = {
    "build": BuildError,
    "reload": ReloadError,
    "store": StoreError,
    "config": ConfigError,
}


def make(  # noqa: PLR0913 - the compiled part fills in every field, by position
    kind: str,
    message: str,
    hint: str = "",
    reason: str = "",
    text: str = "",
    diagnostics: Iterable[Mapping[str, object]] = (),
) -> RehookError:
    """Make the exception for a failure of the compiled part.

    Takes `kind` ("build", "reload", "store", "config"; anything else gives a `RehookError`) and
    the attributes of the error; `diagnostics` are dicts with the attributes of `Diagnostic`.
    Gives the exception, for the caller to raise.
    """
    return _KINDS.get(kind, RehookError)(
        message, reason=reason, hint=hint, text=text, diagnostics=diagnostics
    )


def describe_failure(message: str, text: str, diagnostics: list[Diagnostic]) -> list[str]:
    """Give the lines that tell a failure: the first error and where, then what it means."""
    errors = [one for one in diagnostics if one.severity == "error"]
    first = errors[0] if errors else None
    lines: list[str] = []
    if first is not None:
        lines.append(str(first))
        lines.extend(first.excerpt.rstrip().splitlines())
        more = len(errors) - 1
        if more:
            lines.append(f"and {more} more error{'s' if more > 1 else ''}")
    if message and (first is None or not first.text or first.text not in message):
        lines.append(message)
    if first is None and text.strip():
        tail = text.strip().splitlines()
        if len(tail) > _TEXT_LINES:
            lines.append(f"  ({len(tail) - _TEXT_LINES} more lines)")
        lines.extend("  " + line for line in tail[-_TEXT_LINES:])
    return lines or ["unknown failure"]


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0
