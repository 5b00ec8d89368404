"""The classifier: rows of the current task train, older rows are a frozen buffer, future rows do not exist.

Masking is thereby by construction: no optimizer ever holds a row of another task.
F width of the feature, C classes seen so far.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class Head(nn.Module):
    """A linear classifier that grows by one task at a time, in fp32."""

    past_weight: Tensor
    past_bias: Tensor

    def __init__(self, feature_width: int) -> None:
        super().__init__()
        self.register_buffer("past_weight", torch.zeros(0, feature_width))
        self.register_buffer("past_bias", torch.zeros(0))
        self.weight = nn.Parameter(torch.zeros(0, feature_width))
        self.bias = nn.Parameter(torch.zeros(0))

    def begin_task(self, num_classes: int) -> None:
        """Freeze what was trained and start `num_classes` new rows at zero."""
        self.past_weight, self.past_bias = self.rows()
        self.weight = nn.Parameter(self.past_weight.new_zeros(num_classes, self.past_weight.shape[1]))
        self.bias = nn.Parameter(self.past_bias.new_zeros(num_classes))

    def rows(self) -> tuple[Tensor, Tensor]:
        """Weights [C, F] and biases [C] of all seen classes, detached copies."""
        weight = torch.cat([self.past_weight, self.weight.detach()])
        return weight, torch.cat([self.past_bias, self.bias.detach()])

    @torch.no_grad()
    def replace_rows(self, weight: Tensor, bias: Tensor) -> None:
        """Take rows made by an alignment, for past and current classes alike."""
        past = len(self.past_bias)
        self.past_weight.copy_(weight[:past])
        self.past_bias.copy_(bias[:past])
        self.weight.copy_(weight[past:])
        self.bias.copy_(bias[past:])

    def forward(self, features: Tensor) -> Tensor:
        """Logits [B, C] of features [B, F]."""
        current = functional.linear(features, self.weight, self.bias)
        if not len(self.past_bias):
            return current
        return torch.cat([functional.linear(features, self.past_weight, self.past_bias), current], 1)
