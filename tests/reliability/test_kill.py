"""The short form of kill.py."""

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))
import kill  # noqa: E402


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="kills as POSIX does")
def test_nothing_is_lost_by_a_kill():
    assert sum(kill.campaign(8, seed=20).values()) >= 8
