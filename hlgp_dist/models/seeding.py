"""Every random draw of a run comes from a generator named by integers, never from global state.

A resumed run therefore needs no saved generator state, and ranks agree without a broadcast.
"""

from __future__ import annotations

import numpy
import torch


def generator(*key: int) -> torch.Generator:
    """A CPU generator that depends on the integers of `key` alone, e.g. (seed, task, purpose)."""
    state = numpy.random.SeedSequence(key).generate_state(2, numpy.uint32)
    return torch.Generator().manual_seed(int(state[0]) << 31 ^ int(state[1]))
