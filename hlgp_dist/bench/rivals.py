"""What most training code does: torchvision's ImageFolder, and plain webdataset with PIL, a worker process a core.

Both get what helps them: workers that live on between epochs, pinned memory for a GPU, shards enough for all workers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import webdataset
from torch import Tensor
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder

from hlgp_dist.bench.workload import MODES, Finished, Mode, Workload
from hlgp_dist.data.crops import ASPECT_RATIOS
from hlgp_dist.models.input import InputFormat

SHUFFLED = 1000
"""Samples in webdataset's shuffle buffer."""


def recipe(mode: Mode, form: InputFormat) -> transforms.Compose:
    """PIL picture to normalised float32 [3, S, S], as torchvision's reference training and timm's evaluation do."""
    size, augmentation = form.size, MODES[mode]
    interpolation = transforms.InterpolationMode(size.interpolation)
    finish = [transforms.ToTensor(), transforms.Normalize(form.mean, form.std)]
    if augmentation is None:
        scaled = math.floor(size.size / size.crop_pct)
        edges = (scaled, scaled) if size.crop_mode == "squash" else scaled
        resize = transforms.Resize(edges, interpolation)
        return transforms.Compose([resize, transforms.CenterCrop(size.size), *finish])
    scale = (augmentation.crop_scale, 1.0)
    crop = transforms.RandomResizedCrop(size.size, scale, ASPECT_RATIOS, interpolation=interpolation)
    parts: list[Callable[[Any], Any]] = [crop, *([transforms.RandomHorizontalFlip()] if augmentation.flip else [])]
    if (jitter := augmentation.jitter) is not None:
        parts += [transforms.ColorJitter(jitter.brightness, jitter.contrast, jitter.saturation, jitter.hue)]
    return transforms.Compose([*parts, *finish])


class _Folder(ImageFolder):  # type: ignore[misc]
    """ImageFolder that says which picture it gives, by its place in `samples`."""

    def __getitem__(self, index: int) -> tuple[Any, int]:
        return super().__getitem__(index)[0], index


class Rival:
    """A loader of (images, ids), and the ids' meaning."""

    def __init__(self, loader: Any, ids: Tensor, device: str) -> None:
        self._loader, self._ids, self._device = loader, ids, device

    def epoch(self, number: int) -> Iterator[Finished]:
        for images, ids in self._loader:
            yield Finished(images.to(self._device, non_blocking=True), self._ids[ids])

    def close(self) -> None:
        """The worker processes end with their loader."""
        del self._loader


def image_folder(work: Workload, mode: Mode) -> Rival:
    """torchvision's ImageFolder in torch's DataLoader, shuffled but for evaluation."""
    folder = _Folder(str(work.pictures), recipe(mode, work.form))
    loader: DataLoader[Any] = DataLoader(
        folder, work.batch_size, shuffle=MODES[mode] is not None, **_loader_options(work)
    )
    files = [(folder.classes[label], Path(path).relative_to(work.pictures)) for path, label in folder.samples]
    in_order = sorted(range(len(files)), key=lambda place: (files[place][0], files[place][1].as_posix()))
    ids = torch.empty(len(files), dtype=torch.int64)
    ids[in_order] = torch.arange(len(files))  # the manifest's order, see `listing`
    return Rival(loader, ids, work.device)


def plain_webdataset(work: Workload, mode: Mode) -> Rival:
    """The same tars as ours through webdataset's own stages; every worker reads shards of its own."""
    split = work.manifest.splits["train"]
    shards = [str(work.shards / shard.name) for shard in split.shards]
    ids = {key.decode(): position for position, key in enumerate(split.key.tolist())}
    dataset = webdataset.WebDataset(shards, shardshuffle=len(shards) if MODES[mode] is not None else False)
    if MODES[mode] is not None:
        dataset = dataset.shuffle(SHUFFLED)
    dataset = dataset.decode("pil").to_tuple("jpg;jpeg;png", "__key__")
    dataset = dataset.map_tuple(recipe(mode, work.form), ids.__getitem__).batched(work.batch_size)
    loader = webdataset.WebLoader(dataset, batch_size=None, **_loader_options(work))
    return Rival(loader, torch.arange(len(work)), work.device)


def _loader_options(work: Workload) -> dict[str, Any]:
    return {"num_workers": work.workers, "persistent_workers": True, "pin_memory": work.device.startswith("cuda")}
