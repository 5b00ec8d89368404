"""Earlier tasks tested in part until the last test: what is saved, what stays exact, what is called an estimate."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hlgp_dist.launch.local import LocalContext
from hlgp_dist.launch.worker import work
from hlgp_dist.telemetry.journal import read_events
from hlgp_dist.train import sequence
from hlgp_dist.train.estimate.run import estimate_run
from hlgp_dist.train.evaluate import Counts, evaluate_task
from hlgp_dist.train.folder import RunFolder
from hlgp_dist.train.learner import Learner
from hlgp_dist.types import World
from tests.jobs import as_it_was, job
from tests.ranks import Ranks

PROBE = ("method.kind=linear", "optimizer.prompt_lr=0.003", "train.epochs=1", "checkpoint.keep=99")
"""One pass a picture."""
IN_PART = "evaluation.old_task_fraction=0.4"
TESTED = [[10], [4, 10], [4, 4, 10], [4, 4, 4, 10], [10] * 5]
"""Two of each class's five pictures, of two classes a task."""
ESTIMATED = ["cumulative_average_accuracy", "forgetting"]
PEERS = ["peer_metrics.pilot_average", "peer_metrics.coda_forgetting", "peer_metrics.vq_forgetting"]


def result_of(folder: RunFolder) -> dict[str, Any]:
    result = folder.read_finished()
    assert result is not None, folder.read_result()
    return result


def lower(rows: list[list[int | None]]) -> list[list[int]]:
    return [[count for count in row if count is not None] for row in rows]


def seen_in_tests(rank: int, size: int, shards: str, folder: str, *options: str) -> int:
    """Runs alone; the pictures that went through the trunk in all tests."""
    seen = 0

    def counted(learner: Learner, *arguments: Any, **options: Any) -> Counts:
        nonlocal seen
        before = learner.trunk.num_seen
        counts = evaluate_task(learner, *arguments, **options)
        seen += learner.trunk.num_seen - before
        return counts

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sequence, "evaluate_task", counted)
        config = job(Path(shards), Path(folder), *options)
        assert work(config, LocalContext(World(rank, size), "cpu"), RunFolder(Path(folder))) == 0
    return seen


@pytest.fixture(scope="module")
def whole(drawn: Path, tmp_path_factory: pytest.TempPathFactory, ranks: Ranks) -> tuple[RunFolder, int]:
    folder = tmp_path_factory.mktemp("whole") / "run"
    return RunFolder(folder), ranks.call(1, seen_in_tests, str(drawn), str(folder), *PROBE)[0]


@pytest.fixture(scope="module")
def in_part(drawn: Path, tmp_path_factory: pytest.TempPathFactory, ranks: Ranks) -> tuple[RunFolder, int]:
    folder = tmp_path_factory.mktemp("in_part") / "run"
    return RunFolder(folder), ranks.call(1, seen_in_tests, str(drawn), str(folder), *PROBE, IN_PART)[0]


def test_pictures_are_saved_as_planned(
    drawn: Path, tmp_path: Path, whole: tuple[RunFolder, int], in_part: tuple[RunFolder, int]
) -> None:
    assert whole[1] == sum(range(10, 60, 10))
    assert in_part[1] == sum(map(sum, TESTED))
    for (_, seen), options in ((whole, ()), (in_part, (IN_PART,))):
        works = estimate_run(job(drawn, tmp_path / "run", *PROBE, *options)).works
        assert sum(work.tested for work in works) == seen
    assert [work.tested for work in works] == list(map(sum, TESTED))


def test_what_does_not_rest_on_the_sample_is_as_in_a_whole_run(
    whole: tuple[RunFolder, int], in_part: tuple[RunFolder, int]
) -> None:
    expected, found = result_of(whole[0]), result_of(in_part[0])
    exact, sampled = lower(expected["accuracy_matrix"]), lower(found["accuracy_matrix"])
    assert sampled[-1] == exact[-1] and [row[-1] for row in sampled] == [row[-1] for row in exact]
    same = ("final_average_accuracy", "final_micro_accuracy", "plasticity", "backward_transfer", "num_test_images")
    assert {key: found[key] for key in same} == {key: expected[key] for key in same}
    assert found["task_identification_accuracy"] == expected["task_identification_accuracy"]
    assert found["within_task_accuracy"] == expected["within_task_accuracy"]
    assert sampled != exact, "else nothing was sampled"


def test_the_result_says_what_is_an_estimate(whole: tuple[RunFolder, int], in_part: tuple[RunFolder, int]) -> None:
    expected, found = result_of(whole[0]), result_of(in_part[0])
    assert expected["old_task_fraction"] is None and expected["estimated"] == []
    assert lower(expected["tested_images"]) == [[10] * tasks for tasks in range(1, 6)]
    assert found["old_task_fraction"] == 0.4 and found["estimated"] == ESTIMATED + PEERS
    assert lower(found["tested_images"]) == TESTED
    assert in_part[0].matrix.read_text().splitlines()[0].endswith("task_04,sampled")
    assert whole[0].matrix.read_text().splitlines()[0].endswith("task_04")
    tags = {tag for event in read_events(in_part[0].path / "metrics.jsonl") for tag in event.tags}
    assert {"task/acc1_avg_sampled", "task/acc1_avg", "eval/task_00/acc1_sampled", "task/forgetting_sampled"} <= tags
    assert not {"hparam/forgetting", "hparam/cum_avg_acc"} & tags


def test_two_ranks_that_are_interrupted_test_the_same_pictures(
    drawn: Path, tmp_path: Path, in_part: tuple[RunFolder, int], ranks: Ranks
) -> None:
    as_it_was(in_part[0], tmp_path / "resumed", "task-03-step-000000")
    folder, codes = ranks.run(job(drawn, tmp_path / "resumed", *PROBE, IN_PART, "launch.num_workers=2"))
    assert codes == [0, 0]
    found, expected = result_of(folder), result_of(in_part[0])
    assert found["tested_images"] == expected["tested_images"] and found["estimated"] == expected["estimated"]
    assert found["accuracy_matrix"][:3] == expected["accuracy_matrix"][:3]


def test_a_checkpoint_that_knew_no_samples_goes_on(
    drawn: Path, tmp_path: Path, whole: tuple[RunFolder, int], ranks: Ranks
) -> None:
    copy = as_it_was(whole[0], tmp_path / "old", "task-02-step-000000")
    for file in copy.checkpoints.glob("*/state.json"):
        record = json.loads(file.read_text())
        del record["progress"]["tested"]
        file.write_text(json.dumps(record))
    folder, codes = ranks.run(job(drawn, tmp_path / "old", *PROBE))
    assert codes == [0]
    assert result_of(folder)["accuracy_matrix"] == result_of(whole[0])["accuracy_matrix"]
