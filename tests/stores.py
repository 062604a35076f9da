"""Small made-up stores, and ways to kill whoever writes them."""

import itertools
import os
import signal

import numpy as np
import pytest

import kmerl
from kmerl import store_format

LEADS = list(kmerl.leads.LEADS)


def ecg(i, leads=("II", "V1"), samples=150, fs=500, **more):
    """Recording i of a made-up series: whole microvolts, never flat."""
    rng = np.random.default_rng(i)
    steps = rng.integers(-1500, 1500, (len(leads), samples))
    more = {"name": f"r{i:03d}", "report": f"report {i % 5}", "patient": f"p{i // 2}", **more}
    return kmerl.Record((steps / 1000).astype(np.float32), fs, list(leads), **more)


def ecgs(n, **more):
    return [ecg(i, **more) for i in range(n)]


def create(path, *args, **more):
    return kmerl.Store.create(path, *args, **{"progress": False, **more})


def contents(folder):
    """{file: bytes} of a store."""
    return {f.name: f.read_bytes() for f in sorted(folder.iterdir()) if f.name != "lock"}


def die_at(count, names=("fsync", "replace", "unlink")):
    """SIGKILL at the count-th call of one of os's functions, before it is made."""
    calls = itertools.count(1)

    def deadly(function):
        def call(*args, **more):
            if next(calls) == count:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*args, **more)

        return call

    for name in names:
        setattr(os, name, deadly(getattr(os, name)))


def in_child(function):
    """Runs a function in a forked child; its exit status, negative for a signal."""
    child = os.fork()
    if child == 0:
        try:
            function()
        except BaseException:
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch):
    """A killed process loses nothing that it had written, synced or not; only a machine does."""
    plain = store_format.connect

    def connect(path, write):
        connection = plain(path, write)
        connection.execute("PRAGMA synchronous = OFF")
        return connection

    monkeypatch.setattr(store_format, "connect", connect)
    monkeypatch.setattr(os, "fsync", lambda handle: None)
