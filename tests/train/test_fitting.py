"""`engine.micro_batch_size: auto` in runs: probed once, agreed, remembered, and without a trace in what is computed."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from hlgp_dist.config.schema import RunConfig
from hlgp_dist.engine.distributed import close_process_group, init_process_group
from hlgp_dist.launch.attempts import as_found, smaller_batches
from hlgp_dist.launch.channel import Channel
from hlgp_dist.launch.local import LocalContext
from hlgp_dist.launch.pulse import Pulse
from hlgp_dist.launch.worker import work
from hlgp_dist.train import host_memory
from hlgp_dist.train.batch_sizes import BatchSizes
from hlgp_dist.train.device_memory import DeviceMemory, Room
from hlgp_dist.train.estimate.run import estimate_run
from hlgp_dist.train.fitting.agree import _least_of_all
from hlgp_dist.train.fitting.probe import Probe
from hlgp_dist.train.fitting.remembered import recall, remember
from hlgp_dist.train.folder import RunFolder
from hlgp_dist.train.session import open_session
from hlgp_dist.types import World
from tests.jobs import job, step_values
from tests.ranks import Ranks
from tests.results import unmeasured
from tests.train.test_other_ranks import assert_equal

AUTO = "engine.micro_batch_size=auto"
SHORT = ("train.epochs=2", "benchmark.max_tasks=2")


def rank_of(rank: int, size: int, cache: str, config: dict[str, Any]) -> int:
    """A rank of a run, in a host whose user has `cache`."""
    os.environ["XDG_CACHE_HOME"] = cache
    resolved = RunConfig.model_validate(config)
    folder = RunFolder(f"{resolved.run.dir}/{resolved.run.name}")
    return work(resolved, LocalContext(World(rank, size, size), "cpu"), folder)


def run(ranks: Ranks, config: RunConfig, cache: Path) -> RunFolder:
    size = config.launch.num_workers
    assert ranks.call(size, rank_of, str(cache), config.model_dump(mode="json")) == [0] * size
    return RunFolder(f"{config.run.dir}/{config.run.name}")


def found_by(folder: RunFolder) -> tuple[str, int, int]:
    told = folder.read_batch_sizes()
    assert told is not None
    values = told["values"]
    return told["how"], values["engine.micro_batch_size"], values["evaluation.batch_size"]


def test_a_run_is_the_same_with_and_without_a_probe(drawn: Path, tmp_path: Path, ranks: Ranks) -> None:
    """Bit for bit, as long as all of a share fits; the second finds what the first remembers."""
    plain = run(ranks, job(drawn, tmp_path / "plain", *SHORT), tmp_path / "cache")
    assert plain.read_batch_sizes() is None
    for how in ("probed", "remembered"):
        folder = run(ranks, job(drawn, tmp_path / how, *SHORT, AUTO), tmp_path / "cache")
        assert found_by(folder) == (how, 16, 128)
        assert (
            f"engine.micro_batch_size: auto is 16, evaluation.batch_size 128, engine.checkpoint_blocks none ({how})"
            in (folder.logs / "rank-000.log").read_text()
        )
        assert step_values(folder) == step_values(plain)
        assert unmeasured(folder) == unmeasured(plain)
    assert unmeasured(plain)["micro_batch_size"] == 16


def test_ranks_take_what_the_host_remembers_less_of(drawn: Path, tmp_path: Path, ranks: Ranks) -> None:
    """As if memory had been short at the first run; accumulation then changes roundings alone."""
    options = (*SHORT, "launch.num_workers=2", AUTO)
    whole = run(ranks, job(drawn, tmp_path / "whole", *options), tmp_path / "cache")
    assert found_by(whole) == ("probed", 8, 128)
    (file,) = (tmp_path / "cache").rglob("batch_sizes/*.json")
    content = json.loads(file.read_text())
    file.write_text(json.dumps(content | {"sizes": content["sizes"] | {"micro_batch": 3, "evaluation_batch": 4}}))
    parts = run(ranks, job(drawn, tmp_path / "parts", *options), tmp_path / "cache")
    assert found_by(parts) == ("remembered", 3, 4)
    assert unmeasured(parts)["micro_batch_size"] == 3 and unmeasured(parts)["evaluation_batch_size"] == 4
    assert_equal(parts, whole)
    config = as_found(job(drawn, tmp_path / "parts", *options), parts)
    assert smaller_batches(config) == {"engine.micro_batch_size": 1, "evaluation.batch_size": 2}


@pytest.mark.parametrize("method", [["method.layers=[2,3,5]"], ["method.kind=full", "optimizer.prompt_lr=0.003"]])
def test_blocks_that_compute_again_change_nothing(method: list[str], drawn: Path, tmp_path: Path, ranks: Ranks) -> None:
    """Bit for bit."""
    plain, again = (
        run(ranks, job(drawn, tmp_path / blocks, *SHORT, *method, f"engine.checkpoint_blocks={blocks}"), tmp_path)
        for blocks in ("none", "all")
    )
    assert step_values(again) == step_values(plain)
    assert step_values(again, "train/grad_norm") == step_values(plain, "train/grad_norm")
    assert unmeasured(again) == unmeasured(plain)


def test_blocks_compute_again_under_zero_3(drawn: Path, tmp_path: Path, ranks: Ranks) -> None:
    options = (*SHORT, "launch.num_workers=2", "engine.zero_stage=3")
    plain, again = (
        run(ranks, job(drawn, tmp_path / blocks, *options, f"engine.checkpoint_blocks={blocks}"), tmp_path)
        for blocks in ("none", "all")
    )
    assert_equal(again, plain)


def short_of_memory(rank: int, size: int, cache: str, config: dict[str, Any], more: int) -> int:
    """A rank whose host has so many bytes beyond what its process holds, and the reserve."""
    host_memory.give_back()
    room = Room(int((host_memory.resident() + more) / 0.9), 10**9)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DeviceMemory, "room", lambda memory, sharers: room)
        return rank_of(rank, size, cache, config)


def test_where_few_pictures_fit_blocks_compute_again(drawn: Path, tmp_path: Path, ranks: Ranks) -> None:
    sized = (*SHORT, *SIZED, "train.global_batch_size=16", "train.max_steps_per_task=2", "evaluation.batch_size=4")
    plain = run(ranks, job(drawn, tmp_path / "plain", *sized), tmp_path)
    auto = job(drawn, tmp_path / "auto", *sized, AUTO, "engine.checkpoint_blocks=auto")
    each = estimate_run(auto, "cpu").costs[-1].step.peak // 16
    assert ranks.call(1, short_of_memory, str(tmp_path), auto.model_dump(mode="json"), 6 * each) == [0]
    folder = RunFolder(tmp_path / "auto")
    told = folder.read_batch_sizes()
    assert told is not None and told["values"]["engine.checkpoint_blocks"] == "all"
    assert 1 < told["values"]["engine.micro_batch_size"] < 16
    assert_equal(folder, plain)


def least(rank: int, size: int) -> BatchSizes:
    init_process_group("cpu", 60)
    try:
        return _least_of_all(BatchSizes([5, 7][rank], [30, 20][rank], [False, True][rank], rank))
    finally:
        close_process_group()


def test_all_ranks_take_the_least(ranks: Ranks) -> None:
    assert ranks.call(2, least) == [BatchSizes(5, 20, True, 0), BatchSizes(5, 20, True, 1)]


def state(rank: int, size: int, config: dict[str, Any]) -> tuple[bool, list[float], list[float]]:
    """Whether a probe leaves all as it was; what it measures of some sizes, in bytes."""
    init_process_group("cpu", 60)
    resolved = RunConfig.model_validate(config)
    folder = RunFolder(f"{resolved.run.dir}/{resolved.run.name}")
    context = LocalContext(World(rank, size), "cpu")
    with Pulse(Channel(folder.logs, 0), rank, None) as context.pulse:
        session = open_session(resolved, context, folder)
    try:
        before = _everything(session.learner)
        probe = Probe(session, DeviceMemory("cpu"))
        trained, tested = probe.training(), probe.testing()
        measured = [trained(count) for count in (1, 9)], [tested(count) for count in (1, 9)]
        after = _everything(session.learner)
        return before == after and session.learner.task is None, *measured
    finally:
        session.supply.close()
        close_process_group()


def _everything(learner: torch.nn.Module) -> dict[str, bytes]:
    """Values, gradients and the state of torch's generator; what no task has begun may be NaN."""
    found: dict[str, Tensor] = {**learner.state_dict(), "random": torch.get_rng_state()}
    found |= {f"{name}.grad": p.grad for name, p in learner.named_parameters() if p.grad is not None}
    return {name: tensor.numpy().tobytes() for name, tensor in found.items()}


@pytest.mark.parametrize(
    "options",
    [
        ["method.kind=hlgp"],
        ["method.train_mixture=current", "method.matching.kind=auxiliary", "method.matching.classifier.kind=ranpac"],
        ["method.kind=full", "optimizer.prompt_lr=0.003"],
        ["method.kind=linear", "optimizer.prompt_lr=0.003"],
        ["method.kind=l2p"],
        ["method.kind=coda", "method.num_components=10"],
        ["method.kind=dualprompt"],
        ["method.kind=apt"],
    ],
    ids=" ".join,
)
def test_a_probe_leaves_no_trace(options: list[str], drawn: Path, tmp_path: Path, ranks: Ranks) -> None:
    config = job(drawn, tmp_path / "run", *options, "alignment.kind=none")
    ((same, trained, tested),) = ranks.call(1, state, config.model_dump(mode="json"))
    assert same
    assert all(bytes_ > 0 for bytes_ in (*trained, *tested))


SIZED = (
    "backbone={name: vit_tiny_patch16_224, weights: none, img_size: 224, kwargs: {depth: 6}}",
    "train.global_batch_size=9",
    "evaluation.batch_size=9",
    "data.augmentation=null",
)


def test_what_a_picture_takes_is_what_a_plan_foresees(drawn: Path, tmp_path: Path, ranks: Ranks) -> None:
    """A process takes half as much again in fp32 (docs/plan.md), and what malloc cannot give back comes on top."""
    config = job(drawn, tmp_path / "run", *SIZED)
    ((_, trained, _),) = ranks.call(1, state, config.model_dump(mode="json"))
    each = (trained[1] - trained[0]) / 8
    foreseen = estimate_run(config, "cpu").costs[-1].step.peak / 9
    assert 0.9 < each / foreseen < 2.5


def test_what_is_remembered_is_of_one_kind_of_run_and_must_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    about, sizes = {"backbone": "x", "memory": 100}, BatchSizes(7, 1, False, 90)
    assert recall(about, 100) is None
    remember(about, sizes)
    assert recall(about, 90) == sizes
    assert recall(about, 89) is None, "another process has that memory now"
    assert recall(about | {"memory": 50}, 100) is None
    remember(about, sizes.halved())
    assert recall(about, 90) == BatchSizes(3, 1, False, 90)
    (file,) = tmp_path.rglob("*.json")
    for damaged in ("", "[]", "{}", '{"sizes": {"micro_batch": 1}}'):
        file.write_text(damaged)
        assert recall(about, 100) is None
