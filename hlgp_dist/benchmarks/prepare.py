"""A public benchmark's original archives into a shard folder: checksums, safe reading, the split, counts, shards."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from io import BytesIO
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from PIL import Image, UnidentifiedImageError

from hlgp_dist.benchmarks.archive import Members, Progress, kind_of, md5, unpack
from hlgp_dist.benchmarks.catalogue import Benchmark, Choice, Expected
from hlgp_dist.benchmarks.members import left_out
from hlgp_dist.benchmarks.spool import Spool
from hlgp_dist.data.manifest import Manifest
from hlgp_dist.data.origin import Origin
from hlgp_dist.errors import ConfigError, DataError, counted
from hlgp_dist.shards.listing import Listing, Picture, in_order
from hlgp_dist.shards.shard import SHARD_BYTES, check_destination, shard_pictures

_HEADS = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")
_OTHER_FORMATS = ("GIF", "BMP", "WEBP", "TIFF", "PPM")

Bar = Callable[[str], AbstractContextManager[Progress]]
log = logging.getLogger(__name__)


class Difference(NamedTuple):
    """What was not found to be as published; unchecked, where nothing is published to compare with."""

    text: str
    is_unchecked: bool


@contextmanager
def _silent(title: str) -> Iterator[Progress]:
    yield lambda done, total: None


def prepare(
    benchmark: Benchmark,
    sources: Sequence[Path],
    destination: str | Path,
    choice: Choice,
    *,
    unverified: bool = False,
    shard_bytes: int = SHARD_BYTES,
    workers: int | None = None,
    bar: Bar = _silent,
) -> Manifest:
    """Shard the benchmark in `sources` into the folder `destination`, whole or not at all.

    Args:
        benchmark: one of `catalogue`, whose reader and expectations are used.
        sources: archives, unpacked folders, lists; or folders that hold archives.
        destination: see `shard.shard`.
        choice: of `catalogue.choose`.
        unverified: record a checksum that differs, and a count that differs from one not the authors', and go on.
        shard_bytes: see `shard.shard`.
        workers: see `shard.shard`.
        bar: called with a title for every stage; gives a callable of (done, total).

    Raises:
        ConfigError: see `shard.shard`.
        DataError: an archive is missing, damaged, unsafe or another one; pictures or a split are missing.
        EnvironmentFailure: the disk is too small.
    """
    check_destination(destination, shard_bytes)
    expected = benchmark.expectation(choice)
    files = _files(sources)
    with bar("checksums") as progress:
        digests = {file.name: None if file.is_dir() else md5(file, progress) for file in files}
    differences = list(_accepted(_checksum_differences(files, digests, expected), benchmark, unverified))
    with Spool(Path(destination).resolve().parent) as spool, ExitStack() as listings:
        with bar("reading") as progress:
            members = _unpacked(files, spool, progress)
        try:
            found = listings.enter_context(closing(in_order(benchmark.read(members, spool, choice), benchmark.title)))
        except DataError as error:
            raise DataError(f"{benchmark.name}: {error}") from error
        _tell_left_out(members, found, benchmark.name)
        differences += _accepted(_count_differences(found, expected, benchmark.name), benchmark, unverified)
        storable = in_order((_storable(picture, spool) for picture in found), benchmark.title)
        pictures = listings.enter_context(closing(storable))
        origin = _origin(benchmark, choice, differences, digests)
        with bar("sharding") as progress:
            return shard_pictures(
                pictures, destination, shard_bytes=shard_bytes, workers=workers, progress=progress, origin=origin
            )


def _origin(
    benchmark: Benchmark, choice: Choice, differences: Sequence[Difference], digests: Mapping[str, str | None]
) -> Origin:
    """What the manifest will say."""
    return Origin(
        benchmark=benchmark.name,
        split=choice.split,
        seed=choice.seed,
        domain=choice.domain,
        unchecked=tuple(difference.text for difference in differences if difference.is_unchecked),
        waived=tuple(difference.text for difference in differences if not difference.is_unchecked),
        archives=digests,
    )


def _files(sources: Sequence[Path]) -> list[Path]:
    """What to read: a folder that holds archives stands for all that is in it."""
    files = list(chain.from_iterable(map(_expanded, sources)))
    names = [file.name for file in files]
    if repeated := {name for name in names if names.count(name) > 1}:
        raise ConfigError(f"--from: {sorted(repeated)[0]} is given twice")
    return files


def _expanded(source: Path) -> list[Path]:
    if kind_of(source) != "folder":
        return [source]
    inside = sorted(path for path in source.iterdir() if not path.name.startswith("."))
    if any(path.is_file() and kind_of(path) != "file" for path in inside):
        return inside
    return [source.resolve()]  # `.` has no name


def _checksum_differences(
    files: Sequence[Path], digests: Mapping[str, str | None], expected: Expected
) -> Iterator[Difference]:
    published = set(expected.archives.values()) - {None}
    given = [file.name for file in files if kind_of(file) != "file" or file.name in expected.archives]
    unknown = [name for name in given if digests[name] is None or expected.archives.get(name, "") is None]
    if not published:
        yield Difference("no checksum is published", is_unchecked=True)
        return
    if unknown:
        yield Difference(f"no checksum is published of {', '.join(unknown)}", is_unchecked=True)
    for name in given:
        if name not in unknown and (digest := digests[name]) not in published:
            known = {name: expected.archives[name]} if name in expected.archives else expected.archives
            told = ", ".join(f"{value} ({file})" for file, value in known.items() if value)
            yield Difference(f"{name}: MD5 is {digest}, published is {told}", is_unchecked=False)


def _count_differences(pictures: Listing, expected: Expected, name: str) -> Iterator[Difference]:
    """What the authors published is never waived, so it is an error here already."""
    found = {
        "training pictures": (sum(picture.split == "train" for picture in pictures), expected.train),
        "test pictures": (sum(picture.split == "test" for picture in pictures), expected.test),
        "pictures": (len(pictures), expected.pictures),
        "classes": (len(pictures.classes), expected.classes),
    }
    wrong = [f"{is_:,} {what}, not {must:,}" for what, (is_, must) in found.items() if must not in (None, is_)]
    if wrong and expected.is_published:
        raise DataError(f"{name}: the archive holds {'; '.join(wrong)}; is it whole, and the right one?")
    if wrong:
        yield Difference(f"the archive holds {'; '.join(wrong)}", is_unchecked=False)


def _accepted(differences: Iterator[Difference], benchmark: Benchmark, unverified: bool) -> Iterator[Difference]:
    """What is to be recorded: the unchecked passes unasked, the rest by `--unverified`."""
    for difference in differences:
        if not difference.is_unchecked and not unverified:
            raise DataError(
                f"{benchmark.name}: {difference.text}; a damaged or another file? "
                "Get it again, or accept it with --unverified"
            )
        if not difference.is_unchecked:
            log.warning("%s: %s", benchmark.name, difference.text)
        yield difference


def _unpacked(files: Sequence[Path], spool: Spool, progress: Progress) -> Members:
    """All members together; of several files each below its name, so that they cannot hide one another."""
    members: Members = {}
    for file in files:
        top = f"{file.name}/" if len(files) > 1 else ""
        members |= {top + name: extent for name, extent in unpack(file, spool, progress).items()}
    return members


def _tell_left_out(members: Members, pictures: Listing, name: str) -> None:
    """A release may hold more pictures than its lists name, but none is left out silently."""
    if others := left_out(members, pictures):
        number = counted(len(others), "picture")
        log.warning("%s: %s of the archive not taken, first %s", name, number, others[0])


def _storable(picture: Picture, spool: Spool) -> Picture:
    """The picture; where it is neither JPEG nor PNG under such a name, as some archives have it, as a PNG of it.

    What cannot be read at all is left for sharding, which lists all bad pictures together.
    """
    try:
        if picture.extent.read(8).startswith(_HEADS):
            return picture
        with Image.open(BytesIO(picture.extent.read()), formats=_OTHER_FORMATS) as image:
            converted = BytesIO()
            image.convert("RGB").save(converted, format="PNG")
            log.warning("%s/%s: a %s, stored as a PNG", picture.class_name, picture.name, image.format)
    except (DataError, UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return picture
    return picture._replace(extent=spool.add_bytes(converted.getvalue()))
