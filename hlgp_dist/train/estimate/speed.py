"""How fast a device is taken to be: measured pictures a second, or a peak times a part of it that is stated."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from hlgp_dist.config.merge import value_at
from hlgp_dist.config.schema import RunConfig
from hlgp_dist.errors import ConfigError
from hlgp_dist.train.estimate.devices import PRECISIONS, DeviceSheet

MFU = 0.4
"""Assumed: the part of its peak that a GPU reaches on a ViT's matrix products. docs/plan.md, "Assumed"."""
RATES = ("train_images_per_second", "eval_images_per_second")
BENCH = (*RATES, "gemm_peak_flops", "mfu")
"""Numbers of a bench's file: pictures a second of one device, FLOP/s of its matrix products, and the part reached."""
MOST = {"mfu": 4.0}
"""8 bits against a peak of 16 may pass 1; 40 is a percentage."""
KERNELS = ("engine.precision", "engine.compile")
"""What FLOP/s hang on: has to be the same in what was measured and what is planned."""


@dataclass(frozen=True)
class Speed:
    """Of one device. train, test: pictures a second where they were measured, of the run that they were measured on.

    flops: else FLOP/s sustained, by `engine.precision`; test_flops: those of tests, where they differ.
    """

    told: str
    train: float | None = None
    test: float | None = None
    flops: Mapping[str, float] = field(default_factory=dict)
    test_flops: Mapping[str, float] = field(default_factory=dict)

    def training_seconds(self, pictures: float, flops: float, precision: str) -> float:
        """Of one device for them all."""
        return pictures / self.train if self.train is not None else _seconds(flops, self.flops, precision)

    def test_seconds(self, pictures: float, flops: float, train_flops: float, precision: str) -> float:
        """train_flops: of a training picture, by which its measured rate becomes FLOP/s."""
        if self.test is not None:
            return pictures / self.test
        if not self.flops and self.train is not None and train_flops:
            return flops / (self.train * train_flops)
        return _seconds(flops, {**self.flops, **self.test_flops}, precision)

    def in_flops(self, precision: str, train_flops: float, test_flops: float) -> Speed:
        """Measured rates as FLOP/s, for runs whose pictures cost otherwise; precision, FLOPs: of what was measured."""
        if self.train is None and self.test is None:
            return self
        flops = {precision: self.train * train_flops} if self.train and train_flops else self.flops
        tests = {precision: self.test * test_flops} if self.test and test_flops else self.flops
        told = f"{self.told}, by the FLOPs of the configuration's own run"
        return replace(self, told=told, train=None, test=None, flops=flops, test_flops=tests)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def _seconds(flops: float, sustained: Mapping[str, float], precision: str) -> float:
    if not flops:
        return 0.0
    if not sustained:
        raise ConfigError("--bench: has neither a rate nor gemm_peak_flops and mfu for a part of what is planned")
    if precision not in sustained:
        raise ConfigError(
            f"--bench: is taken as measured in {', '.join(sustained)}, not in engine.precision={precision}"
        )
    return flops / sustained[precision]


def speed_of_device(sheet: DeviceSheet, mfu: float | None) -> Speed:
    """By its data sheet."""
    part, peaks = MFU if mfu is None else mfu, {precision: sheet.peak(precision) for precision in PRECISIONS}
    shown = ", ".join(f"{peak / 1e12:g} in {precision}" for precision, peak in peaks.items())
    told = f"{sheet.name}: {100 * part:g} % (assumed) of its TFLOP/s, {shown} ({sheet.source})"
    if sheet.lacks_bf16:
        told += "; it has no bf16 of its own, which is far slower than this"
    return Speed(told, flops={precision: part * peak for precision, peak in peaks.items()})


def speed_of_bench(file: Path, config: RunConfig, mfu: float | None) -> Speed:
    """By a file of `hlgp bench step` the FLOP/s of what it measured, by one without its configuration the rates there.

    Raises:
        ConfigError: the file cannot be read, holds nothing to go by, or is of other kernels.
    """
    document, precision = _document(file), str(config.engine.precision)
    found = _numbers(file, document)
    peak, part = (found.get(name) for name in ("gemm_peak_flops", "mfu"))
    if "config" in document:
        _check_kernels(file, document["config"], config.model_dump(mode="json"))
    if mfu is not None:
        if peak is None:
            raise ConfigError(f"--mfu={mfu:g}: is a part of gemm_peak_flops, which {file} has not")
        return Speed(f"{file}: {mfu:g} (stated) of gemm_peak_flops {peak:.4g}", flops={precision: peak * mfu})
    if "config" in document:
        return _sustained(file, document, found, precision)
    train, test = (found.get(name) for name in RATES)
    flops = {precision: peak * part} if peak is not None and part is not None else {}
    if train is None and not flops:
        raise ConfigError(f"--bench {file}: needs train_images_per_second, or gemm_peak_flops and mfu")
    shown = ", ".join(f"{name} {found[name]:.4g}" for name in BENCH if name in found)
    return Speed(f"{file}: {shown}", train, test, flops)


def _check_kernels(file: Path, measured: object, planned: Mapping[str, Any]) -> None:
    for key in KERNELS:
        theirs, ours = (value_at(values, key.split(".")) for values in (measured, planned))
        if theirs != ours:
            raise ConfigError(
                f"--bench {file}: was measured with {key} = {theirs}, and {ours} is planned; "
                "measure that by `hlgp bench step`"
            )
    if value_at(measured, ("engine", "checkpoint_blocks")) != "none":
        raise ConfigError(f"--bench {file}: measure with engine.checkpoint_blocks = none; plans count what all adds")


def _sustained(file: Path, document: Mapping[str, Any], found: Mapping[str, float], precision: str) -> Speed:
    """Pictures a second times the FLOPs of such a picture."""
    flops = {}
    for rate, phase in zip(RATES, ("train", "eval"), strict=True):
        needed = value_at(document, ("flops_per_image", phase))
        if rate in found and isinstance(needed, int | float):
            flops[phase] = found[rate] * needed
    if not flops:
        raise ConfigError(
            f"--bench {file}: has no rates with their flops_per_image; give the JSON of `hlgp bench step`"
        )
    backbone = value_at(document, ("config", "backbone", "name"))
    shown = ", ".join(f"{flop / 1e12:.3g} TFLOP/s ({phase})" for phase, flop in flops.items())
    train, test = ({precision: flops[phase]} if phase in flops else {} for phase in ("train", "eval"))
    return Speed(f"{file}: {shown}, measured on {backbone}", flops=train, test_flops=test)


@dataclass(frozen=True)
class Bench:
    """FLOP/s of a device: of its matrix products alone, and what training came to; None is what is not known."""

    peak: float
    sustained: float | None
    precision: str | None = None

    def is_of(self, precision: str) -> bool:
        """Whether it says anything of runs in that precision."""
        return self.precision in (None, precision)


def read_bench(file: Path) -> Bench:
    """Raises:
    ConfigError: the file cannot be read or has no peak.
    """
    document = _document(file)
    found = _numbers(file, document)
    peak, part = found.get("gemm_peak_flops"), found.get("mfu")
    if peak is None:
        raise ConfigError(f"--bench {file}: has no gemm_peak_flops; give the JSON of `hlgp bench step`")
    precision = value_at(document, ("config", "engine", "precision"))
    return Bench(peak, None if part is None else part * peak, precision)


def _document(file: Path) -> Mapping[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(f"--bench {file}: no such file") from error
    except (OSError, ValueError) as error:
        raise ConfigError(f"--bench {file}: cannot be read as JSON ({error})") from error
    if not isinstance(found, Mapping):
        raise ConfigError(f"--bench {file}: must be an object with some of {', '.join(BENCH)}")
    return found


def _numbers(file: Path, document: Mapping[str, Any]) -> dict[str, float]:
    numbers = {name: document[name] for name in BENCH if document.get(name) is not None}
    for name, value in numbers.items():
        most = MOST.get(name, math.inf)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= most or math.isinf(value):
            bound = f", at most {most:g}" if name in MOST else ""
            raise ConfigError(f"--bench {file}: {name} = {value!r} must be a finite number above 0{bound}")
    return numbers
