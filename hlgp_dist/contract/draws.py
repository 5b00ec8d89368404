"""What a method draws at random: the seed decides it, alone, so that ranks agree and a resumed run repeats itself."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from hlgp_dist.config import method_options
from hlgp_dist.contract.demand import listed, require
from hlgp_dist.contract.rehearsal import TASKS, Rehearsal, tiny_trunk
from hlgp_dist.types import TaskSpec

ANOTHER_SEED = 7919
"""Far from the first one, lest the seed of a later task meet it."""
FEW = 8
"""As many distinct values two seeds may agree on by chance, or a method may write without drawing."""


class _Drawing(TorchDispatchMode):
    """Keeps what is drawn meanwhile, from whatever generator of torch."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.drawn: list[Tensor] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if torch.Tag.nondeterministic_seeded in func.tags and isinstance(result, Tensor):
            self.drawn.append(result.detach().clone())
        return result


class _Walk(Rehearsal):
    """All tasks; keeps what building and the beginnings of tasks draw, and the states after beginnings and ends."""

    def __init__(self, options: method_options.Method, *, seed: int, global_seed: int) -> None:
        self.drawing, self.states = _Drawing(), list[dict[str, Tensor]]()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(global_seed)
            trunk = tiny_trunk(trained=options.trains_trunk)
            with self.drawing:
                super().__init__(trunk, TASKS, options, seed=seed)
            for task in TASKS:
                self.learn(task)

    def begin(self, task: TaskSpec) -> None:
        with self.drawing:
            super().begin(task)
        self.states.append(self.state())

    def end(self) -> None:
        super().end()
        self.states.append(self.state())


def check_draws(options: method_options.Method) -> None:
    """Nothing changes with torch's own generator, and all that is drawn changes with the seed."""
    walk = _Walk(options, seed=0, global_seed=1)
    _check_alone(walk, _Walk(options, seed=0, global_seed=2))
    _check_followed(walk, _Walk(options, seed=ANOTHER_SEED, global_seed=2))


def _check_alone(walk: _Walk, other: _Walk) -> None:
    """Two walks with one seed."""
    for one, two in zip(walk.states, other.states, strict=True):
        unlike = [name for name in one if not torch.equal(one[name], two[name])]
        require(
            not unlike,
            f"{listed(unlike)} differ between two builds with one seed; draw from a generator that setting.seed and "
            "task.index make, not from torch's own",
        )


def _check_followed(walk: _Walk, other: _Walk) -> None:
    """Two walks with unlike seeds. What is alike and was never drawn, say a sinusoid, may be so."""
    if not any(map(_is_repeated, walk.drawing.drawn, other.drawing.drawn)):
        return
    alike = {
        name: None
        for one, two in zip(walk.states, other.states, strict=True)
        for name in one
        if name.startswith("method.") and _is_repeated(one[name], two[name])
    }
    require(
        not alike,
        f"{listed(alike)} are the same under two seeds, and so is some of what is drawn, so runs of several seeds "
        "would not be independent; draw from a generator that setting.seed and task.index make",
    )


def _is_repeated(one: Tensor, other: Tensor) -> bool:
    return torch.equal(one, other) and len(one.unique()) > FEW
