"""How an error falls with a quantity: power laws with bootstrap intervals; and which costs buy accuracy at all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

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

    low, high: of the exponent, 95 %, None with too few seeds, or where some draw of them has no error; r_squared: of
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


def power_law(quantities: Sequence[float], errors: Sequence[Sequence[float]]) -> PowerLaw | None:
    """Of errors[i], one a seed, at quantities[i] > 0; None with an error of 0, or with fewer than three distinct
    quantities, or too near to one another.

    A resample draws the seeds of each point with replacement. Same input, same output.
    """
    means = np.array([np.mean(values) for values in errors])
    if len(set(quantities)) < FEWEST_POINTS or min(quantities) <= 0 or means.min() <= 0:
        return None
    if max(quantities) < LEAST_SPAN * min(quantities):
        return None
    x = np.log(np.asarray(quantities, dtype=np.float64))
    slope, offset = _line(x, np.log(means)[None])
    fitted = offset[0] + slope[0] * x
    total = float(((np.log(means) - np.log(means).mean()) ** 2).sum())
    r_squared = 1.0 - float(((np.log(means) - fitted) ** 2).sum()) / total if total > 0 else None
    low, high = _interval(x, errors)
    return PowerLaw(float(np.exp(offset[0])), float(-slope[0]), r_squared, low, high)


def _interval(x: Numbers, errors: Sequence[Sequence[float]]) -> tuple[float | None, float | None]:
    if min(map(len, errors)) < FEWEST_SEEDS:
        return None, None
    random = np.random.default_rng(_STREAM)
    draws = [random.integers(len(values), size=(RESAMPLES, len(values))) for values in errors]
    means = [np.asarray(values)[picked].mean(1) for values, picked in zip(errors, draws, strict=True)]
    drawn = np.stack(means, axis=1)
    if drawn.min() <= 0:
        return None, None
    slopes, _ = _line(x, np.log(drawn))
    low, high = np.quantile(-slopes, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def _line(x: Numbers, y: Numbers) -> tuple[Numbers, Numbers]:
    """Slopes and offsets of the rows of y [R, P] over x [P]."""
    centered = x - x.mean()
    slopes = (y - y.mean(1, keepdims=True)) @ centered / (centered @ centered)
    return slopes, y.mean(1) - slopes * x.mean()


def front(costs: Sequence[float], gains: Sequence[float]) -> list[int]:
    """The places of those that no other beats in both, cheapest first; of equal ones the first."""
    order = sorted(range(len(costs)), key=lambda place: (costs[place], -gains[place], place))
    found: list[int] = []
    for place in order:
        if not found or gains[place] > gains[found[-1]]:
            found.append(place)
    return found
