"""`hlgp bench data`: this project's loading beside that of others, in one run, on the same pictures."""

from __future__ import annotations

import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import islice
from pathlib import Path
from types import FrameType
from typing import Any

import torch

from hlgp_dist.bench import memory, timing
from hlgp_dist.bench.fed_step import training_step
from hlgp_dist.bench.machine import machine
from hlgp_dist.bench.ours import TRAINING, Cold, Feed, Warm, on_device, open_library
from hlgp_dist.bench.parts import where_time_goes
from hlgp_dist.bench.rivals import image_folder, plain_webdataset
from hlgp_dist.bench.setting import Options, description, prepared
from hlgp_dist.bench.workload import MODES, Contender, Mode, Workload
from hlgp_dist.data.pictures import Pictures
from hlgp_dist.errors import Failure
from hlgp_dist.types import Regions

RIVALS = {"ImageFolder": image_folder, "webdataset": plain_webdataset}
OURS, FIRST = "ours", "first epoch"


def bench_data(options: Options) -> dict[str, Any]:
    """Rates, ratios, where the time goes, memory and a training step; the machine and versions beside them."""
    with _own_folder() as folder, timing.torch_threads(options.workers):
        work = prepared(options, folder)
        with closing(open_library(work, folder / "cache")) as library:
            pictures, tested = library.open(work.selection, work.stored), library.open(work.selection, "scaled")
            rates = {
                mode: _rates(work, mode, tested if MODES[mode] is None else pictures, folder, options.repeats)
                for mode in MODES
            }
            report = {
                "machine": machine(options.device),
                "workload": description(options, work),
                "bytes_per_picture": _bytes(work, pictures),
                "pictures_per_second": rates,
                "compared": {FIRST: TRAINING} | {mode: mode for mode in MODES},
                "ratios": {rival: _ratios(rates, rival) for rival in RIVALS},
                "evaluation_difference": _evaluation_difference(work, tested),
                "memory": _memory(work, pictures, options.epochs),
                "step": training_step(options.spec, work, pictures, options.steps) if options.steps else None,
                "decoded_per_picture": library.counts.decoded / (len({work.stored, "scaled"}) * len(work)),
            }
        return report | {"where_time_goes": where_time_goes(work, folder / "parts")}


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
    with closing(rival):
        theirs, ours = (next(islice(way.epoch(0), 1)) for way in (rival, Warm(work, pictures, "evaluation")))
    order = {sample: place for place, sample in enumerate(theirs.ids.tolist())}
    both = [(place, order[sample]) for place, sample in enumerate(ours.ids.tolist()) if sample in order]
    mine, other = (list(places) for places in zip(*both, strict=True))
    std = torch.tensor(work.form.std, device=work.device).view(1, 3, 1, 1)
    return float(((ours.images[mine] - theirs.images[other]) * std).abs().max())


def _bytes(work: Workload, pictures: Pictures) -> dict[str, float]:
    """Means: of a record in the shards, as stored, and of the region that a training step gets."""
    regions = (batch.images for batch in Feed(work, pictures).training(0))
    moved = sum(region.pixels.numel() for region in regions if isinstance(region, Regions))
    return {
        "read": work.selection.bytes / len(work),
        "stored": float(3 * pictures.shapes.prod(axis=1).mean()),
        "moved": moved / len(work),
    }


def _memory(work: Workload, pictures: Pictures, epochs: int) -> dict[str, Any]:
    feed = Feed(work, pictures)

    def run(epoch: int) -> None:
        for batch in feed.training(epoch):
            on_device(work, batch, epoch)

    return memory.over_epochs(run, epochs)


class Ended(Failure):
    """By SIGTERM."""

    exit_code = 128 + signal.SIGTERM


@contextmanager
def _own_folder() -> Iterator[Path]:
    """A temporary folder that goes away, also when we are asked to end.

    Raises:
        Ended: we were, whatever that looked like where it met us: a rival's loader has its workers' end for an error.
    """
    asked = False

    def end(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        asked = True
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # torch's raises what the loader's workers ended by
        sys.exit()

    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGCHLD)}
    signal.signal(signal.SIGTERM, end)
    try:
        with tempfile.TemporaryDirectory(prefix="hlgp-bench-") as name:
            yield Path(name)
    except (Exception, SystemExit):
        if not asked:
            raise
        raise Ended("ended by SIGTERM; nothing is left of it") from None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
