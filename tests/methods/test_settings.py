"""What a method takes from the stream and the trunk that it is built for."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from hlgp_dist.config import hlgp_options
from hlgp_dist.config import method_options as options
from hlgp_dist.data.manifest_reading import read_manifest
from hlgp_dist.errors import ConfigError
from hlgp_dist.methods.base import Setting
from hlgp_dist.methods.build import build_method
from hlgp_dist.methods.coda import Coda
from hlgp_dist.models.trunk import Dimensions
from hlgp_dist.train.session import setting_of
from hlgp_dist.types import TaskSpec
from tests.jobs import job

DIMENSIONS = Dimensions(6, 32, 32)
NO_CLS = Dimensions(6, 32, 32, has_cls=False)
TASKS = (TaskSpec(0, 0, ("a",)), TaskSpec(1, 1, ("b",)), TaskSpec(2, 2, ("c",)))


def test_a_stream_that_is_cut_short_has_the_components_of_the_whole(drawn: Path, tmp_path: Path) -> None:
    """Or a search that ends its trials early would choose for another method."""
    sizes = {}
    for limit in ("null", "2"):
        config = job(drawn, tmp_path / "run", "method={kind: coda, num_components: 20}", f"benchmark.max_tasks={limit}")
        setting = setting_of(config, DIMENSIONS, read_manifest(drawn))
        method = build_method(config.method, setting)
        assert isinstance(method, Coda)
        method.begin_task(setting.tasks[0])
        sizes[len(setting.tasks)] = sum(parameter.numel() for parameter in method.trained(setting.tasks[0]))
    assert sizes[5] == sizes[2] == 5 * 4 * (2 * 4 + 2) * 32  # blocks x components x (keys, values, key, attention)


def test_under_sum_delta_a_known_task_has_the_changes_up_to_its_own() -> None:
    for accumulation, weights in (("sum_delta", [1.0, 1.0, 0.0]), ("soft", [0.0, 1.0, 0.0])):
        chosen = hlgp_options.Hlgp(accumulation=accumulation)  # type: ignore[arg-type]
        method = build_method(chosen, Setting(DIMENSIONS, TASKS, 0))
        assert method.known_task(1, 3, torch.device("cpu")).tolist() == [weights]


@pytest.mark.parametrize(
    ("chosen", "key"),
    [
        (options.Apt(kind="apt"), "method.kind = apt"),
        (hlgp_options.Hlgp(insertion="cls", prompt_length=1), "method.insertion = cls"),
    ],
)
def test_what_changes_the_cls_token_needs_one(chosen: options.Method, key: str) -> None:
    with pytest.raises(ConfigError, match=f"{key}: the backbone has no CLS token"):
        build_method(chosen, Setting(NO_CLS, TASKS, 0))
