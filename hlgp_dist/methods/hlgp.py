"""HLGP: root prompt -> sub-prompt of each layer group -> prompt of each layer, accumulated over tasks.

The independent per-layer baseline is the same with one group a layer, free sub-prompts and no position encoding.
B batch, T tasks seen so far, G groups, N prompted layers, L prompt length, D width.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from hlgp_dist.config.schema import Hlgp as HlgpOptions
from hlgp_dist.methods.bank import PromptBank, TaskPrompts
from hlgp_dist.methods.base import Method, Output
from hlgp_dist.methods.gaussian import GaussianClassifier
from hlgp_dist.methods.generator import sub_prompts
from hlgp_dist.methods.groups import layer_groups, prompted_layers
from hlgp_dist.methods.matching import one_hot_weights, posterior_weights
from hlgp_dist.methods.position import Learned, position
from hlgp_dist.methods.statistics import FeatureStream
from hlgp_dist.models.head import Head
from hlgp_dist.models.seeding import Purpose, generator
from hlgp_dist.models.trunk import Dimensions, Trunk
from hlgp_dist.types import TaskSpec


class Hlgp(Method):
    """Hierarchical layer-grouped prompt tuning (arXiv 2511.12090; METHOD 3 says which parts are our reading)."""

    takes_task_weights = True

    def __init__(self, options: HlgpOptions, dimensions: Dimensions, tasks: Sequence[TaskSpec], seed: int) -> None:
        super().__init__()
        blocks = prompted_layers(dimensions.depth, options.layers)
        groups = layer_groups(len(blocks), options.num_groups, options.group_layout)
        self.options, self.tasks, self.seed = options, tuple(tasks), seed
        self.sub_prompts = sub_prompts(
            options.generator,
            groups=max(groups) + 1,
            length=options.prompt_length,
            width=dimensions.width,
            root_std=options.root_init_std,
        )
        self.position = position(options.position, len(blocks), dimensions.width)
        self.bank = PromptBank(blocks, groups, options.prompt_length, dimensions.width)
        soft, matching = options.accumulation == "soft", options.matching
        self.matches_tasks = soft and (matching.kind == "auxiliary" or matching.cycles > 1)
        uses_auxiliary = soft and matching.kind == "auxiliary"
        self.auxiliary = GaussianClassifier(dimensions.feature_width) if uses_auxiliary else None

    def begin_task(self, task: TaskSpec) -> None:
        """Root, generator and position start as a copy of the last task's (by keeping them), or anew."""
        carry_over = "none" if task.index == 0 else self.options.carry_over
        random = generator(self.seed, task.index, Purpose.INITIALISATION)
        if carry_over == "none":
            self.sub_prompts.reset_root(random)
        if carry_over != "root_and_generator":
            self.sub_prompts.reset_generator(random)
            self.position.reset()

    def prompts(self, num_tasks: int) -> TaskPrompts:
        """Of all tasks so far, at least `num_tasks`; while the last of them trains its prompts are live."""
        if len(self.bank) >= num_tasks:
            return self.bank.stored(self.position())
        return self.bank.with_live(self.sub_prompts(), self.position(), position_is_learned=self._learns_position)

    @property
    def _learns_position(self) -> bool:
        return isinstance(self.position, Learned)

    def features(self, trunk: Trunk, images: Tensor, task_index: int) -> Tensor:
        prompts = self.prompts(task_index + 1)
        weights = one_hot_weights(task_index, len(prompts.sub_prompts), images.device)
        features: Tensor = trunk(images, prompts.mixed(weights))
        return features

    def forward(
        self, trunk: Trunk, head: Head, images: Tensor, task: TaskSpec, weights: Tensor | None = None
    ) -> Output:
        prompts = self.prompts(task.index + 1)
        if weights is None:
            weights = self._weights(trunk, head, images, prompts)
        logits = head(trunk(images, prompts.mixed(weights)))
        return Output(logits, weights.expand(len(images), -1) if self.matches_tasks else None)

    def _weights(self, trunk: Trunk, head: Head, images: Tensor, prompts: TaskPrompts) -> Tensor:
        """Task weights [1, T] where all pictures share them, else [B, T], without gradient."""
        seen = len(prompts.sub_prompts)
        last = one_hot_weights(seen - 1, seen, images.device)
        accumulation = self.options.accumulation
        if seen == 1 or accumulation == "last" or (self.training and self.options.train_mixture == "current"):
            return last
        if accumulation == "sum":
            return torch.ones_like(last)
        if accumulation == "mean":
            return torch.full_like(last, 1.0 / seen)
        with torch.no_grad():
            return self._match(trunk, head, images, prompts)

    def _match(self, trunk: Trunk, head: Head, images: Tensor, prompts: TaskPrompts) -> Tensor:
        """Soft task matching: from an auxiliary classifier, or from this model's own posterior in cycles."""
        matching, tasks = self.options.matching, self.tasks[: len(prompts.sub_prompts)]
        if self.auxiliary is not None:
            return posterior_weights(self.auxiliary(trunk(images)), tasks, matching.temperature)
        assert matching.kind == "posterior"
        weights = torch.full((1, len(tasks)), 1.0 / len(tasks), device=images.device)
        for _ in range(matching.cycles - 1):
            logits = head(trunk(images, prompts.mixed(weights)))
            weights = posterior_weights(logits, tasks, matching.temperature)
        return weights

    def end_task(self, trunk: Trunk, stream: FeatureStream) -> None:
        if self.auxiliary is not None:
            self.auxiliary.add(stream.statistics(trunk, "pooled"))
        with torch.no_grad():
            self.bank.store(self.sub_prompts(), self.position(), position_is_learned=self._learns_position)
