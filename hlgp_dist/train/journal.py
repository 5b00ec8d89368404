"""What the first rank tells the world while a run goes on: TensorBoard, metrics.jsonl, the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hlgp_dist.config.identity import identity
from hlgp_dist.config.schema import RunConfig
from hlgp_dist.config.write import dump
from hlgp_dist.telemetry.figures import matrix_figure
from hlgp_dist.telemetry.progress import ProgressDisplay
from hlgp_dist.telemetry.recorder import Recorder
from hlgp_dist.train.checkpoint import Checkpoint, Position
from hlgp_dist.train.folder import RunFolder

TASK_TAGS = {
    "average_accuracy": "acc1_avg",
    "cumulative_average_accuracy": "acc1_cum_avg",
    "micro_accuracy": "acc1_micro",
    "forgetting": "forgetting",
    "backward_transfer": "bwt",
}
"""Metric in result.json -> tag under `task/` (or `val/`)."""
HPARAM_METRICS = {
    "hparam/final_avg_acc": "final_average_accuracy",
    "hparam/cum_avg_acc": "cumulative_average_accuracy",
    "hparam/forgetting": "forgetting",
}
"""Tag -> its value in result.json."""


class Journal:
    """Wraps the recorder and the progress display in the words of a run."""

    def __init__(self, recorder: Recorder, progress: ProgressDisplay) -> None:
        self._recorder = recorder
        self._progress = progress

    @classmethod
    def open(cls, config: RunConfig, folder: RunFolder, num_tasks: int, checkpoint: Checkpoint | None) -> Journal:
        """A new journal, or the old one cut back to the checkpoint."""
        position = checkpoint.position if checkpoint else Position()
        recorder = Recorder(
            folder.path,
            config_text=dump(config),
            hparams=identity(config),
            resume_from=(position.global_step, position.task) if checkpoint else None,
        )
        return cls(recorder, ProgressDisplay(enabled=config.telemetry.progress, num_tasks=num_tasks))
