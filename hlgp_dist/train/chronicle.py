"""What the first rank tells the world while a run goes on: TensorBoard, metrics.jsonl, the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TextIO

from hlgp_dist.config.schema import RunConfig
from hlgp_dist.config.write import dump
from hlgp_dist.telemetry.figures import accuracy_matrix
from hlgp_dist.telemetry.progress import Display, Snapshot, open_display
from hlgp_dist.telemetry.recorder import EVALUATED_ON, Recorder, ResumePoint, hparams_of
from hlgp_dist.train.checkpoint import Position
from hlgp_dist.train.metrics import METRICS, Matrix, estimates, measured

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
        matrix: Matrix,
        sampled: Sequence[bool],
        num_tasks: int,
        steps: int,
    ) -> Chronicle:
        """A new record, or the old one cut back to a checkpoint; `steps` is the run's total; sampled: as `task_end`."""
        recorder = Recorder(
            folder,
            config_text=dump(config),
            hparams=hparams_of(config),
            varied=(EVALUATED_ON, *config.telemetry.varied),
            resume_from=ResumePoint(resumed_at.global_step, resumed_at.task) if resumed_at else None,
        )
        display = open_display(screen, enabled=config.telemetry.progress)
        chronicle = cls(config, recorder, display, num_tasks=num_tasks, steps=steps)
        if resumed_at is not None:
            display.note(f"resumed after {resumed_at.step} steps of task {resumed_at.task} in {folder}")
            for task in range(len(matrix)):
                chronicle._show_matrix(matrix[: task + 1], sampled[: task + 1])
        return chronicle

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
        task = len(matrix) - 1
        prefix = "val" if self._is_validation else "task"
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
        self._show_matrix(matrix, sampled)
        lost = f", forgetting {100 * known['forgetting']:.2f} %" if "forgetting" in known else ""
        part_of = " (by a part of the earlier tasks' pictures)" if guessed else ""
        accuracy = f"average accuracy {100 * known['average_accuracy']:.2f} %"
        self._display.note(f"task {task + 1}/{self._num_tasks} done: {accuracy}{lost}{part_of}")

    def _show_matrix(self, matrix: Matrix, sampled: Sequence[bool]) -> None:
        square = [[*row, *[None] * (len(matrix) - len(row))] for row in matrix]
        self._recorder.figure(f"acc_matrix{SAMPLED * any(sampled)}", len(matrix) - 1, accuracy_matrix(square))

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
