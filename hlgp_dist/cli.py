"""Class-incremental prompt tuning of frozen ViTs, from one process to a cluster of GPUs."""
# Each verb imports what it needs when it runs: `hlgp config` must not wait for torch.

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from hlgp_dist.bench_verbs import bench_app
from hlgp_dist.errors import ConfigError, DataError, EnvironmentFailure, Failure, counted, describe
from hlgp_dist.model_verbs import models_app

if TYPE_CHECKING:
    from hlgp_dist.config.schema import RunConfig

OMP_SPINS = "10000"
"""Tens of microseconds. As they are, torch's threads spin for milliseconds after each operation, on cores that loader
threads want."""

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)
data_app = typer.Typer(no_args_is_help=True, help="Shards: make, check, describe.")
app.add_typer(data_app, name="data")
app.add_typer(bench_app, name="bench")
app.add_typer(models_app)

Config = Annotated[Path, typer.Argument(help="A YAML file that holds what differs from the defaults.")]
ShardFolder = Annotated[str, typer.Argument(help="A path, or s3://, gs://, https://.")]
NewFolder = Annotated[str, typer.Argument(help="The shard folder to make; a local path.")]
Overrides = Annotated[list[str] | None, typer.Argument(metavar="KEY=VALUE...", help="e.g. method.num_groups=4")]


@app.command()
def config(config: Config, overrides: Overrides = None) -> None:
    """Show the resolved configuration and where each value came from."""
    from hlgp_dist.config.load import resolve
    from hlgp_dist.config.shared import Shared
    from hlgp_dist.config.write import render

    typer.echo(render(resolve(config, overrides or [], Shared.of_environment())), nl=False)


@app.command()
def plan(
    config: Config,
    overrides: Overrides = None,
    device: Annotated[
        str | None, typer.Option(help="A100-40, A100-80, H100, H200, L4, A10G, RTX4090, V100, T4.")
    ] = None,
    bench: Annotated[Path | None, typer.Option(help="What was measured: JSON of `hlgp bench step`.")] = None,
    mfu: Annotated[float | None, typer.Option(min=0.01, max=1.0, help="Part of the peak; assumed 0.4.")] = None,
    gpus: Annotated[int | None, typer.Option(min=1, help="Of the cluster; default those of one run.")] = None,
    nodes: Annotated[int, typer.Option(min=1, help="That they are on.")] = 1,
    price: Annotated[float | None, typer.Option(min=0.0, help="Of a GPU-hour.")] = None,
    gbits: Annotated[float, typer.Option(min=0.001, help="A second, of a host's link.")] = 100.0,
    json: Annotated[Path | None, typer.Option(help="A file for everything counted.")] = None,
) -> None:
    """Of a run, a search or a study: will it fit, how long, how much. Starts nothing; docs/plan.md."""
    resolved = _resolved(config, overrides)
    from hlgp_dist.study.planning.run import PlanOptions, run_plan

    options = PlanOptions(
        bench=bench, device=device, mfu=mfu, gpus=gpus, nodes=nodes, price=price, gbits=gbits, json=json
    )
    run_plan(resolved, options)


@app.command()
def train(config: Config, overrides: Overrides = None) -> None:
    """One run through all tasks; the same command resumes it."""
    from hlgp_dist.config.identity import place_of
    from hlgp_dist.launch.command import command

    with command() as running:
        resolved = _resolved(config, overrides)
        _refuse_study(resolved, config)
        if resolved.search is not None:
            raise ConfigError(f"search: `hlgp train` runs one configuration; use `hlgp tune {config}`")
        running.place = place_of(resolved, config.stem)
        from hlgp_dist.launch.start import start_run
        from hlgp_dist.study.tables import show_run

        show_run(*start_run(resolved, config.stem, running.stop))


@app.command()
def tune(config: Config, overrides: Overrides = None) -> None:
    """The search in the config's `search` section, on Ray Tune."""
    from hlgp_dist.config.identity import place_of
    from hlgp_dist.launch.command import command

    with command() as running:
        resolved = _resolved(config, overrides)
        _refuse_study(resolved, config)
        if resolved.search is None:
            raise ConfigError(f"search: {config} has no search section; `hlgp train {config}` runs it once")
        running.place = place_of(resolved, config.stem)
        from hlgp_dist.launch.search import check_outcome, run_search
        from hlgp_dist.study.tables import show_outcome, show_search

        folder, outcome = run_search(resolved, config.stem, show_search, running.stop)
        show_outcome(folder, outcome)
        check_outcome(outcome)


@app.command()
def study(config: Config, overrides: Overrides = None) -> None:
    """Every cell of the config's `study` section over every seed, then the table; the same command resumes."""
    from hlgp_dist.config.identity import place_of
    from hlgp_dist.launch.command import command

    with command() as running:
        resolved = _resolved(config, overrides)
        if resolved.study is None:
            verb = "train" if resolved.search is None else "tune"
            raise ConfigError(f"study: {config} has no study section; use `hlgp {verb} {config}`")
        running.place = place_of(resolved, config.stem)
        from hlgp_dist.study.study import run_study

        run_study(resolved, config.stem, running.stop)


@app.command()
def demo(
    out: Annotated[Path | None, typer.Option(help="A folder for everything; else the next demo/N.")] = None,
) -> None:
    """The whole main job on the embedded pictures and backbone."""
    from hlgp_dist.launch.stop import signals_heeded

    with signals_heeded() as stop:
        from hlgp_dist.study.demo import run_demo

        run_demo(out, stop)


@app.command()
def report(
    folders: Annotated[list[str], typer.Argument(metavar="DIR", help="Runs, searches or folders of them; s3://, too.")],
    out: Annotated[Path | None, typer.Option(help="A folder for the files; else DIR/report of the first DIR.")] = None,
    baseline: Annotated[str | None, typer.Option(help="A row, or a choice of a study: differences to it.")] = None,
    apart: Annotated[bool, typer.Option("--apart", help="Unlike results in tables of their own.")] = False,
    bench: Annotated[
        Path | None, typer.Option(help="JSON of `hlgp bench step`: what MFU and planned hours are by.")
    ] = None,
) -> None:
    """Finished runs as a page with figures, and as CSV, Markdown and LaTeX; refuses to mix unlike results."""
    from hlgp_dist.study.report import ReportOptions, run_report

    run_report(folders, ReportOptions(out=out, baseline=baseline, apart=apart, bench=bench))


@app.command()
def doctor(
    arguments: Annotated[list[str] | None, typer.Argument(metavar="[CONFIG] [KEY=VALUE]...")] = None,
    json: Annotated[Path | None, typer.Option(help="A file for everything found.")] = None,
) -> None:
    """Whether this machine, or every node of CONFIG's cluster, can do the job; each failure with its fix."""
    from hlgp_dist.files import write_json
    from hlgp_dist.launch.doctor.examine import examine
    from hlgp_dist.launch.doctor.needs import needs_of
    from hlgp_dist.study.health import examining, show_report

    needs = needs_of(arguments or [])
    with examining() as progress:
        report = examine(needs, progress)
    if json is not None:
        write_json(json, report.as_json())
    show_report(report)
    if report.failed:
        raise EnvironmentFailure(f"not ready: {', '.join(report.names_of_failed)}")


@app.command("check-method")
def check(
    kind: Annotated[str, typer.Argument(help="A method's kind, of a plug-in too.")], overrides: Overrides = None
) -> None:
    """Whether a method keeps to what a run relies on: no neighbour in a batch decides, the seed does, and so on."""
    from hlgp_dist.config.load import resolve

    options = resolve({"data": {"path": "."}, "method": {"kind": kind}}, overrides or []).config.method
    from hlgp_dist.contract.check import check_method

    check_method(options)
    typer.echo(f"{kind}: keeps the contract of every method")


@app.command()
def tensorboard(
    folder: Annotated[str, typer.Argument(help="A path, or s3://, gs://.")],
    port: Annotated[int, typer.Option(min=0, max=65535)] = 6006,
) -> None:
    """TensorBoard of a run, a search or a folder of them, on loopback; a URL's event files are fetched as they grow."""
    from hlgp_dist.launch.opening import opened
    from hlgp_dist.launch.storage import View, event_files

    with opened(folder, View(event_files)) as storage:
        if not storage.path.is_dir():
            raise ConfigError(f"{folder}: no such folder")
        from hlgp_dist.telemetry.board import serve

        serve(storage.path, port)


@data_app.command("shard")
def data_shard(
    source: Path,
    destination: NewFolder,
    shard_bytes: Annotated[int, typer.Option(min=1)] = 256 * 2**20,
    resize: Annotated[int | None, typer.Option(min=1, help="Scale pictures down to this shorter side.")] = None,
    quality: Annotated[int | None, typer.Option(min=1, max=100, help="Of JPEGs scaled down; default 90.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes; default one a core.")] = None,
) -> None:
    """A folder of classes, a tar of one, or a CSV/JSONL list -> WebDataset shards and a manifest; docs/shards.md."""
    from hlgp_dist.shards.encode import encoding_of
    from hlgp_dist.shards.info import info
    from hlgp_dist.shards.shard import shard
    from hlgp_dist.study.tables import show_dataset
    from hlgp_dist.terminal import counting

    with counting("sharding") as progress:
        shard(
            source,
            destination,
            shard_bytes=shard_bytes,
            encoding=encoding_of(resize, quality),
            workers=workers,
            progress=progress,
        )
    show_dataset(destination, info(destination))


@data_app.command("prepare")
def data_prepare(
    name: Annotated[str, typer.Argument(help="cifar100, imagenet_r, imagenet_a, vtab, vtab_rebuild, cub200, ...")],
    source: Annotated[list[Path], typer.Option("--from", help="An archive, or a folder of archives; repeatable.")],
    out: Annotated[str, typer.Option(help="The shard folder to make; a local path.")],
    split: Annotated[str | None, typer.Option(help="Default: the one the field compares on.")] = None,
    split_file: Annotated[Path | None, typer.Option(help="Test pictures, CLASS/NAME a line.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Of a random split.")] = None,
    domain: Annotated[str | None, typer.Option(help="Of DomainNet; default all.")] = None,
    unverified: Annotated[
        bool, typer.Option("--unverified", help="Accept another release; no protocol takes it.")
    ] = False,
    shard_bytes: Annotated[int, typer.Option(min=1)] = 256 * 2**20,
    workers: Annotated[int | None, typer.Option(min=1)] = None,
) -> None:
    """A public benchmark's original archives -> shards and a manifest; docs/data.md has the table."""
    from hlgp_dist.benchmarks.catalogue import benchmark_named, choose
    from hlgp_dist.benchmarks.prepare import prepare
    from hlgp_dist.shards.info import info
    from hlgp_dist.study.tables import show_dataset
    from hlgp_dist.terminal import counting

    benchmark = benchmark_named(name)
    choice = choose(benchmark, split=split, seed=seed, split_file=split_file, domain=domain)
    prepare(
        benchmark,
        source,
        out,
        choice,
        unverified=unverified,
        shard_bytes=shard_bytes,
        workers=workers,
        bar=counting,
    )
    show_dataset(out, info(out))


@data_app.command("verify")
def data_verify(
    folder: ShardFolder,
    decode: Annotated[Literal["sample", "all"], typer.Option(help="Each sixteenth picture, or every one.")] = "sample",
    workers: Annotated[int | None, typer.Option(min=1, help="Processes; default one a core.")] = None,
) -> None:
    """Every byte of a shard folder against its manifest; exit 3 and the list of problems if there are any."""
    from hlgp_dist.shards.verify import verify
    from hlgp_dist.terminal import counting

    with counting("verifying") as progress:
        problems = verify(folder, decode=decode, workers=workers, progress=progress)
    if problems:
        raise DataError("\n".join([f"{folder}: {counted(len(problems), 'problem')}", *problems]))
    typer.echo(f"{folder}: all shards are as the manifest says")


@data_app.command("info")
def data_info(
    folder: ShardFolder,
    sheet: Annotated[Path | None, typer.Option(help="A PNG to be made, with a few pictures a class.")] = None,
) -> None:
    """Counts, sizes and classes of a shard folder; a contact sheet."""
    from hlgp_dist.shards.info import info
    from hlgp_dist.shards.sheet import write_sheet
    from hlgp_dist.study.tables import show_classes, show_dataset

    drawn = 0 if sheet is None else write_sheet(folder, sheet)  # before anything is printed: it may be refused
    described = info(folder)
    show_classes(described)
    show_dataset(folder, described)
    if sheet is not None:
        typer.echo(f"{sheet}: {drawn} of {len(described.classes)} classes")


def _resolved(config: Path, overrides: list[str] | None) -> RunConfig:
    """Checked before anything heavy is imported; what the merge has to say goes to standard error."""
    from hlgp_dist.config.load import resolve
    from hlgp_dist.config.shared import Shared

    resolved = resolve(config, overrides or [], Shared.of_environment())
    for note in resolved.notes:
        typer.echo(f"note: {note}", err=True)
    return resolved.config


def _refuse_study(resolved: RunConfig, config: Path) -> None:
    if resolved.study is not None:
        raise ConfigError(f"study: {config} has cells; use `hlgp study {config}`, or give study=null for none of them")


def main() -> None:
    """Run a verb; a Failure becomes one message and its exit code."""
    if "OMP_WAIT_POLICY" not in os.environ:  # read when torch is imported, by us and by every rank
        os.environ.setdefault("GOMP_SPINCOUNT", OMP_SPINS)
    try:
        app(standalone_mode=True)
    except Failure as failure:
        typer.echo(f"hlgp: {failure}", err=True)
        sys.exit(failure.exit_code)
    except OSError as error:
        typer.echo(f"hlgp: {describe(error)}", err=True)
        sys.exit(EnvironmentFailure.exit_code)
