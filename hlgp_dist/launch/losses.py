"""What Ray says of a worker group that failed, in our classes of failure."""

from __future__ import annotations

from collections.abc import Iterator

from ray import exceptions
from ray.train import PreemptionError
from ray.train.v2._internal.exceptions import RayTrainError, WorkerGroupStartupTimeoutError

from hlgp_dist.errors import Failure, LostWorker, OutOfMemory, Preempted, first_line

GONE = (exceptions.RayActorError, exceptions.WorkerCrashedError, exceptions.NodeDiedError, RayTrainError)
"""The worker, its host or the controller is no longer there. What a worker itself raised comes in a wrapping of its
own."""


def worker_failure(error: BaseException, left: Failure | None) -> Failure:
    """Why a worker group failed: a documented reason that a rank left, then whatever died, then what a rank raised.

    left: see `failure_of`.
    """
    if left is not None and left.exit_code != Failure.exit_code and not isinstance(left, LostWorker):
        return left
    causes = dict(_causes(error))
    for rank, cause in causes.items():
        if isinstance(cause, exceptions.OutOfMemoryError):
            return OutOfMemory(f"out of memory: Ray ended {rank}: {first_line(cause)}")
    if isinstance(error, PreemptionError) or any(getattr(cause, "preempted", False) for cause in causes.values()):
        return Preempted(f"a host of the run was taken away: {first_line(error)}")
    for rank, cause in causes.items():
        if isinstance(cause, Failure):
            return cause
        if isinstance(cause, GONE):
            return LostWorker(f"{rank} was lost: {first_line(cause).rstrip('.:')}; the same command resumes")
    return left or Failure(f"a worker of the run failed: {first_line(next(iter(causes.values())))}")


def is_full(error: BaseException) -> bool:
    """Whether the group was never placed: others use the cluster, or a part of it has gone."""
    return isinstance(getattr(error, "controller_failure", None), WorkerGroupStartupTimeoutError)


def _causes(error: BaseException) -> Iterator[tuple[str, BaseException]]:
    """Who failed by what, out of Ray's wrappings, whose text is a traceback."""
    failures = getattr(error, "worker_failures", {})
    for rank, failure in failures.items():
        cause = getattr(failure, "_base_exc", failure)
        yield f"rank {rank}", getattr(cause, "health_check_failure", cause)
    if not failures:
        yield "the run", getattr(error, "controller_failure", error)
