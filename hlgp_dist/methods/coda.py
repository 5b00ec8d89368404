"""CODA-Prompt (arXiv 2211.13218): prompts as sums of components under attended queries (METHOD 6.0).

B batch, N blocks with a prompt, M components so far, K of them the current task's, L prompt length, D width of a
block, F width of the feature.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from hlgp_dist.config.method_options import Coda as CodaOptions
from hlgp_dist.errors import ConfigError
from hlgp_dist.methods.base import Method, Output, Setting
from hlgp_dist.methods.diagnostics import Diagnostics, alike
from hlgp_dist.methods.initialisation import orthonormal_
from hlgp_dist.methods.statistics import FeatureStream
from hlgp_dist.models.head import Head
from hlgp_dist.models.injection import BlockPrompt, Injection, Prefix
from hlgp_dist.models.seeding import Purpose, generator
from hlgp_dist.models.trunk import Trunk
from hlgp_dist.types import TaskSpec

PARTS = ("prompts", "keys", "attentions")


class Composed(Injection):
    """p_l = sum_m cos(query * a_m, k_m) p_m with the components m of block l, as a prefix of its own a picture."""

    def __init__(self, places: dict[int, int], query: Tensor, prompts: Tensor, keys: Tensor, attentions: Tensor):
        self.places, self.query = places, query
        self.prompts, self.keys, self.attentions = prompts, keys, attentions

    def layer(self, index: int) -> BlockPrompt | None:
        if index not in self.places:
            return None
        place = self.places[index]
        attended = functional.normalize(self.query[:, None] * self.attentions[place], dim=2)  # [B, M, F]
        weights = torch.einsum("bmf,mf->bm", attended, functional.normalize(self.keys[place]))
        return Prefix(torch.einsum("bm,mpld->bpld", weights, self.prompts[place]))


class Coda(Method):
    """Each task adds components to those before, which stay as they are."""

    past_prompts: Tensor
    past_keys: Tensor
    past_attentions: Tensor

    def __init__(self, options: CodaOptions, setting: Setting) -> None:
        super().__init__()
        self.options, self.setting = options, setting
        layers = setting.layers("layers", options.layers)
        self.first_block = min(layers)
        self.places = {block: place for place, block in enumerate(layers)}
        own = options.num_components // setting.num_tasks
        width, feature_width = setting.dimensions.width, setting.dimensions.feature_width
        _check_components(options.num_components, setting.num_tasks, feature_width)
        shapes = {"prompts": (2, options.prompt_length, width), "keys": (feature_width,)}
        shapes["attentions"] = shapes["keys"]
        for part in PARTS:
            self.register_parameter(part, nn.Parameter(torch.empty(len(layers), own, *shapes[part])))
            self.register_buffer(f"past_{part}", torch.zeros(len(layers), 0, *shapes[part]))

    def begin_task(self, task: TaskSpec) -> None:
        """New components, orthonormal block by block and orthogonal to all before."""
        random = generator(self.setting.seed, task.index, Purpose.INITIALISATION)
        for part in PARTS:
            new, past = getattr(self, part), getattr(self, f"past_{part}")
            for place in range(len(new)):
                orthonormal_(new[place].view(new.shape[1], -1), past[place].flatten(1), random)

    def kept(self) -> list[Tensor]:
        return self.memory()

    def diagnostics(self) -> Diagnostics:
        """Of the components of all tasks so far, each over all its blocks."""
        return alike(self.past_prompts.transpose(0, 1), "component")

    def features(self, trunk: Trunk, images: Tensor, task_index: int) -> Tensor:
        return self._prompted(trunk, images, self._components())

    def forward(
        self, trunk: Trunk, head: Head, images: Tensor, task: TaskSpec, weights: Tensor | None = None
    ) -> Output:
        components = self._components()
        logits = head(self._prompted(trunk, images, components))
        if not self.training or self.options.orthogonality == 0.0:
            return Output(logits)
        penalty = self.options.orthogonality * torch.stack([_overlap(part.flatten(2)) for part in components]).sum()
        return Output(logits, penalties=penalty.expand(len(images)))

    def _components(self) -> list[Tensor]:
        """Prompts [N, M, 2, L, D], keys and attentions [N, M, F] of all tasks; the current one's while it trains."""
        if not self.training:
            return [getattr(self, f"past_{part}") for part in PARTS]
        return [torch.cat([getattr(self, f"past_{part}"), getattr(self, part)], 1) for part in PARTS]

    def _prompted(self, trunk: Trunk, images: Tensor, components: list[Tensor]) -> Tensor:
        with torch.no_grad():
            query = trunk(images)
        features: Tensor = trunk(images, Composed(self.places, query, *components))
        return features

    @torch.no_grad()
    def end_task(self, trunk: Trunk, stream: FeatureStream) -> None:
        for part in PARTS:
            setattr(self, f"past_{part}", torch.cat([getattr(self, f"past_{part}"), getattr(self, part)], 1))


def _overlap(rows: Tensor) -> Tensor:
    """[] of rows [N, M, W]: sum over the N blocks of the mean square of X X^T - I."""
    gram = rows @ rows.mT
    return (gram - torch.eye(rows.shape[1], device=rows.device)).square().mean((1, 2)).sum()


def _check_components(components: int, tasks: int, feature_width: int) -> None:
    if components < tasks:
        raise ConfigError(f"method.num_components: {components} leave nothing for each of {tasks} tasks")
    if components > feature_width:
        raise ConfigError(
            f"method.num_components: {components} cannot be orthogonal in features of width {feature_width}"
        )
