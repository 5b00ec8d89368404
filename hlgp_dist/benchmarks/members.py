"""The files of an unpacked benchmark: finding one by name, reading its lines, telling pictures from the rest."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import PurePosixPath

from hlgp_dist.benchmarks.archive import Members
from hlgp_dist.errors import DataError
from hlgp_dist.shards.extent import Extent
from hlgp_dist.shards.listing import OTHER_PICTURES, SUFFIXES, Picture


def find(members: Members, name: str) -> Extent:
    """The one file of that name, in whatever folder.

    Raises:
        DataError: there is none, or there are two.
    """
    found = [path for path in members if path == name or path.endswith(f"/{name}")]
    if len(found) != 1:
        some = ", ".join(sorted(members)[:3]) or "nothing"
        what = "no member" if not found else f"{len(found)} members"
        raise DataError(f"{what} {name} in the archive, which holds {some} ...; is it the right one?")
    return members[found[0]]


def has(members: Members, name: str) -> bool:
    """Whether `find` finds at least one."""
    return any(path == name or path.endswith(f"/{name}") for path in members)


def rows(members: Members, name: str, columns: int) -> list[list[str]]:
    """The blank-separated columns of a text file's lines, empty ones left out; the last column may hold blanks.

    Raises:
        DataError: it is missing, no text, or a line has fewer columns.
    """
    table = []
    for number, line in enumerate(text(members, name).splitlines(), start=1):
        cells = line.split(maxsplit=columns - 1)
        if cells and len(cells) != columns:
            raise DataError(f"{name}:{number}: {len(cells)} columns, not {columns}")
        if cells:
            table.append(cells)
    return table


def text(members: Members, name: str) -> str:
    """A member's content as UTF-8."""
    try:
        return find(members, name).read().decode()
    except UnicodeDecodeError as error:
        raise DataError(f"{name}: not a text file ({error})") from error


def pictures(members: Members) -> dict[PurePosixPath, Extent]:
    """What has a picture's suffix and is not a file manager's shadow of one, sorted by path."""
    return _with_suffix(members, SUFFIXES)


def left_out(members: Members, taken: Iterable[Picture]) -> list[PurePosixPath]:
    """The pictures, those of formats that are not read among them, that are not in `taken`, sorted by path."""
    extents = {picture.extent for picture in taken}
    found = _with_suffix(members, SUFFIXES | OTHER_PICTURES)
    return [path for path, extent in found.items() if extent not in extents]


def _with_suffix(members: Members, suffixes: frozenset[str]) -> dict[PurePosixPath, Extent]:
    found = {}
    for name in sorted(members):
        path = PurePosixPath(name)
        if path.suffix.lower() in suffixes and not path.name.startswith(".") and "__MACOSX" not in path.parts:
            found[path] = members[name]
    return found
