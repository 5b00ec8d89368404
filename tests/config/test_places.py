from __future__ import annotations

import pytest

from hlgp_dist.config.identity import run_name
from hlgp_dist.config.load import resolve
from hlgp_dist.config.places import destination_problem, is_remote, place_problem, scheme_of, shown
from hlgp_dist.errors import ConfigError

TAKEN = (
    "shards",
    "/shared/shards",
    "2026-01-01T10:00:00",
    "file:///shared/a b",
    "s3://bucket/a/b",
    "gs://bucket",
    "https://host/a",
    "http://127.0.0.1:8080/a",
)


@pytest.mark.parametrize("path", TAKEN)
def test_what_is_taken(path: str) -> None:
    assert place_problem(path) is None
    assert resolve({"data": {"path": path}}).config.data.path == path == shown(path)


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("", "must be a local folder.*; it is empty"),
        ("http://[::1/x", "its host or port cannot be read"),
        ("http://host:99999/x", "its host or port cannot be read"),
        ("pipe:aws s3 cp s3://b/x -", "pipe: is not read"),
        ("pipe://x", "pipe: is not read"),
        ("hdfs://host/x", "hdfs: is not read"),
        ("ftp://host/x", r"must be a local folder, file:///\.\.\., s3://BUCKET"),
        ("s3:bucket/x", "names no bucket"),
        ("https:///x", "names no host"),
        ("file:x", "must be file:/// and an absolute path"),
        ("file://host/x", "must be file:/// and an absolute path"),
        ("s3://user:password@bucket/x", "must not hold a user or a password"),
        ("https://password@host/x", "must not hold a user or a password"),
        ("https://host/x?X-Amz-Signature=password", r"without \? and #"),
        ("https://host/x#password", r"without \? and #"),
    ],
)
def test_what_is_refused(path: str, told: str) -> None:
    with pytest.raises(ConfigError, match=rf"data\.path.*{told}") as caught:
        resolve({"data": {"path": path}})
    assert "password" not in str(caught.value).replace("a password", "")


def test_the_scheme_is_told_whatever_its_case() -> None:
    assert (scheme_of("S3://bucket"), scheme_of("a/b"), scheme_of("C:x")) == ("s3", None, None)
    assert is_remote("GS://bucket") and is_remote("http://host") and not is_remote("file:///a") and not is_remote("a/b")


@pytest.mark.parametrize("path", ["", "s3://bucket/x", "S3:/bucket/x", "hdfs://host/x", "file:///shared/x"])
def test_shards_are_made_in_a_local_folder(path: str) -> None:
    assert (destination_problem(path) or "").startswith("must be a local folder")
    assert destination_problem("./s3:/x") is destination_problem("2026-01-01T10:00:00") is None


def test_a_url_is_part_of_the_identity() -> None:
    names = {run_name(resolve({"data": {"path": path}}).config, "x") for path in TAKEN}
    assert len(names) == len(TAKEN)
