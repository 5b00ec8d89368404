"""How an error falls with a quantity: power laws with bootstrap intervals; and which costs buy accuracy at all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean

import numpy as np
from numpy.typing import NDArray

from hlgp_dist.study.statistics import FEWEST_SEEDS, LEVEL, RESAMPLES

FEWEST_POINTS = 3
"""Two points always lie on a line."""
LEAST_SPAN = 1.5
"""Greatest over least: below it, how an error falls with a quantity is how it falls with something else."""
_STREAM = 1

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class PowerLaw:
    """error = scale * quantity ** -exponent, by least squares of the logarithms of the means over seeds.

    low, high: of the exponent, 95 %, None with too few seeds, or where no seed moves an error, or some draw of them has
    none; r_squared: of
    the logarithms, None where there is nothing to explain.
    """

    scale: float
    exponent: float
    r_squared: float | None
    low: float | None
    high: float | None

    def at(self, quantities: Numbers) -> Numbers:
        """The errors."""
        return self.scale * quantities**-self.exponent


def power_law(quantities: Sequence[Sequence[float]], errors: Sequence[Sequence[float]]) -> PowerLaw | None:
    """Of points[i], where seed s has errors[i][s] at quantities[i][s] > 0; None with an error of 0, or with fewer than
    three distinct quantities, or too near to one another.

    A resample draws the seeds of each point with replacement, each with both of its numbers. Same input, same output.
    """
    at, means = np.array([mean(values) for values in quantities]), np.array([mean(values) for values in errors])
    if len(set(at)) < FEWEST_POINTS or at.min() <= 0 or means.min() <= 0:
        return None
    if at.max() < LEAST_SPAN * at.min():
        return None
    x, y = np.log(at), np.log(means)
    (slope,), (offset,) = _lines(x[None], y[None])
    total = float(((y - y.mean()) ** 2).sum())
    r_squared = 1.0 - float(((y - (offset + slope * x)) ** 2).sum()) / total if total > 0 else None
    low, high = _interval(quantities, errors)
    return PowerLaw(float(np.exp(offset)), float(-slope), r_squared, low, high)


def _interval(
    quantities: Sequence[Sequence[float]], errors: Sequence[Sequence[float]]
) -> tuple[float | None, float | None]:
    if min(map(len, errors)) < FEWEST_SEEDS or all(len(set(values)) == 1 for values in errors):
        return None, None
    random = np.random.default_rng(_STREAM)
    draws = [random.integers(len(values), size=(RESAMPLES, len(values))) for values in errors]
    x, y = _drawn_means(quantities, draws), _drawn_means(errors, draws)
    if y.min() <= 0:
        return None, None
    slopes, _ = _lines(np.log(x), np.log(y))
    low, high = np.quantile(-slopes, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def _drawn_means(points: Sequence[Sequence[float]], draws: Sequence[NDArray[np.int64]]) -> Numbers:
    """[R, P]: of each draw of each point's values."""
    return np.stack([np.asarray(values)[drawn].mean(1) for values, drawn in zip(points, draws, strict=True)], axis=1)


def _lines(x: Numbers, y: Numbers) -> tuple[Numbers, Numbers]:
    """Slopes and offsets of the rows of y [R, P] over those of x."""
    centered = x - x.mean(1, keepdims=True)
    slopes = (centered * (y - y.mean(1, keepdims=True))).sum(1) / (centered**2).sum(1)
    return slopes, y.mean(1) - slopes * x.mean(1)


def front(costs: Sequence[float], gains: Sequence[float]) -> list[int]:
    """The places of those that no other beats in both, cheapest first; of equal ones the first."""
    order = sorted(range(len(costs)), key=lambda place: (costs[place], -gains[place], place))
    found: list[int] = []
    for place in order:
        if not found or gains[place] > gains[found[-1]]:
            found.append(place)
    return found
