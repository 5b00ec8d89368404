"""From `backbone:` of a configuration to a frozen trunk."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm
import torch
from timm.data import resolve_data_config
from timm.layers.attention import Attention
from timm.models.vision_transformer import Block, ResPostBlock, VisionTransformer

from hlgp_dist.config.schema import Backbone
from hlgp_dist.errors import ConfigError, DataError
from hlgp_dist.models.eight_bit import to_eight_bit
from hlgp_dist.models.input import InputFormat
from hlgp_dist.models.trunk import Trunk
from hlgp_dist.models.weights import load_weights, weights_sha256
from hlgp_dist.types import PictureSize

NORMALIZATIONS = {
    "none": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
    "half": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}
CROP_MODES = ("center", "squash")
INTERPOLATIONS = ("bilinear", "bicubic")
"""What an accelerator resizes by as a CPU does; no ViT of timm asks for another."""
DTYPES = {"bf16": torch.bfloat16, "int8": torch.bfloat16, "fp32": torch.float32}
"""What is between the products of a precision; int8 has its weights in 8 bits."""


@dataclass(frozen=True)
class BackboneIdentity:
    """What a result must say of its backbone for a comparison to be fair.

    name: timm's, with the tag that says how pictures are put in; weights: `hub` (those of the tag), `none`, or a file;
    num_parameters: of the trunk as it is built, its classifier apart.
    """

    name: str
    weights: str
    sha256: str
    timm_version: str
    num_parameters: int


def build_trunk(
    spec: Backbone, *, precision: str, seed: int, device: str = "cpu", trained: bool = False
) -> tuple[Trunk, BackboneIdentity]:
    """The trunk on `device` and who it is: frozen in its precision, or to be trained with its weights in fp32.

    Raises:
        ConfigError: an unknown name, an unsupported architecture or keyword.
        DataError: weights that are missing or do not fit.
    """
    vit = _vit(spec, seed)
    sha256, size = weights_sha256(vit, spec.weights), sum(parameter.numel() for parameter in vit.parameters())
    identity = BackboneIdentity(spec.name, spec.weights, sha256, timm.__version__, size)
    check_hash(spec, identity.sha256)
    torch.backends.cudnn.allow_tf32 = False  # by default an embedding of patches in fp32 keeps 10 bits of each number
    return _trunk(spec, vit, precision, device, trained), identity


def _trunk(spec: Backbone, vit: VisionTransformer, precision: str, device: str, trained: bool) -> Trunk:
    form, dtype = input_format(spec, vit), DTYPES[precision]
    if not trained:
        vit = vit.to(device, dtype)
        if precision == "int8":
            to_eight_bit(vit.blocks)
        return Trunk(vit, form)
    autocast = None if dtype == torch.float32 else dtype
    return Trunk(vit.to(device, torch.float32), form, trained=True, autocast=autocast)


def _vit(spec: Backbone, seed: int) -> VisionTransformer:
    """With its weights. Those of a file are mapped, not read: what stays in its precision all processes share."""
    if spec.weights == "hub":
        return _from_hub(spec)
    path = Path(spec.weights)
    if spec.weights == "none" or path.suffix == ".npz":  # timm copies the latter into weights that are there
        vit = _random_vit(spec, seed)
    else:
        with torch.device("meta"):
            vit = create_vit(spec)
    if spec.weights != "none":
        load_weights(vit, path)
    return vit


def check_hash(spec: Backbone, sha256: str) -> None:
    """Raise DataError where the weights are not those that the configuration names."""
    if spec.sha256 is not None and not sha256.startswith(spec.sha256):
        raise DataError(f"backbone.sha256 = {spec.sha256}: the weights ({spec.weights}) have {sha256}")


def meta_trunk(spec: Backbone, *, precision: str = "fp32", trained: bool = False) -> Trunk:
    """The trunk's shapes alone, on the meta device: for checks and counts before anything is booked."""
    with torch.device("meta"):
        return _trunk(spec, create_vit(spec), precision, "meta", trained)


def create_vit(spec: Backbone) -> VisionTransformer:
    """timm's model with fresh weights and no classifier, refused unless its blocks can take a prefix."""
    _check_name(spec.name)
    keywords = _keywords(spec)
    try:
        model = timm.create_model(spec.name, pretrained=False, **keywords)
    except Exception as error:  # a wrong keyword fails wherever it is first used
        reason = f"{type(error).__name__}: {error}"
        raise ConfigError(f"backbone.kwargs: timm refuses {spec.name} with {keywords}: {reason}") from error
    _check_supported(spec.name, model)
    if not model.patch_embed.num_patches:
        patch = model.patch_embed.patch_size[0]
        raise ConfigError(f"backbone.img_size = {spec.img_size}: is smaller than one patch of {patch} pixels")
    if not model.global_pool:
        raise ConfigError("backbone.kwargs.global_pool: there has to be one feature a picture; try token or avg")
    return model


def _check_name(name: str) -> None:
    architecture, dot, tag = name.partition(".")
    if dot and not tag:
        raise ConfigError(f"backbone.name: {name!r} ends with a dot and names no weights")
    if not timm.is_model(architecture):
        near = difflib.get_close_matches(architecture, timm.list_models("vit*"), n=3)
        raise ConfigError(f"backbone.name: timm knows no {architecture!r}; near: {', '.join(near) or 'none'}")
    if tag and name not in timm.list_pretrained(architecture + "*"):
        near = difflib.get_close_matches(name, timm.list_pretrained(architecture + ".*"), n=5, cutoff=0.0)
        raise ConfigError(f"backbone.name: {architecture} has no weights tagged {tag!r}; near: {', '.join(near)}")


def check_hub(spec: Backbone) -> None:
    """Raise ConfigError where no hub has weights of that name, as timm knows without asking one."""
    if spec.weights == "hub" and not timm.is_model_pretrained(spec.name):
        raise ConfigError(f"backbone.weights: hub: there are no weights of {spec.name}; give a file, or none")


def _check_supported(name: str, model: object) -> None:
    """Block and ResPostBlock with the standard Attention; any other kind is named and refused."""
    if not isinstance(model, VisionTransformer):
        raise ConfigError(f"backbone.name: {name} is a {type(model).__name__}, not a timm VisionTransformer")
    if not len(model.blocks):
        raise ConfigError(f"backbone.kwargs.depth: {name} would have no block")
    for block in model.blocks:
        if type(block) not in (Block, ResPostBlock):
            raise ConfigError(f"backbone.name: blocks of {name} are {type(block).__name__}, which take no prefix")
        if type(block.attn) is not Attention:
            raise ConfigError(f"backbone.name: {name} attends by {type(block.attn).__name__}, which takes no prefix")


def _random_vit(spec: Backbone, seed: int) -> VisionTransformer:
    """Fresh weights that depend on the seed alone, so that every rank and every resume has the same."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return create_vit(spec)


def _keywords(spec: Backbone) -> dict[str, Any]:
    size = {} if spec.img_size is None else {"img_size": spec.img_size}
    return {**spec.kwargs, **size, "num_classes": 0}


def _from_hub(spec: Backbone) -> VisionTransformer:
    try:
        model = timm.create_model(spec.name, pretrained=True, **_keywords(spec))
    except Exception as error:  # network, missing tag and key errors all mean: these weights are not to be had
        raise DataError(
            f"backbone.weights: hub: cannot get {spec.name} ({type(error).__name__}: {error}); "
            "give a local file as backbone.weights"
        ) from error
    _check_supported(spec.name, model)
    return model


def input_format(spec: Backbone, vit: VisionTransformer) -> InputFormat:
    """Crop, interpolation and channel statistics from timm's record of the weights, the size from the model.

    Raises:
        ConfigError: the record asks for a crop or an interpolation that there is not.
    """
    record = resolve_data_config(pretrained_cfg=vit.pretrained_cfg)
    if record["crop_mode"] not in CROP_MODES:
        raise ConfigError(f"backbone.name: its crop_mode {record['crop_mode']!r} is none of {', '.join(CROP_MODES)}")
    if record["interpolation"] not in INTERPOLATIONS:
        found = record["interpolation"]
        raise ConfigError(f"backbone.name: its interpolation {found!r} is none of {', '.join(INTERPOLATIONS)}")
    size = PictureSize(
        vit.patch_embed.img_size[0], record["crop_pct"], record["interpolation"], crop_mode=record["crop_mode"]
    )
    mean, std = NORMALIZATIONS.get(spec.normalization, (record["mean"], record["std"]))
    return InputFormat(size, mean=tuple(mean), std=tuple(std))
