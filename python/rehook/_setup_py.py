"""What a setup.py that runs CMake tells, read without running it.

Such files are programs; only what is certain is taken: `-D` arguments that are put into a list of
cmake arguments unconditionally, and whose text follows from constants, the running Python and the
project's version.
"""

from __future__ import annotations

import ast
import os
import re
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rehook._cmake_hints import package_folder

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["SetupPy", "read_setup_py"]

# A name that holds arguments of cmake: cmake_args, cmake_config_args, self.cmake_args, ...
_LIST_NAME = re.compile(
    r"cmake_?.*(args|arguments|options|flags|defs|defines|command|cmd)$", re.IGNORECASE
)
# Decided by rehook: the interpreter, the build type, and where files go.
_OURS = re.compile(
    r"-D\s*(PYTHON_EXECUTABLE|Python3?_EXECUTABLE|CMAKE_BUILD_TYPE|CMAKE_MAKE_PROGRAM|"
    r"CMAKE_(LIBRARY|RUNTIME|ARCHIVE)_OUTPUT_DIRECTORY(_\w+)?|CMAKE_INSTALL_PREFIX|"
    r"CMAKE_INTERPROCEDURAL_OPTIMIZATION)\s*[:=]"
)
_DEFINE = re.compile(r"-D\s*[A-Za-z_][\w.+/-]*(:\w+)?=")


@dataclass
class SetupPy:
    """What is certain about a setup.py."""

    name: str = ""
    version: str = ""
    # Full names of the extension modules it builds.
    extensions: list[str] = field(default_factory=list)
    # Every constant text in it, in order: one may be the folder with the CMakeLists.txt.
    texts: list[str] = field(default_factory=list)
    arguments: list[str] = field(default_factory=list)
    source_dir: str = ""
    uses_cmake: bool = False
    reads_cmake_args: bool = False
    classic_scikit_build: bool = False


def read_setup_py(file: str, version: str = "") -> SetupPy:
    """Read a setup.py.

    Takes the file and the project's version, if known better than from the file. Gives what is
    certain. Raises SyntaxError, OSError or ValueError when the file cannot be read or parsed.
    """
    with open(file, "rb") as stream:
        tree = ast.parse(stream.read(), file)
    result = SetupPy()
    result.texts = [one for one in _constants(tree) if one]
    result.uses_cmake = any("cmake" in one.lower() for one in result.texts) or any(
        isinstance(node, ast.Name) and "cmake" in node.id.lower() for node in ast.walk(tree)
    )
    result.reads_cmake_args = "CMAKE_ARGS" in result.texts
    result.classic_scikit_build = any(
        isinstance(node, ast.ImportFrom) and node.module == "skbuild" for node in ast.walk(tree)
    )
    known = _known_names(tree)
    for call in _calls(tree):
        _read_call(call, result, _Evaluator(known, ""))
    evaluator = _Evaluator(known, version or result.version)
    result.version = version or result.version
    for expression in _unconditional_arguments(tree):
        text = evaluator.text(expression)
        if text is not None and _DEFINE.match(text) and not _OURS.match(text):
            result.arguments.append(text)
    return result


def _read_call(call: ast.Call, result: SetupPy, evaluator: _Evaluator) -> None:
    name = _last_name(call.func)
    keywords = {one.arg: one.value for one in call.keywords if one.arg}
    if name == "setup":
        result.name = evaluator.text(keywords.get("name")) or result.name
        result.version = evaluator.text(keywords.get("version")) or result.version
        result.source_dir = evaluator.text(keywords.get("cmake_source_dir")) or result.source_dir
    elif name.lower().endswith("extension") and name.lower() != "extension":
        module = evaluator.text(keywords.get("name") or (call.args[0] if call.args else None))
        folder = keywords.get("sourcedir") or keywords.get("source_dir")
        if folder is None and len(call.args) > 1:
            folder = call.args[1]
        module = (module or "").replace("/", ".")
        if module and all(part.isidentifier() for part in module.split(".")):
            result.extensions.append(module)
            result.source_dir = evaluator.text(folder) or result.source_dir


def _constants(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def _calls(tree: ast.AST) -> Iterator[ast.Call]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield node


def _last_name(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def _known_names(tree: ast.AST) -> dict[str, str]:
    """Give the names that are assigned exactly once in the file, to a constant text."""
    values: dict[str, list[str | None]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign):
            targets, value = node.targets, node.value
        elif isinstance(node, (ast.AnnAssign, ast.NamedExpr)) and node.value is not None:
            targets, value = [node.target], node.value
        elif isinstance(node, (ast.AugAssign, ast.For, ast.AsyncFor, ast.comprehension)):
            targets, value = [node.target], None
        elif isinstance(node, ast.arg):
            values.setdefault(node.arg, []).append(None)
            continue
        else:
            continue
        text = value.value if isinstance(value, ast.Constant) else None
        for target in targets:
            for name in ast.walk(target):
                if isinstance(name, ast.Name):
                    whole = name is target and isinstance(text, str)
                    values.setdefault(name.id, []).append(text if whole else None)  # type: ignore[arg-type]
    return {name: texts[0] for name, texts in values.items() if len(texts) == 1 and texts[0]}


def _unconditional_arguments(tree: ast.Module) -> Iterator[ast.expr]:
    """Give the elements of cmake argument lists, in order, that no condition decides about."""
    pending: list[ast.stmt] = list(tree.body)
    while pending:
        statement = pending.pop(0)
        if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.With)):
            pending[:0] = statement.body
        elif isinstance(statement, (ast.Assign, ast.AugAssign, ast.AnnAssign)):
            targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
            if any(_LIST_NAME.search(_last_name(target)) for target in targets):
                yield from _elements(statement.value)
            else:
                yield from _called(statement.value)
        elif isinstance(statement, (ast.Expr, ast.Return)):
            yield from _called(statement.value)


def _elements(node: ast.expr | None) -> Iterator[ast.expr]:
    if isinstance(node, (ast.List, ast.Tuple)):
        yield from node.elts
    elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        yield from _elements(node.left)
        yield from _elements(node.right)


def _called(node: ast.expr | None) -> Iterator[ast.expr]:
    """Give the x of `cmake_args.append(x)`, `run(["cmake", x])` and `setup(cmake_args=[x])`."""
    if not isinstance(node, ast.Call):
        return
    method = node.func.attr if isinstance(node.func, ast.Attribute) else ""
    owner = _last_name(node.func.value) if isinstance(node.func, ast.Attribute) else ""
    if method in {"append", "extend"} and _LIST_NAME.search(owner):
        for one in node.args:
            yield from [one] if method == "append" else _elements(one)
        return
    for one in node.args:
        items = list(_elements(one))
        if items and isinstance(items[0], ast.Constant) and items[0].value == "cmake":
            yield from items
    for keyword in node.keywords:
        if keyword.arg and _LIST_NAME.search(keyword.arg):
            yield from _elements(keyword.value)


class _Evaluator:
    """Works out the text of an expression, or gives up with None."""

    def __init__(self, known: dict[str, str], version: str) -> None:
        self._known = known
        self._version = version

    def text(self, node: ast.expr | None) -> str | None:
        if isinstance(node, ast.Constant):
            return str(node.value) if isinstance(node.value, (str, int)) else None
        if isinstance(node, ast.Name):
            return self._known.get(node.id)
        if isinstance(node, ast.Attribute):
            return self._attribute(node)
        if isinstance(node, ast.Call):
            return self._call(node)
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
            return self._joined([node.left, node.right])
        if isinstance(node, ast.JoinedStr):
            return self._joined(node.values)
        if isinstance(node, ast.FormattedValue) and node.format_spec is None:
            return self.text(node.value) if node.conversion in {-1, ord("s")} else None
        return None

    def _joined(self, nodes: list[ast.expr]) -> str | None:
        texts = [self.text(one) for one in nodes]
        return None if None in texts else "".join(one for one in texts if one is not None)

    def _attribute(self, node: ast.Attribute) -> str | None:
        values = {
            "sys.executable": sys.executable,
            "sys.prefix": sys.prefix,
            "sys.exec_prefix": sys.exec_prefix,
            "sys.platform": sys.platform,
            "sys.version_info.major": str(sys.version_info.major),
            "sys.version_info.minor": str(sys.version_info.minor),
            "os.sep": os.sep,
            "os.path.sep": os.sep,
        }
        return values.get(ast.unparse(node))

    def _call(self, node: ast.Call) -> str | None:
        if node.args or node.keywords:
            return None
        name = ast.unparse(node.func)
        if name.endswith(("distribution.get_version", "dist.get_version")):
            return self._version or None
        folders = {
            "pybind11.get_cmake_dir": ("pybind11", ("share", "cmake", "pybind11")),
            "pybind11.get_include": ("pybind11", ("include",)),
            "nanobind.cmake_dir": ("nanobind", ("cmake",)),
        }
        if name in folders:
            package, inner = folders[name]
            folder = os.path.join(package_folder(package), *inner)
            return folder if os.path.isdir(folder) else None
        return None
