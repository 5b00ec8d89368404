"""A plan as tables of text."""

from __future__ import annotations

from collections.abc import Sequence

from hlgp_dist.config.launch_options import LaunchOptions
from hlgp_dist.config.schema import EngineOptions
from hlgp_dist.errors import counted
from hlgp_dist.study.planning.cluster import Cluster, share_of_gpu
from hlgp_dist.study.planning.search import SearchEstimate
from hlgp_dist.study.planning.study import CellEstimate
from hlgp_dist.terminal import Grid
from hlgp_dist.train.estimate.bounds import Bound, sent_bytes
from hlgp_dist.train.estimate.devices import RESERVE
from hlgp_dist.train.estimate.run import RunEstimate
from hlgp_dist.train.estimate.speed import Speed
from hlgp_dist.train.estimate.work import stored_by_all
from hlgp_dist.train.largest import RESERVE as FREE

GIB = 2**30
UNITS = ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))
Row = tuple[str, str]


def si(value: float, unit: str) -> str:
    """Three digits with a decimal prefix: `1.23 PFLOP`."""
    factor, prefix = next(((factor, prefix) for factor, prefix in UNITS if value >= factor), (1.0, ""))
    return f"{value / factor:.3g} {prefix}{unit}"


def hours(value: float | None) -> str:
    """Minutes and seconds where it is less."""
    if value is None:
        return "-"
    for factor, unit in ((1, "h"), (60, "min"), (3600, "s")):
        if value * factor >= 1 or unit == "s":
            return f"{value * factor:.3g} {unit}"
    raise AssertionError("seconds are the last")


def memory_grid(run: RunEstimate, gpu_bytes: int | None) -> Grid:
    """Parts of a rank's memory at the peak of either phase."""
    training, test = run.memory.training, run.memory.evaluation
    names = list(dict.fromkeys([*training, *test]))
    rows = [(name, *(_mib(parts.get(name)) for parts in (training, test))) for name in names]
    rows.append(("peak", *(_mib(sum(parts.values()) or None) for parts in (training, test))))
    if gpu_bytes is not None:
        shares = [100 * sum(parts.values()) / gpu_bytes for parts in (training, test)]
        rows.append(("of the device, %", *(f"{share:.1f}" if share else "-" for share in shares)))
    return Grid("memory of a rank, MiB", ("", "training", "evaluation"), rows)


def _mib(size: int | None) -> str:
    return "-" if size is None else f"{size / 2**20:,.1f}"


def work_grid(run: RunEstimate) -> Grid:
    """What there is to do, whoever does it."""
    steady = run.costs[min(1, len(run.costs) - 1)]
    step, works = steady.step, run.works
    rows: list[Row] = [("tasks", str(len(works))), ("steps", f"{run.steps:,}")]
    if step.pictures:
        rows += [
            ("steps of a task", _spread([work.steps for work in works])),
            ("pictures of a rank's micro-step", f"{run.micro_batch}, {run.accumulation} to a step"),
            ("pictures trained, epochs counted", f"{sum(work.trained for work in works):,}"),
            ("a training picture", si(step.per_picture(), "FLOP")),
            ("  of it matching and queries", si(step.per_picture("matching"), "FLOP")),
            (
                "  forward, backward",
                f"{si(step.per_picture('forward'), '')}, {si(step.per_picture('backward'), 'FLOP')}",
            ),
        ]
    rows += [
        ("pictures tested, all tests counted", f"{sum(work.tested for work in works):,}"),
        ("a tested picture, passes", f"{si(steady.test.per_picture(), 'FLOP')}, {steady.test.passes}"),
        ("one pass without prompts", si(run.pass_flops, "FLOP")),
        ("in all", si(run.flops, "FLOP")),
        *_bytes(run),
    ]
    return Grid("work of the run", ("", ""), rows)


def _spread(values: Sequence[int]) -> str:
    return f"{min(values):,}" if min(values) == max(values) else f"{min(values):,} to {max(values):,}"


def _bytes(run: RunEstimate) -> list[Row]:
    data, kept = run.data, run.checkpoints
    rows = [
        ("read from shards, a host", f"{si(data.read, 'B')}, {data.decoded:,} pictures decoded once"),
        ("decoded, on local disk of a host", si(data.stored, "B")),
        ("checkpoints that stay", f"{si(kept.kept, 'B')}, {kept.number} of at most {si(kept.largest, 'B')}"),
    ]
    if run.traffic and run.ranks > 1:
        sent = si(sent_bytes(run.traffic, run.ranks) + run.gathered, "B")
        rows.append(("network, a rank and step", f"{sent} ({si(run.traffic, 'B')} to be summed)"))
    return rows


def time_grid(run: RunEstimate, bound: Bound | None, speed: Speed, price: float | None) -> Grid:
    """Hours and money; bound: at the run's own workers, None where it has no steps."""
    used = run.device_hours(speed)
    wall = used / run.ranks if bound is None else bound.hours
    rows: list[Row] = [
        ("by", speed.told),
        ("engine.precision", run.precision),
        ("wall time", hours(wall)),
        ("GPU-hours", f"{wall * run.ranks:.3g}"),
    ]
    if price is not None:
        rows.append(("cost", f"{wall * run.ranks * price:.2f}"))
    return Grid("time of the run", ("", ""), rows)


def bounds_grid(found: Sequence[Bound]) -> Grid:
    """A row for each number of workers."""
    columns = (
        "workers",
        "pictures",
        "products",
        "launches",
        "network",
        "loading",
        "bound by",
        "decoding",
        "hours",
        "GPU-hours",
    )
    rows = [
        (
            str(bound.workers),
            str(bound.share),
            *(f"{1e3 * part:.3g}" for part in (bound.compute, bound.launches, bound.network, bound.loading)),
            bound.by,
            f"{bound.decoding:.3g}",
            f"{bound.hours:.3g}",
            f"{bound.hours * bound.workers:.3g}",
        )
        for bound in found
    ]
    return Grid("a step by workers: pictures of a rank, ms of each part; s of decoding in all", columns, rows)


def batches_line(engine: EngineOptions, run: RunEstimate, gpu_bytes: int | None) -> str | None:
    """What `engine.micro_batch_size: auto` is foreseen to be."""
    if engine.micro_batch_size != "auto":
        return None
    if gpu_bytes is None:
        return "engine.micro_batch_size=auto: depends on a device's memory, here it is all of a share; give --device"
    blocks = "all blocks computed again" if run.recomputes else "no block computed again"
    free = f"{100 * FREE:g} % of the memory free"
    return f"engine.micro_batch_size=auto: {run.micro_batch}, tests in batches of {run.tested}, {blocks}, {free}"


def sharing_line(launch: LaunchOptions, rank_bytes: int, gpu_bytes: int | None) -> str:
    """How many runs of one worker share a GPU."""
    if launch.num_workers > 1:
        return "ranks of one run have a GPU each"
    if launch.gpus_per_worker == "auto" and gpu_bytes is None:
        return "launch.gpus_per_worker=auto: how many runs share a GPU depends on its memory; give --device"
    number = share_of_gpu(launch, rank_bytes, gpu_bytes)
    if launch.gpus_per_worker == "auto":
        return f"launch.gpus_per_worker=auto: {counted(number, 'run')} on a GPU, {100 * RESERVE:g} % of its memory free"
    return f"{counted(number, 'run')} on a GPU"


def search_grid(search: SearchEstimate, price: float | None) -> Grid:
    """All trials to their end beside what is expected of the scheduler, and the winner's refit."""
    columns = {"at most": search.most, "expected": search.expected, "winner's refit": search.refit_amount}
    amounts = list(columns.values())
    rows = [
        ("trials that begin", *(f"{amount.trials:g}" for amount in amounts)),
        ("steps", *(f"{amount.steps:,.0f}" for amount in amounts)),
        ("FLOP", *(si(amount.flops, "") for amount in amounts)),
        ("GPU-hours", *("-" if amount.hours is None else f"{amount.hours:.3g}" for amount in amounts)),
        ("wall time", *(hours(amount.wall) for amount in amounts)),
    ]
    if price is not None:
        rows.append(("cost", *("-" if amount.hours is None else f"{amount.hours * price:.2f}" for amount in amounts)))
    return Grid("the search", ("", *columns), rows)


def rungs_grid(search: SearchEstimate) -> Grid:
    """Configurations that are expected to train each task."""
    numbers = [f"{each:.3g}" for each in search.alive]
    tasks = [f"task {task}{' *' if task in search.levels else ''}" for task in range(len(numbers))]
    return Grid("configurations expected to train each task (*: a rung before it)", tasks, [numbers])


def search_lines(search: SearchEstimate, cluster: Cluster) -> list[str]:
    """What needs no table."""
    seeds = "" if search.seeds == 1 else f" x {search.seeds} seeds"
    shared = f", {search.per_gpu} on a GPU" if search.per_gpu > 1 else ""
    lines = [
        f"{counted(search.configurations, 'configuration')}{seeds}; {counted(search.at_once, 'trial')} at once on "
        f"{counted(cluster.gpus, 'GPU')} of {counted(cluster.nodes, 'node')}{shared}",
        f"checkpoints of all trials and the refit: {si(search.checkpoints, 'B')} stay",
    ]
    if len(search.trials) > 1:
        lines.append(
            f"the mean of {len(search.trials)} combinations of the searched values; memory is the largest one's"
        )
    if search.bounded is not None:
        lines.append(f"bounded by {search.bounded}")
    return lines


def study_grid(found: Sequence[CellEstimate], speed: Speed | None, price: float | None) -> Grid:
    """A row a cell, and their sum."""
    counted_columns = ["GPUs a run", "trials", "runs", "steps", "FLOP", "peak, MiB", "checkpoints"]
    columns = ["cell", *counted_columns, "GPU-hours", *([] if price is None else ["cost"])]
    used = [None if speed is None else cell.hours(speed) for cell in found]
    rows = [_study_row(cell.name, [cell], own, price) for cell, own in zip(found, used, strict=True)]
    last = _study_row(counted(len(found), "cell"), found, None if speed is None else sum(filter(None, used)), price)
    return Grid("the study", columns, [*rows, last])


def _study_row(name: str, cells: Sequence[CellEstimate], used: float | None, price: float | None) -> list[str]:
    """Of one cell, or the sum of several."""
    trials = sum(cell.trials for cell in cells)
    return [
        name,
        _spread([cell.run.ranks for cell in cells]),
        f"{trials:g}" if trials else "-",
        str(sum(cell.all_runs for cell in cells)),
        f"{sum(cell.steps for cell in cells):,.0f}",
        si(sum(cell.flops for cell in cells), ""),
        _mib(max(cell.peak for cell in cells)),
        si(sum(cell.checkpoints for cell in cells), "B"),
        *_priced(used, price),
    ]


def disk_line(found: Sequence[CellEstimate]) -> str:
    """Where what stays lies."""
    decoded = stored_by_all(data for cell in found for data in cell.data)
    kept = si(sum(cell.checkpoints for cell in found), "B")
    return f"disk: {kept} of checkpoints where results go, {si(decoded, 'B')} of decoded pictures on each host"


def study_line(found: Sequence[CellEstimate], speed: Speed | None, cluster: Cluster) -> str | None:
    """How long it takes: by one command, which runs a part at a time, and where all GPUs are always busy."""
    if speed is None:
        return None
    alone, wall = sum(cell.wall(speed) for cell in found), sum(cell.hours(speed) for cell in found) / cluster.gpus
    return (
        f"{hours(alone)} by one `hlgp study`, at least {hours(wall)} by as many as keep "
        f"{counted(cluster.gpus, 'GPU')} busy; by {speed.told}"
    )


def _priced(used: float | None, price: float | None) -> list[str]:
    cost = [] if price is None else ["-" if used is None else f"{used * price:.2f}"]
    return ["-" if used is None else f"{used:.3g}", *cost]
