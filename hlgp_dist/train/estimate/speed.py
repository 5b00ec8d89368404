"""How fast a device is taken to be: measured pictures a second, or a peak times a part of it that is stated."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hlgp_dist.errors import ConfigError
from hlgp_dist.train.estimate.devices import DeviceSheet

MFU = 0.4
"""Assumed: the part of its peak that a GPU reaches on a ViT's matrix products. docs/plan.md, "Assumed"."""
RATES = ("train_images_per_second", "eval_images_per_second")
BENCH = (*RATES, "gemm_peak_flops", "mfu")
"""Numbers of a bench's file: pictures a second of one device, FLOP/s of its matrix products, and the part reached."""


@dataclass(frozen=True)
class Speed:
    """Of one device. train, test: pictures a second where they were measured; flops: FLOP/s sustained, else."""

    told: str
    train: float | None = None
    test: float | None = None
    flops: float | None = None

    def training_seconds(self, pictures: float, flops: float) -> float:
        """Of one device for them all."""
        return pictures / self.train if self.train is not None else flops / self._sustained(pictures, flops)

    def test_seconds(self, pictures: float, flops: float, train_flops: float) -> float:
        """train_flops: of a training picture, by which its measured rate becomes FLOP/s."""
        if self.test is not None:
            return pictures / self.test
        if self.flops is None and self.train is not None and train_flops:
            return flops / (self.train * train_flops)
        return flops / self._sustained(pictures, flops)

    def _sustained(self, pictures: float, flops: float) -> float:
        if self.flops is None and flops:
            raise ConfigError(
                "--bench: has neither eval_images_per_second nor gemm_peak_flops and mfu for what is tested"
            )
        return self.flops or 1.0

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def speed_of_device(sheet: DeviceSheet, precision: str, mfu: float | None) -> Speed:
    """By its data sheet."""
    part, peak = MFU if mfu is None else mfu, sheet.peak(precision)
    told = f"{sheet.name}: {100 * part:g} % (assumed) of its {peak / 1e12:g} TFLOP/s in {precision} ({sheet.source})"
    if sheet.lacks_bf16 and precision == "bf16":
        told += "; it has no bf16 of its own: far slower than this"
    return Speed(told, flops=part * peak)


def speed_of_bench(file: Path, mfu: float | None) -> Speed:
    """By what `hlgp bench step` measured.

    Raises:
        ConfigError: the file cannot be read or holds nothing to go by.
    """
    found = _numbers(file)
    train, test = (found.get(name) for name in RATES)
    peak, part = found.get("gemm_peak_flops"), mfu if mfu is not None else found.get("mfu")
    flops = peak * part if peak is not None and part is not None else None
    if train is None and flops is None:
        raise ConfigError(f"--bench {file}: needs train_images_per_second, or gemm_peak_flops and mfu")
    shown = ", ".join(f"{name} {found[name]:.4g}" for name in BENCH if name in found)
    return Speed(f"{file}: {shown}", train, test, flops)


def _numbers(file: Path) -> dict[str, float]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"--bench {file}: cannot be read as JSON ({error})") from error
    if not isinstance(found, Mapping):
        raise ConfigError(f"--bench {file}: must be an object with some of {', '.join(BENCH)}")
    numbers = {name: found[name] for name in BENCH if found.get(name) is not None}
    for name, value in numbers.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
            raise ConfigError(f"--bench {file}: {name} = {value!r} must be a number above 0")
    return numbers
