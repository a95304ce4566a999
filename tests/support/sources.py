"""Texts of tiny extension modules in C, which compile in a moment."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_FUNCTION = """\
static PyObject* {name}(PyObject* self, PyObject* args) {{
  return PyLong_FromLong((long)({value}));
}}
"""

_MODULE = """\
#include <Python.h>
{head}
{functions}
static PyMethodDef functions[] = {{
{table}    {{NULL, NULL, 0, NULL}}}};
static int initialise(PyObject* module) {{
  {body}
  return 0;
}}
static PyModuleDef_Slot slots[] = {{{{Py_mod_exec, initialise}}, {{0, NULL}}}};
static PyModuleDef definition = {{
    PyModuleDef_HEAD_INIT, .m_name = "{name}", .m_methods = functions, .m_slots = slots}};
PyMODINIT_FUNC PyInit_{name}(void) {{ return PyModuleDef_Init(&definition); }}
"""


def c_module(name: str, functions: Mapping[str, str], *, head: str = "", body: str = "") -> str:
    """Give the C text of the module `name`, initialised in two phases.

    `functions` maps names to C expressions, whose values the functions give as ints; `head`
    stands before them, `body` in the function that initialises `module` and returns -1 to fail.
    """
    return _MODULE.format(
        name=name,
        head=textwrap.dedent(head).strip(),
        functions="".join(_FUNCTION.format(name=one, value=v) for one, v in functions.items()),
        table="".join(f'    {{"{one}", {one}, METH_NOARGS, NULL}},\n' for one in functions),
        body=textwrap.dedent(body).strip(),
    )


def cmake_lists(project: str, rest: str) -> str:
    """Give a CMakeLists.txt for C, with Python found."""
    return (
        "cmake_minimum_required(VERSION 3.18...3.30)\n"
        f"project({project} LANGUAGES C)\n"
        "find_package(Python 3.11 REQUIRED COMPONENTS Interpreter Development.Module)\n"
        f"{textwrap.dedent(rest).strip()}\n"
    )
