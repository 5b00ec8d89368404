"""DualPrompt (arXiv 2204.04799): general prompts for all tasks, expert prompts by task (METHOD 6.0).

B batch, T tasks seen so far, N blocks with a prompt of one kind, K keys of a task (1 or the expert blocks), L prompt
length, D width, F width of the feature.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from hlgp_dist.config.method_options import DualPrompt as DualPromptOptions
from hlgp_dist.methods.base import Method, Output, Setting
from hlgp_dist.methods.diagnostics import Diagnostics, alike
from hlgp_dist.methods.initialisation import uniform_
from hlgp_dist.methods.statistics import FeatureStream
from hlgp_dist.models.head import Head
from hlgp_dist.models.injection import ByBlock, Prefix
from hlgp_dist.models.seeding import Purpose, generator
from hlgp_dist.models.trunk import Trunk
from hlgp_dist.types import TaskSpec


class DualPrompt(Method):
    """In training a task uses its own expert; later the expert is that of the key nearest to the query."""

    takes_task_weights = True
    past_experts: Tensor
    past_keys: Tensor

    def __init__(self, options: DualPromptOptions, setting: Setting) -> None:
        super().__init__()
        self.options, self.setting = options, setting
        self.general_layers = setting.layers("general_layers", options.general_layers)
        self.expert_layers = setting.layers("expert_layers", options.expert_layers)
        self.first_block = min((*self.general_layers, *self.expert_layers))
        width, feature_width = setting.dimensions.width, setting.dimensions.feature_width
        expert = (len(self.expert_layers), 2, options.expert_length, width)
        self.general = nn.Parameter(torch.empty(len(self.general_layers), 2, options.general_length, width))
        self.expert = nn.Parameter(torch.empty(expert))
        self.keys = nn.Parameter(torch.empty(1 if options.keys == "one" else len(self.expert_layers), feature_width))
        self.register_buffer("past_experts", torch.zeros(0, *expert))
        self.register_buffer("past_keys", torch.zeros(0, *self.keys.shape))

    def begin_task(self, task: TaskSpec) -> None:
        """The expert starts as a copy of the last task's (by keeping it), its keys anew."""
        random = generator(self.setting.seed, task.index, Purpose.INITIALISATION)
        uniform_(self.keys, random)
        if task.index == 0:
            uniform_(self.general, random)
            uniform_(self.expert, random)

    def kept(self) -> list[Tensor]:
        return [self.general, *self.memory()]

    def diagnostics(self) -> Diagnostics:
        """Of the experts."""
        return alike(self.past_experts, "task")

    def features(self, trunk: Trunk, images: Tensor, task_index: int) -> Tensor:
        features: Tensor = trunk(images, self._injection(torch.full((1, 1), task_index, device=images.device)))
        return features

    def forward(
        self, trunk: Trunk, head: Head, images: Tensor, task: TaskSpec, weights: Tensor | None = None
    ) -> Output:
        if weights is not None:
            return Output(head(trunk(images, self._injection(weights.argmax(1, keepdim=True)))))
        with torch.no_grad():
            query = functional.normalize(trunk(images))
        if self.training:
            nearness = query @ functional.normalize(self.keys).T
            features = trunk(images, self._injection(None))
            return Output(head(features), penalties=self.options.pull * (1.0 - nearness).sum(1))
        nearest = torch.einsum("bf,tkf->btk", query, functional.normalize(self.past_keys, dim=2)).argmax(1)
        votes = functional.one_hot(nearest, len(self.past_keys)).float().mean(1)
        return Output(head(trunk(images, self._injection(nearest))), task_weights=votes)

    def _injection(self, tasks: Tensor | None) -> ByBlock:
        """General prompts with the experts of `tasks` [1 or B, K], or with the live one."""
        general = {block: Prefix(self.general[n][None]) for n, block in enumerate(self.general_layers)}
        if tasks is None:
            experts = self.expert[None]
        else:
            blocks = torch.arange(len(self.expert_layers), device=tasks.device)
            experts = self.past_experts[tasks, blocks]
        return ByBlock(general | {block: Prefix(experts[:, n]) for n, block in enumerate(self.expert_layers)})

    @torch.no_grad()
    def end_task(self, trunk: Trunk, stream: FeatureStream) -> None:
        self.past_experts = torch.cat([self.past_experts, self.expert[None]])
        self.past_keys = torch.cat([self.past_keys, self.keys[None]])
