"""Writes what stands beside the shards: `manifest.json`, its checksum, and the number of samples a shard."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hlgp_dist.data.manifest import (
    COLUMNS,
    DIGEST,
    MANIFEST,
    SCHEMA_VERSION,
    SIZES,
    UNTOUCHED,
    WRITTEN,
    Encoding,
    Manifest,
    Split,
    check_split,
)
from hlgp_dist.data.origin import Origin
from hlgp_dist.files import write_atomically

FILES = (MANIFEST, DIGEST, SIZES)
_AT_ONCE = 65_536


def write_manifest(
    folder: Path,
    classes: tuple[str, ...],
    splits: Mapping[str, Split],
    *,
    source_hash: str,
    shard_bytes: int,
    encoding: Encoding = UNTOUCHED,
    origin: Origin | None = None,
) -> Manifest:
    """Write FILES, a piece at a time: of a million samples no text is there as a whole."""
    for split in splits.values():
        check_split(split, len(classes))
    head = {
        "schema_version": SCHEMA_VERSION,
        "source_hash": source_hash,
        "shard_bytes": shard_bytes,
        "encoding": asdict(encoding),
        **({} if origin is None else {"origin": asdict(origin)}),
        "classes": classes,
    }
    members = [(key, [_text(value)]) for key, value in head.items()]
    body = _object((name, _split(split)) for name, split in splits.items())
    whole = hashlib.sha256()
    write_atomically(folder / MANIFEST, _hashed(_object([*members, ("splits", body)]), whole))
    digest = whole.hexdigest()
    write_atomically(folder / DIGEST, digest_line(digest))
    write_atomically(folder / SIZES, sizes(splits))
    return Manifest(classes, splits, source_hash, shard_bytes, digest, encoding, origin)


def digest_line(digest: str) -> bytes:
    """The content of `manifest.sha256`, as `sha256sum --check` reads it."""
    return f"{digest}  {MANIFEST}\n".encode()


def sizes(splits: Mapping[str, Split]) -> bytes:
    """The content of `sizes.json`: samples by tar name, as open_clip-style tools read it."""
    samples = {shard.name: shard.samples for split in splits.values() for shard in split.shards}
    return json.dumps(samples, indent=1).encode()


def _split(split: Split) -> Iterator[str]:
    yield from _object(
        [
            ("shards", [_text([asdict(shard) for shard in split.shards])]),
            ("counts", [_text(split.counts.tolist())]),
            ("samples", _object(_columns(split))),
        ]
    )


def _columns(split: Split) -> Iterator[tuple[str, Iterable[str]]]:
    for name in COLUMNS:
        column = split.column(name)
        digits = [f'"{column.tobytes().decode()}"'] if name == "checksum" else None
        yield WRITTEN.get(name, name), digits or _list(column)


def _list(column: Any) -> Iterator[str]:
    """A JSON list of an array's values, bytes as text."""
    yield "["
    for start in range(0, len(column), _AT_ONCE):
        values = column[start : start + _AT_ONCE].tolist()
        texts = [value.decode() if isinstance(value, bytes) else value for value in values]
        yield ("," if start else "") + _text(texts)[1:-1]
    yield "]"


def _object(members: Iterable[tuple[str, Iterable[str]]]) -> Iterator[str]:
    """A JSON object of members whose values come in pieces."""
    before = "{"
    for key, pieces in members:
        yield f"{before}{_text(key)}:"
        yield from pieces
        before = ","
    yield "}"


def _text(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))


def _hashed(pieces: Iterable[str], whole: Any) -> Iterator[bytes]:
    for piece in pieces:
        content = piece.encode()
        whole.update(content)
        yield content
