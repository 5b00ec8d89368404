"""What `hlgp bench data` measured, as columns of text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from hlgp_dist.telemetry.progress import rate
from hlgp_dist.terminal import Grid


def grids(report: Mapping[str, Any]) -> Iterator[Grid]:
    """Rates and ratios, where the time goes, and the rest in one row each."""
    yield _rates(report)
    yield _parts(report)
    yield Grid("also", ["", "measured"], list(_others(report)))


def _rates(report: Mapping[str, Any]) -> Grid:
    work, rivals = report["workload"], list(report["ratios"])
    title = f"{work['pictures']} pictures at {work['size']} px, {work['workers']} workers: pictures/s"
    rows = []
    for name in report["ratios"][rivals[0]]:
        mode = report["compared"][name]
        of_rivals = [report["pictures_per_second"][mode][rival] for rival in rivals]
        ratios = [f"{report['ratios'][rival][name]:.1f} x" for rival in rivals]
        own = report["pictures_per_second"][mode][name if name in report["pictures_per_second"][mode] else "ours"]
        rows.append([name, *map(rate, of_rivals), rate(own), *ratios])
    return Grid(title, ["", *rivals, "ours", *(f"to {rival}" for rival in rivals)], rows)


def _parts(report: Mapping[str, Any]) -> Grid:
    epochs = report["where_time_goes"]
    names = dict.fromkeys(name for epoch in epochs.values() for name in epoch["parts_ms"])
    rows = [[name, *(_ms(epoch["parts_ms"].get(name)) for epoch in epochs.values())] for name in names]
    rows.append(["all", *(_ms(epoch["whole_ms"]) for epoch in epochs.values())])
    rows.append(["explained", *(f"{100 * epoch['explained']:.0f} %" for epoch in epochs.values())])
    return Grid("one thread's milliseconds a picture", ["", *epochs], rows)


def _ms(milliseconds: float | None) -> str:
    return "" if milliseconds is None else f"{milliseconds:.3f}"


def _others(report: Mapping[str, Any]) -> Iterator[list[str]]:
    yield ["decoded a picture", f"{report['decoded_per_picture']:.2f} times"]
    yield ["largest difference in evaluation", f"{255 * report['evaluation_difference']:.2g} of 255 grey levels"]
    memory = report["memory"]
    slope = memory["slope_mib_per_epoch"]
    flat = "" if slope is None else f", {slope:+.2f} MiB an epoch: {'flat' if memory['flat'] else 'NOT flat'}"
    yield [f"memory, {len(memory['resident_mib'])} epochs", f"{memory['resident_mib'][-1]:.0f} MiB{flat}"]
    if (step := report["step"]) is not None:
        parts = ", ".join(f"{part} {percent:.2f} %" for part, percent in step["percent"].items())
        yield [f"a step of {step['backbone']}", f"{sum(step['ms'].values()):.0f} ms: {parts}"]
