"""What a worker leaves behind, and what a launcher makes of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import ray.train
import torch
import torch.distributed as dist
from ray.exceptions import ActorUnavailableError

from hlgp_dist.errors import ConfigError, EnvironmentFailure, Failure, LostWorker, OutOfMemory
from hlgp_dist.files import write_json
from hlgp_dist.launch.ray_run import RayContext, _rank
from hlgp_dist.launch.worker import as_failure, outcome_kept
from hlgp_dist.train.folder import RunFolder
from tests.jobs import job

FINISHED = {"exit_code": 0, "reason": "done", "accuracy_matrix": [[1.0]]}


@pytest.mark.parametrize(
    ("error", "exit_code", "reason"),
    [
        (ConfigError("seed: no"), 2, "seed: no"),
        (AssertionError("never"), 1, "internal error: AssertionError: never; the traceback is in the run's logs"),
        (SystemExit(143), 143, "ended at once by a second signal; the same command resumes"),
        (KeyboardInterrupt(), 130, "ended at once by a second signal; the same command resumes"),
    ],
)
def test_whatever_ends_a_run_is_in_its_result(
    error: BaseException, exit_code: int, reason: str, tmp_path: Path
) -> None:
    folder = RunFolder(tmp_path)
    with pytest.raises(type(error)), outcome_kept(folder):
        raise error
    assert json.loads(folder.result.read_text()) == {"exit_code": exit_code, "reason": reason}


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (torch.AcceleratorError("CUDA error: out of memory"), OutOfMemory),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), OutOfMemory),
        (dist.DistBackendError("ncclUnhandledCudaError: ... Cuda failure 2 'out of memory'"), OutOfMemory),
        (dist.DistBackendError("ncclInvalidUsage: Duplicate GPU detected : rank 0 and rank 1"), EnvironmentFailure),
        (torch.AcceleratorError("CUDA error: uncorrectable ECC error encountered"), LostWorker),
        (dist.DistBackendError("ncclSystemError: socket closed by remote peer"), LostWorker),
        (RuntimeError("shape '[2]' is invalid"), Failure),
    ],
)
def test_what_gpus_say_is_told_in_our_kinds(error: Exception, kind: type[Failure]) -> None:
    assert type(as_failure(error)) is kind


def test_a_finished_result_stays(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    with pytest.raises(AssertionError), outcome_kept(folder):
        write_json(folder.result, FINISHED)
        raise AssertionError("in teardown")
    assert folder.read_finished() == FINISHED


def test_a_node_that_does_not_see_the_run_says_so_before_it_trains(drawn: Path, tmp_path: Path) -> None:
    config = job(drawn, tmp_path / "elsewhere")
    with pytest.raises(EnvironmentFailure, match=r"run\.dir: the node .* does not see .*elsewhere; it must be on"):
        _rank(config, RunFolder(tmp_path / "elsewhere"), rank=0, attempt=1)
    assert not (tmp_path / "elsewhere").exists()


def test_a_ray_that_does_not_answer_a_report_is_a_lost_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is tried again: a link that was cut has healed, or the rank goes on elsewhere."""

    def unanswered(metrics: object) -> None:
        raise ActorUnavailableError("Connection reset by peer", None)

    monkeypatch.setattr(ray.train, "report", unanswered)
    with pytest.raises(LostWorker, match="Connection reset by peer"):
        RayContext.report(object.__new__(RayContext), {})
