"""The backbone: pictures to one feature vector, with or without prompts.

B batch, R pixels of a side, S tokens, D width of a token, F width of the pooled feature.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from hlgp_dist.models.block import PromptedBlock
from hlgp_dist.models.compiled import compiled
from hlgp_dist.models.injection import Injection
from hlgp_dist.models.input import InputFormat, Normalisation
from hlgp_dist.models.stem import Stem


@dataclass(frozen=True)
class Dimensions:
    """What a method must know of a trunk, read from the model. `width` is that of a block's keys and values."""

    depth: int
    width: int
    feature_width: int
    has_cls: bool = True


class Trunk(nn.Module):
    """A timm VisionTransformer, always in eval mode. Frozen, unless a method trains it.

    Args:
        vit: on its device; frozen in the dtype it computes in, to be trained in fp32.
        autocast: the dtype that a trained trunk computes its matrix products in, None for its own.
    """

    def __init__(
        self,
        vit: VisionTransformer,
        input_format: InputFormat,
        *,
        trained: bool = False,
        autocast: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.vit = vit.requires_grad_(trained).eval()
        self.is_trained = trained
        self.autocast = autocast
        self.input_format = input_format
        self.normalisation = Normalisation(input_format, next(vit.parameters()).device)
        blocks = (PromptedBlock(block, index, vit.num_prefix_tokens) for index, block in enumerate(vit.blocks))
        vit.blocks = nn.Sequential(*blocks)
        self.num_pooled = 1 if vit.global_pool == "token" and vit.attn_pool is None else None
        """Leading tokens that the feature is made of where nothing else is asked for, None: all."""
        self.cuts_last_block = True
        """Whether no other token is computed behind it. Without, it is timm's own bit for bit."""
        self._stem: Stem | None = None
        self._position = None if trained or vit.pos_embed is None else vit.pos_embed[:, :1].detach().clone()

    @property
    def device(self) -> torch.device:
        return self.normalisation.mean.device

    @property
    def dimensions(self) -> Dimensions:
        width = self.vit.blocks[0].attention.inner.attn_dim
        return Dimensions(len(self.vit.blocks), width, self.vit.head_hidden_size, self.vit.cls_token is not None)

    @property
    def num_seen(self) -> int:
        """Pictures that went through it so far, counted where the blocks run: no way past `forward` hides one."""
        return max(int(block.attention.num_seen) for block in self.vit.blocks)

    def compile_blocks(self) -> None:
        """From now on they run by kernels that torch.compile makes when they are first called.

        Raises:
            EnvironmentFailure: it can make none here.
        """
        through = compiled(self.device)
        for block in self.vit.blocks:
            block.through = through

    def recompute_blocks(self, is_on: bool) -> None:
        """Activation checkpointing of every block that has to keep anything; see `PromptedBlock.recomputes`."""
        for block in self.vit.blocks:
            block.recomputes = is_on

    @contextmanager
    def sharing(self, block: int) -> Iterator[None]:
        """Inside, what is below `block` is computed once for all passes over the same pictures: none prompts it."""
        self._stem = None if self.is_trained else Stem(block)
        try:
            yield
        finally:
            self._stem = None

    def train(self, mode: bool = True) -> Trunk:
        """Eval mode, whatever the module around it does: no dropout, no stochastic depth."""
        return super().train(False)

    def forward(self, images: Tensor, injection: Injection | None = None) -> Tensor:
        """Pooled features [B, F] in fp32 of float pictures [B, 3, R, R] in 0..1.

        Without an injection this is timm's `forward_head(forward_features(x), pre_logits=True)`; of the last block only
        the tokens that make the feature are computed.
        """
        if injection is None or not injection.num_kept:
            return self._pooled(self._tokens(images, injection, self.num_pooled))
        first, stop = self.vit.num_prefix_tokens, self.vit.num_prefix_tokens + injection.num_kept
        kept = self._tokens(images, injection, stop)[:, first:stop]
        return self.vit.fc_norm(kept.mean(1)).float()  # type: ignore[no-any-return]

    def with_patches(self, images: Tensor, blocks: Sequence[int] = ()) -> Tensor:
        """[B, F + (1 + len(blocks)) D] in fp32 of an un-prompted pass.

        The pooled feature, then the mean patch tokens behind the last block and behind `blocks`, after the last norm.
        """
        inner: list[Tensor] = []
        hooks = [
            self.vit.blocks[block].register_forward_hook(lambda module, inputs, tokens: inner.append(tokens))
            for block in blocks
        ]
        try:
            tokens = self._tokens(images, None, None, blocks)
        finally:
            for hook in hooks:
                hook.remove()
        patches = [self._mean_patch(seen) for seen in (tokens, *map(self.vit.norm, inner))]
        return torch.cat([self._pooled(tokens), *patches], 1)

    def _mean_patch(self, tokens: Tensor) -> Tensor:
        return tokens[:, self.vit.num_prefix_tokens :].float().mean(1)

    def cls_position(self) -> Tensor:
        """[1, 1, D]: what the CLS token gets for its position, zero where it gets nothing."""
        embedding = self.vit.pos_embed
        if embedding is None or self.vit.no_embed_class or self.vit.cls_token is None:
            return torch.zeros(1, 1, self.vit.embed_dim, device=self.device)
        if self._position is not None and not embedding.numel():  # divided by ZeRO 3, and brought back for a pass alone
            return self._position.float()  # type: ignore[no-any-return]
        return embedding[:, :1].float()  # type: ignore[no-any-return]

    def _pooled(self, tokens: Tensor) -> Tensor:
        return self.vit.forward_head(tokens, pre_logits=True).float()  # type: ignore[no-any-return]

    def _tokens(
        self, images: Tensor, injection: Injection | None, num_asked: int | None, blocks: Sequence[int] = ()
    ) -> Tensor:
        """[B, S, D] behind the last norm, or the leading [B, num_asked, D]. blocks: those that have to run."""
        with (
            self._injecting(injection, num_asked if self.cuts_last_block else None),
            self._autocasting(images.device.type),
        ):
            if self._stem is None or images.requires_grad or images.is_inference():
                return self._from_pictures(images)
            known = self._stem.of(images)
            if known is not None and all(block >= self._stem.block for block in blocks):
                return self._behind(self._stem.block, known)
            with self._keeping(self._stem, images):
                return self._from_pictures(images)

    @contextmanager
    def _keeping(self, stem: Stem, images: Tensor) -> Iterator[None]:
        block = self.vit.blocks[stem.block]
        hook = block.register_forward_pre_hook(lambda module, inputs: stem.keep(images, inputs[0]))
        try:
            yield
        finally:
            hook.remove()

    def _behind(self, first: int, tokens: Tensor) -> Tensor:
        for block in list(self.vit.blocks)[first:]:
            tokens = block(tokens)
        return self.vit.norm(tokens)  # type: ignore[no-any-return]

    def _from_pictures(self, images: Tensor) -> Tensor:
        embedding = self.vit.patch_embed.proj.weight
        has_gradient = torch.is_grad_enabled() and (embedding.requires_grad or images.requires_grad)
        pixels = self.normalisation(images, embedding.dtype, is_kept=has_gradient)
        return self.vit.forward_features(pixels)  # type: ignore[no-any-return]

    def _autocasting(self, device_type: str) -> AbstractContextManager[object]:
        """On `meta` torch knows none; a plan casts by itself."""
        if self.autocast is None or device_type == "meta":
            return nullcontext()
        return torch.autocast(device_type, self.autocast)

    @contextmanager
    def _injecting(self, injection: Injection | None, num_asked: int | None) -> Iterator[None]:
        last = self.vit.blocks[-1]
        last.num_asked = num_asked
        for block in self.vit.blocks:
            block.injection = injection
        try:
            yield
        finally:
            last.num_asked = None
            for block in self.vit.blocks:
                block.injection = None
