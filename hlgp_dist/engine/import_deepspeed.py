"""The one import of DeepSpeed, which reads what it is told before."""

from __future__ import annotations

import os

import torch

if not torch.cuda.is_available():
    os.environ.setdefault("DS_ACCELERATOR", "cpu")  # or it says that it has found no other

import deepspeed
from deepspeed.runtime.zero.parameter_offload import FWD_MODULE_STACK
from deepspeed.utils import groups, safe_get_full_optimizer_state, safe_set_full_optimizer_state

__all__ = [
    "FWD_MODULE_STACK",
    "deepspeed",
    "groups",
    "safe_get_full_optimizer_state",
    "safe_set_full_optimizer_state",
]

deepspeed.ops.__compatible_ops__ = {}
# None of DeepSpeed's own kernels is used. Else each rank would compile a program to find out which of them it could,
# and on the CPU a shared-memory collective, which needs ninja and a compiler; plain gloo does not.
