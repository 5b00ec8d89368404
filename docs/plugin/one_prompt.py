"""A method of your own: one prefix that every task goes on training (in the manner of OVOR's OnePrompt)."""

from typing import Literal

import torch
from pydantic import PositiveInt
from torch import nn

from hlgp_dist.config.section import MethodOptions
from hlgp_dist.methods.base import Method, Output, Setting
from hlgp_dist.models.injection import ByBlock, Prefix


class Options(MethodOptions):
    """What a configuration says under `method:`."""

    kind: Literal["one_prompt"]
    prompt_length: PositiveInt = 10


class OnePrompt(Method):
    Options = Options

    def __init__(self, options: Options, setting: Setting) -> None:
        super().__init__()
        random = torch.Generator().manual_seed(setting.seed)
        shape = (setting.dimensions.depth, 2, options.prompt_length, setting.dimensions.width)
        self.prompts = nn.Parameter(0.02 * torch.randn(shape, generator=random))

    def features(self, trunk, images, task_index):
        return trunk(images, ByBlock({block: Prefix(own[None]) for block, own in enumerate(self.prompts)}))

    def forward(self, trunk, head, images, task, weights=None):
        return Output(head(self.features(trunk, images, task.index)))
