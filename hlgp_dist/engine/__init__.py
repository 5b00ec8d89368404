"""Training steps by DeepSpeed, which is told its device before it is imported: else it warns of each CPU."""

import os

import torch

if not torch.cuda.is_available():
    os.environ.setdefault("DS_ACCELERATOR", "cpu")
