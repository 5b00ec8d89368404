"""Random numbers of a sample: pure functions of (seed, task, epoch, sample id) and of what they are for.

So a sample looks the same whatever the batch, rank or loader worker it comes through, and after any resume.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hlgp_dist.data.plan import stream_key

SAMPLE_DRAWS = 32
"""Numbers that each sample has in an epoch. A change here, or of a range below, breaks every resumed run."""
CROP_TRIES = range(0, 20)
CROP_PLACE = range(20, 22)
MIRROR = range(22, 23)
JITTER_FACTORS = range(23, 27)
JITTER_ORDER = range(27, 31)


class Key(NamedTuple):
    """An epoch of a task of a run."""

    seed: int
    task: int
    epoch: int


def uniforms(samples: NDArray[np.int64], draws: range, key: Key) -> NDArray[np.float64]:
    """float64 [draws, B] in [0, 1): SplitMix64 (Steele, Lea, Flood 2014), whose i-th output is a function of i."""
    state = stream_key(*key, 1).generate_state(1, np.uint64)
    places = np.arange(draws.start + 1, draws.stop + 1, dtype=np.uint64)[:, None]
    counter = samples.astype(np.uint64) * np.uint64(SAMPLE_DRAWS) + places
    z = state + counter * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
    result: NDArray[np.float64] = (z >> np.uint64(11)) * 2.0**-53
    return result
