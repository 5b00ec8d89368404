"""The verbs below `hlgp bench`: what this machine does, measured."""
# Each verb imports what it needs when it runs, as those of cli.py.

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from hlgp_dist.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hlgp_dist.terminal import Grid

bench_app = typer.Typer(no_args_is_help=True, help="Measure this machine.")

StepBackbone = Annotated[str | None, typer.Option("--backbone", help="Default ViT-B/16 on a GPU, else ViT-S/16.")]
StepMethod = Annotated[str, typer.Option("--method", help="See method.kind.")]
StepSize = Annotated[int | None, typer.Option("--size", min=8, help="Pixels; default the backbone's.")]
StepPrecision = Annotated[Literal["bf16", "fp32", "int8"], typer.Option("--precision", help="Of the trunk.")]
StepCompiled = Annotated[bool, typer.Option("--compile", help="The backbone's blocks by torch.compile.")]
Rounds = Annotated[int, typer.Option("--rounds", min=1, help="Over which medians are taken.")]
JsonFile = Annotated[Path | None, typer.Option("--json", help="A file for everything measured.")]
Overrides = Annotated[list[str] | None, typer.Argument(metavar="KEY=VALUE...", help="e.g. method.num_groups=4")]


@bench_app.command("data")
def bench_data(
    source: Annotated[Path | None, typer.Option("--from", help="A folder of class folders; else it is drawn.")] = None,
    pictures: Annotated[int | None, typer.Option(min=2, help="Drawn; default 1000.")] = None,
    pixels: Annotated[int | None, typer.Option(min=16, help="Longer side of those; default 500.")] = None,
    backbone: Annotated[str | None, typer.Option(help="Default ViT-B/16 on a GPU, else ViT-Ti/16.")] = None,
    size: Annotated[int | None, typer.Option(min=8, help="Pixels that it sees; default its own.")] = None,
    stored: Annotated[Literal["scaled", "full"], typer.Option(help="See data.stored.")] = "scaled",
    batch_size: Annotated[int, typer.Option(min=1)] = 64,
    workers: Annotated[int | None, typer.Option(min=1, help="Rivals' processes, our threads; default cores.")] = None,
    repeats: Annotated[int, typer.Option(min=1, help="The median counts.")] = 3,
    epochs: Annotated[int, typer.Option(min=1, help="Over which memory is watched.")] = 20,
    steps: Annotated[int, typer.Option(min=0, help="Real training steps to time.")] = 10,
    json: JsonFile = None,
) -> None:
    """Our loading beside ImageFolder's and webdataset's: rates, where time goes, memory, a training step's wait."""
    _check_file("--json", json)
    from hlgp_dist.bench import loading
    from hlgp_dist.bench.setting import options_of
    from hlgp_dist.bench.tables import grids

    options = options_of(
        source=source,
        pictures=pictures,
        pixels=pixels,
        backbone=backbone,
        size=size,
        stored=stored,
        batch_size=batch_size,
        workers=workers,
        repeats=repeats,
        epochs=epochs,
        steps=steps,
    )
    report = loading.bench_data(options)
    _show_measured(report, grids(report), json)


@bench_app.command("step")
def bench_step(
    overrides: Overrides = None,
    backbone: StepBackbone = None,
    method: StepMethod = "hlgp",
    batch: Annotated[int | None, typer.Option(min=1, help="Pictures of a step; default 128 on a GPU, else 16.")] = None,
    size: StepSize = None,
    precision: StepPrecision = "bf16",
    compiled: StepCompiled = False,
    tasks: Annotated[int, typer.Option(min=1, help="The last one is measured.")] = 5,
    classes: Annotated[int, typer.Option(min=1, help="Of a task.")] = 20,
    rounds: Rounds = 5,
    compare: Annotated[Literal["plain", "bf16"] | None, typer.Option(help="plain: in fp32, unfused.")] = None,
    profile: Annotated[Path | None, typer.Option(help="A file for a step's trace; its operations are shown.")] = None,
    json: JsonFile = None,
) -> None:
    """Training and evaluation beside the peak of this device's matrix products; docs/performance.md."""
    _check_file("--json", json)
    _check_file("--profile", profile)
    from hlgp_dist.bench.stepping.options import step_options
    from hlgp_dist.bench.stepping.step import bench_step
    from hlgp_dist.bench.stepping.tables import grids

    options = step_options(
        backbone=backbone,
        method=method,
        batch_size=batch,
        size=size,
        precision=precision,
        compiled=compiled,
        tasks=tasks,
        classes=classes,
        rounds=rounds,
        yardstick=compare,
        profile=profile,
        overrides=overrides or [],
    )
    report = bench_step(options)
    _show_measured(report, grids(report), json)
    if report["yardstick_missing"]:
        typer.echo(f"hlgp: {report['yardstick_missing']}", err=True)


@bench_app.command("scaling")
def bench_scaling(
    overrides: Overrides = None,
    backbone: StepBackbone = None,
    method: StepMethod = "hlgp",
    batch: Annotated[int | None, typer.Option(min=1, help="Pictures of a rank, then of all.")] = None,
    size: StepSize = None,
    precision: StepPrecision = "bf16",
    compiled: StepCompiled = False,
    workers: Annotated[str, typer.Option(help="Numbers of ranks; the first is compared with.")] = "1,2",
    rounds: Rounds = 5,
    json: JsonFile = None,
) -> None:
    """A training step on more and more ranks of this machine, weak and strong; docs/performance.md."""
    _check_file("--json", json)
    numbers = [int(number) for number in workers.split(",") if number.strip().isdigit()]
    if len(numbers) != len(workers.split(",")):
        raise ConfigError(f"--workers={workers}: must be whole numbers with commas, as 1,2,4")
    from hlgp_dist.bench.stepping.options import step_options
    from hlgp_dist.bench.stepping.scaling import bench_scaling
    from hlgp_dist.bench.stepping.tables import scaling_grids

    options = step_options(
        backbone=backbone,
        method=method,
        batch_size=batch,
        size=size,
        precision=precision,
        compiled=compiled,
        tasks=5,
        classes=20,
        rounds=rounds,
        yardstick=None,
        overrides=overrides or [],
    )
    report = bench_scaling(options, numbers)
    _show_measured(report, scaling_grids(report), json)


def _show_measured(report: dict[str, Any], grids: Iterable[Grid], json: Path | None) -> None:
    """In the terminal, and everything in a file where one is asked for."""
    from hlgp_dist.files import write_json
    from hlgp_dist.terminal import show_grid

    for grid in grids:
        show_grid(grid)
    if json is not None:
        write_json(json, report)


def _check_file(flag: str, file: Path | None) -> None:
    """Before minutes are spent on what is to lie there."""
    if file is None:
        return
    if file.is_dir():
        raise ConfigError(f"{flag}={file}: is a folder; give a file")
    there = next(folder for folder in file.absolute().parents if folder.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        raise ConfigError(f"{flag}={file}: {there} cannot be written to")
