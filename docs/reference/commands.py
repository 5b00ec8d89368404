"""The command line's reference, made of its definition, and the exit codes, made of the failures."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import NoneType
from typing import Any, Literal, get_args, get_origin

from typer.main import get_command

from docs.reference.markdown import code, number, paragraph, table
from hlgp_dist.cli import app
from hlgp_dist.config.grammar import flow
from hlgp_dist.errors import Failure

HEAD = """# Commands

What `hlgp --help` and `hlgp VERB --help` say, and the exit codes. `KEY=VALUE` is an option of the
[configuration](configuration.md).

This page is made of the code by `python -m docs.reference.write`.
"""

CODES = """
## Exit codes

0 is done; 130 and 143 are a second SIGINT or SIGTERM, at which a command ends at once. The same number and a reason
stand in `result.json`. What to do about each is in [troubleshooting](../troubleshooting.md).

"""

TYPES = {str: "text", int: "whole number", float: "number", Path: "path", bool: "flag"}
BOUNDS = {"min": "≥", "max": "≤"}


def page() -> str:
    """The whole of it."""
    verbs = "".join(_verb(words, command) for words, command in verbs_of(get_command(app)))
    return HEAD + verbs + CODES + table(["code", "failure", "meaning"], _codes(Failure))


def verbs_of(group: Any, before: str = "hlgp") -> Iterator[tuple[str, Any]]:
    """(words, command) of everything that can be run."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from verbs_of(command, f"{before} {name}")
        else:
            yield f"{before} {name}", command


def _verb(words: str, command: Any) -> str:
    places = [_place(parameter) for parameter in command.params if parameter.param_type_name == "argument"]
    options = [
        parameter for parameter in command.params if parameter.param_type_name == "option" and parameter.required
    ]
    usage = " ".join([words, *places, *(f"{option.opts[0]} {option.name.upper()}" for option in options)])
    rows = [
        [_name(parameter), _type(parameter), _default(parameter), paragraph(parameter.help)]
        for parameter in command.params
    ]
    return f"\n## {words}\n\n{paragraph(command.help)}\n\n    {usage}\n\n" + table(
        ["argument", "type", "default", "meaning"], rows
    )


def _place(parameter: Any) -> str:
    shown = parameter.metavar or parameter.name.upper()
    if parameter.nargs == -1 and "..." not in shown:
        shown += "..."
    return shown if parameter.required or shown.startswith("[") else f"[{shown}]"


def _name(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        return code(parameter.metavar or parameter.name.upper())
    return ", ".join(map(code, [*parameter.opts, *parameter.secondary_opts]))


def _type(parameter: Any) -> str:
    annotation = parameter.type_descriptor.annotation
    if get_origin(annotation) is list:
        annotation = get_args(annotation)[0]
    if get_origin(annotation) is Literal:
        return ", ".join(map(code, get_args(annotation)))
    bounds = [
        f"{sign} {number(limit)}"
        for name, sign in BOUNDS.items()
        if (limit := getattr(parameter, name, None)) is not None
    ]
    return " ".join([TYPES[annotation], *bounds])


def _default(parameter: Any) -> str:
    if parameter.required:
        return "required"
    return "" if isinstance(parameter.default, bool | NoneType) else code(flow(parameter.default))


def _codes(kind: type[Failure]) -> Iterator[list[str]]:
    """Each failure of the package's errors by its code."""
    return iter(
        sorted(([str(one.exit_code), one.__name__, paragraph(one.__doc__)] for one in _failures(kind)), key=_number)
    )


def _number(row: list[str]) -> int:
    return int(row[0])


def _failures(kind: type[Failure]) -> Iterator[type[Failure]]:
    yield kind
    for inner in kind.__subclasses__():
        if inner.__module__ == Failure.__module__:
            yield from _failures(inner)
