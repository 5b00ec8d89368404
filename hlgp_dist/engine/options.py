"""From the configuration's words to DeepSpeed's dictionary and a torch optimizer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from hlgp_dist.config import optimizer_options, schema

NEVER = 2**31
"""DeepSpeed wants a period for its own prints; ours are elsewhere."""
LIVE = 10**8
"""Numbers that ZeRO 3 keeps gathered for a later use: a few blocks of a ViT-H. DeepSpeed's own 1e9 are all of it."""


def deepspeed_config(
    engine: schema.EngineOptions, max_grad_norm: float | None, accumulation: int, num_trained: int
) -> dict[str, Any]:
    """Accumulation and ZeRO are DeepSpeed's; precision is not: `models` casts the trunk, the rest is fp32.

    At stage 0 `DeepSpeedEngine` clips: DeepSpeed would add up the norm once more and send numbers to the device. The
    micro-batch is declared as one: shares differ in size, and the loss weights already hold the exact mean. ZeRO's
    buckets hold what is trained, and no more.
    """
    return {
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": accumulation,
        "gradient_clipping": (max_grad_norm or 0.0) if engine.zero_stage > 0 else 0.0,
        "zero_optimization": {
            "stage": engine.zero_stage,
            "reduce_bucket_size": num_trained,
            "stage3_max_live_parameters": LIVE,
            "stage3_max_reuse_distance": LIVE,
        },
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
        "steps_per_print": NEVER,
        "wall_clock_breakdown": False,
        "timers": {"throughput": {"enabled": False}},  # it waits for the device before and after each micro-step
    }


def torch_optimizer(
    options: optimizer_options.Optimizer, parameters: Mapping[str, Sequence[nn.Parameter]]
) -> torch.optim.Optimizer:
    """One parameter group a name (`prompt`, `head`), empty ones left out: DeepSpeed refuses them."""
    groups = [{"params": list(group), "name": name} for name, group in parameters.items() if group]
    if isinstance(options, optimizer_options.Sgd):
        return torch.optim.SGD(groups, lr=0.0, momentum=options.momentum, weight_decay=options.weight_decay)
    if isinstance(options, optimizer_options.AdamW):
        return torch.optim.AdamW(groups, lr=0.0, betas=options.betas, weight_decay=options.weight_decay)
    return torch.optim.Adam(groups, lr=0.0, betas=options.betas)


def state_keys(optimizer: optimizer_options.Optimizer) -> tuple[str, ...]:
    """What torch calls the tensors that an optimizer keeps of each parameter."""
    if isinstance(optimizer, optimizer_options.Sgd):
        return ("momentum_buffer",) if optimizer.momentum > 0.0 else ()
    return ("exp_avg", "exp_avg_sq")
