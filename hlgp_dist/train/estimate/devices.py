"""GPUs by name: what their data sheets promise. A plan says which of it is assumed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from hlgp_dist.errors import ConfigError

GIB, TERA = 2**30, 10**12
PRECISIONS = ("bf16", "int8", "fp32")
"""What `engine.precision` may be."""


@dataclass(frozen=True)
class DeviceSheet:
    """memory: bytes, as sold; low, fp32: peak FLOP/s of dense matrix products in 16 bits and in fp32 (no TF32).

    lacks_bf16: its 16 bits are fp16 alone, and bf16 runs far below `low`.
    """

    name: str
    memory: int
    low: float
    fp32: float
    source: str
    lacks_bf16: bool = False

    def peak(self, precision: str) -> float:
        """FLOP/s of a trunk's dtype; of int8 what bf16 has: more was measured on no GPU."""
        return self.fp32 if precision == "fp32" else self.low


def _sheet(name: str, gib: float, low: float, fp32: float, source: str, lacks_bf16: bool = False) -> DeviceSheet:
    return DeviceSheet(name, int(gib * GIB), low * TERA, fp32 * TERA, f"NVIDIA data sheet, {source}", lacks_bf16)


DEVICES: Mapping[str, DeviceSheet] = {
    sheet.name: sheet
    for sheet in (
        _sheet("A100-40", 40, 312, 19.5, "A100 Tensor Core GPU"),
        _sheet("A100-80", 80, 312, 19.5, "A100 Tensor Core GPU"),
        _sheet("H100", 80, 989, 67, "H100 SXM"),
        _sheet("H200", 131, 989, 67, "H200 SXM, 141 GB"),
        _sheet("L4", 24, 121, 30.3, "L4, dense"),
        _sheet("A10G", 24, 70, 35, "A10G as AWS G5 has it"),
        _sheet("RTX4090", 24, 165, 82.6, "Ada whitepaper, fp32 accumulation"),
        _sheet("V100", 16, 125, 15.7, "V100 SXM2, fp16", lacks_bf16=True),
        _sheet("T4", 16, 65, 8.1, "T4, fp16", lacks_bf16=True),
    )
}
"""Dense peaks: half of what sheets print for sparse matrices."""


def device_named(name: str) -> DeviceSheet:
    """Raises:
    ConfigError: the table has no such GPU.
    """
    by_name = {known.lower(): sheet for known, sheet in DEVICES.items()}
    found = by_name.get(name.lower().replace(" ", ""))
    if found is None:
        raise ConfigError(f"--device {name}: is none of {', '.join(DEVICES)}; measure it and give --bench FILE")
    return found


SHARED, RESERVE = 8, 0.2
"""Most workers of one GPU, and the part of its memory that stays free."""


def workers_per_gpu(rank_bytes: int, gpu_bytes: int) -> int:
    """How many one-worker runs share a GPU by memory: at least one, whether it fits or not.

    With a fifth kept free two share a GPU only where each needs less than two fifths of it.
    """
    return max(1, min(SHARED, math.floor((1.0 - RESERVE) * gpu_bytes / rank_bytes)))
