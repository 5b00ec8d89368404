"""`hlgp bench data`: this project's loading beside that of others, in one run, on the same pictures."""

from __future__ import annotations

import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from hlgp_dist.bench import memory, timing
from hlgp_dist.bench.drawing import draw_folder
from hlgp_dist.bench.machine import machine
from hlgp_dist.bench.ours import TRAINING, Cold, Warm, on_device, open_library, training
from hlgp_dist.bench.parts import where_time_goes
from hlgp_dist.bench.rivals import image_folder, plain_webdataset
from hlgp_dist.bench.step import training_step
from hlgp_dist.bench.workload import MODES, Contender, Mode, Workload
from hlgp_dist.config.schema import Backbone
from hlgp_dist.data.manifest import read_manifest
from hlgp_dist.data.picture import Form
from hlgp_dist.data.pictures import Pictures
from hlgp_dist.data.selection import select
from hlgp_dist.data.shard import shard
from hlgp_dist.models.backbone import meta_trunk
from hlgp_dist.types import TaskSpec

RIVALS = {"ImageFolder": image_folder, "webdataset": plain_webdataset}
OURS, FIRST = "ours", "first epoch"
SHARDS_A_WORKER = 8
"""So that no worker of webdataset waits long for the last one."""


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


def bench_data(options: Options) -> dict[str, Any]:
    """Rates, ratios, where the time goes, memory and a training step; the machine and versions beside them."""
    with _own_folder() as folder, timing.torch_threads(options.workers):
        work = _workload(options, folder)
        library = open_library(work, folder / "cache")
        pictures, tested = library.open(work.selection, work.stored), library.open(work.selection, "scaled")
        rates = {
            mode: _rates(work, mode, tested if MODES[mode] is None else pictures, folder, options.repeats)
            for mode in MODES
        }
        report = {
            "machine": machine(options.device),
            "workload": _description(options, work),
            "pictures_per_second": rates,
            "compared": {FIRST: TRAINING} | {mode: mode for mode in MODES},
            "ratios": {rival: _ratios(rates, rival) for rival in RIVALS},
            "evaluation_difference": _evaluation_difference(work, tested),
            "memory": memory.over_epochs(lambda epoch: _run(work, pictures, epoch), options.epochs),
            "step": training_step(_backbone(options), work, pictures, options.steps) if options.steps else None,
            "decoded_per_picture": library.counts.decoded / (len({work.stored, "scaled"}) * len(work)),
        }
        library.close()
        return report | {"where_time_goes": where_time_goes(work, folder / "parts")}


def _workload(options: Options, folder: Path) -> Workload:
    (folder / "source").mkdir()
    pictures = folder / "source" / "train"
    if options.source is None:
        draw_folder(pictures, pictures=options.pictures, pixels=options.pixels, workers=options.workers)
    else:
        pictures.symlink_to(options.source.resolve(), target_is_directory=True)
    size = sum(file.stat().st_size for file in pictures.rglob("*") if file.is_file())
    shard(folder / "source", folder / "shards", shard_bytes=size // (SHARDS_A_WORKER * options.workers) + 1)
    manifest = read_manifest(folder / "shards")
    return Workload(
        pictures=pictures,
        shards=folder / "shards",
        manifest=manifest,
        selection=select(manifest, TaskSpec(0, 0, manifest.classes), "train", 0.0),
        form=meta_trunk(_backbone(options)).input_format,
        stored=options.stored,
        batch_size=options.batch_size,
        workers=options.workers,
        device=options.device,
    )


def _backbone(options: Options) -> Backbone:
    return Backbone(name=options.backbone, weights="none", img_size=options.size)


def _rates(work: Workload, mode: Mode, pictures: Pictures, folder: Path, repeats: int) -> dict[str, float]:
    """Pictures/s of every contender."""
    contenders: dict[str, Contender] = {name: rival(work, mode) for name, rival in RIVALS.items()}
    contenders[OURS] = Warm(work, pictures, mode)
    if mode == TRAINING:
        contenders[FIRST] = Cold(work, folder / "cold")
    try:
        return timing.rates(contenders, len(work), repeats=repeats, device=work.device)
    finally:
        for contender in contenders.values():
            contender.close()


def _ratios(rates: dict[Mode, dict[str, float]], rival: str) -> dict[str, float]:
    first = {FIRST: rates[TRAINING][FIRST] / rates[TRAINING][rival]}
    return first | {mode: of_mode[OURS] / of_mode[rival] for mode, of_mode in rates.items()}


def _evaluation_difference(work: Workload, pictures: Pictures) -> float:
    """Of the pictures as ours and ImageFolder give them to the model in 0 .. 1, the largest in a batch."""
    rival = image_folder(work, "evaluation")
    theirs, ours = (next(islice(way.epoch(0), 1)) for way in (rival, Warm(work, pictures, "evaluation")))
    rival.close()
    order = {sample: place for place, sample in enumerate(theirs.ids.tolist())}
    both = [(place, order[sample]) for place, sample in enumerate(ours.ids.tolist()) if sample in order]
    mine, other = (list(places) for places in zip(*both, strict=True))
    std = torch.tensor(work.form.std, device=work.device).view(1, 3, 1, 1)
    return float(((ours.images[mine] - theirs.images[other]) * std).abs().max())


def _run(work: Workload, pictures: Pictures, epoch: int) -> None:
    for batch in training(work, pictures, epoch):
        on_device(work, batch, epoch)


def _description(options: Options, work: Workload) -> dict[str, Any]:
    split, size = work.manifest.splits["train"], work.form.size
    return {
        "pictures": len(work),
        "source": "drawn" if options.source is None else "given",
        "pixels": [int(split.width.max()), int(split.height.max())],
        "file_bytes": float(split.size.mean()),
        "size": size.size,
        "crop_pct": size.crop_pct,
        "interpolation": size.interpolation,
        "augmentations": {mode: None if of is None else of.model_dump() for mode, of in MODES.items()},
        "stored": work.stored,
        "batch_size": work.batch_size,
        "workers": work.workers,
        "repeats": options.repeats,
        "device": work.device,
    }


@contextmanager
def _own_folder() -> Iterator[Path]:
    """A temporary folder that goes away, also when we are asked to end."""
    before = signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        with tempfile.TemporaryDirectory(prefix="hlgp-bench-") as name:
            yield Path(name)
    finally:
        signal.signal(signal.SIGTERM, before)
