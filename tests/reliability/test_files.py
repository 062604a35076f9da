"""The short form of files.py."""

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))
import files  # noqa: E402


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="limits are set as Linux has them")
def test_damaged_files_are_refused_or_read():
    outcomes = files.campaign(120, seed=5)
    assert sum(sum(told.values()) for told in outcomes.values()) == 120
    assert len(outcomes) > 12 and sum(told.get("taken", 0) for told in outcomes.values()) > 10
