"""Weights of a backbone from a file, a hub or a seed, and the hash that names them in every result."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import torch
from timm.models import load_state_dict
from timm.models.vision_transformer import VisionTransformer, checkpoint_filter_fn
from torch import Tensor

from hlgp_dist.errors import DataError
from hlgp_dist.files import file_sha256

SUFFIXES = (".safetensors", ".pth", ".pt", ".bin", ".npz")


def check_weights_file(path: Path) -> None:
    """Raise DataError unless `path` is a file of a known kind."""
    if path.suffix not in SUFFIXES:
        raise DataError(f"backbone.weights: {path} is none of {', '.join(SUFFIXES)}")
    if not path.is_file():
        raise DataError(f"backbone.weights: no file {path}")


def load_weights(vit: VisionTransformer, path: Path) -> None:
    """Load a checkpoint by timm's own rules: position embeddings are resized, original formats renamed.

    Raises:
        DataError: the file is missing, unreadable, or of another architecture.
    """
    check_weights_file(path)
    state = None if path.suffix == ".npz" else _read(path)
    try:
        if state is None:
            vit.load_pretrained(str(path))
            return
        missing, unexpected = vit.load_state_dict(checkpoint_filter_fn(state, vit), strict=False, assign=True)
    except Exception as error:  # a shape that does not match fails wherever it is first used
        raise DataError(f"backbone.weights: {path} does not fit {_shape_of(vit)}: {_first_line(error)}") from error
    foreign = [name for name in unexpected if not _dropped_on_purpose(name, len(vit.blocks))]
    if missing or foreign:
        wrong = f"{len(missing)} tensors missing ({', '.join(missing[:3])}), {len(foreign)} unknown"
        raise DataError(f"backbone.weights: {path} does not fit {_shape_of(vit)}: {wrong} ({', '.join(foreign[:3])})")


def _read(path: Path) -> dict[str, Tensor]:
    try:
        state: dict[str, Tensor] = load_state_dict(str(path), device="cpu", weights_only=True)
    except Exception as error:  # every reader fails in its own way: pickle, safetensors, zip
        reason = f"{type(error).__name__}: {_first_line(error)}"
        raise DataError(f"backbone.weights: {path} cannot be read as weights ({reason})") from error
    return state


def _dropped_on_purpose(name: str, depth: int) -> bool:
    """Classifier and pre-training heads, and blocks above a shortened depth, have no place here."""
    block = re.match(r"blocks\.(\d+)\.", name)
    if block:
        return int(block.group(1)) >= depth
    return name.startswith(("head", "fc_norm.", "norm.", "mask_token", "cls_head"))


def _shape_of(vit: VisionTransformer) -> str:
    return f"a ViT of {len(vit.blocks)} blocks, width {vit.embed_dim}, patch {vit.patch_embed.patch_size[0]}"


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return " ".join(lines[:2])[:300]


def weights_sha256(vit: VisionTransformer, weights: str) -> str:
    """Hash of the weights' file, or of the tensors themselves where there is none."""
    if weights not in ("hub", "none"):
        return file_sha256(Path(weights))
    digest = hashlib.sha256()
    for name, tensor in sorted(vit.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().data)
    return digest.hexdigest()
