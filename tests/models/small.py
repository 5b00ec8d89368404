"""Small trunks of timm's architectures whose every weight counts."""

from __future__ import annotations

import torch

from hlgp_dist.config.schema import Backbone
from hlgp_dist.models.backbone import create_vit, input_format
from hlgp_dist.models.trunk import Trunk

WIDTH = 48
SMALL = {"depth": 2, "embed_dim": WIDTH, "num_heads": 4}


def small_trunk(name: str, **keywords: object) -> Trunk:
    spec = Backbone.model_validate({"name": name, "weights": "none", "img_size": 56, "kwargs": SMALL | keywords})
    torch.manual_seed(0)
    vit = create_vit(spec)
    with torch.no_grad():
        for parameter in vit.parameters():  # timm starts some at zero, which would hide a mistake
            parameter.add_(0.05 * torch.randn_like(parameter))
    return Trunk(vit, input_format(spec, vit))
