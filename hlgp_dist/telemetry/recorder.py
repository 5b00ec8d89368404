"""What rank 0 writes of a run while it runs: `tensorboard/` and `metrics.jsonl`, the same scalars in both."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from torch import Tensor

from hlgp_dist.config.grammar import flow
from hlgp_dist.config.identity import identity
from hlgp_dist.config.schema import RunConfig
from hlgp_dist.errors import Interrupted, LostWorker
from hlgp_dist.telemetry.board import Board, HParam, pictures
from hlgp_dist.telemetry.journal import Axis, Event, Journal, read_events
from hlgp_dist.telemetry.pages import Page

HPARAM_METRICS = ("hparam/final_avg_acc", "hparam/cum_avg_acc", "hparam/forgetting")
EVALUATED_ON = "evaluated_on"
"""A column, since a search shows trials (validation pictures) beside its refit (test pictures)."""


@dataclass(frozen=True)
class ResumePoint:
    """Where a checkpoint stands: the global steps taken and the tasks whose evaluation it holds."""

    step: int
    tasks_done: int

    def holds(self, event: Event) -> bool:
        """Whether the event happened before the checkpoint and will not happen again."""
        return (
            event.step <= self.step if event.axis == "step" else event.axis == "task" and event.step < self.tasks_done
        )


def hparams_of(config: RunConfig) -> dict[str, HParam]:
    """The HParams columns of a run: what it is evaluated on, and the identity values that `telemetry` names.

    A key that the run's kinds have not is null. Lists become text. The runs of a search name the same keys, so that
    the table's columns are stable.
    """
    values = identity(config)
    chosen = {key: values.get(key) for key in (*config.telemetry.varied, *config.telemetry.hparams)}
    flat = {key: flow(value) if isinstance(value, list | dict) else value for key, value in chosen.items()}
    return {EVALUATED_ON: config.benchmark.evaluated_on, **flat}


class _Steps:
    """How far each tag has come on its axis."""

    def __init__(self) -> None:
        self._last: dict[tuple[Axis, str], int] = {}

    def going_back(self, event: Event) -> list[str]:
        """The event's tags that would not go on, each said in words; where there are none the event is taken."""
        last = {tag: self._last.get((event.axis, tag), -1) for tag in event.tags}
        back = [
            f"{tag} goes from {event.axis} {step} to {event.step}" for tag, step in last.items() if event.step <= step
        ]
        if not back:
            self._last |= {(event.axis, tag): event.step for tag in event.tags}
        return back


class Recorder:
    """Opens a run's record, anew or at a checkpoint's position, and closes it with the run's outcome.

    With `resume_from` the journal is cut to what the checkpoint holds and the event file is rebuilt from it, so no
    step appears twice; without, earlier records are dropped. Figures are taken from the earlier event file, where
    it is still there. So that no event is lost, record a step or a task before its checkpoint is saved.

    Steps of a tag must increase.
    """

    def __init__(
        self,
        run_dir: Path,
        *,
        config_text: str,
        hparams: Mapping[str, HParam],
        varied: Collection[str] = (),
        pages: Sequence[Page] = (),
        resume_from: ResumePoint | None = None,
    ) -> None:
        folder, journal = run_dir / "tensorboard", run_dir / "metrics.jsonl"
        folder.mkdir(parents=True, exist_ok=True)
        held = (event for event in read_events(journal) if resume_from is not None and resume_from.holds(event))
        self._steps = _Steps()
        events = [event for event in held if not self._steps.going_back(event)]  # one may have been edited in
        started = events[0].wall_time if events else time.time()
        drawn = [picture for picture in pictures(folder) if resume_from and picture.step < resume_from.tasks_done]
        self._is_open = True
        self._journal = Journal(journal, events)
        self._board = Board(folder)
        self._board.text("config", f"```yaml\n{config_text}\n```", started)
        self._board.session_start(hparams, varied, HPARAM_METRICS, started)
        self._board.pages(pages, started)
        for event in events:
            self._board.scalars(event)
        for picture in drawn:
            self._board.again(picture)
        self._board.flush()

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Values after a global step."""
        self._record("step", step, values)

    def task_scalars(self, task_index: int, values: Mapping[str, float]) -> None:
        """Values after a task, against its index: `task/*`, `eval/task_ii/*`, `val/*`."""
        self._record("task", task_index, values)

    def figure(self, tag: str, task_index: int, image: Tensor) -> None:
        """After a task. `image`: uint8 [3, H, W]; to TensorBoard only, hence at once, since nothing else keeps it."""
        self._board.image(tag, task_index, image, time.time())
        self._board.flush()

    def finish(
        self, step: int, *, final_avg_acc: float | None, cum_avg_acc: float | None, forgetting: float | None
    ) -> None:
        """The result's HParams metrics, those that the run has, and success."""
        values = zip(HPARAM_METRICS, (final_avg_acc, cum_avg_acc, forgetting), strict=True)
        self._record("run", step, {tag: value for tag, value in values if value is not None})
        self._end(succeeded=True)

    def close(self, *, failed: bool = False) -> None:
        """Write everything out. A run that was neither finished nor failed counts as unfinished."""
        if failed:
            self._end(succeeded=False)
        if self._is_open:
            self._is_open = False
            self._board.close()
            self._journal.close()

    def __enter__(self) -> Recorder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close(failed=isinstance(error, Exception) and not isinstance(error, Interrupted | LostWorker))

    def _record(self, axis: Axis, step: int, values: Mapping[str, float]) -> None:
        event = Event(time.time(), axis, step, {tag: float(value) for tag, value in values.items()})
        wrong = self._steps.going_back(event)
        assert not wrong, wrong
        self._journal.append(event)
        self._board.scalars(event)

    def _end(self, *, succeeded: bool) -> None:
        if self._is_open:
            self._board.session_end(succeeded=succeeded, wall_time=time.time())
            self.close()
