"""Commands of `hlgp` in the documentation, taken to words as a shell would, and held against the command line."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from typer.main import get_command

from hlgp_dist.cli import app
from hlgp_dist.config.load import resolve
from hlgp_dist.config.options import all_options, field_at
from hlgp_dist.errors import ConfigError
from tests.documentation.pages import ROOT, blocks, inline_code

CLI = get_command(app)
STARTERS = ("submit.py", "slurm.sh")
"""Scripts that hand their words on to `hlgp`."""
ENDS = ("&&", "|", "&", ";", ">")
CONFIGURED = {"config", "plan", "train", "tune", "study", "doctor"}
"""Verbs whose words are a configuration and overrides."""
PLACEHOLDER = re.compile(r"[A-Z][A-Z0-9_]*")
OVERRIDE = re.compile(r"[a-z_]+(\.[A-Za-z_0-9]+)*=.+")
SEARCHED = {"data": {"path": "."}, "search": {"space": {"optimizer.prompt_lr": {"uniform": [0.1, 0.2]}}}}
PLAIN = {"data": {"path": "."}}


@dataclass(frozen=True)
class Command:
    """The words behind `hlgp`. is_whole: a line to type, not a mention in a sentence."""

    line: int
    words: tuple[str, ...]
    is_whole: bool


def commands(text: str) -> Iterator[Command]:
    """Every one of a page."""
    for block in blocks(text):
        if block.language in ("", "sh"):
            for number, line in enumerate(_joined(block.lines), start=block.line):
                yield from (Command(number, words, True) for words in _found(line))
    for number, code in inline_code(text):
        if code.startswith("hlgp "):
            yield from (Command(number, words, False) for words in _found(code))


def _joined(lines: Sequence[str]) -> list[str]:
    """Lines that end with a backslash go on in the next one."""
    return "\n".join(lines).replace("\\\n", " ").split("\n")


def _found(line: str) -> Iterator[tuple[str, ...]]:
    """Of one line; within a quoted word (`ray exec ... 'hlgp ...'`) as well."""
    line = re.sub(r"\s# .*|\s{2,}#.*", "", line)
    if "hlgp: " in line or not re.search(r"\bhlgp |submit\.py|slurm\.sh", line):
        return
    is_synopsis = re.search(r"\[(-|[A-Z])", line) is not None
    words = shlex.split(re.sub(r"[\[\]|]|\.\.\.", " ", line) if is_synopsis else line)
    for place, word in enumerate(words):
        if " " in word and "hlgp " in word:
            yield from _found(word)
        elif _starts(words, place):
            rest = words[place + 1 :]
            rest = rest[1:] if rest[:1] == ["--"] else rest
            end = next((at for at, other in enumerate(rest) if other in ENDS), len(rest))
            yield tuple(rest[:end])


def _starts(words: Sequence[str], place: int) -> bool:
    """Whether `hlgp` is run here, rather than the name of something."""
    word = words[place]
    is_command = word == "hlgp" and (place == 0 or words[place - 1] in ("&&", "--", "head"))
    return place + 1 < len(words) and (is_command or word.endswith(("/hlgp", *STARTERS)))


def wrong(command: Command) -> str | None:
    """What is not so: no such verb, option, value, configuration or key."""
    verb, arguments, path = CLI, list(command.words), []
    while hasattr(verb, "commands"):
        if not arguments or arguments[0] not in verb.commands:
            is_general = not command.is_whole and (not arguments or re.match("[A-Z-]", arguments[0]))
            return None if is_general else f"no such verb: {' '.join(command.words)}"
        path.append(arguments.pop(0))
        verb = verb.commands[path[-1]]
    if command.is_whole:
        try:
            verb.make_context(path[-1], [_sample(verb, arguments, at) for at in range(len(arguments))])
        except Exception as error:  # of typer's own copy of click
            return f"{' '.join(command.words)}: {getattr(error, 'message', error)}"
    known = {name for parameter in verb.params for name in (*parameter.opts, *parameter.secondary_opts)}
    unknown = [word for word in arguments if word.startswith("--") and word.partition("=")[0] not in known]
    if unknown:
        return f"no such option: {' '.join(path)} {unknown[0]}"
    return wrong_keys(path[0], arguments) if path[0] in CONFIGURED else None


def _sample(verb: Any, arguments: Sequence[str], at: int) -> str:
    """A number for a placeholder where an option wants one."""
    before = arguments[at - 1] if at else ""
    option = next((parameter for parameter in verb.params if before in parameter.opts), None)
    wants = option is not None and option.type_descriptor.annotation in (int, float)
    return "1" if wants and PLACEHOLDER.fullmatch(arguments[at]) else arguments[at]


def wrong_keys(verb: str, arguments: Sequence[str]) -> str | None:
    """Of a configuration and its overrides; those whose value is a placeholder are asked for their key alone."""
    words = [word for word in arguments if not word.startswith("-")]
    files = [word for word in words if word.endswith((".yaml", ".yml"))]
    overrides = [word for word in words if OVERRIDE.fullmatch(word)]
    source = _source(verb, files)
    if isinstance(source, str):
        return source
    named = [word for word in overrides if PLACEHOLDER.fullmatch(word.partition("=")[2])]
    try:
        resolved = resolve(source, [word for word in overrides if word not in named])
    except ConfigError as error:
        return f"{' '.join(arguments)}: {error}"
    data = resolved.config.model_dump(mode="json")
    unknown = [word for word in named if field_at(tuple(word.partition("=")[0].split(".")), data) is None]
    return f"no such key: {unknown[0]}" if unknown else None


def _source(verb: str, files: Sequence[str]) -> Path | dict[str, Any] | str:
    """The file, if the repository has it; for `configs/NAME.yaml` the least that is valid."""
    if not files or PLACEHOLDER.search(Path(files[0]).stem) or files[0].startswith("/"):
        return SEARCHED if verb == "tune" else PLAIN
    return ROOT / files[0] if (ROOT / files[0]).is_file() else f"no such file: {files[0]}"


def plain_keys() -> set[str]:
    """Every option without the kinds that it belongs to."""
    return {"".join(part.split("<")[0] for part in option.key.split(">")) for option in all_options()}
