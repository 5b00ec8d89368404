"""The training loop of one task. It knows no method, no launcher and no DeepSpeed."""

from __future__ import annotations

import math
import time
from collections.abc import Generator
from contextlib import closing
from dataclasses import replace

from hlgp_dist.data.augment import augment
from hlgp_dist.data.batches import training_batches
from hlgp_dist.data.pictures import Pictures
from hlgp_dist.data.plan import GlobalBatch, global_batch_of
from hlgp_dist.data.transfer import to_device
from hlgp_dist.data.uniforms import Key
from hlgp_dist.engine.collectives import reduce_sum
from hlgp_dist.errors import Interrupted, NonFiniteLoss
from hlgp_dist.telemetry.meters import Clock, Meters
from hlgp_dist.train.plan import TaskPlan
from hlgp_dist.train.schedule import rate_factor
from hlgp_dist.train.session import Session
from hlgp_dist.types import Batch, Engine, TaskSpec

METERS = ("train/loss", "train/acc1", "train/grad_norm", "stop")


class TaskTrainer:
    """Trains one task from the session's position to its end."""

    def __init__(self, session: Session, engine: Engine, task: TaskSpec, pictures: Pictures) -> None:
        self.session, self.engine, self.task, self.pictures = session, engine, task, pictures
        self.config = session.config
        self.plan = TaskPlan.of(session.config, len(pictures), session.context.world.size)
        self.meters = Meters(METERS, session.context.device)
        self.clock = Clock(session.context.device, session.context.world.size)
        self.timed_from = time.monotonic()

    def run(self) -> None:
        """Train.

        Raises:
            NonFiniteLoss: on all ranks together, when any rank's loss is.
            Interrupted: on all ranks together, after a checkpoint.
        """
        pulse = self.session.context.pulse
        steps = range(self.session.progress.position.step, self.plan.total_steps)
        with closing(self._batches(steps)) as batches:
            for step in steps:
                pulse.beat(f"task {self.task.index} step {step + 1}")
                with self.clock.waiting():
                    shares = next(batches)
                self._train_step(step, shares)
                self._advance(step)
                if self._log_is_due(step):
                    self._log(step)
                if self._save_is_due(step):
                    self.session.save(self.engine)

    def _batches(self, steps: range) -> Generator[list[Batch], None, None]:
        return training_batches(
            self.pictures,
            augmentation=self.config.data.augmentation,
            seed=self.config.seed,
            task=self.task.index,
            steps=steps,
            global_batch_size=self.config.train.global_batch_size,
            world=self.session.context.world,
            accumulation=self.plan.accumulation,
            loading=self.session.loading,
        )

    def _train_step(self, step: int, shares: list[Batch]) -> None:
        rates, key = self._rates(step), Key(self.config.seed, self.task.index, self._global_batch(step).epoch)
        for share in shares:
            batch = to_device(share, self.session.context.device)
            images = augment(
                batch.images,
                batch.samples,
                size=self.pictures.size,
                augmentation=self.config.data.augmentation,
                key=key,
                memory=self.session.loading.memory,
            )
            loss, right = self.engine(images, batch.labels, batch.weights)
            self.session.context.pulse.beat()  # behind it the ranks wait for each other
            self.engine.backward(loss)
            norm = self.engine.step(rates)
            self.meters.add("train/loss", loss.detach(), 1)
            self.meters.add("train/acc1", right, batch.weights.count_nonzero())
        assert norm is not None, "the last micro-step closes the global batch"
        self.meters.add("train/grad_norm", norm, 1)

    def _global_batch(self, step: int) -> GlobalBatch:
        return global_batch_of(step, len(self.pictures), self.config.train.global_batch_size)

    def _rates(self, step: int) -> dict[str, float]:
        optimizer = self.config.optimizer
        factor = rate_factor(optimizer.schedule, step, self.plan.total_steps, self.plan.steps_per_epoch)
        return {"prompt": optimizer.prompt_lr * factor, "head": optimizer.head_lr * factor}

    def _advance(self, step: int) -> None:
        progress = self.session.progress
        progress.position = replace(progress.position, step=step + 1, global_step=progress.position.global_step + 1)
        images = self._global_batch(step).size
        progress.trained_images += images
        progress.passes |= self.session.learner.passes
        self.clock.count(images)

    def _is_last(self, step: int) -> bool:
        return step + 1 == self.plan.total_steps

    def _save_is_due(self, step: int) -> bool:
        """The last step too: alignment and evaluation, which follow, take long."""
        every = self.config.checkpoint.every_steps
        return every is not None and ((step + 1) % every == 0 or self._is_last(step))

    def _log_is_due(self, step: int) -> bool:
        """Before a checkpoint too: none is written of a run whose loss is not finite."""
        every = self.config.telemetry.log_every_steps
        return (step + 1) % every == 0 or self._save_is_due(step) or self._is_last(step)

    def _log(self, step: int) -> None:
        """The one place of the loop where the host waits for the device and the ranks for each other."""
        self.meters.add("stop", float(self.session.context.stop_requested()), 1)
        means = self.meters.drain(reduce_sum)
        now = time.monotonic()
        self.session.progress.trained_seconds += now - self.timed_from
        self.timed_from = now
        stop = means.pop("stop") > 0.0
        for name in ("train/loss", "train/grad_norm"):  # after a gradient like that the next loss is no better
            if not math.isfinite(means[name]):
                raise NonFiniteLoss(f"{name} is {means[name]} in task {self.task.index} by step {step + 1}")
        rates = {f"train/lr_{name}": rate for name, rate in self._rates(step).items()}
        if self.session.chronicle is not None:
            position, numbers = self.session.progress.position, means | rates | self.clock.read()
            self.session.chronicle.step(position, numbers, epoch=self._global_batch(step).epoch)
        self.clock.restart()
        if stop:  # at the last step, too: what follows takes long
            self.session.save(self.engine)
            raise Interrupted(
                f"stopped by a signal in task {self.task.index} after step {step + 1}; run it again to resume"
            )
