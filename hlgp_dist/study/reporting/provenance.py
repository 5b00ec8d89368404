"""Where the numbers come from: commands, configurations, versions, weights."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from hlgp_dist.config.places import is_remote
from hlgp_dist.config.write import dump
from hlgp_dist.study.collect import Run
from hlgp_dist.study.likeness import differing, folder_of, grouped, told
from hlgp_dist.study.members import STUDY_FILE
from hlgp_dist.study.reporting.page import Block, Code, Folded, Listing, Paragraph, Table
from hlgp_dist.study.reporting.places import Placed
from hlgp_dist.terminal import Grid
from hlgp_dist.train.folder import BEST, RunFolder


def blocks(commands: Sequence[str], cells: Sequence[Placed]) -> list[Block]:
    """Of the report's last section."""
    runs = [run for cell in cells for run in cell.cell.runs.values()]
    configurations = [Folded(cell.name, [Code(dump(cell.run.config).splitlines())]) for cell in cells]
    return [
        Paragraph("Made by:"),
        Code(commands),
        Table(_weights(runs)),
        Paragraph("Versions and machines:"),
        Listing(list(_versions(runs))),
        Paragraph("The whole configuration of each cell, of its first seed; a run's folder has its own config.yaml:"),
        *configurations,
    ]


def commands_of(runs: Sequence[Run]) -> list[str]:
    """What runs them again, each once."""
    return list(dict.fromkeys(map(_command, runs)))


def _command(run: Run) -> str:
    if run.member is not None:
        return _with_file("study", run.member.study, STUDY_FILE)
    place, _, name = run.folder.place.rstrip("/").rpartition("/")
    if name == BEST and "trials" in (RunFolder(run.folder.path.parent).read_result() or {}):
        return _with_file("tune", place, "config.yaml")
    return _with_file("train", str(run.folder), "config.yaml")


def _with_file(verb: str, folder: str, name: str) -> str:
    """A file that is in a store has to be fetched first."""
    if is_remote(folder):
        return f"hlgp {verb} {name}    # that of {folder}"
    return shlex.join(["hlgp", verb, f"{folder}/{name}"])


def _weights(runs: Sequence[Run]) -> Grid:
    columns = ["backbone", "weights", "sha256", "parameters", "timm"]
    rows = [row for row, _ in grouped((_weight_row(run), _weight_row(run)) for run in runs)]
    return Grid("backbones", columns, rows)


def _weight_row(run: Run) -> list[str]:
    found, weights = run.result["backbone"], run.config.backbone.weights
    size = found.get("num_parameters")
    return [
        found["name"],
        weights if weights in ("hub", "none") else Path(weights).name,
        found["sha256"],
        "unknown" if size is None else f"{size:,}",
        str(found.get("timm_version", "unknown")),
    ]


def _versions(runs: Sequence[Run]) -> Iterator[str]:
    """`name value`, or who has which."""
    unlike = differing(runs, _environment)
    known = {key: value for run in runs for key, value in _environment(run).items()}
    for key, value in known.items():
        yield f"{key}: {told(unlike[key], folder_of)}" if key in unlike else f"{key} {value}"


def _environment(run: Run) -> dict[str, Any]:
    found = dict(run.environment)
    packages = found.pop("packages", {})
    shown = {key: ", ".join(map(str, value)) if isinstance(value, list) else value for key, value in found.items()}
    return {**shown, **(packages if isinstance(packages, dict) else {})}
