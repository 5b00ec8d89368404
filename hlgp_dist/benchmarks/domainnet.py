"""DomainNet: a zip and two lists a domain, the lists being the published split."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath

from hlgp_dist.benchmarks.archive import Members
from hlgp_dist.benchmarks.members import has, pictures, rows
from hlgp_dist.data.manifest import SPLITS
from hlgp_dist.errors import DataError
from hlgp_dist.shards.extent import Extent
from hlgp_dist.shards.listing import Picture


def read(members: Members, domains: Sequence[str]) -> list[Picture]:
    """Classes are named LABEL_NAME, so that sorted they are in the order of the authors' labels."""
    by_path = {"/".join(path.parts[-3:]): extent for path, extent in pictures(members).items()}
    found, names = [], dict[str, str]()
    for domain in domains:
        for split in SPLITS:
            file = f"{domain}_{split}.txt"
            if not has(members, file):
                raise DataError(
                    f"no list {file}, which the authors distribute beside {domain}.zip; give both by --from"
                )
            for path, label in rows(members, file, 2):
                found.append(_picture(split, path, label, names, by_path, file))
    return found


def _picture(
    split: str, path: str, label: str, names: dict[str, str], by_path: dict[str, Extent], file: str
) -> Picture:
    """The picture of a line like `real/aircraft_carrier/real_001_000001.jpg 0`; `names` remembers labels' classes."""
    parts = PurePosixPath(path).parts
    if len(parts) != 3 or not label.isdecimal():
        raise DataError(f"{file}: {path!r} {label!r} is not DOMAIN/CLASS/NAME and a label")
    domain, class_name, name = parts
    if names.setdefault(label, class_name) != class_name:
        raise DataError(f"{file}: label {label} is {class_name} and {names[label]}")
    if path not in by_path:
        raise DataError(f"{file}: {path} is not in the archives; is {domain}.zip whole and among --from?")
    return Picture(split, f"{int(label):03d}_{class_name}", f"{domain}/{name}", by_path[path])
