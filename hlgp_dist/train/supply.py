"""A run's pictures, task by task: opened alike on every rank, the bad ones left out, the next ones prepared."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np
import torch

from hlgp_dist.config.places import is_remote
from hlgp_dist.config.schema import Data, RunConfig, ShardData
from hlgp_dist.cores import usable_cores
from hlgp_dist.data.cache import Cache
from hlgp_dist.data.drawn import drawn_manifest
from hlgp_dist.data.library import Library
from hlgp_dist.data.manifest import Manifest
from hlgp_dist.data.manifest_reading import fetch_manifest
from hlgp_dist.data.opening import open_place
from hlgp_dist.data.patience import LASTING, Patience
from hlgp_dist.data.picture import Form
from hlgp_dist.data.pictures import Pictures
from hlgp_dist.data.recipe import Recipe
from hlgp_dist.data.selection import Part, Selection, sample, selected
from hlgp_dist.data.source import BadSample
from hlgp_dist.engine.collectives import gather_text, reduce_sum
from hlgp_dist.errors import DataError
from hlgp_dist.types import PictureSize, TaskSpec, World

log = logging.getLogger("hlgp_dist")
GB = 10**9

Skipped = dict[str, str | int]
"""`task`, and of the bad sample `key`, `shard` and `reason`."""


class Training(NamedTuple):
    """A task's training pictures without the skipped ones; bytes_read: see `Opened`; seconds: waited for them;
    decoded: by this rank meanwhile."""

    pictures: Pictures
    skipped: list[Skipped]
    bytes_read: int
    seconds: float
    decoded: int


class Supply:
    """Of one rank. Every rank calls every method but `prepare` equally often."""

    def __init__(self, config: RunConfig, manifest: Manifest, size: PictureSize, world: World) -> None:
        data = config.data
        self._config, self._manifest = config, manifest
        self._told = 0
        self._library = Library(
            open_place(data.path, LASTING) if isinstance(data, ShardData) else None,
            manifest,
            size,
            cache_of(data),
            workers=data.decode_workers or max(1, usable_cores() // world.host_size),
            keeps_bad=isinstance(data, ShardData) and data.on_error == "skip",
        )

    def selection(self, task: TaskSpec, part: Part) -> Selection:
        """The samples of a task."""
        return selected(self._config, self._manifest, task, part)

    def training(self, task: TaskSpec) -> Training:
        """The same on every rank, however their hosts differ.

        Raises:
            BadSample: there is one, and `data.on_error` is fail.
            DataError: more than `data.max_bad_fraction` are bad, or all of a class.
        """
        began, before = time.monotonic(), self._library.counts.decoded
        selection = self.selection(task, "train")
        opened = self._library.inspect(selection, self._form("train"))
        bad = _of_all_ranks(opened.bad)
        seconds, decoded = time.monotonic() - began, self._library.counts.decoded - before
        skipped: list[Skipped] = [{"task": task.index, **told} for told in bad.values()]
        pictures = opened.pictures.without(bad)
        self._check(task, skipped, len(selection), pictures)
        return Training(pictures, skipped, opened.bytes_read, seconds, decoded)

    def evaluation(self, task: TaskSpec, part: Part, fraction: float | None) -> Pictures:
        """All of them, or that part of each class.

        Raises:
            BadSample: there is one.
        """
        whole = self.selection(task, part)
        chosen = whole if fraction is None else sample(self._manifest, whole, fraction)
        return self._library.open(chosen, self._form(part))

    def prepare(self, wanted: Iterable[tuple[TaskSpec, Part]]) -> None:
        """In the background, in this order."""
        for task, part in wanted:
            self._library.prepare(self.selection(task, part), self._form(part))

    def decoded_by_all(self) -> int:
        """Pictures that the run's ranks have decoded since the last call."""
        decoded = self._library.counts.decoded
        since, self._told = decoded - self._told, decoded
        return int(reduce_sum(torch.tensor(since)))

    def activity(self) -> object:
        """Changes while pictures are decoded, by this rank or by whomever it waits for on this host."""
        return self._library.activity()

    def close(self) -> None:
        """Leave off preparing."""
        self._library.close()

    def _form(self, part: Part) -> Form:
        return self._config.data.stored if part == "train" else "scaled"

    def _check(self, task: TaskSpec, skipped: list[Skipped], pictures: int, good: Pictures) -> None:
        if not skipped:
            return
        assert isinstance(self._config.data, ShardData), "what is drawn is good"
        most = self._config.data.max_bad_fraction
        first = "first {shard}: sample {key}: {reason}".format(**skipped[0])
        if len(skipped) > most * pictures:
            raise DataError(
                f"data.max_bad_fraction={most}: {len(skipped)} of the {pictures} training pictures of task "
                f"{task.index} are bad, {first}"
            )
        left = np.bincount(good.labels - task.start, minlength=len(task.classes))
        for name in np.array(task.classes)[left == 0]:
            raise DataError(f"data.on_error: skip leaves class {str(name)!r} without a training picture, {first}")


def _of_all_ranks(bad: Mapping[int, BadSample]) -> dict[int, dict[str, str]]:
    """What any rank cannot use, by sample id; hosts may differ, but do not as a rule, and a thousand texts are long."""
    found = {sample: {"key": each.key, "shard": each.shard, "reason": each.reason} for sample, each in bad.items()}
    mine = json.dumps(found, sort_keys=True)
    if len(set(gather_text(hashlib.sha256(mine.encode()).hexdigest()))) > 1:
        for text in reversed(gather_text(mine)):
            found |= {int(sample): told for sample, told in json.loads(text).items()}
    return dict(sorted(found.items()))


def manifest_of(config: RunConfig, patience: Patience | None = None) -> Manifest:
    """Of `data.path`, a remote one by way of the host's cache, or of what is drawn. Whether every shard is there is the
    preflight's to ask: a thousand ranks would ask a thousand times.
    """
    data = config.data
    if not isinstance(data, ShardData):
        recipe = Recipe(data.classes, data.train_per_class, data.test_per_class, data.size, data.seed)
        return drawn_manifest(recipe)
    cache = cache_of(data) if is_remote(data.path) else None
    return fetch_manifest(data.path, cache=cache, patience=patience)


def cache_of(data: Data) -> Cache:
    """The host's."""
    return Cache(data.cache_dir, None if data.cache_limit_gb is None else int(data.cache_limit_gb * GB))
