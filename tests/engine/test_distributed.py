"""Joining and leaving the process group of a run."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import ExitStack
from datetime import timedelta
from unittest import mock

import pytest
import torch
import torch.distributed as dist
from deepspeed.utils import groups

from hlgp_dist.engine.distributed import close_process_group, process_group
from tests.ranks import Ranks


def timeouts(rank: int, size: int) -> list[timedelta]:
    """Of the run's group and of the one that DeepSpeed reduces over."""
    with process_group("cpu", 77):
        dist.barrier()  # who leaves while another still joins is a lost rank to it
        known = [dist.group.WORLD, groups._get_data_parallel_group()]
        return [group._get_backend(torch.device("cpu")).options._timeout for group in known]


def test_every_collective_has_the_runs_timeout(ranks: Ranks) -> None:
    assert ranks.call(2, timeouts) == [[timedelta(seconds=77)] * 2] * 2


def stays(rank: int, size: int, backend: str) -> bool:
    """Whether a rank that fails is in the group still."""
    with ExitStack() as said, pytest.raises(MemoryError), process_group("cpu", 60):
        dist.barrier()
        said.enter_context(mock.patch("torch.distributed.get_backend", return_value=backend))
        raise MemoryError
    joined = dist.is_initialized()
    close_process_group()
    return joined


@pytest.mark.parametrize(("size", "backend", "expected"), [(2, "gloo", False), (2, "nccl", True), (1, "nccl", False)])
def test_a_rank_that_fails_among_gpus_does_not_wait_for_the_others(
    size: int, backend: str, expected: bool, ranks: Ranks
) -> None:
    assert ranks.call(size, stays, backend) == [expected] * size


def is_left(rank: int, size: int) -> bool:
    """A group that was joined by half."""
    lost = mock.patch("torch.distributed.new_group", side_effect=RuntimeError("Connection closed by peer"))
    with lost, pytest.raises(RuntimeError), process_group("cpu", 60):
        raise AssertionError("it was not joined")
    return not dist.is_initialized()


def test_a_group_that_cannot_be_joined_is_left(ranks: Ranks) -> None:
    assert ranks.call(1, is_left) == [True]


def test_deepspeed_has_nothing_to_say_of_a_cpu() -> None:
    environment = {key: value for key, value in os.environ.items() if key != "DS_ACCELERATOR"}
    command = [sys.executable, "-c", "import hlgp_dist.engine.deepspeed"]
    told = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    assert told.stdout + told.stderr == ""
