"""Checkpoints on disk: whole or absent, few, small, and restored into modules whose shapes have grown."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from hlgp_dist.config.schema import Hlgp as HlgpOptions
from hlgp_dist.errors import DataError
from hlgp_dist.methods.base import Setting
from hlgp_dist.methods.build import build_method
from hlgp_dist.models.trunk import Trunk
from hlgp_dist.train import checkpoint as module
from hlgp_dist.train.checkpoint import (
    Checkpoint,
    Position,
    load_checkpoint,
    prefixed,
    restore_module,
    save_checkpoint,
    without_prefix,
)
from hlgp_dist.train.learner import Learner
from hlgp_dist.types import TaskSpec
from tests.jobs import job
from tests.ranks import Ranks


def checkpoint(task: int, step: int, value: float = 0.0) -> Checkpoint:
    tensors = {"head.weight": torch.full((2, 3), value), "empty": torch.zeros(0, 4), "counts": torch.tensor([2**40])}
    return Checkpoint(Position(task, step, 100 * task + step), tensors, {"right": [[3], [1, 2]], "seconds": 0.1})


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    saved = checkpoint(1, 20, value=0.1)
    save_checkpoint(tmp_path, saved, keep=2)
    loaded = load_checkpoint(tmp_path)
    assert loaded is not None
    assert (loaded.position, loaded.record) == (saved.position, saved.record)
    assert loaded.tensors.keys() == saved.tensors.keys()
    assert all(torch.equal(loaded.tensors[name], tensor) for name, tensor in saved.tensors.items())


def test_the_newest_is_loaded_and_the_newest_stay(tmp_path: Path) -> None:
    for task, step in [(0, 10), (0, 20), (1, 0), (1, 10)]:
        save_checkpoint(tmp_path, checkpoint(task, step), keep=2)
    assert names(tmp_path) == ["task-01-step-000000", "task-01-step-000010"]
    newest = load_checkpoint(tmp_path)
    assert newest is not None and newest.position == Position(1, 10, 110)


def test_places_are_compared_as_numbers(tmp_path: Path) -> None:
    for task in (98, 99, 100):
        save_checkpoint(tmp_path, checkpoint(task, 0), keep=2)
    newest = load_checkpoint(tmp_path)
    assert newest is not None and newest.position.task == 100
    assert names(tmp_path) == ["task-100-step-000000", "task-99-step-000000"]


def test_there_may_be_none(tmp_path: Path) -> None:
    assert load_checkpoint(tmp_path / "nowhere") is None


def test_saving_the_same_position_again_replaces_it(tmp_path: Path) -> None:
    for value in (1.0, 2.0):
        save_checkpoint(tmp_path, checkpoint(0, 5, value), keep=2)
    loaded = load_checkpoint(tmp_path)
    assert loaded is not None and loaded.tensors["head.weight"][0, 0] == 2.0
    assert names(tmp_path) == ["task-00-step-000005"]


def test_a_save_that_dies_half_way_leaves_the_former_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_checkpoint(tmp_path, checkpoint(0, 5, value=1.0), keep=1)

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(module, "write_json", die)
        save_checkpoint(tmp_path, checkpoint(0, 6), keep=1)
    assert len(names(tmp_path)) == 2
    loaded = load_checkpoint(tmp_path)
    assert loaded is not None and loaded.position.step == 5
    save_checkpoint(tmp_path, checkpoint(0, 7), keep=1)
    loaded = load_checkpoint(tmp_path)
    assert loaded is not None and loaded.position.step == 7
    assert names(tmp_path) == ["task-00-step-000007"], "what the dead one left is swept up"


def test_a_kill_while_one_is_dropped_leaves_no_half(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_checkpoint(tmp_path, checkpoint(0, 5), keep=1)

    def die(path: Path) -> None:
        (path / module.RECORD).unlink()
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(module.shutil, "rmtree", die)
        save_checkpoint(tmp_path, checkpoint(0, 6), keep=1)
    save_checkpoint(tmp_path, checkpoint(0, 7), keep=1)
    assert names(tmp_path) == ["task-00-step-000007"]


def test_damaged_ones_are_passed_over_until_none_is_left(tmp_path: Path) -> None:
    for step in (1, 2, 3):
        save_checkpoint(tmp_path, checkpoint(0, step), keep=3)
    (tmp_path / "task-00-step-000003" / module.TENSORS).unlink()
    (tmp_path / "task-00-step-000002" / module.RECORD).write_text('{"pos')
    loaded = load_checkpoint(tmp_path)
    assert loaded is not None and loaded.position.step == 1
    save_checkpoint(tmp_path, checkpoint(0, 2, value=2.0), keep=1)
    assert names(tmp_path) == ["task-00-step-000002"], "those of a future that did not come are gone"
    (tmp_path / "task-00-step-000002" / module.TENSORS).write_bytes(b"")
    with pytest.raises(DataError, match=r"no checkpoint is whole .*delete .* to start anew"):
        load_checkpoint(tmp_path)


def test_loaded_tensors_are_aligned(tmp_path: Path) -> None:
    """In the file they are not, and matrix products of such memory differ in the last bit."""
    tensors = {f"odd.{i}": torch.randn(i, 3) for i in range(1, 9)}
    save_checkpoint(tmp_path, Checkpoint(Position(), tensors, {}), keep=1)
    loaded = load_checkpoint(tmp_path)
    assert loaded is not None
    assert {tensor.data_ptr() % 64 for tensor in loaded.tensors.values()} == {0}


def test_prefixes_keep_families_apart() -> None:
    tensors = {"weight": torch.zeros(1), "inner.weight": torch.ones(1)}
    both = prefixed("head", tensors) | prefixed("header", {"x": torch.zeros(2)})
    assert without_prefix("head", both).keys() == tensors.keys()
    both["head.weight"].add_(1)
    assert tensors["weight"] == 0, "a checkpoint holds copies"


def test_a_fresh_module_takes_grown_shapes(trunk: Trunk, tasks: tuple[TaskSpec, ...]) -> None:
    grown, fresh = (Learner(trunk, build_method(HlgpOptions(), Setting(trunk.dimensions, tasks, 0))) for _ in range(2))
    for task in tasks:
        grown.begin_task(task)
        nn.init.normal_(grown.head.weight)
        grown.method.end_task(trunk, None)  # type: ignore[arg-type]
    for part in ("method", "head"):
        restore_module(getattr(fresh, part), getattr(grown, part).state_dict())
    fresh.continue_task(tasks[-1])
    images = torch.rand(3, 3, 32, 32)
    outputs = [one.eval().method(trunk, one.head, images, tasks[-1]).logits for one in (grown, fresh)]
    assert torch.equal(*outputs)
    assert [p.shape for p in fresh.head.parameters()] == [p.shape for p in grown.head.parameters()]
    assert all(parameter.requires_grad for parameter in fresh.head.parameters())


def test_no_frozen_weight_is_in_a_runs_checkpoint(drawn: Path, tmp_path: Path, ranks: Ranks) -> None:
    """Nothing of the trunk, no more than the trained numbers, two moments of each, and what tasks left behind."""
    options = ("benchmark.max_tasks=2", "checkpoint.every_steps=1", "checkpoint.keep=99", "method.prompt_length=1")
    folder, codes = ranks.run(job(drawn, tmp_path / "run", *options))
    assert codes == [0]
    for path in folder.checkpoints.iterdir():
        tensors = load_file(path / module.TENSORS)
        assert {name.partition(".")[0] for name in tensors} <= {"method", "head", "memory", "optimizer"}
        assert not any("trunk" in name or "vit" in name for name in tensors)
        assert sum(file.stat().st_size for file in path.iterdir()) < 60_000, "the trunk alone takes 300 kB"
        assert sorted(file.name for file in path.iterdir()) == ["state.json", "state.safetensors"]
