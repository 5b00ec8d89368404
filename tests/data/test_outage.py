"""What a rank reads of its data while the store is away, longer than before a run starts is waited for."""

from __future__ import annotations

from pathlib import Path

import pytest

from hlgp_dist.data.patience import Patience
from hlgp_dist.data.tasks import split_tasks
from hlgp_dist.errors import EnvironmentFailure, Unreachable
from hlgp_dist.train.supply import Supply, manifest_of
from hlgp_dist.types import PictureSize, World
from tests.jobs import job
from tests.objects import ENVIRONMENT, s3_server, upload
from tests.outages import way_to

SECONDS = 2 * Patience().seconds


def test_a_rank_waits_and_a_command_is_told(drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with s3_server() as port, way_to(port) as way:
        for name, value in ENVIRONMENT.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{way.port}")
        url = upload(port, drawn, "pictures")
        config = job(drawn, tmp_path / "run", f"data.path={url}", f"data.cache_dir={tmp_path / 'stores'}")
        with way.broken("refuse"), pytest.raises(Unreachable, match="cannot be read") as told:
            manifest_of(config)
        assert told.value.exit_code == EnvironmentFailure.exit_code
        manifest = manifest_of(config)
        supply = Supply(config, manifest, PictureSize(8, 0.875, "bilinear"), World(0, 1, 1))
        (task, *_) = split_tasks(manifest.classes, config.benchmark)
        outage = way.break_for("refuse", SECONDS)
        assert len(supply.evaluation(task, "test", None)) == 10
        outage.join()
        supply.close()
