"""What accuracy costs: the settings that no other beats in both, speed, and what was planned beside what was."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean

from matplotlib.figure import Figure

from hlgp_dist.study.comparison import NOTHING
from hlgp_dist.study.reporting.along import HOURS, Quantity, varying
from hlgp_dist.study.reporting.places import Placed, by_pictures
from hlgp_dist.study.reporting.style import INK, Look, few_ticks, legend_below, logarithmic, panels
from hlgp_dist.study.scaling import front
from hlgp_dist.terminal import Grid
from hlgp_dist.train.estimate.speed import Bench

GIGA, MIB = 1e9, 2**20


def pareto(cells: Sequence[Placed], quantity: Quantity) -> list[Placed]:
    """Those of the cells that know the cost, and that none beats in both it and final accuracy; cheapest first."""
    known = [(cost, cell) for cell in cells if (cost := quantity.of(cell)) is not None]
    places = front([cost for cost, _ in known], [fmean(cell.finals()) for _, cell in known])
    return [known[place][1] for place in places]


def tradeoff(cells: Sequence[Placed], looks: Mapping[str, Look], quantities: Sequence[Quantity]) -> Figure | None:
    """Final accuracy over each cost that two cells or more know, with the front on each set of pictures and tasks."""
    shown = varying(quantities, cells)
    if not shown:
        return None
    figure, every = panels(len(shown))
    for axes, quantity in zip(every, shown, strict=True):
        for cell in cells:
            cost, look = quantity.of(cell), looks[cell.series]
            if cost is not None:
                final = 100 * fmean(cell.finals())
                axes.plot(cost, final, label=cell.series, color=look.color, marker=look.marker, linestyle="none")
        for members in by_pictures(cells):
            best = pareto(members, quantity)
            steps = [quantity.of(cell) or 0.0 for cell in best], [100 * fmean(cell.finals()) for cell in best]
            axes.step(*steps, where="post", color=INK, linewidth=0.9, linestyle=":", label="not beaten in both")
            for cell, cost, final in zip(best, *steps, strict=True):
                axes.annotate(cell.name, (cost, final), (-4, 4), textcoords="offset points", fontsize=6.5, ha="right")
        axes.set(xlabel=quantity.label, ylabel="final average accuracy, %")
        axes.margins(x=0.18, y=0.1)
        if all(quantity.of(cell) for cell in cells if quantity.of(cell) is not None):
            logarithmic(axes.xaxis, prefixes=True)
        else:
            few_ticks(axes.xaxis)
    legend_below(figure, every)
    return figure


def planned_grid(cells: Sequence[Placed]) -> Grid | None:
    """What `hlgp plan` counts for each cell that its study planned."""
    rows = [[cell.name, *_planned(cell)] for cell in cells if cell.planned is not None]
    columns = ["cell", "steps", "GFLOP a pass", "TFLOP of a run", "trained pictures", "memory of a rank, MiB"]
    return Grid("planned for one run of each cell", columns, rows) if rows else None


def actual_grid(cells: Sequence[Placed], bench: Bench | None) -> Grid:
    """What its runs took, means over seeds; bench: of its device, for MFU and the hours that were to be expected."""
    rows = [[cell.name, *_actual(cell, bench)] for cell in cells]
    hours = ["workers", "device-hours", "planned", "taken of planned, %"]
    speeds = ["training images/s", "TFLOP/s a device", "MFU, %"]
    title = "what its runs took, mean over seeds; planned hours and MFU with --bench, memory against the plan on GPUs"
    return Grid(title, ["cell", *hours, *speeds, "peak memory, MiB", "of that planned, %"], rows)


def throughput(cells: Sequence[Placed]) -> dict[str, list[float]]:
    """Training pictures a second and device, by cell, one value a seed."""
    found = {
        cell.name: [
            rate / run.result["num_workers"]
            for run in cell.cell.runs.values()
            if (rate := run.number("images_per_second")) is not None and run.result.get("num_workers")
        ]
        for cell in cells
    }
    return {name: rates for name, rates in found.items() if rates}


def _planned(cell: Placed) -> Iterator[str]:
    plan = cell.planned
    assert plan is not None
    yield f"{plan['steps']:,}"
    yield f"{plan['pass_flops'] / GIGA:,.2f}"
    yield f"{plan['flops'] / GIGA / 1000:,.2f}"
    yield f"{sum(stage['trained'] for stage in plan['stages']):,}"
    yield f"{plan['memory']['peak'] / MIB:,.0f}"


def _actual(cell: Placed, bench: Bench | None) -> Iterator[str]:
    results = [run.result for run in cell.cell.runs.values()]
    yield " or ".join(map(str, sorted({result["num_workers"] for result in results if result.get("num_workers")})))
    bench = bench if bench is not None and bench.is_of(cell.run.config.engine.precision) else None
    hours, planned = HOURS.of(cell), _planned_hours(cell, bench)
    yield NOTHING if hours is None else f"{hours:.4g}"
    yield NOTHING if planned is None else f"{planned:.4g}"
    yield NOTHING if planned is None or hours is None else f"{100 * hours / planned:.0f}"
    rate = _mean(results, "images_per_second")
    yield NOTHING if rate is None else f"{rate:.4g}"
    reached = _reached(cell)
    yield NOTHING if reached is None else f"{reached / 1e12:.3g}"
    yield NOTHING if reached is None or bench is None else f"{100 * reached / bench.peak:.1f}"
    memory = _mean(results, "peak_memory_bytes")
    yield NOTHING if memory is None else f"{memory / MIB:,.0f}"
    is_comparable = set(cell.run.environment.get("devices", ["cpu"])) != {"cpu"}  # a plan is for GPUs
    plan = cell.planned if is_comparable and cell.run.config.engine.micro_batch_size != "auto" else None
    yield NOTHING if memory is None or plan is None else f"{100 * memory / plan['memory']['peak']:.0f}"


def _planned_hours(cell: Placed, bench: Bench | None) -> float | None:
    """Of training, at the FLOP/s that the bench sustained."""
    if cell.planned is None or bench is None or bench.sustained is None:
        return None
    return float(sum(stage["training"] for stage in cell.planned["stages"])) / bench.sustained / 3600


def _reached(cell: Placed) -> float | None:
    """FLOP/s a device in training, of those that the method needs."""
    plan, rates = cell.planned, throughput([cell])
    trained = 0 if plan is None else sum(stage["trained"] for stage in plan["stages"])
    if plan is None or not trained or not rates:
        return None
    return fmean(rates[cell.name]) * float(sum(stage["training"] for stage in plan["stages"])) / trained


def _mean(results: Sequence[Mapping[str, float]], key: str) -> float | None:
    values = [result[key] for result in results if result.get(key) is not None]
    return fmean(values) if values else None
