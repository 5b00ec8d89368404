"""Additive prompt tuning in the manner of APT: one pass, no query, no prompt token (METHOD 2.3 and 6.0).

N blocks, D width of a block.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hlgp_dist.config.method_options import Apt as AptOptions
from hlgp_dist.methods.base import Method, Output, Setting
from hlgp_dist.methods.diagnostics import Diagnostics, alike
from hlgp_dist.methods.initialisation import truncated_
from hlgp_dist.methods.statistics import FeatureStream
from hlgp_dist.models.head import Head
from hlgp_dist.models.injection import ByBlock, ClsAddition
from hlgp_dist.models.seeding import Purpose, generator
from hlgp_dist.models.trunk import Trunk
from hlgp_dist.types import TaskSpec


class Apt(Method):
    """One set of vectors goes on training; tests use its average M_t = decay M_(t-1) + (1 - decay) P_t, M_1 = P_1."""

    averaged: Tensor

    def __init__(self, options: AptOptions, setting: Setting) -> None:
        super().__init__()
        setting.require_cls("kind = apt")
        self.options, self.setting = options, setting
        shape = (setting.dimensions.depth, 2, setting.dimensions.width)
        self.vectors = nn.Parameter(torch.empty(shape))
        self.register_buffer("averaged", torch.zeros(0, *shape))

    def begin_task(self, task: TaskSpec) -> None:
        if task.index == 0:
            truncated_(self.vectors, self.options.init_std, generator(self.setting.seed, 0, Purpose.INITIALISATION))

    def kept(self) -> list[Tensor]:
        return self.memory()

    def diagnostics(self) -> Diagnostics:
        """Of the averaged vectors."""
        return alike(self.averaged[0], "block")

    def features(self, trunk: Trunk, images: Tensor, task_index: int) -> Tensor:
        vectors = self.vectors if self.training else self.averaged[0]
        injection = ByBlock({block: ClsAddition(own[None]) for block, own in enumerate(vectors)})
        features: Tensor = trunk(images, injection)
        return features

    def forward(
        self, trunk: Trunk, head: Head, images: Tensor, task: TaskSpec, weights: Tensor | None = None
    ) -> Output:
        return Output(head(self.features(trunk, images, task.index)))

    @torch.no_grad()
    def end_task(self, trunk: Trunk, stream: FeatureStream) -> None:
        new, decay = self.vectors[None].clone(), self.options.ema_decay
        self.averaged = new if not len(self.averaged) else decay * self.averaged + (1.0 - decay) * new
