"""A run as a small model: the same logits as evaluation's, bit for bit, of every method; and what is refused."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest
import torch
from torch import Tensor

from hlgp_dist.config.load import resolve
from hlgp_dist.data.augment import to_float
from hlgp_dist.data.batches import evaluation_batches
from hlgp_dist.engine.distributed import close_process_group, init_process_group
from hlgp_dist.export.description import specs
from hlgp_dist.export.pictures import of_shards
from hlgp_dist.export.predictor import Predictor, open_export
from hlgp_dist.export.write import write_export
from hlgp_dist.launch.channel import Channel
from hlgp_dist.launch.local import LocalContext
from hlgp_dist.launch.pulse import Pulse
from hlgp_dist.train.checkpoint import load_checkpoint
from hlgp_dist.train.folder import RunFolder
from hlgp_dist.train.session import Session, open_session
from hlgp_dist.types import World
from tests.export.exported import CLASSES, KINDS, TASKS, Trained
from tests.jobs import CLASSES as ALL_CLASSES
from tests.jobs import TEST_PICTURES
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
