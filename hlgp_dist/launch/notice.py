"""How a Ray worker hears that its host, or it alone, is about to go. Ray's private names stand here."""

from __future__ import annotations

import signal
from types import FrameType

from ray.train.v2._internal.execution.callback import WorkerCallback
from ray.train.v2._internal.execution.context import get_train_context

_is_told = False


class HeedSigterm(WorkerCallback):  # type: ignore[misc]  # ray has no types here
    """SIGTERM asks for a checkpoint, where Ray would end the worker. Called on a worker's main thread, which alone may
    set a handler; ranks run in another."""

    def after_init_train_context(self) -> None:
        """In the worker, before its rank starts."""
        global _is_told
        _is_told = False
        signal.signal(signal.SIGTERM, _heed)


def _heed(number: int, frame: FrameType | None) -> None:
    global _is_told
    _is_told = True


def is_told_to_go() -> bool:
    """Whether this worker got SIGTERM, or Ray told it that a host of its group is being drained.

    `ray.train.get_preemption_info` says the latter, too, but is a barrier of all workers; the loop agrees by itself.
    """
    return _is_told or get_train_context().preemption_context.preemption_info is not None
