"""What a learner asks of a method in every run: an output of the right shapes, and the passes that it took."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from docs.plugin.one_prompt import OnePrompt, Options
from hlgp_dist.errors import Failure
from hlgp_dist.methods.base import Output, Setting
from hlgp_dist.models.head import Head
from hlgp_dist.models.trunk import Trunk
from hlgp_dist.train.learner import Learner
from hlgp_dist.types import TaskSpec

IMAGES = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def learner(method: type[OnePrompt], trunk: Trunk, tasks: tuple[TaskSpec, ...]) -> Learner:
    """While it trains the first task."""
    begun = Learner(trunk, method(Options(kind="one_prompt"), Setting(trunk.dimensions, tasks, seed=0)))
    begun.begin_task(tasks[0])
    return begun


class OneClassMore(OnePrompt):
    def forward(
        self, trunk: Trunk, head: Head, images: Tensor, task: TaskSpec, weights: Tensor | None = None
    ) -> Output:
        logits = super().forward(trunk, head, images, task).logits
        return Output(torch.cat([logits, logits[:, :1]], 1))


class FourPasses(OnePrompt):
    def forward(
        self, trunk: Trunk, head: Head, images: Tensor, task: TaskSpec, weights: Tensor | None = None
    ) -> Output:
        with torch.no_grad():
            trunk.vit(images)
            trunk(torch.cat([images, images]))
        output: Output = super().forward(trunk, head, images, task)
        return output


def test_logits_of_another_width_are_refused(trunk: Trunk, tasks: tuple[TaskSpec, ...]) -> None:
    refused = learner(OneClassMore, trunk, tasks)
    with pytest.raises(
        Failure, match=r"logits of 4 pictures while training task 0 must be \[4, 3\], they are \[4, 4\]"
    ):
        refused(IMAGES, torch.zeros(4, dtype=torch.int64), torch.ones(4))
    with pytest.raises(Failure, match="logits of 4 pictures after task 0 must be"):
        refused.eval().predict(IMAGES)


def test_no_pass_is_hidden(trunk: Trunk, tasks: tuple[TaskSpec, ...]) -> None:
    counted = learner(FourPasses, trunk, tasks)
    counted.predict(IMAGES)
    assert counted.passes == {"training": 4}
