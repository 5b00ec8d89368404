"""From a path or a URL to a place."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

from hlgp_dist.config.places import place_problem, scheme_of, shown
from hlgp_dist.data.patience import Patience
from hlgp_dist.data.place import Folder, Place
from hlgp_dist.errors import ConfigError


def open_place(path: str | Path, patience: Patience | None = None) -> Place:
    """The shard folder at a path or URL; nothing is asked of a server yet.

    Raises:
        ConfigError: the URL cannot be one, or a package that it needs is missing.
    """
    path = str(path)
    if (problem := place_problem(path)) is not None:
        raise ConfigError(f"data.path: {problem} (got {shown(path)!r})")
    match scheme_of(path):
        case None:
            return Folder(Path(path), patience)
        case "file":
            return Folder(Path(unquote(urlsplit(path).path)), patience)
    from hlgp_dist.data.remote import open_remote  # a local folder needs no fsspec

    return open_remote(path, patience)
