"""nomemory.py, in a process of its own: what it provokes may crash."""

import subprocess
import sys
from pathlib import Path

import pytest


def test_a_call_without_memory_says_so_and_keeps_nothing():
    pytest.importorskip("_testcapi", reason="this Python has no _testcapi, which makes its allocations fail")
    if sys.implementation.name != "cpython" or getattr(sys, "_is_gil_enabled", lambda: True)() is False:
        pytest.skip("allocations are made to fail in CPython with the GIL")
    script = Path(__file__).resolve().parent / "nomemory.py"
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert "0 keep something" in done.stdout
