"""The embedded architecture, and how it grows: trained shallow first, deepened without changing what it computes."""

import copy
from pathlib import Path

import timm
import torch
from safetensors.torch import load_file, save_file
from timm.layers.pos_embed_sincos import build_sincos2d_pos_embed
from timm.models import VisionTransformer
from torch import nn

MODEL_NAME = "vit_tiny_patch16_224"
ARCHITECTURE = {"img_size": 32, "patch_size": 4, "embed_dim": 128, "num_heads": 4, "num_classes": 0}
DEPTH = 12


def build_model(depth: int = DEPTH) -> VisionTransformer:
    """timm's model with its own initialisation."""
    model = timm.create_model(MODEL_NAME, depth=depth, **ARCHITECTURE)
    assert isinstance(model, VisionTransformer)
    return model


@torch.no_grad()
def start_positions(model: VisionTransformer) -> None:
    """Sine and cosine as the first, still trainable, position embedding: places are told apart from the first step."""
    grid = list(model.patch_embed.grid_size)
    model.pos_embed[0, model.num_prefix_tokens :] = 0.5 * build_sincos2d_pos_embed(grid, model.embed_dim)


@torch.no_grad()
def silent_copy(block: nn.Module) -> nn.Module:
    """A copy that adds nothing to the residual stream until it is trained."""
    copied = copy.deepcopy(block)
    for last in (copied.get_submodule("attn.proj"), copied.get_submodule("mlp.fc2")):
        assert isinstance(last, nn.Linear)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
    return copied


def grown(model: VisionTransformer, depth: int) -> VisionTransformer:
    """The same function in more blocks: silent copies follow each block; `depth` is a multiple of the present one."""
    times, rest = divmod(depth, len(model.blocks))
    assert rest == 0, f"{depth} blocks are no multiple of {len(model.blocks)}"
    deeper = build_model(depth)
    state = {name: value for name, value in model.state_dict().items() if not name.startswith("blocks.")}
    for index, block in enumerate(model.blocks):
        for repeat in range(times):
            source = block if repeat == 0 else silent_copy(block)
            prefix = f"blocks.{index * times + repeat}."
            state.update({prefix + name: value for name, value in source.state_dict().items()})
    deeper.load_state_dict(state)
    return deeper


def save(path: Path, model: nn.Module, metadata: dict[str, str]) -> None:
    """Writes fp16 aside and renames, so that a reader never sees half a file."""
    aside = path.with_suffix(".part")
    save_file({name: value.half().contiguous() for name, value in model.state_dict().items()}, aside, metadata)
    aside.chmod(0o644)
    aside.replace(path)


def read(path: Path) -> VisionTransformer:
    """The model of a file that `save` wrote, in fp32."""
    model = build_model()
    model.load_state_dict({name: value.float() for name, value in load_file(path).items()})
    return model
