"""How many runs share a GPU; where this is tested there is none."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import ray
from ray.util.placement_group import placement_group, remove_placement_group

from hlgp_dist.config.launch_options import LaunchOptions
from hlgp_dist.launch import packing
from hlgp_dist.launch.cluster import LOOPBACK, ray_cluster, worker_resources
from hlgp_dist.launch.packing import gpu_share, share_of, with_share
from hlgp_dist.launch.room import placeable
from hlgp_dist.train.estimate.devices import GIB
from hlgp_dist.train.estimate.run import estimate_run
from tests.jobs import job


@pytest.fixture
def here() -> Iterator[None]:
    with ray_cluster(LaunchOptions(kind="ray")):
        yield


@pytest.mark.parametrize("number", range(1, 9))
def test_a_share_is_placed_as_often_as_it_was_meant(number: int) -> None:
    share = share_of(int(0.8 * 24 * GIB / number), 24 * GIB)
    assert share == pytest.approx(1 / number, abs=1e-4)
    assert placeable([{"GPU": 1.0, "CPU": 99.0}], {"GPU": share, "CPU": 1.0}) == number
    assert placeable([{"GPU": 8.0, "CPU": 99.0}], {"GPU": share, "CPU": 1.0}) == 8 * number


@pytest.fixture
def one_gpu() -> Iterator[None]:
    """That Ray counts; it needs no card."""
    ray.init("local", num_cpus=0, num_gpus=1, include_dashboard=False, log_to_driver=False, _node_ip_address=LOOPBACK)
    yield
    ray.shutdown()


def test_ray_places_a_share_as_often_as_it_was_meant(one_gpu: None) -> None:
    for number in (3, 6, 7):
        share = share_of(int(0.8 * 24 * GIB / number), 24 * GIB)
        groups = [placement_group([{"GPU": share}]) for _ in range(number)]
        assert all(group.wait(60) for group in groups), number
        beyond = placement_group([{"GPU": share}])  # asked for last: Ray keeps no order among those that wait
        assert not beyond.wait(1), number
        for group in (*groups, beyond):
            remove_placement_group(group)


def test_auto_becomes_a_number_by_the_smallest_gpu(
    drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = job(drawn, tmp_path / "run", "launch.kind=ray", "launch.gpus_per_worker=auto")
    needed = estimate_run(config).memory.peak
    monkeypatch.setattr(packing, "smallest_gpu", lambda: 4 * needed)
    share = gpu_share(config.launch, [config])
    assert share == pytest.approx(1 / 3, abs=1e-4), "a fifth stays free"
    assert with_share(config, share).launch.gpus_per_worker == share
    assert "auto is 0.333" in capsys.readouterr().err


def test_what_is_said_stays_and_ranks_have_gpus_of_their_own() -> None:
    assert gpu_share(LaunchOptions(gpus_per_worker=0.25), []) == 0.25
    assert gpu_share(LaunchOptions(), []) is None
    assert gpu_share(LaunchOptions(gpus_per_worker="auto", num_workers=2), []) is None


def test_without_gpus_auto_takes_none(here: None) -> None:
    assert ray.is_initialized()
    auto = LaunchOptions(kind="ray", gpus_per_worker="auto")
    assert gpu_share(auto, []) is None
    assert worker_resources(auto) == {"CPU": 1.0}
