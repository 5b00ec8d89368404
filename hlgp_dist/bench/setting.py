"""From the flags of `hlgp bench data` to what is loaded: the pictures, shards of them, and how the model wants them."""

from __future__ import annotations

from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from hlgp_dist.bench.drawing import draw_folder
from hlgp_dist.bench.workload import MODES, Workload
from hlgp_dist.config.schema import Backbone
from hlgp_dist.cores import usable_cores
from hlgp_dist.data.picture import Form
from hlgp_dist.data.selection import select
from hlgp_dist.errors import ConfigError
from hlgp_dist.models.backbone import meta_trunk
from hlgp_dist.shards.extent import Extent
from hlgp_dist.shards.listing import SUFFIXES, Picture, in_order
from hlgp_dist.shards.shard import shard_pictures
from hlgp_dist.types import TaskSpec

SHARDS_A_WORKER = 8
"""So that no worker of webdataset waits long for the last one."""

PICTURES, PIXELS = 1000, 500
BACKBONES = {"cpu": "vit_tiny_patch16_224", "cuda": "vit_base_patch16_224"}


@dataclass(frozen=True)
class Options:
    """Of the verb. source: class folders, None: `pictures` are drawn; steps: of a real training step, 0: none."""

    source: Path | None
    pictures: int
    pixels: int
    backbone: str
    size: int | None
    stored: Form
    batch_size: int
    workers: int
    repeats: int
    epochs: int
    steps: int
    device: str

    @property
    def spec(self) -> Backbone:
        """Random weights: they take the time of others."""
        return Backbone(name=self.backbone, weights="none", img_size=self.size)


def options_of(
    *,
    source: Path | None,
    pictures: int | None,
    pixels: int | None,
    backbone: str | None,
    workers: int | None,
    **others: Any,
) -> Options:
    """With this machine's defaults for what is None.

    Raises:
        ConfigError: an option without effect, or a folder that is none.
    """
    if source is not None:
        for flag, value in (("--pictures", pictures), ("--pixels", pixels)):
            if value is not None:
                raise ConfigError(f"{flag}={value}: nothing is drawn where --from gives a folder")
        if not source.is_dir():
            raise ConfigError(f"--from={source}: no such folder")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return Options(
        source=source,
        pictures=pictures or PICTURES,
        pixels=pixels or PIXELS,
        backbone=backbone or BACKBONES[device],
        workers=workers or usable_cores(),
        device=device,
        **others,
    )


def prepared(options: Options, folder: Path) -> Workload:
    """The pictures, drawn into `folder` if need be, and their shards there."""
    pictures = options.source or folder / "pictures"
    if options.source is None:
        draw_folder(pictures, pictures=options.pictures, pixels=options.pixels, workers=options.workers)
    entries = [_entry(file, pictures) for file in pictures.glob("*/**/*") if file.suffix.lower() in SUFFIXES]
    shard_bytes = sum(entry.extent.size for entry in entries) // (SHARDS_A_WORKER * options.workers) + 1
    with closing(in_order(entries, pictures)) as listing:
        manifest = shard_pictures(listing, folder / "shards", shard_bytes=shard_bytes)
    return Workload(
        pictures=pictures,
        shards=folder / "shards",
        manifest=manifest,
        selection=select(manifest, TaskSpec(0, 0, manifest.classes), "train", 0.0),
        form=meta_trunk(options.spec).input_format,
        stored=options.stored,
        batch_size=options.batch_size,
        workers=options.workers,
        device=options.device,
    )


def _entry(file: Path, pictures: Path) -> Picture:
    class_name, *parts = file.relative_to(pictures).parts
    return Picture("train", class_name, "/".join(parts), Extent.whole(file))


def description(options: Options, work: Workload) -> dict[str, Any]:
    """What a rate is a rate of."""
    split = work.manifest.splits[work.selection.split]
    return {
        "pictures": len(work),
        "source": "drawn" if options.source is None else "given",
        "widest": int(split.width.max()),
        "highest": int(split.height.max()),
        **asdict(work.form.size),
        "augmentations": {mode: None if of is None else of.model_dump() for mode, of in MODES.items()},
        "stored": work.stored,
        "batch_size": work.batch_size,
        "workers": work.workers,
        "repeats": options.repeats,
        "device": work.device,
    }
