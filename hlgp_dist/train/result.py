"""result.json: what a run came to, or why it did not."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from hlgp_dist.errors import Failure
from hlgp_dist.train import metrics
from hlgp_dist.train.device_memory import DeviceMemory
from hlgp_dist.train.session import Session


def finished(session: Session) -> dict[str, Any]:
    """Everything a table of results needs of a run that ended well. `attempts`: those that did not, before this one."""
    progress, learner = session.progress, session.learner
    matrix, sampled = progress.matrix(), progress.sampled()
    weight, bias = learner.head.rows()
    return {
        "exit_code": 0,
        "reason": "done",
        "evaluated_on": session.part,
        **metrics.of_result(matrix, progress.totals),
        "task_identification_accuracy": progress.task_identification(),
        **progress.final,
        "peer_metrics": metrics.peer_summary(matrix, progress.totals),
        "accuracy_matrix": [row + [None] * (len(matrix[-1]) - len(row)) for row in matrix],
        "task_confusion": progress.task_confusion or None,
        "num_test_images": progress.totals,
        "train_fraction": session.config.data.train_fraction,
        "old_task_fraction": session.config.evaluation.old_task_fraction,
        "tested_images": [row + [None] * (len(matrix[-1]) - len(row)) for row in progress.tested],
        "estimated": metrics.estimated_in_result(sampled),
        "num_trainable_parameters": progress.trained_parameters,
        "num_head_parameters": weight.numel() + bias.numel() if learner.method.has_gradients else 0,
        "num_stored_parameters": learner.num_stored_parameters() + session.num_remembered(),
        "method": session.config.method.kind,
        "alignment": session.config.alignment.kind,
        "backbone": asdict(session.backbone),
        "seed": session.config.seed,
        "class_order": [name for task in session.tasks for name in task.classes],
        "task_sizes": [len(task.classes) for task in session.tasks],
        "dataset": session.manifest.digest,
        "prepared_from": session.manifest.prepared_from,
        "protocol": session.config.benchmark.protocol,
        "stream": session.config.train.stream,
        "passes_per_image": progress.passes,
        "training_seconds": progress.trained_seconds,
        "num_workers": session.context.world.size,
        "peak_memory_bytes": DeviceMemory(str(session.context.device)).peak(),
        "micro_batch_size": session.micro_batch_size,
        "evaluation_batch_size": session.config.evaluation.batch_size,
        "attempts": session.folder.read_attempts(),
        "images_per_second": progress.trained_images / progress.trained_seconds if progress.trained_seconds else None,
        "decoded_images": progress.decoded_images,
        "skipped": progress.skipped,
        "bytes_read": progress.bytes_read,
        "bytes_of_classes": [session.bytes_of(stage) for stage in session.stages],
    }


def failed(error: BaseException) -> dict[str, Any]:
    """The exit code and the reason of a run that did not end well."""
    if isinstance(error, Failure):
        return {"exit_code": error.exit_code, "reason": str(error)}
    if isinstance(error, SystemExit | KeyboardInterrupt):
        code = error.code if isinstance(error, SystemExit) else 130
        return {"exit_code": code, "reason": "ended at once by a second signal; the same command resumes"}
    return {"exit_code": Failure.exit_code, "reason": repr(error)}
