"""What every contender of `hlgp bench data` is given, and what it gives."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

from torch import Tensor

from hlgp_dist.config.schema import Augmentation, Jitter
from hlgp_dist.data.buffers import Memory
from hlgp_dist.data.manifest import Manifest
from hlgp_dist.data.picture import Form
from hlgp_dist.data.selection import Selection
from hlgp_dist.models.input import InputFormat

Mode = Literal["crop and flip", "with jitter", "evaluation"]
MODES: dict[Mode, Augmentation | None] = {
    "crop and flip": Augmentation(),
    "with jitter": Augmentation(jitter=Jitter(brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1)),
    "evaluation": None,
}


@dataclass(frozen=True)
class Workload:
    """The same pictures, results and cores for all.

    pictures: a folder of class folders; shards: the same as tars with a manifest; selection: all of them, and a
    sample's position in it is its id; form: what the model takes; stored: what ours keeps for training; batch_size: of
    every batch but the last; workers: processes of a rival, threads of ours; memory: of
    ours too, as a run has it.
    """

    pictures: Path
    shards: Path
    manifest: Manifest
    selection: Selection
    form: InputFormat
    stored: Form
    batch_size: int
    workers: int
    device: str
    memory: Memory = field(default_factory=Memory)

    def __len__(self) -> int:
        return len(self.selection)


class Finished(NamedTuple):
    """A batch as the model takes it: float32 [B, 3, S, S], normalised, on the device; ids int64 [B], on the host.

    The images stay what they are until the next batch is asked for.
    """

    images: Tensor
    ids: Tensor


class Contender(Protocol):
    """One way of loading."""

    def epoch(self, number: int) -> Iterator[Finished]:
        """Every picture once."""

    def close(self) -> None:
        """End what it started."""
