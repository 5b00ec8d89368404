"""The few types that cross layers. Imports nothing of the project, and torch only for the type checker."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol, TextIO

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class World:
    """This process among the data-parallel ranks of one run; host_size: those on its host."""

    rank: int = 0
    size: int = 1
    host_size: int = 1


@dataclass(frozen=True)
class TaskSpec:
    """One task: its classes get the labels `start .. stop - 1`, so head rows of a task are contiguous."""

    index: int
    start: int
    classes: tuple[str, ...]

    @property
    def stop(self) -> int:
        return self.start + len(self.classes)


@dataclass(frozen=True)
class PictureSize:
    """How a picture becomes S x S, named as in timm's `pretrained_cfg`.

    size: S in pixels; crop_pct: the part of the resized picture that the central crop keeps; interpolation: PIL's
    name; crop_mode: resize the shorter side (`center`) or both sides (`squash`) to floor(S / crop_pct).
    """

    size: int
    crop_pct: float
    interpolation: str
    crop_mode: str = "center"


class Regions(NamedTuple):
    """Parts of B pictures at the resolution they are stored in.

    pixels: uint8 [P], one part [h, w, 3] after the other; shapes: int64 [B, 2], h and w of each, on the host.
    """

    pixels: Tensor
    shapes: Tensor


class Batch(NamedTuple):
    """One rank's share of a micro-step.

    images: uint8 [B, 3, S, S], or regions that are yet to be resized to it; labels: int64 [B], in stream order;
    samples: int64 [B], ids in the task's pictures; weights: float32 [B], each sample's factor in the loss sum (zero for
    the placeholder of an empty share).
    """

    images: Tensor | Regions
    labels: Tensor
    samples: Tensor
    weights: Tensor


class Pulse(Protocol):
    """By which whoever launched a rank sees that it moves, and tells it to checkpoint and leave."""

    stop_requested: bool

    def beat(self, doing: str | None = None) -> None:
        """The rank has moved, which every rank says equally often; `doing` says to what, until the next that does.

        Costs no more than setting attributes.
        """

    def watching(self, gauge: Callable[[], object]) -> AbstractContextManager[None]:
        """Inside, the rank has moved whenever `gauge()`, called by another thread now and then, gives another value:
        for what takes long in one call."""


class WorkerContext(Protocol):
    """What a rank needs from whoever launched it."""

    world: World
    pulse: Pulse
    device: str
    screen: TextIO
    """Where the first rank shows its progress."""

    def report(self, metrics: Mapping[str, float]) -> None:
        """Hand metrics to the scheduler. Every rank calls it equally often: in Ray it is a barrier."""

    def stop_requested(self) -> bool:
        """Whether this rank was asked to checkpoint and leave."""


class Engine(Protocol):
    """A data-parallel optimizer around a module: owns accumulation, clipping, averaging and sharding."""

    def __call__(self, *args: object) -> tuple[Tensor, Tensor]: ...

    def backward(self, loss: Tensor) -> None:
        """Gradients of this micro-step's share, averaged over ranks and accumulation steps at the boundary."""

    def step(self, learning_rates: Mapping[str, float]) -> Tensor | None:
        """Close a micro-step. At a global batch's end update, and return the gradient norm [] before clipping."""

    def whole_parameters(self) -> AbstractContextManager[None]:
        """Inside, the trained parameters are whole on every rank and may be changed alike on all."""

    def state(self) -> dict[str, Tensor]:
        """The optimizer's state, whole (not this rank's part) on every rank; the parameters are the module's."""

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Take a state that any number of ranks saved; the module's parameters must be those saved with it."""

    def close(self) -> None:
        """Give up the optimizer's memory."""
