"""Learning to Prompt (L2P, arXiv 2112.08654): a shared pool of prompts, found by key and query (METHOD 6.0).

B batch, M prompts in the pool, k of them chosen, L prompt length, D width of a block, F width of the feature.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from hlgp_dist.config.method_options import L2p as L2pOptions
from hlgp_dist.methods.base import Method, Output, Setting
from hlgp_dist.methods.diagnostics import Diagnostics, alike
from hlgp_dist.methods.initialisation import uniform_
from hlgp_dist.models.head import Head
from hlgp_dist.models.injection import ByBlock, Prefix, Tokens
from hlgp_dist.models.seeding import Purpose, generator
from hlgp_dist.models.trunk import Trunk
from hlgp_dist.types import TaskSpec


class L2p(Method):
    """The pool goes on training in every task; the query is the un-prompted feature, taken without gradient."""

    def __init__(self, options: L2pOptions, setting: Setting) -> None:
        super().__init__()
        self.options, self.setting = options, setting
        dimensions, length = setting.dimensions, options.prompt_length
        one = (length, dimensions.feature_width) if options.insertion == "tokens" else (2, length, dimensions.width)
        self.pool = nn.Parameter(torch.empty(options.pool_size, *one))
        self.keys = nn.Parameter(torch.empty(options.pool_size, dimensions.feature_width))

    def begin_task(self, task: TaskSpec) -> None:
        if task.index == 0:
            random = generator(self.setting.seed, 0, Purpose.INITIALISATION)
            uniform_(self.pool, random)
            uniform_(self.keys, random)

    def features(self, trunk: Trunk, images: Tensor, task_index: int) -> Tensor:
        return self._prompted(trunk, images)[0]

    def forward(
        self, trunk: Trunk, head: Head, images: Tensor, task: TaskSpec, weights: Tensor | None = None
    ) -> Output:
        features, nearness = self._prompted(trunk, images)
        return Output(head(features), penalties=-self.options.pull * nearness.sum(1))

    def diagnostics(self) -> Diagnostics:
        return alike(self.pool, "component")

    def _prompted(self, trunk: Trunk, images: Tensor) -> tuple[Tensor, Tensor]:
        """Features [B, F], and cosines [B, k] of the query and the keys it chose, the nearest first."""
        with torch.no_grad():
            query = functional.normalize(trunk(images))
        nearest = (query @ functional.normalize(self.keys).T).topk(self.options.top_k, 1)
        features = trunk(images, self._joined(trunk, self.pool[nearest.indices]))
        return features, nearest.values

    def _joined(self, trunk: Trunk, chosen: Tensor) -> ByBlock:
        """The chosen prompts [B, k, ...] as one of length k L in block 0: tokens that stay to the end, or a prefix.

        Tokens get the position of CLS.
        """
        if self.options.insertion == "prefix":
            return ByBlock({0: Prefix(chosen.transpose(1, 2).flatten(2, 3))})
        tokens = chosen.flatten(1, 2) + trunk.cls_position()
        return ByBlock({0: Tokens(tokens, keep=True)}, num_kept=tokens.shape[1])
