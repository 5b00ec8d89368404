"""What `data.path` and `run.dir` may be: a local folder, or the URL of one. Looks at the text alone."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urlsplit

REMOTE_SCHEMES = ("s3", "gs", "https", "http")
STORES = ("s3", "gs")
"""That take files, too."""
ACCEPTED = "a local folder, file:///..., s3://BUCKET/..., gs://BUCKET/... or https://HOST/..."
CREDENTIALS = "credentials come from the environment (docs/loading.md), never from a configuration"
_TOOLS = "aws s3 sync, gcloud storage rsync"
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):(//)?")


def scheme_of(path: str) -> str | None:
    """The URL's scheme in lower case; None of a local path, whose name may hold a colon."""
    match = _SCHEME.match(path)
    if match is None:
        return None
    scheme = match[1].lower()
    return scheme if match[2] or scheme in ("pipe", "file", *REMOTE_SCHEMES) else None


def is_remote(path: str) -> bool:
    """Whether it is behind a network protocol of its own; a mounted folder is not."""
    return scheme_of(path) in REMOTE_SCHEMES


def place_problem(path: str) -> str | None:
    """Why `path` can be no shard folder; None where it may be one. Does not repeat what may be a secret."""
    if not path.strip():
        return f"must be {ACCEPTED}; it is empty"
    scheme = scheme_of(path)
    if scheme is None:
        return home_problem(path)
    if scheme not in ("file", *REMOTE_SCHEMES):
        return f"must be {ACCEPTED}; {scheme}: is not read"
    try:
        url = urlsplit(path)
        _ = scheme.startswith("http") and url.port  # a bucket may have colons in its name
    except ValueError:  # whose message may repeat a part of a password
        return f"must be {ACCEPTED}; its host or port cannot be read"
    if "@" in url.netloc:
        return f"must not hold a user or a password: {CREDENTIALS}"
    if url.query or url.fragment:
        return f"must be the folder alone, without ? and #: {CREDENTIALS}"
    if scheme == "file":
        return None if path[:8].lower() == "file:///" else "must be file:/// and an absolute path"
    return None if url.netloc else f"must be {ACCEPTED}: it names no {'bucket' if scheme in ('s3', 'gs') else 'host'}"


def results_problem(path: str) -> str | None:
    """Why `path` can be no `run.dir`; None where it may be one."""
    if scheme_of(path) in STORES:
        return place_problem(path)
    if not path.strip() or scheme_of(path) is not None:
        return "must be a folder that this machine and every node sees, or s3://BUCKET/... or gs://BUCKET/..."
    return home_problem(path)


def home_problem(path: str) -> str | None:
    """Why a local path that begins with ~ is none: only a shell reads it so, and each host has homes of its own."""
    return "must be written out, without ~, which differs from host to host" if path.startswith("~") else None


def joined(place: str, *names: str) -> str:
    """A folder below another one, each a path or a URL."""
    return "/".join([place.rstrip("/"), *names]) if is_remote(place) else str(Path(place, *names))


def absolute(place: str) -> str:
    """A path from the root, a URL as it is."""
    return place if scheme_of(place) is not None else str(Path(place).absolute())


def destination_problem(path: str) -> str | None:
    """Why no shard folder can be made at `path`; None where one may be."""
    if not path.strip():
        return "must be a local folder; it is empty"
    if scheme_of(path) is not None:
        return f"must be a local folder, not a URL; write one, then copy it with the store's own tool ({_TOOLS}, ...)"
    return None


def shown(path: str) -> str:
    """For messages: without what stands where a password or a signature would."""
    return re.sub(r"[?#].*", "?...", re.sub(r"(://)[^/]*@", r"\1...@", path)) if scheme_of(path) else path
