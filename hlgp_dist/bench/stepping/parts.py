"""Where a training step's time goes: its parts one by one, beside the whole.

B pictures, R pixels of a side, F width of the feature.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from hlgp_dist.bench.stepping.clock import Clock
from hlgp_dist.bench.stepping.stepper import RATES, Stepper
from hlgp_dist.models.injection import BlockPrompt, ByBlock, Injection
from hlgp_dist.models.trunk import Trunk

WARM_UP, REPEATS = 2, 3
OTHER = "other"
"""Of the whole step, what its parts by themselves do not take: the host's way between them."""


@dataclass(frozen=True)
class _Pass:
    """Through the trunk: pictures [B, 3, R, R], the prompts of each block that has one, and how many tokens stay.

    is_first: of its step; what is below the prompts the others have from it.
    """

    images: Tensor
    prompts: dict[int, BlockPrompt]
    num_kept: int
    has_gradient: bool
    is_first: bool

    def cut(self, *, requires_grad: bool) -> ByBlock:
        """The same prompts as leaves."""
        leaves = {
            block: prompt._replace(vectors=prompt.vectors.detach().requires_grad_(requires_grad))
            for block, prompt in self.prompts.items()
        }
        return ByBlock(leaves, self.num_kept)


class StepParts:
    """Calling it gives the seconds of each part, medians; they and `other` sum up to the whole step's.

    The trunk's are measured with the method's own prompts as leaves, the head's with features as a leaf.
    """

    def __init__(self, stepper: Stepper, clock: Clock) -> None:
        self._stepper, self._learner, self._clock = stepper, stepper.learner, clock

    def __call__(self, whole: float) -> dict[str, float]:
        self._learner.train()
        passes = self._passes()
        queries = [each for each in passes if not each.has_gradient]
        forward, backward = self._trunk(passes[-1])
        _, labels, weights = self._stepper.given()
        sending, head = self._timed(self._stepper.given), self._timed(lambda: self._head(labels, weights))
        parts = {
            "input": sending,
            "matching and queries": sum(map(self._query, queries)),
            "trunk forward": forward,
            "trunk backward": backward,
            "prompts": max(0.0, self._timed(self._around) - head - sending),
            "head": head,
            "optimizer": self._optimizer(),
            "collective": self._timed(self._stepper.reduce),
        }
        return parts | {OTHER: whole - sum(parts.values())}

    def _timed(self, call: Callable[[], object], prepare: Callable[[], object] | None = None) -> float:
        """`prepare` goes before each call, and is not counted; nor are the first ones: they compile and take memory."""
        return median([self._once(call, prepare) for _ in range(WARM_UP + REPEATS)][WARM_UP:])

    def _once(self, call: Callable[[], object], prepare: Callable[[], object] | None) -> float:
        return self._clock.each(call) if prepare is None else self._clock.behind(prepare, call)

    def _passes(self) -> list[_Pass]:
        """Those of one step, in order."""
        seen: list[_Pass] = []

        def note(trunk: nn.Module, args: tuple[Any, ...]) -> None:
            images, injection = args[0], args[1] if len(args) > 1 else Injection()
            asked = {block: injection.layer(block) for block in range(self._learner.trunk.dimensions.depth)}
            prompts = {block: prompt for block, prompt in asked.items() if prompt is not None}
            seen.append(_Pass(images, prompts, injection.num_kept, torch.is_grad_enabled(), not seen))

        with _hooked(self._learner.trunk, note):
            self._stepper.loss(self._stepper.given())
        return seen

    @torch.no_grad()
    def _query(self, query: _Pass) -> float:
        with self._begun(query):
            return self._timed(lambda: self._learner.trunk(query.images, query.cut(requires_grad=False)))

    @contextmanager
    def _begun(self, one: _Pass) -> Iterator[None]:
        """Inside, a pass finds what its step's first one leaves it."""
        if one.is_first:
            yield
            return
        with self._learner.trunk.sharing(self._learner.method.first_block):
            with torch.no_grad():
                self._learner.trunk(one.images)
            yield

    def _trunk(self, live: _Pass) -> tuple[float, float]:
        """Forward and backward of the pass that has gradients; no backward where no prompt asks for one."""
        injection = live.cut(requires_grad=True)
        leaves = [prompt.vectors for prompt in injection.prompts.values()]
        leaves += [parameter for parameter in self._learner.trunk.parameters() if parameter.requires_grad]
        made: list[Tensor] = []

        def forward() -> None:
            made[:] = [self._learner.trunk(live.images, injection)]

        def backward() -> None:
            torch.autograd.grad(made[0], leaves, torch.ones_like(made[0]))

        with self._begun(live):
            return self._timed(forward), self._timed(backward, prepare=forward) if leaves else 0.0

    def _around(self) -> None:
        """A step's input, forward and backward without its trunk: prompts are made, asked for and given a gradient."""
        trunk, passes = self._learner.trunk, self._learner.passes
        self._learner.trunk = StandIn(trunk)  # type: ignore[assignment]
        self._learner.passes = dict(passes)
        try:
            self._stepper.compute()
        finally:
            self._learner.trunk, self._learner.passes = trunk, passes

    def _head(self, labels: Tensor, weights: Tensor) -> None:
        task = self._learner.task
        assert task is not None
        width = self._learner.trunk.dimensions.feature_width
        features = torch.ones(len(labels), width, device=labels.device, requires_grad=True)
        logits = self._learner.head(features)[:, task.start :]
        losses = functional.cross_entropy(logits, labels - task.start, reduction="none")
        torch.autograd.grad((losses * weights).sum(), [features, *self._learner.head.parameters()])

    def _optimizer(self) -> float:
        """Its update, and the gradients' norm and end."""
        engine = self._stepper.engine
        assert engine is not None
        return self._timed(lambda: engine.step(RATES), prepare=self._backward)

    def _backward(self) -> None:
        assert self._stepper.engine is not None
        loss, _ = self._stepper.engine(*self._stepper.given())
        self._stepper.engine.backward(loss)


class StandIn(nn.Module):
    """In a trunk's place: asks for the prompts of every block, and gives features and gradients without any product."""

    def __init__(self, trunk: Trunk) -> None:
        super().__init__()
        self.__dict__["trunk"] = trunk  # no part of this one

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["trunk"], name)

    def forward(self, images: Tensor, injection: Injection | None = None) -> Tensor:
        dimensions = self.trunk.dimensions
        asked = [(injection or Injection()).layer(block) for block in range(dimensions.depth)]
        vectors = [prompt.vectors for prompt in asked if prompt is not None]
        features: Tensor = _Features.apply(images, dimensions.feature_width, *vectors)
        return features


class _Features(torch.autograd.Function):
    """Zeros [B, F]; whatever their gradient, every prompt gets ones."""

    @staticmethod
    def forward(ctx: Any, images: Tensor, width: int, *vectors: Tensor) -> Tensor:
        ctx.save_for_backward(*vectors)
        return torch.zeros(len(images), width, device=images.device)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        return None, None, *map(torch.ones_like, ctx.saved_tensors)


@contextmanager
def _hooked(module: nn.Module, note: Callable[[nn.Module, tuple[Any, ...]], None]) -> Iterator[None]:
    handle = module.register_forward_pre_hook(note)
    try:
        yield
    finally:
        handle.remove()
