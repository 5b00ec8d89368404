"""How every figure of a report looks: readable in black and white, by the colour-blind, on light and on dark paper."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, FuncFormatter, LogLocator, MaxNLocator, NullLocator, StrMethodFormatter

INK = "#22262b"
"""Of text and axes; on a page it becomes the page's own colour of text."""
# Okabe and Ito (2008) without black and yellow: told apart by all kinds of colour vision, seen on white and on black.
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "*")
DASHES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1.5, 1.2)), (0, (5, 1.5, 1.2, 1.5)), (0, (8, 2)))
PANEL_INCHES = (4.2, 3.1)
DOTS_PER_INCH = 144
FEW = 4
"""Parts of an axis between ticks that are spelled out."""
LEGEND_COLUMNS, LETTER_INCHES, LINE_INCHES = 6, 0.075, 0.17
BAND = 0.18
"""Opacity of a deviation over seeds."""

SETTINGS: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 9.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.6,
    "lines.markersize": 5.0,
    "legend.frameon": False,
    "legend.fontsize": 8.0,
    "axes.titlesize": 9.5,
    **dict.fromkeys(
        ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color", "grid.color"), INK
    ),
}


@dataclass(frozen=True)
class Look:
    """Of one series, in every figure of a report."""

    color: str
    marker: str
    dash: Any

    def line(self) -> dict[str, Any]:
        """For `Axes.plot`."""
        return {"color": self.color, "marker": self.marker, "linestyle": self.dash}


@dataclass(frozen=True)
class Drawing:
    """A figure as a page and as a document take it; `inline` has no background and the page's ink."""

    inline: str
    svg: bytes
    png: bytes


def looks(series: Sequence[str]) -> dict[str, Look]:
    """Colour, marker and dash of each series: two series share none of the three before the sixth."""
    return {
        name: Look(COLORS[i % len(COLORS)], MARKERS[i % len(MARKERS)], DASHES[i % len(DASHES)])
        for i, name in enumerate(dict.fromkeys(series))
    }


def panels(
    count: int, *, columns: int = 3, share: bool = False, inches: tuple[float, float] = PANEL_INCHES
) -> tuple[Figure, list[Axes]]:
    """A figure of so many axes in rows, `inches` each; made inside of `styled`."""
    wide = min(count, columns)
    high = -(-count // wide)
    width, height = inches
    figure = Figure(figsize=(width * wide, height * high), layout="constrained")
    grid = figure.subplots(high, wide, squeeze=False, sharex=share, sharey=share)
    for axes in grid.flat[count:]:
        axes.set_axis_off()
    return figure, list(grid.flat[:count])


def whole_numbers(*scales: Axis) -> None:
    """No tick between two tasks."""
    for scale in scales:
        scale.set_major_locator(MaxNLocator("auto", integer=True))


def outer_labels(every: Sequence[Axes]) -> None:
    """Of axes that share their scales: each said once a row and a column."""
    if len(every) == 1 or len(every[0].get_shared_y_axes().get_siblings(every[0])) == 1:
        return
    places = [(place.rowspan.start, place.colspan.start) for axes in every if (place := axes.get_subplotspec())]
    for axes, (row, column) in zip(every, places, strict=True):
        said = axes.get_xlabel()
        axes.label_outer()
        if (row + 1, column) not in places:  # the last row may be short
            axes.tick_params(labelbottom=True)
            axes.set_xlabel(said)


def logarithmic(scale: Axis, *, prefixes: bool) -> None:
    """Few ticks that do not overlap; prefixes: large numbers as `20 M`."""
    scale.axes.set(**{f"{scale.axis_name}scale": "log"})  # type: ignore[attr-defined]
    scale.set_major_locator(_Few(subs=(1.0, 2.0, 5.0) if prefixes else (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0)))
    scale.set_major_formatter(FuncFormatter(compact) if prefixes else StrMethodFormatter("{x:.3g}"))
    scale.set_minor_locator(NullLocator())


def few_ticks(scale: Axis) -> None:
    """That do not overlap, large numbers as `20 M`."""
    scale.set_major_locator(MaxNLocator(FEW))
    scale.set_major_formatter(FuncFormatter(compact))


class _Few(LogLocator):
    """Round numbers, or if there is but one of them in sight others between."""

    def tick_values(self, vmin: float, vmax: float) -> Any:
        ticks = super().tick_values(vmin, vmax)
        is_enough = sum(vmin <= tick <= vmax for tick in ticks) > 1
        return ticks if is_enough else MaxNLocator(FEW).tick_values(vmin, vmax)


def compact(value: float, _: object = None) -> str:
    """`0.02`, `500`, `20 M`."""
    return EngFormatter(sep=" ")(value) if abs(value) >= 1000 else f"{value:.3g}"


def legend_below(figure: Figure, axes: Sequence[Axes]) -> None:
    """One legend for all axes, each label once; the figure grows by it."""
    found: dict[str, Any] = {}
    for one in axes:
        for handle, label in zip(*one.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    if len(found) > 1:
        room = int(figure.get_figwidth() / (0.5 + LETTER_INCHES * max(map(len, found))))
        columns = max(1, min(LEGEND_COLUMNS, room, len(found)))
        figure.set_figheight(figure.get_figheight() + LINE_INCHES * -(-len(found) // columns))
        figure.legend(found.values(), found.keys(), loc="outside lower center", ncols=columns)


def drawn(figure: Figure, name: str) -> Drawing:
    """As SVG and PNG; the same figure gives the same bytes."""
    with rc_context({**SETTINGS, "svg.hashsalt": name}):
        svg, png = io.BytesIO(), io.BytesIO()
        figure.savefig(svg, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
        figure.savefig(png, format="png", dpi=DOTS_PER_INCH, facecolor="white", metadata={"Software": None})
    return Drawing(_inline(svg.getvalue().decode(), name), svg.getvalue(), png.getvalue())


def styled() -> Any:
    """A context in which figures are made."""
    return rc_context(SETTINGS)


def _inline(svg: str, name: str) -> str:
    """For a page: its ink, no XML header and no metadata, and of the ids those that are referred to."""
    body = re.sub(r"<metadata>.*?</metadata>\s*", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    body = body.replace(INK, "currentColor")
    used = set(re.findall(r'(?:href="#|url\(#)([^")]+)', body))

    def kept(match: re.Match[str]) -> str:
        return match.group(0) if match.group(1) in used else ""

    body = re.sub(r' id="([^"]+)"', kept, body)
    return body.replace("<svg ", f'<svg role="img" aria-label="{name}" ', 1)
