"""A whole file of a place, checked; a remote one is fetched once a host, however many ranks ask for it."""

from __future__ import annotations

import hashlib
import os
from functools import partial

from hlgp_dist.data.cache import Cache
from hlgp_dist.data.place import Facts, Place
from hlgp_dist.data.room import NoRoom
from hlgp_dist.errors import DataError

_DIGITS = 64


def fetch(place: Place, name: str, facts: Facts, *, digest_name: str, cache: Cache | None) -> bytes:
    """The file `name`. `facts` are what is known of it.

    digest_name: a file beside it, as `sha256sum` writes it, that it is compared with.
    cache: keeps a copy, named by URL and version, which other processes and runs of the host read instead; `None`, or
        a server that tells no version: none is kept.

    Raises:
        DataError: a file is missing, cannot be read, or is not what `digest_name` says after several readings.
    """
    if cache is None or facts.version is None:
        return _checked(place, name, facts.size, digest_name)
    copy = "copy-" + hashlib.sha256(f"{place.url}/{name}\0{facts.size}\0{facts.version}".encode()).hexdigest()[:32]
    try:
        held = cache.obtain(copy, _DIGITS + facts.size, partial(_write_copy, place, name, facts.size, digest_name))
    except NoRoom:
        return _checked(place, name, facts.size, digest_name)
    assert held is not None
    try:
        content = _copied(held.descriptor)
        if content is None:
            cache.discard(copy, held.descriptor)
    finally:
        os.close(held.descriptor)
    return _checked(place, name, facts.size, digest_name) if content is None else content


def _checked(place: Place, name: str, size: int, digest_name: str) -> bytes:
    for _ in range(1 + place.rereads):
        content = place.read(name, 0, size)
        expected = place.read(digest_name)[:_DIGITS]
        if _digest(content) == expected:
            return content
    raise DataError(
        f"{place.url}/{name}: has the checksum {_digest(content).decode()}, {digest_name} says "
        f"{expected.decode(errors='replace')}; was the folder copied whole?"
    )


def _write_copy(place: Place, name: str, size: int, digest_name: str, descriptor: int) -> int:
    content = _checked(place, name, size, digest_name)
    whole = _digest(content) + content
    os.ftruncate(descriptor, len(whole))
    with os.fdopen(os.dup(descriptor), "wb") as stream:
        stream.seek(0)
        stream.write(whole)
    return len(whole)


def _copied(descriptor: int) -> bytes | None:
    """None of a copy that is damaged."""
    with os.fdopen(os.dup(descriptor), "rb") as stream:
        stream.seek(0)
        digest, content = stream.read(_DIGITS), stream.read()
    return content if _digest(content) == digest else None


def _digest(content: bytes) -> bytes:
    return hashlib.sha256(content).hexdigest().encode()
