"""What `hlgp bench step` measured, as columns of text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from hlgp_dist.bench.stepping.step import EVAL, FIRST, TRAIN
from hlgp_dist.terminal import Grid

ROWS = {FIRST: "training, first task", TRAIN: "training, task {tasks}", EVAL: "evaluation"}
MOST = 15
"""Operations that are told by name."""
MFU = {FIRST: "first_task_mfu", TRAIN: "mfu", EVAL: "eval_mfu"}


def grids(report: Mapping[str, Any]) -> Iterator[Grid]:
    """Rates, parts of a step, and what they are measured against."""
    yield _rates(report)
    if report["parts_ms"]:
        whole = sum(report["parts_ms"].values())
        rows = [[part, f"{ms:.1f}", f"{100 * ms / whole:.1f}"] for part, ms in report["parts_ms"].items()]
        title = f"a training step of task {report['tasks']}"
        yield Grid(title, ["", "ms", "%"], [*rows, ["all", f"{whole:.1f}", "100.0"]])
    yield Grid("memory", ["", "foreseen, MB", "measured, MB"], list(_memory(report)))
    if report["operations"]:
        title = f"operations of a step of task {report['tasks']}, without what they call"
        yield Grid(title, ["", "calls", "ms", "%"], list(_operations(report["operations"])))
    yield Grid("matrix products alone", ["", "TFLOP/s"], list(_products(report)))


def _rates(report: Mapping[str, Any]) -> Grid:
    backbone, method = report["config"]["backbone"], report["config"]["method"]["kind"]
    engine, other = report["config"]["engine"], report["yardstick"]
    how = engine["precision"] + (", compiled" if engine["compile"] else "")
    title = f"{method} on {backbone['name']}, {how}, batches of {report['batch_size']}"
    columns = ["", "images/s", "GFLOP an image", "MFU, %"] + ([f"{other}, images/s", f"x {other}"] if other else [])
    rows = []
    for name, told in ROWS.items():
        own = report.get(f"{name}_images_per_second")
        if own is None:
            continue
        flops = report["flops_per_image"][name]
        row = [told.format(**report), f"{own:.3g}", f"{flops / 1e9:.1f}", f"{100 * report[MFU[name]]:.1f}"]
        if other:
            rate, speed_up = report.get(f"{other}_{name}_images_per_second"), report["speed_up"].get(name)
            row += ["-", "-"] if speed_up is None else [f"{rate:.3g}", f"{speed_up:.2f}"]
        rows.append(row)
    return Grid(title, columns, rows)


def _memory(report: Mapping[str, Any]) -> Iterator[list[str]]:
    """Of a step of the last task part by part, then all in all."""
    if report["memory_bytes"]:
        foreseen, measured = (report["memory_bytes"][side] for side in ("foreseen", "measured"))
        for part, size in measured.items():
            yield [part, f"{foreseen[part] / 1e6:,.2f}", f"{size / 1e6:,.2f}"]
    whole = "step of the first task" if report["memory_bytes"] else "test"
    yield [f"all in all, in a {whole}", "", f"{report['peak_memory_bytes'] / 1e6:,.2f}"]


def _operations(operations: Sequence[Mapping[str, Any]]) -> Iterator[list[str]]:
    """The longest, and the rest together."""
    whole, rest = sum(each["ms"] for each in operations), operations[MOST:]
    for each in operations[:MOST]:
        yield [each["name"], f"{each['calls']}", f"{each['ms']:.1f}", f"{100 * each['ms'] / whole:.1f}"]
    ms = sum(each["ms"] for each in rest)
    yield [f"{len(rest)} others", f"{sum(each['calls'] for each in rest)}", f"{ms:.1f}", f"{100 * ms / whole:.1f}"]


def _products(report: Mapping[str, Any]) -> Iterator[list[str]]:
    for product, flops in report["gemm_flops"].items():
        yield [product, f"{flops / 1e12:.3f}"]
    yield ["the peak", f"{report['gemm_peak_flops'] / 1e12:.3f}"]


def scaling_grids(report: Mapping[str, Any]) -> Iterator[Grid]:
    """As many pictures a rank, and as many in all."""
    columns = ["ranks", "pictures each", "step, ms", "images/s", "efficiency, %"]
    columns += ["own work, ms", "the slowest's", "sum over ranks", "foreseen"]
    backbone, threads = report["config"]["backbone"]["name"], report["threads_per_worker"]
    for kind, what in (("weak", "a rank"), ("strong", "in all")):
        title = f"{backbone}, {report['batch_size']} pictures {what}, threads of a rank: {threads}"
        yield Grid(title, columns, [_scaled(point) for point in report[kind]])


def _scaled(point: Mapping[str, Any]) -> list[str]:
    step, *parts = (point[name] for name in ("seconds", "mean", "slowest", "reduce", "foreseen_seconds"))
    rate, efficiency = f"{point['images_per_second']:.3g}", f"{100 * point['efficiency']:.1f}"
    milliseconds = [f"{1e3 * seconds:.1f}" for seconds in parts]
    return [f"{point['workers']}", f"{point['share']}", f"{1e3 * step:.1f}", rate, efficiency, *milliseconds]
