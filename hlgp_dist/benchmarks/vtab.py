"""A rebuild of the 5-task subset of VTAB from its parts, for those who cannot get RevisitingCIL's archive.

Same parts, same classes by rule (the first ten of each part, sorted without regard to case), but other pictures
in train and test: numbers from a rebuild do not compare with published ones, which is why it has its own name.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import PurePosixPath

from hlgp_dist.benchmarks.archive import Members
from hlgp_dist.benchmarks.matrix import labels
from hlgp_dist.benchmarks.members import find, pictures
from hlgp_dist.benchmarks.split import shuffled
from hlgp_dist.errors import DataError
from hlgp_dist.shards.extent import Extent
from hlgp_dist.shards.listing import Picture

CLASSES = 10
TRAIN = 36
"""Training pictures a class, but never more than half: the archive is said to have 1,796 of 50 classes."""

ClassOf = Callable[[PurePosixPath], str]


def read(members: Members) -> list[Picture]:
    """Classes are named GROUP_PART_CLASS, so that sorted they are in the order of the five tasks."""
    found = []
    for group, (part, (pattern, class_of)) in enumerate(_parts(members).items()):
        tree = _classes(members, pattern, class_of)
        if len(tree) < CLASSES:
            raise DataError(
                f"{part}: {len(tree)} classes, a rebuild needs {CLASSES}; no archive or folder of it given?"
            )
        for class_name in sorted(tree, key=str.lower)[:CLASSES]:
            found += _divided(f"{group}_{part}_{class_name}", tree[class_name])
    return found


def _parts(members: Members) -> Mapping[str, tuple[re.Pattern[str], ClassOf]]:
    """In the order of the tasks: where the pictures of a part stand, and which class each is of."""

    def folder(path: PurePosixPath) -> str:
        return path.parts[-2]

    def flower(path: PurePosixPath) -> str:
        number = int(path.stem.removeprefix("image_")) - 1
        if not 0 <= number < len(flowers):
            raise DataError(f"imagelabels.mat: {len(flowers)} labels, and none for {path.name}")
        return f"{flowers[number]:03d}"

    def pet(path: PurePosixPath) -> str:
        return path.stem.rpartition("_")[0]

    flowers = labels(find(members, "imagelabels.mat").read(), "imagelabels.mat")
    return {
        "resisc45": (re.compile(r"NWPU-RESISC45[^/]*/[^/]+/[^/]+$"), folder),
        "dtd": (re.compile(r"dtd/images/[^/]+/[^/]+$"), folder),
        "pets": (re.compile(r"images/[A-Za-z_]+_\d+\.jpg$"), pet),
        "eurosat": (re.compile(r"2750/[^/]+/[^/]+$"), folder),
        "flowers102": (re.compile(r"jpg/image_\d{5}\.jpg$"), flower),
    }


def _classes(members: Members, pattern: re.Pattern[str], class_of: ClassOf) -> dict[str, dict[str, Extent]]:
    """Extents by class and name of the pictures whose path the pattern finds."""
    tree: defaultdict[str, dict[str, Extent]] = defaultdict(dict)
    for path, extent in pictures(members).items():
        if pattern.search(str(path)):
            tree[class_of(path)][path.name] = extent
    return tree


def _divided(class_name: str, named: Mapping[str, Extent]) -> list[Picture]:
    order = shuffled(named, seed=0)
    train = set(order[: min(TRAIN, len(order) // 2)])
    return [Picture("train" if name in train else "test", class_name, name, named[name]) for name in order]
