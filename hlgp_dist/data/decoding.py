"""Samples of a split as stored pictures, one after the other, each for itself good or bad."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

import numpy as np
import webdataset
from numpy.typing import NDArray

from hlgp_dist.data.formats import PICTURE_SUFFIXES
from hlgp_dist.data.manifest import SPLITS, Manifest, Split, span
from hlgp_dist.data.picture import Form, stored_as, stored_of, stored_shape
from hlgp_dist.data.place import Place
from hlgp_dist.data.recipe import draw
from hlgp_dist.data.source import BadSample, RangeSource, bad_sample
from hlgp_dist.types import PictureSize

MAX_PIXELS = 2**30 // 12
"""Of a picture, as its file says and as it is stored: PIL's bound against decompression bombs."""

Decoded = NDArray[np.uint8] | BadSample


class Pixels(NamedTuple):
    """Which split pictures come from and what becomes of them. place: None where the manifest's recipe draws them."""

    place: Place | None
    manifest: Manifest
    split_name: str
    size: PictureSize
    form: Form

    @property
    def split(self) -> Split:
        return self.manifest.splits[self.split_name]

    @property
    def is_exact(self) -> bool:
        """What is tested is timm's transform bit for bit; what is trained on anyhow looks different in each epoch."""
        return self.split_name == "test"

    def shapes(self, indices: NDArray[np.int64]) -> NDArray[np.int64]:
        """int64 [N, 2]: height and width as stored; 0, 0 where the picture, whole or scaled, exceeds `MAX_PIXELS`."""
        width, height = self.split.width[indices], self.split.height[indices]
        full, scaled = (np.stack(stored_shape(width, height, self.size, form), axis=1) for form in ("full", "scaled"))
        shapes = full if self.form == "full" else scaled
        is_too_large = np.maximum(full.prod(axis=1), scaled.prod(axis=1)) > MAX_PIXELS
        return np.where(is_too_large[:, None], 0, shapes)

    def drawn(self, index: int) -> NDArray[np.uint8]:
        """The sample `index` of the split, by the recipe."""
        recipe, class_index = self.manifest.recipe, int(self.split.class_index[index])
        assert recipe is not None, "what has no place has a recipe"
        first, _ = span(self.split.class_index, class_index)
        picture = draw(recipe, SPLITS.index(self.split_name), class_index, index - first)
        return stored_as(picture, self.size, self.form, is_exact=self.is_exact)

    def bad(self, index: int, reason: str) -> BadSample:
        """Names the sample `index` of the split."""
        return bad_sample(self.manifest, self.split_name, index, reason)


class Decoding:
    """Iterates over `indices` of the split: uint8 [H, W, 3] each, or what is wrong with it.

    A sample is bad if its record is not the manifest's, or is no single picture, cannot be decoded, is larger than
    `MAX_PIXELS` or not of the size that the manifest says. `bytes_read` counts what has been read so far.

    Raises:
        DataError: a shard is missing or cannot be read.
    """

    def __init__(self, pixels: Pixels, indices: NDArray[np.int64]) -> None:
        self.pixels = pixels
        self.indices = indices
        self.bytes_read = 0

    def __iter__(self) -> Iterator[Decoded]:
        shapes = self.pixels.shapes(self.indices)
        done = 0
        while done < len(self.indices):
            if not shapes[done].any():
                yield self.pixels.bad(int(self.indices[done]), f"has more than {MAX_PIXELS} pixels")
                done += 1
                continue
            stop = done + int(np.append(shapes[done:].any(axis=1), False).argmin())
            for decoded in self._until_bad(self.indices[done:stop]):
                yield self._checked(decoded, shapes[done], int(self.indices[done]))
                done += 1

    def _until_bad(self, indices: NDArray[np.int64]) -> Iterator[Decoded]:
        """One pipeline's pictures; its first bad sample ends it."""
        pixels, done = self.pixels, 0
        if pixels.place is None:
            yield from map(pixels.drawn, indices.tolist())
            return
        source = RangeSource(pixels.place, pixels.manifest, pixels.split_name, indices)
        decode = webdataset.decode(partial(_decode, pixels=self.pixels), only=list(PICTURE_SUFFIXES))
        try:
            for sample in webdataset.DataPipeline(source, decode):
                yield next(sample[suffix] for suffix in PICTURE_SUFFIXES if suffix in sample)
                done += 1
        except BadSample as bad:
            yield bad
        except webdataset.autodecode.DecodingError as error:
            yield self.pixels.bad(int(indices[done]), f"cannot be decoded ({error.__cause__})")
        finally:
            self.bytes_read += source.bytes_read

    def _checked(self, decoded: Decoded, shape: NDArray[np.int64], index: int) -> Decoded:
        if isinstance(decoded, BadSample) or decoded.shape[:2] == tuple(shape):
            return decoded
        found, expected = (f"{height} x {width}" for height, width in (decoded.shape[:2], shape))
        return self.pixels.bad(index, f"is stored as {found}, by the manifest's size as {expected}")


def _decode(suffix: str, data: bytes, *, pixels: Pixels) -> NDArray[np.uint8]:
    """A webdataset handler."""
    return stored_of(data, pixels.size, pixels.form, is_exact=pixels.is_exact)
