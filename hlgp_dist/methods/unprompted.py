"""Classifiers in closed form on un-prompted features: methods of their own, and the `auxiliary` of task matching.

They need no training and no old picture: class means and the pooled scatter add up over tasks, so they do not forget.
B batch, C classes seen so far, F width of the features they see, H width of what they classify.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from hlgp_dist.config.classifier_options import UnpromptedClassifier
from hlgp_dist.methods.base import Method, Output, Setting
from hlgp_dist.methods.statistics import ClassStatistics, FeatureStream, Spread
from hlgp_dist.models.head import Head
from hlgp_dist.models.trunk import Trunk
from hlgp_dist.types import TaskSpec


class ClosedForm(nn.Module):
    """Learns a task from its moments; calling it gives logits [B, C] of features [B, H]."""

    spread: Spread = "pooled"

    def __init__(self, options: UnpromptedClassifier, setting: Setting) -> None:
        super().__init__()
        self.sees_patches = options.features != "pooled"
        self.inner_blocks = inner_blocks(setting.dimensions.depth) if options.features == "several_blocks" else ()
        self.input_width = setting.dimensions.feature_width * (1 + self.sees_patches + len(self.inner_blocks))
        self.width = self.input_width

    def features(self, trunk: Trunk, images: Tensor) -> Tensor:
        """[B, H] of pictures, in one un-prompted pass without gradient."""
        with torch.no_grad():
            return self.embed(trunk.with_patches(images, self.inner_blocks) if self.sees_patches else trunk(images))

    def embed(self, features: Tensor) -> Tensor:
        """[B, F] -> [B, H]."""
        return features

    def learn(self, trunk: Trunk, stream: FeatureStream) -> None:
        """Add the classes of the task that just ended."""
        self.add(stream.statistics(lambda images: self.features(trunk, images), self.width, self.spread))

    def add(self, statistics: ClassStatistics) -> None:
        """Add the classes of one more task by their moments."""
        raise NotImplementedError


class Solved(ClosedForm):
    """One whose moments are a system of equations, solved when it is first asked after a task."""

    def __init__(self, options: UnpromptedClassifier, setting: Setting) -> None:
        super().__init__(options, setting)
        self._solved_for: Tensor | None = None
        self._solution: tuple[Tensor, ...] = ()

    def solution(self) -> tuple[Tensor, ...]:
        """The same until the next task, or until a checkpoint brings other moments."""
        moments = self.moments()
        if self._solved_for is not moments:
            self._solution, self._solved_for = self.solve(), moments
        return self._solution

    def moments(self) -> Tensor:
        """A buffer that every task replaces."""
        raise NotImplementedError

    def solve(self) -> tuple[Tensor, ...]:
        """What the logits are made by."""
        raise NotImplementedError


def inner_blocks(depth: int) -> tuple[int, ...]:
    """Those at six and eight tenths of the depth, where they are not the last one."""
    return tuple(sorted({math.ceil(part * depth) - 1 for part in (0.6, 0.8)} - {depth - 1}))


class Unprompted(Method):
    """A closed-form classifier as a method: no gradients."""

    has_gradients = False

    def __init__(self, classifier: ClosedForm) -> None:
        super().__init__()
        self.classifier = classifier

    def forward(
        self, trunk: Trunk, head: Head, images: Tensor, task: TaskSpec, weights: Tensor | None = None
    ) -> Output:
        return Output(self.classifier(self.classifier.features(trunk, images)))

    def end_task(self, trunk: Trunk, stream: FeatureStream) -> None:
        self.classifier.learn(trunk, stream)
