"""What `engine.micro_batch_size: auto` comes to."""

from __future__ import annotations

from dataclasses import dataclass, replace

MICRO_BATCH, TEST_BATCH = "engine.micro_batch_size", "evaluation.batch_size"
BLOCKS = "engine.checkpoint_blocks"


@dataclass(frozen=True)
class BatchSizes:
    """Pictures at a time of training and of tests, whether blocks compute again what they do not keep, and the most
    bytes that all that was seen to take.
    """

    micro_batch: int
    evaluation_batch: int
    recomputes: bool
    peak_bytes: int

    def values(self) -> dict[str, int | str]:
        """Of a configuration, by dotted key."""
        return {
            MICRO_BATCH: self.micro_batch,
            TEST_BATCH: self.evaluation_batch,
            BLOCKS: "all" if self.recomputes else "none",
        }

    def halved(self) -> BatchSizes:
        """One stays one."""
        return replace(
            self, micro_batch=max(1, self.micro_batch // 2), evaluation_batch=max(1, self.evaluation_batch // 2)
        )
