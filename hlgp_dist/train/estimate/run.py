"""What a run will take: memory of a rank, FLOPs, steps, bytes, and with a device's speed the hours."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import NamedTuple

from hlgp_dist.config.load import apply
from hlgp_dist.config.schema import RunConfig
from hlgp_dist.data.plan import accumulation_steps, largest_share
from hlgp_dist.models.backbone import meta_trunk
from hlgp_dist.train.batch_sizes import BLOCKS, MICRO_BATCH, TEST_BATCH, BatchSizes
from hlgp_dist.train.estimate.bounds import LAUNCH_SECONDS, StepWork
from hlgp_dist.train.estimate.costs import Cost, TaskCost, bytes_of, task_costs
from hlgp_dist.train.estimate.formulae import forward_flops, pass_shape
from hlgp_dist.train.estimate.kernels import Device
from hlgp_dist.train.estimate.memory import Parts, RankMemory, rank_memory
from hlgp_dist.train.estimate.speed import Speed
from hlgp_dist.train.estimate.work import DataWork, StageWork, data_work, seen_shapes, stage_works
from hlgp_dist.train.footprint import Footprint, footprint_of
from hlgp_dist.train.largest import Largest, largest, too_few, usable
from hlgp_dist.train.preflight import check_fit
from hlgp_dist.train.session import setting_of
from hlgp_dist.train.supply import manifest_of


class Flops(NamedTuple):
    """Of one stage and all of its pictures."""

    training: float
    end: float
    test: float


@dataclass(frozen=True)
class RunEstimate:
    """A run as it is configured, on `ranks` of a device.

    micro_batch, accumulation: of the largest stage; tested: pictures of a test's batch; recomputes: blocks keep their
    inputs alone; pass_flops: of one un-prompted pass of a picture; traffic: bytes summed over the ranks in a step;
    gathered: bytes of weights that a rank receives in a step under ZeRO 3.
    """

    ranks: int
    precision: str
    micro_batch: int
    accumulation: int
    tested: int
    recomputes: bool
    costs: tuple[TaskCost, ...]
    works: tuple[StageWork, ...]
    memory: RankMemory
    data: DataWork
    checkpoints: Footprint
    pass_flops: int
    traffic: int
    gathered: int

    @property
    def steps(self) -> int:
        return sum(work.steps for work in self.works)

    @property
    def flops(self) -> float:
        return sum(sum(self.stage_flops(work)) for work in self.works)

    def stage_flops(self, work: StageWork) -> Flops:
        """The last stage's test also asks an oracle, where the method takes one."""
        at = self._at(work.index)
        oracle = at(lambda cost: cost.oracle) if work is self.works[-1] else 0.0
        return Flops(
            work.trained * at(lambda cost: cost.step),
            work.pictures * at(lambda cost: cost.end),
            work.tested * (at(lambda cost: cost.test) + oracle),
        )

    def _at(self, stage: int) -> Callable[[Callable[[TaskCost], Cost]], float]:
        """FLOPs of a picture at a stage: what grows, grows by a task at a time between the second and the last."""
        first, second, last = self.costs[0], self.costs[min(1, len(self.costs) - 1)], self.costs[-1]

        def at(of: Callable[[TaskCost], Cost]) -> float:
            if stage == 0:
                return of(first).per_picture()
            low, high = of(second).per_picture(), of(last).per_picture()
            return low + (high - low) * (stage - second.task) / max(last.task - second.task, 1)

        return at

    def stage_seconds(self, speed: Speed) -> list[float]:
        """Of one device for each stage; the ranks share them."""
        return [sum(self._seconds(work, speed)) for work in self.works]

    def _seconds(self, work: StageWork, speed: Speed) -> tuple[float, float]:
        """Training, and what needs no gradients: the stage's end and its tests."""
        flops = self.stage_flops(work)
        rate = flops.training / work.trained if work.trained else 0.0
        training = speed.training_seconds(work.trained, flops.training, self.precision) if work.trained else 0.0
        tests = speed.test_seconds(self._seen(work), flops.end + flops.test, rate, self.precision)
        return max(training, self.ranks * work.steps * self._launches(speed)), tests

    def _seen(self, work: StageWork) -> int:
        """Pictures without gradients."""
        return work.tested + (work.pictures if self.stage_flops(work).end else 0)

    def in_flops(self, speed: Speed) -> Speed:
        """The speed for other runs, where its rates were measured on this one."""
        flops = [self.stage_flops(work) for work in self.works]
        trained, seen = sum(work.trained for work in self.works), sum(map(self._seen, self.works))
        train_flops, test_flops = sum(each.training for each in flops), sum(each.end + each.test for each in flops)
        return speed.in_flops(self.precision, train_flops / max(trained, 1), test_flops / max(seen, 1))

    def _launches(self, speed: Speed) -> float:
        """Seconds of a step that its launches take, whatever is computed; 0 where a rate was measured."""
        if speed.train is not None:
            return 0.0
        return LAUNCH_SECONDS * self.accumulation * max(cost.step.kernels for cost in self.costs)

    def device_hours(self, speed: Speed) -> float:
        """Of all ranks together, waiting left out."""
        return sum(self.stage_seconds(speed)) / 3600

    def step_work(self, config: RunConfig, speed: Speed) -> StepWork:
        """For `bounds`: of a mean step."""
        trained = sum(work.trained for work in self.works)
        flops = sum(self.stage_flops(work).training for work in self.works)
        seconds = speed.training_seconds(trained, flops, self.precision) / max(trained, 1) if trained else 0.0
        tests = sum(self._seconds(work, speed)[1] for work in self.works)
        batch = min(config.train.global_batch_size, max(work.pictures for work in self.works))
        launches = self._launches(speed)
        return StepWork(batch, seconds, launches, self.steps, tests, self.traffic, self.data.pixels)


def estimate_run(config: RunConfig, device: Device = "cuda", room: int | None = None) -> RunEstimate:
    """Of a configuration that the preflight lets pass.

    room: bytes of a rank's device, by which `engine.micro_batch_size: auto` is foreseen; else it is taken for null.

    Raises:
        ConfigError, DataError: as `check_fit` and `task_costs` say.
    """
    assert config.search is None and config.study is None, "of one run"
    check_fit(config)
    if config.engine.micro_batch_size == "auto" and room is not None:
        config = apply(config, _batch_sizes(config, device, usable(room)))
    return _estimate(config, device)


def _batch_sizes(config: RunConfig, device: Device, room: int) -> dict[str, int | str]:
    """What a probe would find: see `fitting.agree`."""
    given = config.engine.checkpoint_blocks
    found = _found(config, device, room, "none" if given == "auto" else given)
    share = largest_share(config.train.global_batch_size, config.launch.num_workers, None)
    if given == "auto" and too_few(found.micro_batch, share):
        found = _found(config, device, room, "all")
    return found.values()


def _found(config: RunConfig, device: Device, room: int, blocks: str) -> BatchSizes:
    @cache
    def peaks(key: str, size: int) -> RankMemory:
        return _estimate(apply(config, {BLOCKS: blocks, key: size}), device).memory

    def most_of(key: str, part: Callable[[RankMemory], Parts], most: int, share: Callable[[int], int]) -> Largest:
        def peak(size: int) -> int:
            return sum(part(peaks(key, size)).values())

        return largest(peak, peak(1), most, room, share=share)

    share = partial(largest_share, config.train.global_batch_size, config.launch.num_workers)
    trained = most_of(MICRO_BATCH, lambda memory: memory.training, share(None), share)
    tested = most_of(TEST_BATCH, lambda memory: memory.evaluation, config.evaluation.batch_size, lambda size: size)
    return BatchSizes(trained.size, tested.size, blocks == "all", int(max(trained.peak, tested.peak)))


def _estimate(config: RunConfig, device: Device) -> RunEstimate:
    manifest, ranks = manifest_of(config), config.launch.num_workers
    trunk = meta_trunk(config.backbone, precision=config.engine.precision, trained=config.method.trains_trunk)
    setting, size = setting_of(config, trunk.dimensions, manifest), trunk.input_format.size
    works = stage_works(config, manifest, setting.tasks)
    micro, accumulation = _micro_batch(config, works, ranks)
    shapes = seen_shapes(config, manifest, setting.tasks[0], size, micro)
    tested = _tested(config, works, ranks)
    costs = task_costs(config, setting, (shapes, tested), device)
    weights = bytes_of(trunk.parameters())
    return RunEstimate(
        ranks,
        config.engine.precision,
        micro if config.method.takes_gradients else 0,
        accumulation,
        tested,
        config.engine.checkpoint_blocks == "all",
        tuple(costs),
        tuple(works),
        rank_memory(config, trunk, costs, shapes, ranks, device),
        data_work(config, manifest, setting.tasks, size),
        footprint_of(config),
        forward_flops(pass_shape(trunk)),
        max(cost.trained for cost in costs) if config.method.takes_gradients else 0,
        _gathered(config, costs, weights, ranks) * accumulation,
    )


def _micro_batch(config: RunConfig, works: Sequence[StageWork], ranks: int) -> tuple[int, int]:
    """Pictures of a rank's largest micro-step, and micro-steps a step."""
    train = config.train
    accumulation = accumulation_steps(train.global_batch_size, ranks, config.engine.known_micro_batch)
    batch = min(train.global_batch_size, max(work.pictures for work in works))
    return -(-batch // (ranks * accumulation)), accumulation


def _tested(config: RunConfig, works: Sequence[StageWork], ranks: int) -> int:
    """Pictures of a rank's largest batch without gradients."""
    most = max(max(work.pictures, work.tested) for work in works)
    return min(config.evaluation.batch_size, -(-most // ranks))


def _gathered(config: RunConfig, costs: Sequence[TaskCost], weights: int, ranks: int) -> int:
    """Each pass of a micro-step has the whole trunk come by, and the backward pass once more."""
    if config.engine.zero_stage < 3 or not config.method.takes_gradients:
        return 0
    return (max(cost.step.passes for cost in costs) + 1) * weights * (ranks - 1) // ranks
