"""`hlgp bench step`: pictures a second of training and testing, and the part of the device's peak that they reach."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import cached_property
from statistics import median
from typing import Any

import numpy as np

from hlgp_dist.bench.machine import machine
from hlgp_dist.bench.stepping.clock import Clock
from hlgp_dist.bench.stepping.gemm import GemmPeak, Product, products_of
from hlgp_dist.bench.stepping.memory import foreseen_parts, measured_parts
from hlgp_dist.bench.stepping.options import StepOptions
from hlgp_dist.bench.stepping.parts import StepParts
from hlgp_dist.bench.stepping.plain import Unfused
from hlgp_dist.bench.stepping.profile import Operation, profiled
from hlgp_dist.bench.stepping.stepper import Stepper, joined
from hlgp_dist.config.load import vary
from hlgp_dist.config.schema import RunConfig
from hlgp_dist.errors import OutOfMemory, first_line
from hlgp_dist.methods.base import Setting
from hlgp_dist.models.backbone import DTYPES
from hlgp_dist.train.device_memory import DeviceMemory, is_out_of_memory
from hlgp_dist.train.estimate.costs import Shapes, TaskCost, task_costs
from hlgp_dist.train.estimate.kernels import Device
from hlgp_dist.train.estimate.memory import Parts, rank_memory

WARM_UP = 2
FIRST, TRAIN, EVAL = "first_task_train", "train", "eval"


def bench_step(options: StepOptions) -> dict[str, Any]:
    """Rates, MFU, parts and memory, with the machine and the configuration beside them."""
    with joined(options.device):
        try:
            return _Bench(options).report()
        except (RuntimeError, MemoryError) as error:
            if is_out_of_memory(error):
                raise OutOfMemory(f"--batch {options.batch_size}: {first_line(error)}; lower it") from error
            raise


class _Bench:
    """seconds, products: by round; what is compared takes its turns in one round. other: the yardstick's prefix."""

    def __init__(self, options: StepOptions) -> None:
        self.options, self.clock = options, Clock(options.device)
        self.own = Stepper(options)
        self.yardstick: Stepper | None = None
        self.other, self.missing = f"{options.yardstick}_" if options.yardstick else "", ""
        self.learner = self.own.learner
        self.seconds: dict[str, list[float]] = {}
        self.memory: dict[str, Parts] | None = None
        self.operations: list[Operation] = []
        shapes = products_of(self.learner.trunk, options.batch_size)
        self.products: dict[Product, list[float]] = {shape: [] for shape in shapes}

    @cached_property
    def gemm(self) -> GemmPeak:
        """With operands of its own, which are no part of a step's memory."""
        return GemmPeak(list(self.products), DTYPES[self.options.config.engine.precision], self.clock)

    def report(self) -> dict[str, Any]:
        own, trains = self.own, self.learner.method.has_gradients
        self._prepare(own)
        peak = self._peak_bytes(own.train_step if trains else own.evaluate)  # before there is anything else
        with self._dispensable():
            if self.options.yardstick is not None:
                self.yardstick = Stepper(self.options, self.options.yardstick)
                self._prepare(self.yardstick)
        parts = self._train() if trains else {}
        self._rounds(EVAL, Stepper.evaluate)
        return self._told(parts, peak)

    def _prepare(self, stepper: Stepper) -> None:
        """For the first task's training, or where nothing is trained for a test after the last."""
        if stepper.learner.method.has_gradients:
            stepper.begin(self.options.tasks[0])
        else:
            stepper.begin(self.options.tasks[-1])
            stepper.end()

    def _train(self) -> dict[str, float]:
        """The first task and the last, to its end; seconds of the parts of a step of the latter, and what it holds."""
        self._rounds(FIRST, Stepper.train_step)
        self._each(lambda stepper: stepper.begin(self.options.tasks[-1]))
        self._rounds(TRAIN, Stepper.train_step)
        own, options = self.own, self.options
        parts = StepParts(own, self.clock)(median(self.seconds[TRAIN]))
        self.memory = {"measured": measured_parts(own, options.device), "foreseen": self._foreseen()}
        if options.profile is not None:
            self.operations = profiled(own.train_step, options.device, options.profile)
        self._each(Stepper.end)
        return parts

    def _foreseen(self) -> Parts:
        """The parts of a step's memory by the plan, as far as they are measured."""
        device: Device = "cuda" if self.options.device.startswith("cuda") else "cpu"
        config, trunk = self.options.config, self.learner.trunk
        _, last = self._costs(device, config)
        return foreseen_parts(rank_memory(config, trunk, [last], self._shapes(), 1, device).training, device)

    def _peak_bytes(self, call: Callable[[], None]) -> int:
        """The first call, which may compile, does not count."""
        memory = DeviceMemory(self.options.device)
        call()
        memory.forget_peak()
        call()
        return memory.peak()

    def _each(self, call: Callable[[Stepper], None]) -> None:
        call(self.own)
        with self._dispensable():
            if self.yardstick is not None:
                call(self.yardstick)

    @contextmanager
    def _dispensable(self) -> Iterator[None]:
        """Where the yardstick's memory does not suffice, what follows is measured without one."""
        try:
            yield
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            self.yardstick = None
            self.missing = f"--compare {self.options.yardstick}: {first_line(error)}; lower --batch to compare"

    def _rounds(self, name: str, call: Callable[[Stepper], None]) -> None:
        """Products, our step and the yardstick's in turns, so that what else the machine does meets all alike."""
        for number in range(-WARM_UP, self.options.rounds):
            rates, taken = self.gemm(), self._turns(call)
            if number < 0:
                continue
            for who, seconds in taken.items():
                self.seconds.setdefault(who + name, []).append(seconds)
            for product, rate in rates.items():
                self.products[product].append(rate)

    def _turns(self, call: Callable[[Stepper], None]) -> dict[str, float]:
        taken, other = {"": self.clock.each(lambda: call(self.own))}, self.yardstick
        if other is not None:
            with self._dispensable(), Unfused() if self.options.yardstick == "plain" else nullcontext():
                taken[self.other] = self.clock.each(lambda: call(other))
        return taken

    def _told(self, parts: dict[str, float], peak: int) -> dict[str, Any]:
        config, batch = self.options.config, self.options.batch_size
        reached = {product: median(rates) for product, rates in self.products.items()}
        gemm, flops = max(reached.values()), self._flops()
        rates = {name: batch / median(seconds) for name, seconds in self.seconds.items()}
        mfu = {name: rates[name] * flops[name] / gemm for name in flops if name in rates}
        return {
            **{f"{name}_images_per_second": rates.get(name) for name in dict.fromkeys([*flops, *rates])},
            "mfu": mfu.get(TRAIN),
            "eval_mfu": mfu[EVAL],
            "first_task_mfu": mfu.get(FIRST),
            "gemm_peak_flops": gemm,
            "gemm_flops": {str(product): rate for product, rate in reached.items()},
            "flops_per_image": flops,
            "yardstick": self.options.yardstick,
            "speed_up": {
                name: rates[name] / rates[self.other + name]
                for name in flops
                if self.other and self.other + name in rates
            },
            "yardstick_missing": self.missing,
            "peak_memory_bytes": peak,
            "memory_bytes": self.memory,
            "parts_ms": {name: 1e3 * seconds for name, seconds in parts.items()},
            "operations": [operation._asdict() for operation in self.operations],
            "seconds": self.seconds,
            "passes": self.learner.passes,
            "batch_size": batch,
            "tasks": len(self.options.tasks),
            "config": config.model_dump(mode="json", include={"backbone", "method", "optimizer", "engine"}),
            "machine": machine(self.options.device),
        }

    def _flops(self) -> dict[str, float]:
        """Of a picture, what the method needs: attention's scores and every block are counted once, weights get no
        gradients.
        """
        needed = {"engine.checkpoint_blocks": "none"}
        first, last = self._costs("cpu", vary(self.options.config, needed))
        return {
            FIRST: first.step.per_picture(),
            TRAIN: last.step.per_picture(),
            EVAL: last.test.per_picture(),
        }

    def _costs(self, device: Device, config: RunConfig) -> tuple[TaskCost, TaskCost]:
        setting = Setting(self.learner.trunk.dimensions, self.options.tasks, config.seed)
        costs = task_costs(config, setting, (self._shapes(), self.options.batch_size), device)
        return costs[0], costs[-1]

    def _shapes(self) -> Shapes:
        return np.full((self.options.batch_size, 2), self.learner.trunk.input_format.size.size)
