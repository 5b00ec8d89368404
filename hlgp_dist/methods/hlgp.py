"""HLGP: root prompt -> sub-prompt of each layer group -> prompt of each layer, accumulated over tasks.

The independent per-layer baseline is the same with one group a layer, free sub-prompts and no position encoding.
B batch, T tasks seen so far, C classes seen so far, F width of the feature.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hlgp_dist.config import classifier_options, hlgp_options
from hlgp_dist.methods.bank import Layers, PromptBank, TaskPrompts
from hlgp_dist.methods.base import Method, Output, Setting
from hlgp_dist.methods.classifiers import closed_form
from hlgp_dist.methods.diagnostics import Diagnostics, alike, by_group, ratio_of_norms
from hlgp_dist.methods.generator import PromptShape, sub_prompts
from hlgp_dist.methods.groups import layer_groups
from hlgp_dist.methods.initialisation import gaussian_
from hlgp_dist.methods.matching import ema_weights, nearest_weights, one_hot_weights, posterior_weights
from hlgp_dist.methods.position import position
from hlgp_dist.methods.statistics import FeatureStream
from hlgp_dist.methods.unprompted import ClosedForm
from hlgp_dist.models.head import Head
from hlgp_dist.models.seeding import Purpose, generator
from hlgp_dist.models.trunk import Trunk
from hlgp_dist.types import TaskSpec


class Hlgp(Method):
    """Hierarchical layer-grouped prompt tuning (arXiv 2511.12090; METHOD 3 says which parts are our reading)."""

    takes_task_weights = True

    def __init__(self, options: hlgp_options.Hlgp, setting: Setting) -> None:
        super().__init__()
        self.options, self.setting = options, setting
        blocks = setting.layers("layers", options.layers)
        self.first_block = min(blocks)
        groups = layer_groups(len(blocks), options.num_groups, options.group_layout)
        if options.insertion == "cls":
            setting.require_cls("insertion = cls")
        tokens, dimensions = options.insertion == "tokens", setting.dimensions
        shape = PromptShape(
            groups=max(groups) + 1,
            parts=1 if tokens else 2,
            length=options.prompt_length,
            width=dimensions.feature_width if tokens else dimensions.width,
            root_std=options.root_init_std,
        )
        self.sub_prompts = sub_prompts(options.generator, shape)
        self.position = position(options.position, blocks, shape.width)
        places = {block: (place, group) for place, (block, group) in enumerate(zip(blocks, groups, strict=True))}
        self.bank = PromptBank(Layers(places, options.insertion, self.position.multiplies), shape)
        matching = options.matching if options.accumulation == "soft" else None
        self.matches_tasks = matching is not None and (matching.kind != "posterior" or matching.cycles > 1)
        self.auxiliary = _auxiliary(matching, setting)

    def begin_task(self, task: TaskSpec) -> None:
        """Root, generator and position start as a copy of the last task's (by keeping them), anew, or at zero."""
        carry_over = "none" if task.index == 0 else self.options.carry_over
        adds = self.options.accumulation == "sum_delta" and task.index > 0
        random = generator(self.setting.seed, task.index, Purpose.INITIALISATION)
        if adds:
            gaussian_(self.sub_prompts.root, 0.0, random)
        elif carry_over == "none":
            self.sub_prompts.reset_root(random)
        if adds or carry_over != "root_and_generator":
            self.sub_prompts.reset_generator(random)
            self.position.reset()

    def trained(self, task: TaskSpec) -> list[nn.Parameter]:
        spec = self.options.generator
        freezes = isinstance(spec, hlgp_options.RootGenerator) and spec.frozen_after_first_task
        frozen = set(self.sub_prompts.generator()) if freezes and task.index > 0 else set()
        return [parameter for parameter in self.parameters() if parameter not in frozen]

    def kept(self) -> list[Tensor]:
        return self.memory()

    def prompts(self, num_tasks: int) -> TaskPrompts:
        """Of all tasks so far, at least `num_tasks`; while the last of them trains its prompts are live."""
        if len(self.bank) >= num_tasks:
            return self.bank.stored(self.position)
        return self.bank.with_live(self.sub_prompts(), self.position)

    def known_task(self, task_index: int, num_tasks: int, device: torch.device) -> Tensor:
        """Under `sum_delta` a task's prompts are the sum of the changes up to its own."""
        if self.options.accumulation != "sum_delta":
            return super().known_task(task_index, num_tasks, device)
        return (torch.arange(num_tasks, device=device) <= task_index).float()[None]

    def features(self, trunk: Trunk, images: Tensor, task_index: int) -> Tensor:
        prompts = self.prompts(task_index + 1)
        features: Tensor = trunk(images, prompts.mixed(self.known_task(task_index, len(prompts), images.device)))
        return features

    def forward(
        self, trunk: Trunk, head: Head, images: Tensor, task: TaskSpec, weights: Tensor | None = None
    ) -> Output:
        prompts = self.prompts(task.index + 1)
        unprompted = self._unprompted(trunk, images, matches=weights is None and len(prompts) > 1)
        if weights is None:
            weights = self._weights(trunk, head, images, prompts, unprompted)
        logits = head(trunk(images, prompts.mixed(weights)))
        matching = self.options.matching
        if unprompted is not None and self.options.prediction == "combined":
            logits = logits.log_softmax(1) + (unprompted / matching.temperature).log_softmax(1)
        return Output(logits, weights.expand(images.shape[0], -1) if self.matches_tasks else None)

    def _unprompted(self, trunk: Trunk, images: Tensor, *, matches: bool) -> Tensor | None:
        """Logits [B, C] of the auxiliary classifier where they have a say: it knows finished tasks alone."""
        decides = matches or self.options.prediction == "combined"
        if self.auxiliary is None or self.training or not decides:
            return None
        logits: Tensor = self.auxiliary(self.auxiliary.features(trunk, images))
        return logits

    def _weights(
        self, trunk: Trunk, head: Head, images: Tensor, prompts: TaskPrompts, unprompted: Tensor | None
    ) -> Tensor:
        """Task weights [1, T] where all pictures share them, else [B, T], without gradient."""
        seen, accumulation, device = len(prompts), self.options.accumulation, images.device
        last = one_hot_weights(seen - 1, seen, device)
        alone = self.training and (self.options.train_mixture == "current" or accumulation == "ema")
        if seen == 1 or accumulation == "last" or alone:
            return last
        if accumulation in ("sum", "sum_delta"):
            return torch.ones_like(last)
        if accumulation == "mean":
            return torch.full_like(last, 1.0 / seen)
        if accumulation == "ema":
            return ema_weights(self.options.ema_decay, seen, device)
        with torch.no_grad():
            return self._match(trunk, head, images, prompts, unprompted)

    def _match(
        self, trunk: Trunk, head: Head, images: Tensor, prompts: TaskPrompts, unprompted: Tensor | None
    ) -> Tensor:
        """Soft task matching: from an un-prompted classifier, or from this model's own posterior in cycles."""
        matching, tasks = self.options.matching, self.setting.tasks[: len(prompts)]
        if isinstance(matching, hlgp_options.PosteriorMatching):
            weights = torch.full((1, len(tasks)), 1.0 / len(tasks), device=images.device)
            for _ in range(matching.cycles - 1):
                logits = head(trunk(images, prompts.mixed(weights)))
                weights = posterior_weights(logits, tasks, matching.temperature)
            return weights
        assert unprompted is not None
        rule = nearest_weights if matching.kind == "prototype" else posterior_weights
        return rule(unprompted, tasks, matching.temperature)

    def end_task(self, trunk: Trunk, stream: FeatureStream) -> None:
        if self.auxiliary is not None:
            self.auxiliary.learn(trunk, stream)
        with torch.no_grad():
            self.bank.store(self.sub_prompts(), self.position)

    @torch.no_grad()
    def diagnostics(self) -> Diagnostics:
        """Of the finished tasks' prompts, as they are stored: the last task's blocks, and all tasks.

        `position_ratio`: the mean over blocks of |P_l - S_g(l)| / |S_g(l)|, what the position encoding adds.
        """
        stored, places = self.bank.stored(self.position), self.bank.layers.places
        prompts = torch.stack([stored.of_block(block) for block in places], 1)  # [T, N, P, L, D]
        groups = [group for _, group in places.values()]
        blocks, tasks = alike(prompts[-1], "block", [*places]), alike(prompts, "task")
        likenesses = {**blocks.likenesses, **tasks.likenesses}
        numbers = by_group(blocks.likenesses["similarity_of_blocks"].cosines, groups) | dict(tasks.numbers)
        if not isinstance(self.options.position, hlgp_options.NoPosition):
            shared = stored.sub_prompts[-1, groups]
            numbers["position_ratio"] = ratio_of_norms(prompts[-1] - shared, shared)
        return Diagnostics(numbers, likenesses)


def _auxiliary(matching: hlgp_options.Matching | None, setting: Setting) -> ClosedForm | None:
    """The un-prompted classifier that task matching asks, if it asks one."""
    if isinstance(matching, hlgp_options.AuxiliaryMatching):
        return closed_form(matching.classifier, setting)
    if isinstance(matching, hlgp_options.PrototypeMatching):
        return closed_form(classifier_options.NearestMean(kind="ncm"), setting)
    return None
