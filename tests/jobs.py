"""Whole runs small enough for a test: drawn pictures of ten classes, and a configuration of five tasks."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from hlgp_dist.config.load import resolve
from hlgp_dist.config.schema import RunConfig
from hlgp_dist.contract.rehearsal import TINY
from hlgp_dist.data.cache import Cache
from hlgp_dist.data.library import Library
from hlgp_dist.data.manifest_reading import read_manifest
from hlgp_dist.data.opening import open_place
from hlgp_dist.data.picture import Form, as_evaluated
from hlgp_dist.data.pictures import Pictures
from hlgp_dist.data.selection import Selection
from hlgp_dist.telemetry.journal import read_events
from hlgp_dist.train.folder import RunFolder
from hlgp_dist.types import PictureSize

WITHOUT_GRADIENTS = (
    "alignment.kind=none",
    *("train.epochs=20", "train.global_batch_size=128", "optimizer.prompt_lr=0.003", "optimizer.head_lr=0.003"),
    "data.augmentation.crop_scale=0.5",
)
"""What a job of a method that takes none may say: the defaults."""

CLASSES = tuple("abcdefghij")
TRAIN_PICTURES = (13, 10, 9, 12, 14, 11, 10, 13, 12, 9)
TEST_PICTURES = 5


def draw_pictures(root: Path) -> Path:
    """A folder of classes, uneven in number: each class a colour pattern under noise, so that it can be learned."""
    random = np.random.default_rng(7)
    for name, train in zip(CLASSES, TRAIN_PICTURES, strict=True):
        pattern = random.uniform(40, 215, (4, 4, 3)).repeat(8, 0).repeat(8, 1)
        for split, count in (("train", train), ("test", TEST_PICTURES)):
            (root / split / name).mkdir(parents=True)
            for index in range(count):
                pixels = pattern + random.normal(0, 20, pattern.shape)
                Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(root / split / name / f"{index}.png")
    return root


def job(shards: Path, folder: Path, *overrides: str) -> RunConfig:
    """Five tasks of two classes, batches of 16 with a smaller last one, fp32, every step logged; run: `folder`."""
    values: dict[str, Any] = {
        "run": {"dir": str(folder.parent), "name": folder.name},
        "data": {"path": str(shards), "cache_dir": str(shards.parent / "stores"), "augmentation": {"crop_scale": 0.8}},
        "benchmark": {"init_cls": 2, "increment": 2},
        "backbone": TINY.model_dump(mode="json", include={"name", "weights", "img_size", "kwargs"}),
        "method": {"prompt_length": 2, "generator": {"kind": "bottleneck", "rank": 4}},
        "alignment": {"kind": "diagonal"},
        "train": {"epochs": 3, "global_batch_size": 16},
        "optimizer": {"prompt_lr": 0.01, "head_lr": 0.05},
        "engine": {"precision": "fp32", "timeout_seconds": 60},
        "telemetry": {"log_every_steps": 1, "progress": False},
    }
    return resolve(values, overrides).config


def opened(
    shards: Path | str, selection: Selection, size: PictureSize, cache: Path | str, form: Form = "scaled"
) -> Pictures:
    """A selection's pictures, as a run opens them."""
    return Library(open_place(shards), read_manifest(shards), size, Cache(cache, None)).open(selection, form)


def evaluated(pictures: Pictures) -> Tensor:
    """All of them as the model sees them: uint8 [N, 3, S, S]."""
    arrays = [as_evaluated(pictures[sample], pictures.size, pictures.form) for sample in range(len(pictures))]
    return torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2)


def written(config: RunConfig, path: Path) -> Path:
    """The configuration as a file, for the command line; JSON is YAML."""
    path.write_text(json.dumps(config.model_dump(mode="json", exclude_defaults=True)))
    return path


def step_values(folder: RunFolder, tag: str = "train/loss") -> dict[int, float]:
    """What metrics.jsonl holds of a tag, by global step."""
    events = [event for event in read_events(folder.path / "metrics.jsonl") if tag in event.tags]
    values = {event.step: event.tags[tag] for event in events}
    assert len(values) == len(events), "a step stands there twice"
    return values


def as_it_was(folder: RunFolder, path: Path, at: str) -> RunFolder:
    """A copy of a run at `path`, as it was when its checkpoint `at` was the newest."""
    shutil.copytree(folder.path, path)
    copy = RunFolder(path)
    copy.result.unlink()
    copy.matrix.unlink()
    for checkpoint in copy.checkpoints.iterdir():
        if checkpoint.name > at:
            shutil.rmtree(checkpoint)
    return copy
