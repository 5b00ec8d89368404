"""Which picture is for training and which for the test: by the archive's folders, by a list, or at random by name."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable
from pathlib import PurePosixPath

from hlgp_dist.benchmarks.archive import Members
from hlgp_dist.benchmarks.lists import Listed
from hlgp_dist.benchmarks.members import pictures
from hlgp_dist.data.manifest import SPLITS
from hlgp_dist.errors import DataError
from hlgp_dist.shards.extent import Extent
from hlgp_dist.shards.listing import Picture


def by_folders(members: Members) -> list[Picture]:
    """As the archive has it: [TOP/...]SPLIT/CLASS/NAME."""
    found = []
    for path, extent in pictures(members).items():
        depth = next((depth for depth, part in enumerate(path.parts[:-2]) if part in SPLITS), None)
        if depth is not None:
            split, class_name, *rest = path.parts[depth:]
            found.append(Picture(split, class_name, "/".join(rest), extent))
    splits = {picture.split for picture in found}
    for split in SPLITS:
        if split not in splits:
            raise DataError(f"no pictures {split}/CLASS/NAME in the archive, so no published split")
    return found


def by_list(members: Members, listed: Listed) -> list[Picture]:
    """CLASS/NAME, the listed pictures for the test and all others for training.

    Raises:
        DataError: a listed picture is missing, or it is the list of the training pictures.
    """
    tree = _tree(members)
    if missing := sorted(listed - tree.keys()):
        raise DataError(f"{len(missing)} of {len(listed)} listed pictures are not in the archive, first {missing[0]}")
    if 2 * len(listed) > len(tree):
        raise DataError(f"the list has {len(listed)} of {len(tree)} pictures; it must be that of the test pictures")
    return [_picture("test" if key in listed else "train", *tree[key]) for key in tree]


def at_random(members: Members, seed: int) -> list[Picture]:
    """A fifth of each class for the test, at least one picture: those whose hashed names come first."""
    classes: defaultdict[str, list[str]] = defaultdict(list)
    tree = _tree(members)
    for key in tree:
        classes[key.partition("/")[0]].append(key)
    test = {key for keys in classes.values() for key in shuffled(keys, seed)[: max(1, round(len(keys) / 5))]}
    return [_picture("test" if key in test else "train", *tree[key]) for key in tree]


def shuffled(keys: Iterable[str], seed: int) -> list[str]:
    """In the order of their hashes: the same on every machine and with every version of every library."""
    return sorted(keys, key=lambda key: hashlib.sha256(f"{seed}\0{key}".encode(errors="surrogateescape")).digest())


def _tree(members: Members) -> dict[str, tuple[PurePosixPath, Extent]]:
    """The pictures by CLASS/STEM; lists leave the suffix out or have it, and the class is the last folder."""
    tree: dict[str, tuple[PurePosixPath, Extent]] = {}
    for path, extent in pictures(members).items():
        if len(path.parts) < 2:
            raise DataError(f"{path}: not in a class folder (CLASS/NAME)")
        key = f"{path.parts[-2]}/{path.stem}"
        if key in tree:
            raise DataError(f"{path} and {tree[key][0]} have the same class and name")
        tree[key] = path, extent
    if not tree:
        raise DataError("no pictures CLASS/NAME in the archive; is it the right one?")
    return tree


def _picture(split: str, path: PurePosixPath, extent: Extent) -> Picture:
    return Picture(split, path.parts[-2], path.name, extent)
