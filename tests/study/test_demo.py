"""What the demo stands on: the embedded files fit each other and its configuration is whole."""

from __future__ import annotations

from importlib.resources import as_file, files
from pathlib import Path

import pytest
import torch
from torch.nn import functional

from hlgp_dist.data.augment import to_float
from hlgp_dist.data.pictures import Pictures
from hlgp_dist.data.selection import select
from hlgp_dist.data.tasks import split_tasks
from hlgp_dist.models.backbone import build_trunk
from hlgp_dist.models.trunk import Trunk
from hlgp_dist.shards.shard import shard
from hlgp_dist.study.demo import demo_config, fresh_folder
from hlgp_dist.train.preflight import preflight
from tests.jobs import evaluated, opened


def features(trunk: Trunk, pictures: Pictures) -> torch.Tensor:
    with torch.no_grad():
        return functional.normalize(trunk(to_float(evaluated(pictures))))


def test_the_embedded_backbone_tells_the_embedded_digits_apart(tmp_path: Path) -> None:
    with as_file(files("hlgp_dist.embedded")) as embedded:
        manifest = shard(embedded / "digits.tar", tmp_path / "shards")
        config = demo_config(embedded, tmp_path)
        trunk, identity = build_trunk(config.backbone, precision="fp32", seed=0)
    assert len(preflight(config)) == 5
    assert sum(len(split.key) for split in manifest.splits.values()) == 1797
    task = split_tasks(manifest.classes, config.benchmark.model_copy(update={"init_cls": 10}))[0]
    train, test = (
        opened(tmp_path / "shards", select(manifest, task, part, 0.0), trunk.input_format.size, tmp_path)
        for part in ("train", "test")
    )
    seen, labels = features(trunk, train), torch.from_numpy(train.labels)
    means = functional.normalize(torch.stack([seen[labels == label].mean(0) for label in range(10)]))
    predicted = (features(trunk, test) @ means.T).argmax(1)
    accuracy = (predicted == torch.from_numpy(test.labels)).float().mean()
    assert accuracy > 0.95, "raw pixels give 0.933; docs/embedded/README.md states what was measured"
    assert len(identity.sha256) == 64


@pytest.mark.parametrize(("gpus", "ranks"), [(0, 2), (1, 1), (8, 2)])
def test_it_fits_machines_with_one_gpu(gpus: int, ranks: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    with as_file(files("hlgp_dist.embedded")) as embedded:
        assert demo_config(embedded, tmp_path).launch.num_workers == ranks


def test_a_fresh_folder_each_time(tmp_path: Path) -> None:
    assert fresh_folder(tmp_path) == tmp_path / "1"
    (tmp_path / "1").mkdir()
    assert fresh_folder(tmp_path) == tmp_path / "2"
