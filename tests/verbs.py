"""A verb, called in this process as a user types it."""

from __future__ import annotations

import sys

import pytest

from hlgp_dist.cli import main


def hlgp(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    """The exit code of `hlgp ARGUMENTS`."""
    monkeypatch.setattr(sys, "argv", ["hlgp", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)
