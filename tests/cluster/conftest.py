"""What these tests need of the machine is looked for in its system folders, too, whatever the PATH: ssh, bash, ip."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.cluster.host import SYSTEM_PATH, missing


@pytest.fixture(scope="session", autouse=True)
def system_path() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", os.pathsep.join([os.environ.get("PATH", ""), SYSTEM_PATH]).lstrip(os.pathsep))
        yield


@pytest.fixture(scope="session")
def needs_hosts() -> None:
    reason = missing()
    if reason:
        pytest.skip(reason)
