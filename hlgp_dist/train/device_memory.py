"""How much memory a rank's device has for it, and the most that it took."""

from __future__ import annotations

from typing import NamedTuple

import torch

from hlgp_dist.train import host_memory


class Room(NamedTuple):
    """Of one process, in bytes: what it may hold in all, now and to come, and what the whole device has."""

    most: int
    total: int


class DeviceMemory:
    """Of one device: of a GPU what torch's allocator gives out, of a CPU what the process holds, code and all."""

    def __init__(self, device: str) -> None:
        self._device = device
        self._is_cuda = device.startswith("cuda")

    def forget_peak(self) -> None:
        """`peak` counts from here."""
        if self._is_cuda:
            torch.cuda.reset_peak_memory_stats(self._device)
        else:
            host_memory.forget_peak()

    def peak(self) -> int:
        """Bytes."""
        return torch.cuda.max_memory_allocated(self._device) if self._is_cuda else host_memory.resident("VmHWM")

    def held(self) -> int:
        """Bytes, now."""
        return torch.cuda.memory_allocated(self._device) if self._is_cuda else host_memory.resident()

    def give_back(self) -> None:
        """What is free in this process is the device's again."""
        if self._is_cuda:
            torch.cuda.empty_cache()
        else:
            host_memory.give_back()

    def room(self, sharers: int) -> Room:
        """sharers: processes of this host that divide what a CPU has free. A GPU is this one's, or its part of it."""
        if not self._is_cuda:
            return Room(host_memory.resident() + host_memory.available() // sharers, host_memory.total())
        free, total = torch.cuda.mem_get_info(self._device)
        part = int(torch.cuda.get_per_process_memory_fraction(self._device) * total)
        return Room(min(part, torch.cuda.memory_reserved(self._device) + free), part)


OUT_OF_MEMORY = (
    "can't allocate memory",
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "Cuda failure 2 'out of memory'",
)
"""How torch's allocator on the host, CUDA, its libraries and NCCL say it; they do not ask torch's own on the GPU."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory of a device or of the host did not suffice."""
    in_words = isinstance(error, RuntimeError) and any(words in str(error) for words in OUT_OF_MEMORY)
    return in_words or isinstance(error, torch.OutOfMemoryError | MemoryError)
