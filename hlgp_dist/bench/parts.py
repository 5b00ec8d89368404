"""Where the time goes: each part of the way measured by itself in one thread, beside the whole in one thread."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from hlgp_dist.bench.ours import TRAINING, Cold, Feed, Warm, on_device, open_library
from hlgp_dist.bench.timing import torch_threads, wait_for
from hlgp_dist.bench.workload import Workload
from hlgp_dist.data.augment import to_float
from hlgp_dist.data.class_store import class_layout, write_picture
from hlgp_dist.data.decoding import Decoded, Decoding, Pixels
from hlgp_dist.data.opening import open_place
from hlgp_dist.data.picture import Form
from hlgp_dist.data.pictures import Pictures
from hlgp_dist.data.place import Place
from hlgp_dist.data.resize import resized
from hlgp_dist.data.selection import select
from hlgp_dist.data.source import BadSample, RangeSource
from hlgp_dist.data.transfer import to_device
from hlgp_dist.models.input import Normalisation
from hlgp_dist.types import Regions, TaskSpec

PASSES = 3
"""Of which the fastest counts: whatever else the machine did made the others slower."""
ENOUGH = 100
"""Pictures: the first classes that have so many together."""

Parts = dict[str, float]
"""Milliseconds a picture."""


def where_time_goes(work: Workload, folder: Path) -> dict[str, dict[str, Any]]:
    """For each kind of epoch: milliseconds a picture in all and of its parts, and the part of it that they explain."""
    work = replace(_some(work), workers=0)  # batches are made by who asks for them; decoding has one thread
    with closing(open_library(work, folder / "warm")) as library:
        trained, tested = library.open(work.selection, work.stored), library.open(work.selection, "scaled")
        first = Cold(work, folder / "cold")
        with torch_threads(1):
            warm, jittered = _training(work, trained)
            parts = {
                "first epoch": _decoding(work, folder) | warm,
                "crop and flip": warm,
                "with jitter": warm | jittered,
                "evaluation": _evaluation(work, tested),
            }
            wholes = {
                "first epoch": _ms(work, partial(first.epoch, 0)),
                "crop and flip": _ms(work, partial(Warm(work, trained, TRAINING).epoch, 0)),
                "with jitter": _ms(work, partial(Warm(work, trained, "with jitter").epoch, 0)),
                "evaluation": _ms(work, partial(Warm(work, tested, "evaluation").epoch, 0)),
            }
    return {
        name: {"whole_ms": wholes[name], "parts_ms": own, "explained": sum(own.values()) / wholes[name]}
        for name, own in parts.items()
    }


def _some(work: Workload) -> Workload:
    """Whole classes: they are stored together."""
    counts = work.manifest.splits["train"].counts
    classes = work.manifest.classes[: int(np.searchsorted(np.cumsum(counts), ENOUGH)) + 1]
    return replace(work, selection=select(work.manifest, TaskSpec(0, 0, classes), "train", 0.0))


def _decoding(work: Workload, folder: Path) -> Parts:
    """The shards' bytes to a store's; `resize` is what a scaled picture takes beyond a full one."""
    with closing(open_place(work.shards)) as place:
        return _decoding_from(place, work, folder)


def _decoding_from(place: Place, work: Workload, folder: Path) -> Parts:
    indices = work.selection.indices

    def pixels(form: Form) -> Pixels:
        return Pixels(place, work.manifest, work.selection.split, work.form.size, form)

    read = _ms(work, RangeSource(place, work.manifest, work.selection.split, indices))
    full = _ms(work, lambda: Decoding(pixels("full"), indices))
    stored = full if work.stored == "full" else _ms(work, lambda: Decoding(pixels("scaled"), indices))
    written = partial(_written, pixels(work.stored), list(Decoding(pixels(work.stored), indices)), folder / "written")
    return {"read": read, "decode": full - read, "resize": stored - full, "write": _ms(work, written)}


def _written(pixels: Pixels, pictures: list[Decoded], file: Path) -> Iterator[int]:
    """Checksums of pictures that go to where the first class has its own, over and over."""
    layout = class_layout(pixels, 0)
    with file.open("r+b" if file.exists() else "x+b") as stream:
        for position, picture in enumerate(pictures):
            assert not isinstance(picture, BadSample)
            yield write_picture(stream.fileno(), layout, position % len(layout), picture)


def _training(work: Workload, pictures: Pictures) -> tuple[Parts, Parts]:
    """Of crop and flip, and what jitter adds."""
    batches = list(Feed(work, pictures).training(0))
    sent = [to_device(batch, work.device) for batch in batches]
    size = work.form.size
    moved = _ms(work, lambda: (to_device(batch, work.device) for batch in batches))
    regions = [batch.images for batch in sent if isinstance(batch.images, Regions)]
    cropped = _ms(work, lambda: (resized(batch, size.size, size.interpolation, work.memory) for batch in regions))
    floats = _ms(work, lambda: (on_device(work, batch, 0) for batch in sent))
    jittered = _ms(work, lambda: (on_device(work, batch, 0, "with jitter") for batch in sent))
    return {
        "copy": _ms(work, partial(Feed(work, pictures).training, 0)),
        "to the device": moved,
        "crop": cropped,
        "flip, to float": floats - cropped,
        "normalise": _normalising(work, [on_device(work, batch, 0) for batch in sent]),
    }, {"jitter": jittered - floats}


def _evaluation(work: Workload, pictures: Pictures) -> Parts:
    batches = list(Feed(work, pictures).evaluation())
    sent = [images for batch in batches if isinstance(images := to_device(batch, work.device).images, Tensor)]
    return {
        "copy": _ms(work, Feed(work, pictures).evaluation),
        "to the device": _ms(work, lambda: (to_device(batch, work.device) for batch in batches)),
        "to float": _ms(work, lambda: (to_float(images, work.memory) for images in sent)),
        "normalise": _normalising(work, [to_float(images, work.memory) for images in sent]),
    }


def _normalising(work: Workload, images: list[Tensor]) -> float:
    """As a trunk does in fp32."""
    normalisation = Normalisation(work.form, work.device)
    return _ms(work, lambda: (normalisation(batch, batch.dtype) for batch in images))


def _ms(work: Workload, run: Callable[[], Iterable[object]]) -> float:
    """Milliseconds a picture until what `run` gives is exhausted: the processor's, with a GPU the clock's."""
    seconds, now = [], time.perf_counter if work.device.startswith("cuda") else time.process_time
    for _ in range(PASSES):
        iterable = run()
        began = now()
        deque(iterable, maxlen=0)
        wait_for(work.device)
        seconds.append(now() - began)
    return 1000.0 * min(seconds) / len(work)
