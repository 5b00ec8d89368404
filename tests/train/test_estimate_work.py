"""Counts of a run, and the arithmetic behind its hours."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from hlgp_dist.config.load import apply, resolve
from hlgp_dist.config.schema import RunConfig
from hlgp_dist.errors import ConfigError
from hlgp_dist.train.estimate.bounds import Site, StepWork, all_reduce_seconds, bounds, sent_bytes
from hlgp_dist.train.estimate.devices import DEVICES, GIB, device_named, workers_per_gpu
from hlgp_dist.train.estimate.run import RunEstimate, estimate_run
from hlgp_dist.train.estimate.speed import Speed, speed_of_bench, speed_of_device
from hlgp_dist.train.footprint import footprint_of
from hlgp_dist.train.plan import planned_steps
from tests.jobs import CLASSES, TEST_PICTURES, TRAIN_PICTURES, WITHOUT_GRADIENTS, job

EPOCHS, BATCH = 3, 16
ALL = sum(TRAIN_PICTURES)


@pytest.fixture(scope="module")
def config(drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> RunConfig:
    return job(drawn, tmp_path_factory.mktemp("plan") / "run")


@pytest.fixture(scope="module")
def run(config: RunConfig) -> RunEstimate:
    return estimate_run(config)


def test_steps_and_pictures(config: RunConfig, run: RunEstimate) -> None:
    assert run.steps == planned_steps(config, [work.pictures for work in run.works], 1)
    assert sum(work.pictures for work in run.works) == ALL
    assert sum(work.trained for work in run.works) == EPOCHS * ALL
    assert [work.tested for work in run.works] == [2 * TEST_PICTURES * seen for seen in range(1, 6)]
    assert run.data.decoded == ALL + len(CLASSES) * TEST_PICTURES
    assert run.data.pixels == run.data.stored / 3 > 32 * 32 * run.data.decoded, "they are enlarged"
    assert (run.micro_batch, run.accumulation) == (BATCH, 1)
    assert run.checkpoints == footprint_of(config)


def test_a_cut_epoch_trains_a_part(drawn: Path, tmp_path: Path) -> None:
    short = estimate_run(job(drawn, tmp_path / "run", "train.max_steps_per_task=3", "engine.micro_batch_size=5"))
    for work in short.works:
        assert work.steps == 3 and work.trained == work.pictures + min(BATCH, work.pictures) * (
            3 - -(-work.pictures // BATCH)
        )
    assert (short.micro_batch, short.accumulation) == (4, 4)


def test_what_auto_is_follows_from_a_device(drawn: Path, tmp_path: Path, run: RunEstimate) -> None:
    auto = job(drawn, tmp_path / "run", "engine.micro_batch_size=auto")
    assert estimate_run(auto).memory == estimate_run(auto, room=2 * run.memory.peak).memory == run.memory
    half = estimate_run(job(drawn, tmp_path / "run", "engine.micro_batch_size=8"))
    room = int((sum(half.memory.training.values()) + run.memory.training["activations saved"] / BATCH / 2) / 0.9)
    foreseen = estimate_run(auto, room=room)
    assert (foreseen.micro_batch, foreseen.accumulation) == (8, 2), "not 16; 9 to 15 come to the same"
    assert foreseen.memory.peak <= 0.9 * room
    least = estimate_run(auto, room=1)
    assert (least.micro_batch, least.tested) == (1, 1)


def test_alignment_draws_on_the_device(drawn: Path, tmp_path: Path) -> None:
    """The root of a covariance a class; features, twice: made of noise, then put into another order."""
    found = estimate_run(job(drawn, tmp_path / "run", "alignment.kind=full", "alignment.samples_per_class=1000"))
    classes, width = len(CLASSES), 32
    assert found.costs[0].alignment.peak == 0
    features, roots = 4 * classes * 1000 * width, 4 * classes * width**2
    assert 2 * features + roots <= found.costs[-1].alignment.peak <= 1.2 * (2 * features + roots)
    assert found.memory.evaluation["activations and workspace"] == found.costs[-1].alignment.peak


def test_full_covariances_are_summed_on_the_device(drawn: Path, tmp_path: Path) -> None:
    """In float64, and once more in fp32 at the end: beside them a batch of two pictures is small."""
    first = len(CLASSES) - 1
    keys = ("alignment.kind=full", f"benchmark.init_cls={first}", "benchmark.increment=1", "evaluation.batch_size=2")
    found = estimate_run(job(drawn, tmp_path / "run", *keys)).costs[0]
    sums = 8 * first * 32**2
    assert 1.5 * sums <= found.end.peak <= 2.5 * sums


def test_blocks_compute_again_where_few_pictures_fit(drawn: Path, tmp_path: Path, run: RunEstimate) -> None:
    keys = ("engine.micro_batch_size=auto", "engine.checkpoint_blocks=auto", "alignment.kind=none")
    auto = job(drawn, tmp_path / "run", *keys)  # these pictures are small beside what alignment draws
    half = estimate_run(job(drawn, tmp_path / "run", "engine.micro_batch_size=8"))
    whole, halved = (sum(found.memory.training.values()) for found in (run, half))
    each = (whole - halved) / 8
    for pictures, recomputes, expected in ((16.5, False, 16), (8.5, False, 8), (7.5, True, 8), (2.5, True, 4)):
        room = int((whole - (BATCH - pictures) * each) / 0.9)
        found = estimate_run(auto, room=room)
        assert found.recomputes == recomputes and found.memory.peak <= 0.9 * room
        assert found.micro_batch >= expected, "as many as without, or more"


def test_the_last_test_asks_an_oracle_too(run: RunEstimate) -> None:
    last, one = run.works[-1], run.pass_flops
    assert run.stage_flops(last).test == pytest.approx(3 * last.tested * one, rel=0.05)
    assert run.stage_flops(run.works[0]).test == pytest.approx(run.works[0].tested * one, rel=0.05)
    assert run.stage_flops(run.works[2]).test == pytest.approx(2 * run.works[2].tested * one, rel=0.05)
    assert run.flops == sum(sum(run.stage_flops(work)) for work in run.works)


def test_ranks_share_a_step_and_sum_what_is_trained(drawn: Path, tmp_path: Path, run: RunEstimate) -> None:
    four = estimate_run(job(drawn, tmp_path / "run", "launch.num_workers=4"))
    assert four.micro_batch == BATCH // 4
    assert four.traffic == run.traffic == max(cost.trained for cost in run.costs)
    assert four.gathered == 0
    divided = estimate_run(job(drawn, tmp_path / "run", "launch.num_workers=4", "engine.zero_stage=3"))
    assert divided.gathered > 0
    assert four.memory.training["activations saved"] < 0.3 * run.memory.training["activations saved"]


def test_a_validation_part_is_tested_in_place_of_test_pictures(drawn: Path, tmp_path: Path) -> None:
    held = estimate_run(job(drawn, tmp_path / "run", "benchmark.validation_fraction=0.2", "data.stored=full"))
    assert sum(work.pictures for work in held.works) + held.works[-1].tested == ALL
    assert held.data.decoded == 2 * ALL, "once as they are stored for training, once as they are evaluated"


def test_a_closed_form_only_looks(drawn: Path, tmp_path: Path) -> None:
    closed = estimate_run(job(drawn, tmp_path / "run", "method.kind=gaussian", *WITHOUT_GRADIENTS))
    assert (closed.steps, closed.traffic, closed.micro_batch) == (0, 0, 0)
    looked = ALL + sum(work.tested for work in closed.works)
    assert closed.flops == pytest.approx(looked * closed.pass_flops, rel=0.05)
    assert closed.device_hours(Speed("", flops={"fp32": 1e12})) == pytest.approx(closed.flops / 1e12 / 3600)


def test_joint_training_is_one_stage(drawn: Path, tmp_path: Path) -> None:
    joint = estimate_run(job(drawn, tmp_path / "run", "train.stream=joint", "alignment.kind=none"))
    assert len(joint.works) == len(joint.costs) == 1
    assert joint.works[0].tested == len(CLASSES) * TEST_PICTURES


def test_hours_of_measured_rates_and_of_peaks(run: RunEstimate) -> None:
    trained, tested = EPOCHS * ALL, sum(work.tested for work in run.works)
    looked = ALL  # alignment's statistics
    rates = Speed("", train=10.0, test=40.0)
    assert 3600 * run.device_hours(rates) == pytest.approx(trained / 10 + (tested + looked) / 40)
    slow = Speed("", flops={"fp32": 1e6})
    assert 3600 * run.device_hours(slow) == pytest.approx(run.flops / 1e6)
    launches = max(cost.step.kernels for cost in run.costs) * 6e-6
    fast = Speed("", flops={"fp32": 1e30})
    assert 3600 * run.device_hours(fast) == pytest.approx(run.steps * launches)


def test_speeds_come_from_a_file_or_a_name(tmp_path: Path) -> None:
    file = tmp_path / "bench.json"
    bf16, fp32 = (resolve({"data": {"path": "x"}}, [f"engine.precision={each}"]).config for each in ("bf16", "fp32"))
    file.write_text(json.dumps({"train_images_per_second": 100, "other": [1]}))
    assert speed_of_bench(file, bf16, None).train == 100
    file.write_text(json.dumps({"gemm_peak_flops": 2e14, "mfu": 0.5}))
    assert speed_of_bench(file, bf16, None).flops == {"bf16": 1e14}
    assert speed_of_bench(file, fp32, 0.25).flops == {"fp32": 5e13}
    for text in (
        "{",
        "[]",
        "{}",
        '{"mfu": 0.4}',
        '{"train_images_per_second": -1}',
        '{"train_images_per_second": "x"}',
        '{"train_images_per_second": NaN}',
        '{"train_images_per_second": Infinity}',
        '{"gemm_peak_flops": 1e12, "mfu": 40}',
    ):
        file.write_text(text)
        with pytest.raises(ConfigError, match="--bench"):
            speed_of_bench(file, bf16, None)
    with pytest.raises(ConfigError, match="--bench"):
        speed_of_bench(tmp_path / "none.json", bf16, None)
    assert speed_of_device(device_named("h100"), None).flops == {
        "bf16": 0.4 * 989e12,
        "int8": 0.4 * 989e12,
        "fp32": 0.4 * 67e12,
    }
    assert "no bf16" in speed_of_device(device_named("T4"), None).told
    with pytest.raises(ConfigError, match=r"H100.*--bench"):
        device_named("abacus")


def bench_of(file: Path, *overrides: str, **numbers: float) -> RunConfig:
    """The configuration that a file of `hlgp bench step` says it measured."""
    config = resolve({"data": {"path": "x"}}, list(overrides)).config
    about = config.model_dump(mode="json", include={"backbone", "method", "optimizer", "engine"})
    file.write_text(json.dumps({"flops_per_image": {"train": 3e9, "eval": 2e9}, "config": about, **numbers}))
    return config


def test_a_bench_prices_pictures_that_cost_otherwise_by_its_flops(tmp_path: Path) -> None:
    file = tmp_path / "bench.json"
    config = bench_of(file, train_images_per_second=100, eval_images_per_second=200, gemm_peak_flops=9e12, mfu=0.5)
    speed = speed_of_bench(file, config, None)
    assert speed.training_seconds(1000, 6e12, "bf16") == pytest.approx(20)
    assert speed.test_seconds(1000, 8e12, 0.0, "bf16") == pytest.approx(20)
    other = apply(config, {"backbone.name": "vit_large_patch16_224", "method.prompt_length": 40})
    assert speed_of_bench(file, other, None) == speed


def test_a_stated_part_of_a_measured_peak_goes_before_what_was_reached(tmp_path: Path) -> None:
    """Else --mfu would be an option without effect."""
    file = tmp_path / "bench.json"
    config = bench_of(file, train_images_per_second=100, eval_images_per_second=200, gemm_peak_flops=8e12, mfu=0.5)
    speed = speed_of_bench(file, config, 0.25)
    assert speed.training_seconds(1000, 6e12, "bf16") == speed.test_seconds(1000, 6e12, 0.0, "bf16") == pytest.approx(3)
    bench_of(file, train_images_per_second=100)
    with pytest.raises(ConfigError, match=r"--mfu=0\.25: is a part of gemm_peak_flops"):
        speed_of_bench(file, config, 0.25)


def test_a_bench_of_what_trains_nothing_prices_tests(tmp_path: Path) -> None:
    file = tmp_path / "bench.json"
    config = bench_of(file, eval_images_per_second=200, gemm_peak_flops=9e12)
    assert speed_of_bench(file, config, None).test_seconds(1000, 8e12, 0.0, "bf16") == pytest.approx(20)


@pytest.mark.parametrize(
    ("measured", "message"),
    [
        ("engine.precision=int8", "with engine.precision = int8, and bf16 is planned; measure that by"),
        ("engine.compile=true", "with engine.compile = True, and False is planned"),
        ("engine.checkpoint_blocks=all", "measure with engine.checkpoint_blocks = none"),
    ],
)
def test_a_bench_of_other_kernels_is_refused(measured: str, message: str, tmp_path: Path) -> None:
    """An int8 bench would price a run in bf16 without a word."""
    bench_of(tmp_path / "bench.json", measured, train_images_per_second=100)
    with pytest.raises(ConfigError, match=message):
        speed_of_bench(tmp_path / "bench.json", resolve({"data": {"path": "x"}}).config, None)


@pytest.mark.parametrize("numbers", [{}, {"gemm_peak_flops": 9e12}])
def test_a_bench_without_rates_is_refused(numbers: dict[str, float], tmp_path: Path) -> None:
    """That of `hlgp bench scaling`, for one."""
    config = bench_of(tmp_path / "bench.json", **numbers)
    with pytest.raises(ConfigError, match="give the JSON of `hlgp bench step`"):
        speed_of_bench(tmp_path / "bench.json", config, None)


def test_a_test_rate_follows_from_a_training_rate() -> None:
    """10 pictures/s of 4 FLOP are 40 FLOP/s."""
    assert Speed("", train=10.0).test_seconds(5, 80, 4, "bf16") == 2.0


def test_rates_of_one_run_price_another_by_its_flops(config: RunConfig, run: RunEstimate) -> None:
    """Rates so slow that launches do not matter."""
    rates = Speed("", train=0.1, test=0.4)
    assert run.device_hours(run.in_flops(rates)) == pytest.approx(run.device_hours(rates), rel=0.05)
    longer = estimate_run(apply(config, {"method.matching.cycles": 3}))
    assert longer.device_hours(rates) == run.device_hours(rates), "by pictures they cost the same"
    assert longer.device_hours(run.in_flops(rates)) > 1.2 * run.device_hours(rates)


def test_no_peak_prices_another_precision() -> None:
    with pytest.raises(ConfigError, match=r"measured in bf16.*precision=fp32"):
        Speed("", flops={"bf16": 1e12}).training_seconds(1, 1e12, "fp32")


@pytest.mark.parametrize(
    ("rank_gib", "gpu_gib", "expected"),
    [(1, 24, 8), (2, 24, 8), (3, 24, 6), (4.8, 24, 4), (9.6, 24, 2), (9.7, 24, 1), (13, 24, 1), (30, 24, 1)],
)
def test_as_many_share_a_gpu_as_fit_with_a_fifth_free(rank_gib: float, gpu_gib: float, expected: int) -> None:
    number = workers_per_gpu(int(rank_gib * GIB), int(gpu_gib * GIB))
    assert number == expected
    assert number == 1 or number * rank_gib <= 0.8 * gpu_gib + 1e-6


def test_sheets_are_plausible() -> None:
    for sheet in DEVICES.values():
        assert sheet.peak("bf16") > sheet.peak("fp32") > 0 and 16 * GIB <= sheet.memory <= 144 * GIB


WORK = StepWork(batch=128, seconds=1e-3, launches=2e-3, steps=1000, test_seconds=100.0, traffic=4 * 10**6, pixels=10**9)


def test_what_bounds_a_step_moves_with_the_workers() -> None:
    found = {bound.workers: bound for bound in bounds(WORK, Site(), [1, 8, 64, 128, 256])}
    assert list(found) == [1, 8, 64, 128], "256 ranks are more than a batch has pictures"
    assert (found[1].share, found[8].share, found[128].share) == (128, 16, 1)
    assert found[1].by == found[8].by == "matrix products"
    assert found[128].by == "launches"
    assert found[8].network == 0.0 < found[64].network, "within a host nothing is on the network"
    slow = bounds(WORK, Site(bits_per_second=1e9), [128])[0]
    assert slow.by == "network"
    one = found[1]
    decoding = WORK.pixels / (1.28e8 * 12)
    assert one.decoding == pytest.approx(decoding)
    assert 3600 * one.hours == pytest.approx(1000 * 0.128 + 100 + decoding)
    assert found[8].hours < one.hours / 7


def test_a_thread_too_slow_for_its_rank_is_seen() -> None:
    fast = StepWork(batch=128, seconds=1e-6, launches=0.0, steps=1, test_seconds=0.0, traffic=0, pixels=0)
    assert bounds(fast, Site(), [1])[0].by == "loading"


def test_the_ring_and_the_tree() -> None:
    assert sent_bytes(100, 1) == 0 and sent_bytes(100, 2) == 100 and sent_bytes(100, 4) == 150
    site = Site(gpus=1, bits_per_second=8e9)
    assert all_reduce_seconds(10**9, 2, site) == pytest.approx(1.0 + 2 * 2e-5)
    hosts = 16
    assert all_reduce_seconds(0, hosts, site) == pytest.approx(2 * math.log2(hosts) * 2e-5)
