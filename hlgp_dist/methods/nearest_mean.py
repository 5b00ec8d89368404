"""Nearest class mean by cosine (SimpleCIL). C classes seen so far, H width of the features."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from hlgp_dist.config.classifier_options import UnpromptedClassifier
from hlgp_dist.methods.base import Setting
from hlgp_dist.methods.statistics import ClassStatistics, Spread
from hlgp_dist.methods.unprompted import ClosedForm


class NearestMean(ClosedForm):
    """Logits are cosines to the class means [C, H]."""

    spread: Spread = "none"
    means: Tensor

    def __init__(self, options: UnpromptedClassifier, setting: Setting) -> None:
        super().__init__(options, setting)
        self.register_buffer("means", torch.zeros(0, self.width))

    def add(self, statistics: ClassStatistics) -> None:
        self.means = torch.cat([self.means, statistics.means])

    def forward(self, features: Tensor) -> Tensor:
        return functional.linear(functional.normalize(features), functional.normalize(self.means))
