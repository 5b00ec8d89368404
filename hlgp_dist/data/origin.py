"""Which public benchmark a shard folder was prepared from, and how far that was checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Origin:
    """What `hlgp data prepare` made a shard folder from.

    split: how train and test were divided, as `--split` has it.
    seed: of a random split, else None. domain: of a benchmark that has domains, else None.
    unchecked: what had no checksum to be compared with. waived: what differed, and passed by `--unverified`.
    archives: MD5 in hex by file name, None for a folder, which has none.
    """

    benchmark: str
    split: str
    seed: int | None
    domain: str | None
    unchecked: tuple[str, ...]
    waived: tuple[str, ...]
    archives: Mapping[str, str | None]

    @property
    def differences(self) -> tuple[str, ...]:
        """All that was not compared and found to be as published."""
        return self.unchecked + self.waived

    def __str__(self) -> str:
        parts = [self.benchmark, self.domain, f"split {self.split}", None if self.seed is None else f"seed {self.seed}"]
        checked = "unverified" if self.waived else "checksum not compared" if self.unchecked else "as published"
        return ", ".join(part for part in [*parts, checked] if part is not None)


def parse_origin(document: Mapping[str, Any]) -> Origin:
    """The manifest's block.

    Raises:
        TypeError, ValueError, KeyError: it is not what `Origin` holds.
    """
    lists = {name: tuple(document[name]) for name in ("unchecked", "waived")}
    origin = Origin(**{**document, **lists})
    texts = (origin.benchmark, origin.split, *origin.differences, *origin.archives)
    if not all(isinstance(text, str) for text in texts):
        raise ValueError("origin holds a value of the wrong type")
    return origin
