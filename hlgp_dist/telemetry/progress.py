"""How far a run is: a live display on a terminal, a plain line now and then everywhere else."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TextIO

from rich.console import Console
from rich.progress import BarColumn, ProgressColumn, TextColumn
from rich.progress import Progress as RichProgress

PLAIN_SECONDS = 10.0


@dataclass(frozen=True)
class Snapshot:
    """Where training stands. Tasks, epochs and steps count what is done; `loss` is the last log interval's."""

    task: int
    num_tasks: int
    epoch: int
    num_epochs: int
    step: int
    total_steps: int
    loss: float
    images_per_second: float


class Display(Protocol):
    def show(self, snapshot: Snapshot) -> None: ...

    def note(self, text: str) -> None:
        """A line that stays."""

    def close(self) -> None: ...


def open_display(stream: TextIO, *, enabled: bool) -> Display:
    """The display that fits the stream; silent if not enabled."""
    if not enabled:
        return Silent()
    return Live(stream) if stream.isatty() else Plain(stream)


class Silent:
    def show(self, snapshot: Snapshot) -> None:
        pass

    def note(self, text: str) -> None:
        pass

    def close(self) -> None:
        pass


class Plain:
    """At most a line each PLAIN_SECONDS, and always the first and the last one."""

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._clock = clock
        self._eta = Eta(clock)
        self._printed = float("-inf")
        self._held: str | None = None

    def show(self, snapshot: Snapshot) -> None:
        self._held = describe(snapshot, self._eta.seconds(snapshot))
        if self._clock() - self._printed >= PLAIN_SECONDS:
            self._release()

    def note(self, text: str) -> None:
        print(text, file=self._stream, flush=True)

    def close(self) -> None:
        self._release()

    def _release(self) -> None:
        if self._held is not None:
            self.note(self._held)
            self._held, self._printed = None, self._clock()


class Live:
    """One bar over all steps, redrawn in place."""

    def __init__(self, stream: TextIO) -> None:
        columns: tuple[ProgressColumn, ...] = (BarColumn(bar_width=24), TextColumn("{task.description}"))
        self._display = RichProgress(*columns, console=Console(file=stream), transient=False)
        self._eta = Eta(time.monotonic)
        self._bar = self._display.add_task("starting", total=None)
        self._display.start()

    def show(self, snapshot: Snapshot) -> None:
        text = describe(snapshot, self._eta.seconds(snapshot))
        self._display.update(self._bar, description=text, completed=snapshot.step, total=snapshot.total_steps)

    def note(self, text: str) -> None:
        self._display.console.print(text, markup=False, highlight=False)

    def close(self) -> None:
        self._display.stop()


class Eta:
    """Seconds to the last step at the pace since the first snapshot, evaluations included."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._first: tuple[float, int] | None = None

    def seconds(self, snapshot: Snapshot) -> float | None:
        """None until two snapshots are there."""
        now = self._clock()
        self._first = self._first or (now, snapshot.step)
        began, first_step = self._first
        done = snapshot.step - first_step
        return (now - began) / done * (snapshot.total_steps - snapshot.step) if done > 0 else None


def describe(snapshot: Snapshot, eta_seconds: float | None) -> str:
    """One line: `task 2/5 epoch 3/8 step 120/600 loss 0.4312 412 images/s ETA 0:03:10`."""
    return (
        f"task {snapshot.task}/{snapshot.num_tasks} epoch {snapshot.epoch}/{snapshot.num_epochs} "
        f"step {snapshot.step}/{snapshot.total_steps} loss {_loss(snapshot.loss)} "
        f"{rate(snapshot.images_per_second)} images/s ETA {_duration(eta_seconds)}"
    )


def rate(images_per_second: float) -> str:
    """With a decimal where it is small: large backbones on a CPU see less than one a second."""
    return f"{images_per_second:.1f}" if images_per_second < 10 else f"{images_per_second:.0f}"


def _loss(loss: float) -> str:
    """Of a run that diverges not forty digits."""
    return f"{loss:.4f}" if abs(loss) < 1e4 else f"{loss:.3g}"


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "-:--:--"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"
