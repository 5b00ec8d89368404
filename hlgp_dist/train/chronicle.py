"""What the first rank tells the world while a run goes on: TensorBoard, metrics.jsonl, the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from types import TracebackType
from typing import TextIO

from hlgp_dist.config.schema import RunConfig
from hlgp_dist.config.write import dump
from hlgp_dist.methods.diagnostics import Diagnostics
from hlgp_dist.telemetry.figures import accuracy_matrix, similarities, task_confusion
from hlgp_dist.telemetry.progress import Display, Snapshot, open_display
from hlgp_dist.telemetry.recorder import EVALUATED_ON, Recorder, ResumePoint, hparams_of
from hlgp_dist.train.checkpoint import Position
from hlgp_dist.train.metrics import METRICS, Matrix, estimates, measured
from hlgp_dist.train.pages import PAGES

SAMPLED = "_sampled"
"""Ends the tags of estimates: no curve mixes them with what was measured on all pictures."""


class Chronicle:
    """Recorder and progress display, in the words of a run."""

    def __init__(self, config: RunConfig, recorder: Recorder, display: Display, *, num_tasks: int, steps: int):
        self._config, self._recorder, self._display = config, recorder, display
        self._num_tasks, self._steps = num_tasks, steps
        self._is_validation = config.benchmark.evaluated_on == "validation"

    @classmethod
    def open(
        cls,
        config: RunConfig,
        folder: Path,
        *,
        screen: TextIO,
        resumed_at: Position | None,
        num_tasks: int,
        steps: int,
    ) -> Chronicle:
        """A new record, or the old one cut back to a checkpoint; `steps` is the run's total."""
        recorder = Recorder(
            folder,
            config_text=dump(config),
            hparams=hparams_of(config),
            varied=(EVALUATED_ON, *config.telemetry.varied),
            pages=PAGES,
            resume_from=ResumePoint(resumed_at.global_step, resumed_at.task) if resumed_at else None,
        )
        display = open_display(screen, enabled=config.telemetry.progress)
        if resumed_at is not None:
            display.note(f"resumed after {resumed_at.step} steps of task {resumed_at.task} in {folder}")
        return cls(config, recorder, display, num_tasks=num_tasks, steps=steps)

    def step(self, position: Position, scalars: Mapping[str, float], *, epoch: int) -> None:
        """One logging interval of the loop."""
        self._recorder.scalars(position.global_step, scalars)
        self._display.show(
            Snapshot(
                task=position.task + 1,
                num_tasks=self._num_tasks,
                epoch=epoch + 1,
                num_epochs=self._config.train.epochs,
                step=position.global_step,
                total_steps=self._steps,
                loss=scalars["train/loss"],
                images_per_second=scalars["throughput/images_per_s"],
            )
        )

    def task_end(
        self, matrix: Matrix, sampled: Sequence[bool], numbers: Mapping[str, float | None], data: Mapping[str, float]
    ) -> None:
        """One finished task: its row of the matrix, the metrics so far, and what its pictures took, by tag.

        sampled: of each row, whether tasks before its own were tested in part.
        """
        task, prefix = len(matrix) - 1, self._prefix
        known, guessed = measured(numbers), estimates(sampled)
        scalars = {f"{prefix}/{METRICS[name].tag}{SAMPLED * (name in guessed)}": known[name] for name in known}
        if len(matrix[-1]) == len(matrix):  # else all tasks were learned at once, and none is the new one
            scalars[f"{prefix}/acc1"] = matrix[-1][-1]
        part = "val" if self._is_validation else "eval"
        scalars |= {
            f"{part}/task_{i:02d}/acc1{SAMPLED * (sampled[-1] and i < task)}": value
            for i, value in enumerate(matrix[-1])
        }
        self._recorder.task_scalars(task, {**scalars, **data})
        square = [[*row, *[None] * (len(matrix) - len(row))] for row in matrix]
        self._recorder.figure(f"acc_matrix{SAMPLED * any(sampled)}", task, accuracy_matrix(square))
        lost = f", forgetting {100 * known['forgetting']:.2f} %" if "forgetting" in known else ""
        part_of = " (by a part of the earlier tasks' pictures)" if guessed else ""
        accuracy = f"average accuracy {100 * known['average_accuracy']:.2f} %"
        self._display.note(f"task {task + 1}/{self._num_tasks} done: {accuracy}{lost}{part_of}")

    def matching(self, confusion: Sequence[Sequence[float]], *, is_sampled: bool) -> None:
        """After a task the mean weights [tasks, tasks seen] of a method that weights tasks, else no rows.

        is_sampled: earlier tasks were tested in part.
        """
        if not confusion:
            return
        task, suffix = len(confusion) - 1, SAMPLED * is_sampled
        own = fmean(row[true] for true, row in enumerate(confusion))
        self._recorder.task_scalars(task, {f"{self._prefix}/true_task_weight{suffix}": own})
        self._recorder.figure(f"task_confusion{suffix}", task, task_confusion(confusion))

    def prompts(self, task: int, diagnostics: Diagnostics) -> None:
        """How alike the method's prompts are after a task."""
        if diagnostics.numbers:
            self._recorder.task_scalars(task, {f"prompts/{name}": value for name, value in diagnostics.numbers.items()})
        for name, likeness in diagnostics.likenesses.items():
            picture = similarities(likeness.cosines.tolist(), likeness.of, likeness.names)
            self._recorder.figure(f"prompts/{name}", task, picture)

    @property
    def _prefix(self) -> str:
        return "val" if self._is_validation else "task"

    def finish(self, position: Position, sampled: Sequence[bool], numbers: Mapping[str, float | None]) -> None:
        """The end of the run; the table of all runs shows no estimate."""
        exact = {name: None if name in estimates(sampled) else value for name, value in numbers.items()}
        self._recorder.finish(
            position.global_step,
            final_avg_acc=exact["average_accuracy"],
            cum_avg_acc=exact["cumulative_average_accuracy"],
            forgetting=exact["forgetting"],
        )
        self._display.close()

    def __enter__(self) -> Chronicle:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the record as what happened: a result, a failure, or something that can be resumed."""
        self._recorder.__exit__(kind, error, trace)
        self._display.close()
