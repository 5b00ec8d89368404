"""What torch.compile needs on a CPU, and a machine that only tests the rest need not have."""

from __future__ import annotations

import os
import shutil

import pytest

COMPILER = os.environ.get("CXX", "g++")
needs_compiler = pytest.mark.skipif(shutil.which(COMPILER) is None, reason=f"there is no {COMPILER}")
