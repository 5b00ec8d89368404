"""Pictures of whole runs: each decoded once on a host, bad ones left out alike on all ranks and named once."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

import pytest

from hlgp_dist.config import schema
from hlgp_dist.config.schema import RunConfig
from hlgp_dist.data.manifest import Manifest
from hlgp_dist.data.manifest_reading import read_manifest
from hlgp_dist.data.room import SUFFIX
from hlgp_dist.data.selection import Part, select
from hlgp_dist.data.source import BadSample
from hlgp_dist.data.tasks import split_tasks
from hlgp_dist.engine.collectives import barrier
from hlgp_dist.engine.distributed import process_group
from hlgp_dist.launch.local import LocalContext
from hlgp_dist.launch.worker import work
from hlgp_dist.shards.shard import shard
from hlgp_dist.train.estimate.run import estimate_run
from hlgp_dist.train.folder import RunFolder
from hlgp_dist.train.loop import TaskTrainer
from hlgp_dist.train.supply import _of_all_ranks
from hlgp_dist.types import World
from tests.faults import Answer, FaultyServer, from_folder, serving
from tests.jobs import CLASSES, TEST_PICTURES, TRAIN_PICTURES, draw_pictures, job, step_values
from tests.ranks import Ranks

SHORT = ("benchmark.max_tasks=2", "train.epochs=1")
PICTURES = sum(TRAIN_PICTURES) + len(TRAIN_PICTURES) * TEST_PICTURES


def damage(shards: Path, folder: Path, task: int, part: Part, *positions: int, fraction: float = 0.0) -> list[str]:
    """A copy of the shards with a flipped bit in these samples of a task's part; their keys."""
    shutil.copytree(shards, folder)
    manifest = read_manifest(folder)
    selection = select(manifest, tasks_of(manifest)[task], part, fraction)
    split = manifest.splits[selection.split]
    indices = selection.indices[list(positions)]
    for index in indices:
        with (folder / split.shards[split.shard[index]].name).open("r+b") as stream:
            stream.seek(int(split.offset[index]) + 600)
            (byte,) = stream.read(1)
            stream.seek(-1, 1)
            stream.write(bytes([byte ^ 1]))
    return [key.decode() for key in split.key[indices].tolist()]


def tasks_of(manifest: Manifest) -> tuple:
    return split_tasks(manifest.classes, schema.Benchmark(init_cls=2, increment=2))


def result_of(folder: RunFolder) -> dict:
    return json.loads(folder.result.read_text())


def reasons(folder: RunFolder) -> list[str]:
    return [json.loads(file.read_text())["reason"] for file in sorted(folder.logs.glob("attempts/*/*.failure.json"))]


def test_a_part_of_the_training_pictures_is_trained_on_and_all_are_tested(
    drawn: Path, tmp_path: Path, ranks: Ranks
) -> None:
    config = job(drawn, tmp_path / "run", *SHORT, "data.train_fraction=0.5")
    folder, codes = ranks.run(config)
    assert codes == [0]
    result, plan = result_of(folder), estimate_run(config)
    assert result["train_fraction"] == 0.5 and result["num_test_images"] == [2 * TEST_PICTURES] * 2
    halves = [round(TRAIN_PICTURES[CLASSES.index(name)] / 2) for name in result["class_order"]]
    assert [work.pictures for work in plan.works] == [sum(halves[:2]), sum(halves[2:])]
    assert list(step_values(folder)) == [1, 2] and plan.steps == 2, "one batch a task in place of two"


def test_runs_on_a_host_decode_each_picture_once(drawn: Path, tmp_path: Path, ranks: Ranks) -> None:
    cache = f"data.cache_dir={tmp_path / 'cache'}"
    decoded = []
    for seed, num_workers in ((0, 2), (1, 1)):
        options = (cache, "train.epochs=1", f"seed={seed}", f"launch.num_workers={num_workers}")
        folder, codes = ranks.run(job(drawn, tmp_path / f"seed{seed}", *options))
        assert codes == [0] * num_workers
        result = result_of(folder)
        assert len(result["decoded_images"]) == 5
        assert result["bytes_read"] == result["bytes_of_classes"]
        assert step_values(folder, "data/decoded_images") == dict(enumerate(result["decoded_images"]))
        assert all(seconds > 0 for seconds in step_values(folder, "data/wait_seconds").values())
        decoded += result["decoded_images"]
    assert sum(decoded) == sum(decoded[:5]) == PICTURES


def test_bad_samples_are_left_out_alike_on_all_ranks_and_named_once(drawn: Path, tmp_path: Path, ranks: Ranks) -> None:
    keys = damage(drawn, tmp_path / "shards", 1, "train", 3, 7)
    skip = (f"data.cache_dir={tmp_path / 'cache'}", "data.on_error=skip", "data.max_bad_fraction=0.2", *SHORT)
    losses = []
    for size in (1, 2):
        folder, codes = ranks.run(job(tmp_path / "shards", tmp_path / f"on{size}", *skip, f"launch.num_workers={size}"))
        assert codes == [0] * size
        skipped = result_of(folder)["skipped"]
        assert [(each["task"], each["key"]) for each in skipped] == [(1, key) for key in keys]
        assert all("checksum" in each["reason"] and each["shard"].endswith(".tar") for each in skipped)
        assert step_values(folder, "data/skipped_samples") == {0: 0.0, 1: 2.0}
        logs = "".join(file.read_text() for file in folder.logs.glob("*.log"))
        assert [logs.count(f"sample {key}:") for key in keys] == [1, 1]
        losses.append(step_values(folder))
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def _bad_of_all(rank: int, size: int, own: bool) -> dict[int, dict[str, str]]:
    """In a rank: one picture that is bad on all hosts, and `own` for one that is bad on this one alone."""
    reasons = {5: "damaged", 3 - rank: f"as host {rank} says"} if own else {5: "damaged"}
    bad = {sample: BadSample(sample, f"key{sample}", "a.tar", "a", reason) for sample, reason in reasons.items()}
    with process_group("cpu", 60):
        found = _of_all_ranks(bad)
        barrier()
    return found


def test_what_any_host_cannot_use_counts_for_all(ranks: Ranks) -> None:
    for own, samples in ((False, [5]), (True, [2, 3, 5])):
        first, second = ranks.call(2, _bad_of_all, own)
        assert first == second and list(first) == samples
        assert first[5] == {"key": "key5", "shard": "a.tar", "reason": "damaged"}


def test_too_many_bad_samples_end_the_run(drawn: Path, tmp_path: Path, ranks: Ranks) -> None:
    damage(drawn, tmp_path / "shards", 0, "train", 3, 7)
    config = job(tmp_path / "shards", tmp_path / "run", "data.on_error=skip", "launch.num_workers=2", *SHORT)
    folder, codes = ranks.run(config)
    assert codes == [3, 3]
    pictures = sum(TRAIN_PICTURES[ord(name) - ord("a")] for name in tasks_of(read_manifest(drawn))[0].classes)
    assert reasons(folder)[0].startswith(f"data.max_bad_fraction=0.01: 2 of the {pictures} training pictures of task 0")


def test_a_class_may_not_be_left_out_whole(drawn: Path, tmp_path: Path, ranks: Ranks) -> None:
    manifest = read_manifest(drawn)
    labels = select(manifest, tasks_of(manifest)[0], "train", 0.0).labels
    damage(drawn, tmp_path / "shards", 0, "train", *(labels == labels[0]).nonzero()[0].tolist())
    skip = ("data.on_error=skip", "data.max_bad_fraction=0.9", *SHORT)
    folder, codes = ranks.run(job(tmp_path / "shards", tmp_path / "run", *skip))
    assert codes == [3]
    name = tasks_of(manifest)[0].classes[labels[0]]
    assert f"leaves class '{name}' without a training picture" in reasons(folder)[0]


@pytest.mark.parametrize(("part", "fraction"), [("test", 0.0), ("validation", 0.3)])
def test_a_bad_picture_to_evaluate_on_always_ends_the_run(
    part: Part, fraction: float, drawn: Path, tmp_path: Path, ranks: Ranks
) -> None:
    (key,) = damage(drawn, tmp_path / "shards", 0, part, 1, fraction=fraction)
    skip = ("data.on_error=skip", f"benchmark.validation_fraction={fraction}", *SHORT)
    folder, codes = ranks.run(job(tmp_path / "shards", tmp_path / "run", *skip))
    assert codes == [3]
    assert f"sample {key} of class " in reasons(folder)[0]


def _waiting_for_the_next_task(rank: int, size: int, values: dict, folder: str, cache: str, stores: int) -> list[float]:
    """In a rank: a run whose first task trains until so many stores are made; when that was, [] if it never came."""
    ready: list[float] = []
    train = TaskTrainer.run

    def run(trainer: TaskTrainer) -> None:
        train(trainer)
        deadline = time.monotonic() + 60
        while not ready and time.monotonic() < deadline:
            if len(list(Path(cache).glob(f"*{SUFFIX}"))) >= stores:
                ready.append(time.time())
            time.sleep(0.01)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TaskTrainer, "run", run)
        patch.setenv("NO_PROXY", "127.0.0.1")
        context = LocalContext(World(rank, size), "cpu")
        assert work(RunConfig.model_validate(values), context, RunFolder(folder)) == 0
    return ready


def test_the_next_tasks_shards_are_read_while_one_trains(tmp_path: Path, ranks: Ranks) -> None:
    """From a server that notes when it was asked for which shard; a shard holds a class or less."""
    manifest = shard(draw_pictures(tmp_path / "pictures"), tmp_path / "shards", shard_bytes=2**14)
    asked: dict[str, float] = {}

    def noting(method: str, path: str, headers: dict[str, str]) -> Answer:
        asked.setdefault(path.rpartition("/")[2], time.time())
        return from_folder(tmp_path, method, path, headers)

    cache = tmp_path / "cache"
    with serving(FaultyServer(noting)) as server:
        config = job(tmp_path / "shards", tmp_path / "run", f"data.cache_dir={cache}", *SHORT)
        values = config.model_dump(mode="json")
        values["data"]["path"] = f"{server.url}/shards"
        (ready,) = ranks.call(1, _waiting_for_the_next_task, values, str(tmp_path / "run"), str(cache), 8)
    assert ready, "two classes of two tasks, to train and to test on"
    split, first, second = manifest.splits["train"], *tasks_of(manifest)[:2]
    shards_of = [
        {split.shards[number].name for number in split.shard[select(manifest, task, "train", 0.0).indices]}
        for task in (first, second)
    ]
    of_the_next = shards_of[1] - shards_of[0]
    assert of_the_next
    assert all(asked[name] < ready[0] for name in of_the_next)
