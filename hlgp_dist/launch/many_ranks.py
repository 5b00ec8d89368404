"""Ray Train's meeting point of all ranks, for more than a thousand of them. Ray's private names stand here."""

from __future__ import annotations

from typing import Any

from ray.train.v2._internal.execution.callback import ControllerCallback
from ray.train.v2._internal.execution.checkpoint.sync_actor import SynchronizationActor

MOST = 10**5
"""Ranks of one run, far beyond what there will be."""


class ManyRanks(ControllerCallback):  # type: ignore[misc]  # ray has no types here
    """A report is a barrier of all ranks in one actor, of whose calls Ray runs a thousand at a time: a 1,001st rank
    would never be let in, and the others would wait for it."""

    def after_controller_start(self, train_run_context: Any) -> None:
        """In the controller, which makes that actor for each worker group."""
        SynchronizationActor._default_options["max_concurrency"] = MOST
