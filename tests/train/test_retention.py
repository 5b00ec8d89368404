"""Which checkpoints stay, and how large they are said to be before there is one."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

from hlgp_dist.config.schema import CheckpointOptions
from hlgp_dist.errors import EnvironmentFailure
from hlgp_dist.launch.prepare import check_run
from hlgp_dist.train.checkpoint import TENSORS, Checkpoint, Position, save_checkpoint
from hlgp_dist.train.folder import RunFolder
from hlgp_dist.train.footprint import Footprint, Sizes, check_copies, footprint_of, stage_sizes, summed
from hlgp_dist.train.retention import best_task, is_kept
from tests.jobs import job
from tests.ranks import Ranks

ROWS = [[0.9], [0.8, 1.0], [0.7, 0.9, 0.8]]


def left(folder: Path, options: CheckpointOptions) -> list[str]:
    """Of three tasks of two checkpoints each, the fourth begun."""
    for task in range(4):
        for step in (0, 5):
            if (task, step) != (0, 0):
                matrix = ROWS[:task]
                checkpoint = Checkpoint(Position(task, step), {"x": torch.zeros(1)}, {})
                save_checkpoint(
                    folder, checkpoint, keep=options.keep, keep_too=lambda place, m=matrix: is_kept(options, m, place)
                )
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({"keep": 1}, ["03-000005"]),
        ({"keep": 3}, ["02-000005", "03-000000", "03-000005"]),
        ({"keep": 1, "keep_task_ends": True}, ["01-000000", "02-000000", "03-000000", "03-000005"]),
        ({"keep": 1, "keep_best": True}, ["02-000000", "03-000005"]),
    ],
)
def test_the_newest_stay_and_those_asked_for(options: dict[str, int], names: list[str], tmp_path: Path) -> None:
    expected = ["task-{}-step-{}".format(*name.split("-")) for name in names]
    assert left(tmp_path, CheckpointOptions.model_validate(options)) == expected


def test_the_latest_of_the_best() -> None:
    assert best_task([]) is None
    assert best_task(ROWS) == 1
    assert best_task([[0.5], [0.5, 0.5]]) == 1


@pytest.mark.parametrize(
    ("options", "footprint"),
    [
        ({"keep": 2}, Footprint(30, 2, 50)),
        ({"keep": 9, "keep_best": True}, Footprint(30, 3, 60)),
        ({"keep": 9}, Footprint(30, 3, 60)),
        ({"keep": 1, "keep_best": True}, Footprint(30, 2, 60)),
        ({"keep": 1, "keep_task_ends": True}, Footprint(30, 3, 60)),
    ],
)
def test_what_stays_of_three_task_ends(options: dict[str, int], footprint: Footprint) -> None:
    assert (
        summed(CheckpointOptions.model_validate(options), [Sizes(0, 0, 10), Sizes(0, 0, 20), Sizes(0, 0, 30)])
        == footprint
    )


def test_what_stays_with_checkpoints_inside_of_tasks() -> None:
    stages = [Sizes(2, 11, 10), Sizes(2, 21, 20), Sizes(2, 31, 30)]
    options = {"keep": 2, "every_steps": 5}
    assert summed(CheckpointOptions.model_validate(options), stages) == Footprint(31, 2, 62)
    options["keep_task_ends"] = True
    assert summed(CheckpointOptions.model_validate(options), stages) == Footprint(31, 5, 122)


FULL = (
    "alignment.kind=full",
    "train.max_steps_per_task=2",
    "benchmark.max_tasks=3",
    "checkpoint.every_steps=1",
    "checkpoint.keep=99",
)


RANPAC = (
    "method.train_mixture=current",
    "method.matching={kind: auxiliary, classifier: {kind: ranpac, projection_width: 80}}",
)
TRUNK = ("method.kind=full", "alignment.kind=none")
CODA = ("method.kind=coda", "method.num_components=20")


@pytest.mark.parametrize("overrides", [FULL, (*FULL, *RANPAC), (*FULL, *CODA), (*FULL, *TRUNK)])
def test_the_size_is_known_before(overrides: tuple[str, ...], drawn: Path, tmp_path: Path, ranks: Ranks) -> None:
    """The covariances of alignment, random projections, the optimizer's moments and a trained trunk are in it."""
    config = job(drawn, tmp_path / "run", *overrides)
    folder, codes = ranks.run(config)
    assert codes == [0]
    for stage, sizes in enumerate(stage_sizes(config)):
        end = folder.checkpoints / f"task-{stage + 1:02d}-step-000000"
        assert sizes.end == pytest.approx((end / TENSORS).stat().st_size, rel=0.03)
        assert sizes.number == len(list(folder.checkpoints.glob(f"task-{stage:02d}-step-00000[1-9]")))
        for inside in folder.checkpoints.glob(f"task-{stage:02d}-step-00000[1-9]"):
            assert sizes.inside == pytest.approx((inside / TENSORS).stat().st_size, rel=0.03)


class Usage(NamedTuple):
    free: int


def test_a_disk_that_is_too_small_is_refused(
    drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    config = job(drawn, tmp_path / "run", *FULL)
    footprint = footprint_of(config)
    needed = footprint.kept + footprint.largest
    for free in (needed, needed - 1):
        monkeypatch.setattr("hlgp_dist.train.footprint.shutil.disk_usage", lambda path, free=free: Usage(free))
        if free == needed:
            with caplog.at_level(logging.INFO, "hlgp_dist"):
                check_run(config, RunFolder(tmp_path / "run"))
            assert f"at most {footprint.number} kept, {footprint.kept / 1e6:.3g} MB; 0.0" in caplog.text
        else:
            with pytest.raises(EnvironmentFailure, match=r"checkpoints: about .* MB each.*lower checkpoint\.keep"):
                check_run(config, RunFolder(tmp_path / "run"))
            on_ray = config.model_copy(update={"launch": config.launch.model_copy(update={"kind": "ray"})})
            check_run(on_ray, RunFolder(tmp_path / "run", place="s3://bucket/run"))  # not this machine's to hold
    assert not (tmp_path / "run").exists()


def test_a_node_too_small_for_the_copies_of_its_ranks_is_refused(
    drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each has the checkpoint that it goes on from, the first all that are kept, and one more."""
    config = job(drawn, tmp_path / "run", *FULL)
    footprint = footprint_of(config)
    for writes, needed in ((False, 8 * footprint.largest), (True, 8 * footprint.largest + footprint.kept)):
        monkeypatch.setattr("hlgp_dist.train.footprint.shutil.disk_usage", lambda path, free=needed: Usage(free))
        check_copies(config, tmp_path, copies=8, writes=writes)
        monkeypatch.setattr("hlgp_dist.train.footprint.shutil.disk_usage", lambda path, free=needed - 1: Usage(free))
        with pytest.raises(EnvironmentFailure, match=r"TMPDIR: checkpoints of 8 ranks on .* take .* lower checkpoint"):
            check_copies(config, tmp_path, copies=8, writes=writes)
