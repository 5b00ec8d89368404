"""Whether a finished run's result.json is as a run writes it, so that a table can count on it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from hlgp_dist.config.merge import value_at
from hlgp_dist.train import metrics

NEEDED = ("backbone", "dataset", "evaluated_on", "class_order", "task_sizes", "num_test_images", "accuracy_matrix")
"""Without these a result cannot be known to be like another."""
NUMBERS = (
    *(metric.in_result for metric in metrics.METRICS.values()),
    *("num_trainable_parameters", "num_stored_parameters", "num_head_parameters", "backbone.num_parameters"),
    *("passes_per_image.training", "passes_per_image.test"),
    *("images_per_second", "training_seconds", "num_workers", "peak_memory_bytes"),
)
"""By dotted key, all that is counted on beside the matrix; an older run, or one of another kind, lacks some."""
ROUNDING = 1e-9


def defect(result: Mapping[str, Any]) -> str | None:
    """Why it cannot be compared: an older run's, or one that is not as it was written."""
    missing = [key for key in NEEDED if key not in result]
    if missing:
        return f"result.json has no {', '.join(missing)}: it cannot be compared"
    try:
        matrix, images = lower_triangle(result["accuracy_matrix"]), result["num_test_images"]
        right = [len(images), len(result["class_order"])] == [len(matrix[-1]), sum(result["task_sizes"])]
        numbers, weights = metrics.of_result(matrix, images), result["backbone"]["sha256"]
    except (TypeError, ValueError, LookupError) as error:
        return f"result.json is not as a run writes it ({type(error).__name__}: {error})"
    if not right or not isinstance(weights, str):
        return "result.json is not as a run writes it: tasks, classes and the accuracy matrix do not fit each other"
    for key, value in numbers.items():
        if not _is(result.get(key), value):
            return f"result.json is not as a run writes it: {key} is {result.get(key)}, by its accuracy matrix {value}"
    for key in NUMBERS:
        if (stated := value_at(result, key.split("."))) is not None and not is_number(stated):
            return f"result.json is not as a run writes it: {key} is {stated!r}, which is no number"
    return None


def is_number(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def lower_triangle(matrix: Sequence[Sequence[float | None]]) -> list[list[float]]:
    """Without what lies above the diagonal."""
    return [[value for value in row if value is not None] for row in matrix]


def _is(stated: object, value: float | None) -> bool:
    if value is None or not isinstance(stated, int | float):
        return stated is value
    return math.isclose(stated, value, abs_tol=ROUNDING)
