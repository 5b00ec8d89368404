"""Every random draw of a run comes from a generator named by integers, never from global state.

A resumed run therefore needs no saved generator state, and ranks agree without a broadcast.
"""

from __future__ import annotations

from enum import IntEnum

import numpy
import torch


class Purpose(IntEnum):
    """What a generator is for, so that no two draw the same numbers."""

    INITIALISATION = 1
    ALIGNMENT = 2
    PROJECTION = 3


def generator(seed: int, task: int, purpose: Purpose) -> torch.Generator:
    """A CPU generator that depends on its arguments alone."""
    state = numpy.random.SeedSequence((seed, task, purpose)).generate_state(2, numpy.uint32)
    return torch.Generator().manual_seed(int(state[0]) << 31 ^ int(state[1]))
