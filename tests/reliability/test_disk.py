"""The short form of disk.py."""

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))
import disk  # noqa: E402


@pytest.fixture
def compiler(tmp_path):
    if disk.shim(tmp_path) is None:
        pytest.skip("needs Linux and a C compiler")


def test_nothing_is_lost_that_was_synced(compiler):
    disk.unsynced(12, seed=1)


def test_a_full_disk_is_an_os_error(compiler):
    disk.full(1, seed=1)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks a process without the right to write")
def test_a_folder_that_cannot_be_written_is_read():
    disk.read_only()


def test_of_two_writers_one_is_told():
    disk.two(["create", "fit"])
