"""The short form of disk.py."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))
import disk  # noqa: E402


def test_nothing_is_lost_that_was_synced(tmp_path):
    if disk.shim(tmp_path) is None:
        pytest.skip("needs Linux and a C compiler")
    disk.unsynced(12, seed=1)
