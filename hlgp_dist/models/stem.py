"""What all passes over a batch of pictures have in common. B batch, R pixels of a side, S tokens, D width."""

from __future__ import annotations

from torch import Tensor


class Stem:
    """The tokens [B, S, D] that go into `block`, below which no pass has a prompt, of the pictures last seen."""

    def __init__(self, block: int) -> None:
        self.block = block
        self._tokens: Tensor | None = None
        self._images: tuple[Tensor, int] | None = None

    def keep(self, images: Tensor, tokens: Tensor) -> None:
        """Remember the tokens of these pictures [B, 3, R, R]."""
        self._images, self._tokens = (images, images._version), tokens

    def of(self, images: Tensor) -> Tensor | None:
        """What is remembered of this very tensor, unless it was written to since."""
        if self._images is None or self._images[0] is not images or self._images[1] != images._version:
            return None
        return self._tokens
