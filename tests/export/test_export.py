"""A run as a small model: the same logits as evaluation's, bit for bit, of every method; and what is refused."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from statistics import fmean

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from hlgp_dist.config.load import resolve
from hlgp_dist.data.augment import to_float
from hlgp_dist.data.batches import evaluation_batches
from hlgp_dist.engine.distributed import close_process_group, init_process_group
from hlgp_dist.errors import ConfigError, DataError
from hlgp_dist.export.description import specs
from hlgp_dist.export.pictures import of_shards
from hlgp_dist.export.predictor import Predictor, open_export
from hlgp_dist.export.write import write_export
from hlgp_dist.files import file_sha256
from hlgp_dist.launch.channel import Channel
from hlgp_dist.launch.local import LocalContext
from hlgp_dist.launch.pulse import Pulse
from hlgp_dist.train.checkpoint import load_checkpoint
from hlgp_dist.train.folder import RunFolder
from hlgp_dist.train.session import Session, open_session
from hlgp_dist.types import World
from tests.export.exported import CLASSES, KINDS, TASKS, Trained, write_weights
from tests.jobs import CLASSES as ALL_CLASSES
from tests.jobs import TEST_PICTURES, job
from tests.ranks import Ranks


def as_evaluated(rank: int, size: int, run: str, channel: str) -> list[Tensor]:
    """Logits that a restored run finds of each task's test pictures."""
    init_process_group("cpu", 60)
    try:
        folder, context = RunFolder(run), LocalContext(World(), "cpu")
        with Pulse(Channel(Path(channel), 0), 0, None) as context.pulse:
            session = open_session(resolve(folder.config).config, context, folder)
            checkpoint = load_checkpoint(folder.checkpoints)
            assert checkpoint is not None
            session.restore(checkpoint)
            with closing(session.supply):
                return logits_of(session)
    finally:
        close_process_group()


@torch.no_grad()
def logits_of(session: Session) -> list[Tensor]:
    learner, last = session.learner.eval(), session.stages[-1]
    learner.continue_task(last)
    found = []
    for task in session.tasks:
        pictures = session.evaluation_pictures(task, last)
        batches = evaluation_batches(pictures, world=World(), batch_size=4, loading=session.loading)
        found += [learner.predict(to_float(batch.images)).logits.clone() for batch in batches]
    return found


def of_all_shards(predictor: Predictor, shards: Path) -> list[Tensor]:
    """Logits of the test pictures of the model's classes, in evaluation's batches of 4."""
    tasks = specs(predictor.described.learned_tasks)
    source = of_shards(str(shards), "test", tasks, predictor.size, 4, lambda name, reason: pytest.fail(reason))
    logits = [predictor.logits(batch.images) for batch in source.batches]
    return logits[: TASKS * -(-CLASSES * TEST_PICTURES // TASKS // 4)]


@pytest.mark.parametrize("name", KINDS)
def test_logits_are_those_of_evaluation(
    name: str, trained: Trained, drawn: Path, tmp_path: Path, ranks: Ranks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    torch.set_num_threads(1)
    run = trained(name)
    described = write_export(run, tmp_path / "model")
    assert set(described.classes) < set(ALL_CLASSES) and len(described.classes) == CLASSES
    (expected,) = ranks.call(1, as_evaluated, str(run.path), str(tmp_path / "channel"))
    found = of_all_shards(open_export(tmp_path / "model"), drawn)
    assert [each.tolist() for each in found] == [each.tolist() for each in expected]
    assert torch.cat(found).std() > 0.0


@pytest.fixture
def one_pass(trained: Trained, tmp_path: Path) -> Path:
    write_export(trained("one_pass"), tmp_path / "model")
    return tmp_path / "model"


def test_it_says_where_it_comes_from(one_pass: Path, trained: Trained, weights: Path) -> None:
    result, described = trained("one_pass").read_result(), json.loads((one_pass / "model.json").read_text())
    assert result is not None
    assert described["backbone"]["sha256"] == result["backbone"]["sha256"] == file_sha256(weights)
    assert described["dataset"] == result["dataset"]
    assert described["metrics"]["average_accuracy"] == result["final_average_accuracy"]
    assert described["metrics"]["accuracy_of_tasks"] == result["accuracy_matrix"][-1]
    assert described["stages"] == [result["class_order"][start : start + 2] for start in (0, 2, 4)]
    assert described["stream_length"] == 5
    card = (one_pass / "README.md").read_text()
    assert all(name in card for name in (*result["class_order"], result["dataset"], "tiny.safetensors"))
    assert str(weights.parent) not in card
    assert sorted(path.name for path in one_pass.iterdir()) == ["README.md", "model.json", "model.safetensors"]
    assert len({path.stat().st_mode for path in one_pass.iterdir()}) == 1, "who may read one may read all"
    assert not {name for name in load_file(one_pass / "model.safetensors") if not name.startswith(("method.", "head."))}


def test_an_earlier_task_ends_model_knows_its_classes_alone(trained: Trained, tmp_path: Path) -> None:
    run = trained("default")
    described = write_export(run, tmp_path / "model", str(run.checkpoints / "task-02-step-000000"))
    result = run.read_result()
    assert result is not None
    assert list(described.classes) == result["class_order"][:4]
    assert described.metrics["accuracy_of_tasks"] == result["accuracy_matrix"][1][:2]
    images = torch.randint(256, (3, 3, 32, 32), dtype=torch.uint8)
    assert open_export(tmp_path / "model").logits(images).shape == (3, 4)


def test_the_best_is_that_of_the_best_average_accuracy(trained: Trained, tmp_path: Path) -> None:
    run = trained("default")
    result = run.read_result()
    assert result is not None
    averages = [fmean(row[: task + 1]) for task, row in enumerate(result["accuracy_matrix"])]
    described = write_export(run, tmp_path / "model", "best")
    assert described.metrics["average_accuracy"] == max(averages)
    assert described.learned == max(range(TASKS), key=lambda task: (averages[task], task)) + 1


def test_all_classes_at_once(drawn: Path, tmp_path: Path, ranks: Ranks) -> None:
    own = ("train.stream=joint", "alignment.kind=none", "method.prompt_length=2", "train.epochs=1")
    run, codes = ranks.run(job(drawn, tmp_path / "run", *own))
    assert codes == [0]
    described = write_export(run, tmp_path / "model")
    assert (len(described.classes), described.learned, len(described.learned_tasks)) == (10, 1, 5)
    images = torch.randint(256, (3, 3, 32, 32), dtype=torch.uint8)
    assert open_export(tmp_path / "model").logits(images).shape == (3, 10)


def test_an_export_replaces_an_earlier_one_and_nothing_else(one_pass: Path, trained: Trained, tmp_path: Path) -> None:
    before = (one_pass / "model.safetensors").read_bytes()
    (one_pass / "model.safetensors").unlink()
    write_export(trained("one_pass"), one_pass)
    assert (one_pass / "model.safetensors").read_bytes() == before
    (tmp_path / "mine").mkdir()
    with pytest.raises(ConfigError, match=r"--out=.*mine: is there and no exported model"):
        write_export(trained("one_pass"), tmp_path / "mine")
    assert not list(tmp_path.glob(".*.aside")) and not list((tmp_path / "mine").iterdir())


def test_what_cannot_be_exported(trained: Trained, tmp_path: Path) -> None:
    run = trained("one_pass")
    unfinished = RunFolder(shutil.copytree(run.path, tmp_path / "unfinished"))
    unfinished.result.unlink()
    with pytest.raises(ConfigError, match="is no finished run"):
        write_export(unfinished, tmp_path / "model")
    with pytest.raises(ConfigError, match="--checkpoint=nowhere: no such folder"):
        write_export(run, tmp_path / "model", "nowhere")
    assert not (tmp_path / "model").exists()


def test_other_weights_and_damage_are_refused(one_pass: Path, tmp_path: Path) -> None:
    other = write_weights(tmp_path / "other.safetensors", seed=1)
    with pytest.raises(DataError, match=r"backbone\.sha256 = .*other\.safetensors"):
        open_export(one_pass, weights=str(other))
    content = bytearray((one_pass / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (one_pass / "model.safetensors").write_bytes(content)
    with pytest.raises(DataError, match=r"model\.safetensors: is damaged"):
        open_export(one_pass)
    (one_pass / "model.json").write_text("{}")
    with pytest.raises(DataError, match=r"model\.json: is damaged"):
        open_export(one_pass)
    with pytest.raises(ConfigError, match="no exported model"):
        open_export(tmp_path)


def test_it_loads_neither_ray_nor_deepspeed() -> None:
    program = (
        "import sys, hlgp_dist.export.write, hlgp_dist.export.predict, hlgp_dist.export.pictures\n"
        "print([name for name in ('ray', 'deepspeed', 'tensorboard') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
