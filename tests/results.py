"""Folders of finished runs that nobody ran: the configuration and the result as a run writes them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hlgp_dist.config.schema import RunConfig
from hlgp_dist.config.write import dump
from hlgp_dist.files import write_json, write_text
from hlgp_dist.train import metrics
from hlgp_dist.train.folder import RunFolder
from tests.jobs import CLASSES, job

IMAGES = [10, 20, 10, 20, 40]
"""Test pictures of the five tasks of `job`."""
EVEN = ((8,), (6, 10), (6, 10, 6), (6, 10, 6, 14), (6, 10, 6, 14, 32))
"""Right ones: after the last task 60, 50, 60, 70 and 80 %, so 64 % in the mean."""
MEASURED = {"images_per_second", "training_seconds", "peak_memory_bytes", "decoded_images", "attempts"}
"""Keys of a result that two runs of the same never share; of two on one host the first decodes."""
ENVIRONMENT = {"devices": ["cpu"], "usable_cores": 2, "git_commit": "abc"}


def unmeasured(folder: RunFolder) -> dict[str, Any]:
    """The result, without what was measured."""
    result = folder.read_result()
    assert result is not None
    return {key: value for key, value in result.items() if key not in MEASURED}


def leave_run(
    folder: Path,
    *overrides: str,
    right: Sequence[Sequence[int]] = EVEN,
    environment: dict[str, Any] | None = ENVIRONMENT,
    **changes: Any,
) -> Path:
    """A finished run of `job` with overrides, whose result holds these right test pictures, and `changes`."""
    config = job(Path("shards"), folder, *overrides)
    write_text(folder / "config.yaml", dump(config))
    if environment is not None:
        write_json(folder / "env.json", environment)
    write_json(folder / "result.json", result_of(config, right) | changes)
    return folder


def result_of(config: RunConfig, right: Sequence[Sequence[int]]) -> dict[str, Any]:
    """What `hlgp_dist.train.result.finished` makes of it; a test holds the two together."""
    matrix = [[count / total for count, total in zip(row, IMAGES, strict=False)] for row in right]
    weights = {
        "name": config.backbone.name,
        "weights": config.backbone.weights,
        "sha256": "5ead" * 16,
        "timm_version": "1.0.31",
        "num_parameters": 21_000_000,
    }
    return {
        "exit_code": 0,
        "reason": "done",
        "evaluated_on": config.benchmark.evaluated_on,
        **metrics.of_result(matrix, IMAGES),
        "task_identification_accuracy": 0.5,
        "oracle_task_accuracy": None if config.method.kind in ("linear", "ncm") else 0.75,
        "within_task_accuracy": 0.875,
        "peer_metrics": metrics.peer_summary(matrix, IMAGES),
        "accuracy_matrix": [row + [None] * (len(matrix) - len(row)) for row in matrix],
        "task_confusion": [[0.2] * 5] * 5,
        "num_test_images": IMAGES,
        "train_fraction": config.data.train_fraction,
        "old_task_fraction": None,
        "tested_images": [IMAGES[: t + 1] + [None] * (len(matrix) - t - 1) for t in range(len(matrix))],
        "estimated": [],
        "num_trainable_parameters": 1234,
        "num_head_parameters": 330,
        "num_stored_parameters": 5678,
        "method": config.method.kind,
        "alignment": config.alignment.kind,
        "backbone": weights,
        "seed": config.seed,
        "class_order": list(CLASSES),
        "task_sizes": [2] * 5,
        "dataset": "da7a" * 16,
        "prepared_from": None,
        "protocol": None,
        "stream": config.train.stream,
        "passes_per_image": {"training": 1, "test": 2},
        "training_seconds": 12.5,
        "num_workers": config.launch.num_workers,
        "peak_memory_bytes": 10**9,
        "micro_batch_size": config.train.global_batch_size // config.launch.num_workers,
        "evaluation_batch_size": config.evaluation.batch_size,
        "images_per_second": 100.0 + config.seed,
        "attempts": [],
        "decoded_images": [1] * 5,
        "skipped": [],
        "bytes_read": [1] * 5,
        "bytes_of_classes": [1] * 5,
    }


def unfinished(folder: RunFolder, result: dict[str, Any] | None) -> None:
    """A run that did not end well, or (None) has not ended."""
    write_text(folder.config, dump(job(Path("shards"), folder.path)))
    folder.logs.mkdir()
    if result is not None:
        write_json(folder.result, result)
