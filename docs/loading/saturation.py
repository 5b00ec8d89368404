"""What 100 GB of pictures ask of hosts and GPUs, from what `hlgp bench data` measured: the tables of ../loading.md.

    python docs/loading/saturation.py scaled.json full.json

The two files are of `--stored scaled` and `--stored full`. What is assumed beside them stands in capitals.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

DATA_BYTES, TASKS, EPOCHS = 100e9, 10, 20
FORWARD = {"B/16": 32.9e9, "L/16": 119.0e9, "H/14": 326.8e9}
"""FLOP of a picture at 224 px, 2 a multiply-add, for CLS alone (docs/plan.md)."""
TRAINING_PASSES, EVALUATION_PASSES = 2.01, 1.0
"""In forwards: the first task's, when no task is matched; every other one asks for fewer pictures/s."""
MFU = 0.4
GPUS, CORES_PER_GPU, GPUS_PER_HOST = (1, 8, 64, 1024), 12, 8
DISK, NETWORK = 6e9, 12.5e9
"""Bytes/s of a host: NVMe, and 100 Gbit/s to where the shards lie."""
EVALUATED = 224 * 224 * 3


class Accelerator(NamedTuple):
    """flops: bf16, dense, as the maker says; link: bytes/s from the host."""

    name: str
    flops: float
    link: float


ACCELERATORS = (Accelerator("A100", 312e12, 25e9), Accelerator("H100", 989e12, 50e9))


class Form(NamedTuple):
    """Of a picture, as measured: bytes read, stored and moved; one thread's seconds to decode and to copy it."""

    name: str
    read: float
    stored: float
    moved: float
    decode: float
    copy: float
    evaluate: float


def measured(file: str) -> Form:
    """Of a file of `hlgp bench data`."""
    report: dict[str, Any] = json.loads(Path(file).read_text())
    first, evaluation = (report["where_time_goes"][epoch]["parts_ms"] for epoch in ("first epoch", "evaluation"))
    size = report["bytes_per_picture"]
    decode = sum(first[part] for part in ("read", "decode", "resize", "write")) / 1e3
    name = report["workload"]["stored"]
    copies = first["copy"] / 1e3, evaluation["copy"] / 1e3
    return Form(name, size["read"], size["stored"], size["moved"], decode, *copies)


def asked(forms: Sequence[Form]) -> Iterator[list[str]]:
    """A GPU's rows: pictures/s and what they take, in later epochs (each form) and in evaluation."""
    yield ["GPU", "ViT", "phase", "pictures/s", "moved, MB/s", "of its link", "loader threads", "8 GPUs, of a disk"]
    for gpu in ACCELERATORS:
        for model, forward in FORWARD.items():
            training, evaluation = (MFU * gpu.flops / (n * forward) for n in (TRAINING_PASSES, EVALUATION_PASSES))
            phases = [(f"training, {form.name}", training, form.moved, form.copy) for form in forms]
            for phase, rate, moved, copy in [*phases, ("evaluation", evaluation, EVALUATED, forms[0].evaluate)]:
                busy = [f"{100 * rate * moved / limit:.1f} %" for limit in (gpu.link, DISK / GPUS_PER_HOST)]
                needed = f"{rate * copy:.2f}"
                yield [gpu.name, model, phase, f"{rate:,.0f}", f"{rate * moved / 1e6:,.0f}", busy[0], needed, busy[1]]


def cold(form: Form) -> Iterator[list[str]]:
    """A task's first epoch: every host reads and decodes all of it, however many there are."""
    each = ["read a GPU, GB", "decoded a GPU", "moved a GPU and epoch, GB"]
    ready = ["waited for, s", "bound by", "beside training, s"]
    yield ["GPU", "ViT", "GPUs", "read by all hosts, GB", *each, *ready, "20 epochs, s", "hidden"]
    for gpu in ACCELERATORS:
        for model, forward in FORWARD.items():
            for gpus in GPUS:
                rate = gpus * MFU * gpu.flops / (TRAINING_PASSES * forward)
                yield [gpu.name, model, f"{gpus:,}", *_task(form, rate, gpus)]


def _task(form: Form, rate: float, gpus: int) -> list[str]:
    """Waited for, a rank decodes with its share of the cores; beside the task before with one thread."""
    pictures, ranks = DATA_BYTES / TASKS / form.read, min(gpus, GPUS_PER_HOST)
    limits = {
        "cores": pictures * form.decode / (CORES_PER_GPU * ranks),
        "network": pictures * form.read / NETWORK,
        "disk": pictures * form.stored / DISK,
    }
    first = max(limits, key=lambda name: limits[name])
    beside, train = max(pictures * form.decode / ranks, limits[first]), EPOCHS * pictures / rate
    read = -(-gpus // GPUS_PER_HOST) * pictures * form.read / 1e9
    each = [f"{read / gpus:,.2f}", f"{pictures / ranks:,.0f}", f"{pictures * form.moved / gpus / 1e9:,.3f}"]
    times = [f"{limits[first]:.1f}", first, f"{beside:,.1f}", f"{train:,.1f}"]
    return [f"{read:,.0f}", *each, *times, "all" if beside < train else f"{100 * train / beside:.0f} %"]


def kept(forms: Sequence[Form]) -> Iterator[list[str]]:
    """What all of it takes up, once decoded."""
    yield ["stored", "read, kB", "stored, kB", "moved, kB", "decoding, ms a core", "all pictures", "stored in all, GB"]
    for form in forms:
        pictures = DATA_BYTES / form.read
        sizes = [f"{size / 1e3:.0f}" for size in (form.read, form.stored, form.moved)]
        decode, total = f"{1e3 * form.decode:.2f}", f"{pictures * form.stored / 1e9:,.0f}"
        yield [form.name, *sizes, decode, f"{pictures:,.0f}", total]


def table(rows: Iterable[Sequence[str]]) -> str:
    """As Markdown."""
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * lines[0].count(" | ") + "---|", *lines[1:]])


def main() -> None:
    forms = [measured(file) for file in sys.argv[1:]]
    print("\n\n".join(map(table, (kept(forms), asked(forms), cold(forms[0])))))


if __name__ == "__main__":
    main()
