"""Shard folders made by hand of whatever bytes, which `hlgp data shard` would refuse."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from hlgp_dist.data.manifest import Manifest, Shard, Split
from hlgp_dist.data.record import TRAILER, checksum, pack
from hlgp_dist.shards.manifest_files import write_manifest


class Sample(NamedTuple):
    """A picture file's bytes, and the size that the manifest says."""

    data: bytes
    width: int
    height: int
    suffix: str = "png"


def sample_of(picture: Image.Image, kind: str = "PNG", **options: Any) -> Sample:
    """A picture as a file."""
    stream = io.BytesIO()
    picture.save(stream, kind, **options)
    return Sample(stream.getvalue(), *picture.size, {"PNG": "png"}.get(kind, "jpg"))


def drawn(seed: int = 0, width: int = 20, height: int = 14, kind: str = "PNG") -> Sample:
    """Noise."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return sample_of(Image.fromarray(pixels), kind)


def shard_by_hand(folder: Path, train: Mapping[str, Sequence[Sample]], test: Sequence[Sample] = ()) -> Manifest:
    """One tar a split, keys `train-0`, `train-1`, ...; every class has the same test pictures."""
    folder.mkdir(parents=True)
    tests = dict.fromkeys(train, test or (drawn(99),))
    splits = {name: _split(folder / f"{name}.tar", part) for name, part in (("train", train), ("test", tests))}
    return write_manifest(folder, tuple(train), splits, source_hash="", shard_bytes=0)


def _split(file: Path, classes: Mapping[str, Sequence[Sample]]) -> Split:
    samples = [(number, sample) for number, name in enumerate(classes) for sample in classes[name]]
    keys = [f"{file.stem}-{index}" for index in range(len(samples))]
    records = [
        pack([(f"{key}.{sample.suffix}", sample.data), (f"{key}.cls", str(number).encode())])
        for key, (number, sample) in zip(keys, samples, strict=True)
    ]
    content = b"".join(records) + TRAILER
    file.write_bytes(content)
    sizes = np.array([len(record) for record in records], dtype=np.int64)
    return Split(
        shards=(Shard(file.name, len(content), hashlib.sha256(content).hexdigest(), len(records)),),
        key=np.array(keys, dtype=np.bytes_),
        class_index=np.array([number for number, _ in samples], dtype=np.int32),
        shard=np.zeros(len(records), dtype=np.int32),
        offset=np.cumsum(sizes) - sizes,
        size=sizes,
        width=np.array([sample.width for _, sample in samples], dtype=np.int32),
        height=np.array([sample.height for _, sample in samples], dtype=np.int32),
        checksum=np.array([checksum(record) for record in records], np.bytes_),
        counts=np.array([len(part) for part in classes.values()], dtype=np.int64),
    )
