"""Shard folders made by hand of whatever bytes, which `hlgp data shard` would refuse."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from hlgp_dist.data.manifest import CHECKSUM_DIGITS, UNTOUCHED, Manifest, Shard, Split, write_manifest
from hlgp_dist.data.record import TRAILER, pack


class Sample(NamedTuple):
    """A picture file's bytes, and the size that the manifest says."""

    data: bytes
    width: int
    height: int
    suffix: str = "png"


def sample_of(picture: Image.Image, kind: str = "PNG", **options: object) -> Sample:
    """A picture as a file."""
    stream = io.BytesIO()
    picture.save(stream, kind, **options)
    return Sample(stream.getvalue(), *picture.size, {"PNG": "png"}.get(kind, "jpg"))


def drawn_sample(seed: int = 0, width: int = 20, height: int = 14) -> Sample:
    """Noise."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return sample_of(Image.fromarray(pixels))


def shard_by_hand(folder: Path, classes: Mapping[str, Sequence[Sample]], test: Sequence[Sample] = ()) -> Manifest:
    """One tar a split; `test` are each class's test pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    tests = dict.fromkeys(classes, test or (drawn_sample(99),))
    splits = {"train": _split(folder / "train.tar", classes), "test": _split(folder / "test.tar", tests)}
    write_manifest(folder, tuple(classes), splits, source_hash="", shard_bytes=0, encoding=UNTOUCHED)
