"""A lock that does not outlive a fork."""

import os
import threading
import weakref

__all__ = ["Lock"]

_locks = weakref.WeakSet()


class Lock:
    """As ``threading.Lock`` in a ``with`` statement. A child forked while another thread held it finds it open: that
    thread is not there to open it. What it guards must stand being left in the middle."""

    __slots__ = ("_lock", "__weakref__")

    def __init__(self):
        self._lock = threading.Lock()
        _locks.add(self)

    def __enter__(self):
        self._lock.acquire()

    def __exit__(self, *_):
        self._lock.release()


def _renew():
    for lock in list(_locks):
        lock._lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew)
