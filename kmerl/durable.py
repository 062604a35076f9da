"""Files that are either whole or not there: written under a temporary name, synced, renamed; and one writer a
folder."""

import contextlib
import os

from kmerl.lock import Lock

__all__ = ["FolderLock", "sync_folder", "writing"]

PART = ".part"


def sync_folder(folder):
    """Make the folder's names durable (a rename is only then)."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def created(path):
    """A new binary file, to write and read. What had its name is removed before, so that a symbolic link in somebody
    else's folder leads nowhere."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    return open(path, "x+b")


@contextlib.contextmanager
def writing(path):
    """A binary file that gets its name `path` when the block ends without an error, and is removed
    otherwise."""
    path = os.fspath(path)
    part = path + PART
    try:
        with created(part) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
        sync_folder(os.path.dirname(path) or ".")
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(part)
        raise


def made_folder(out):
    """Path of the folder `out`, made where its parent exists; FileNotFoundError where it does not."""
    out = os.fspath(out)
    parent = os.path.dirname(os.path.abspath(out))
    if not os.path.isdir(parent):
        raise FileNotFoundError(f"out: the folder {parent!r} does not exist; create it first")
    os.makedirs(out, exist_ok=True)
    return out


class FolderLock:
    """One writer a folder, as a context manager; the second is told and does not wait.

    The lock is the system's (``fcntl.lockf`` on the file ``lock``), so that it ends with the process however
    that ends, and forked children do not inherit it; the process's own threads are kept apart by a table."""

    _held = {}  # (device, inode) of lock files -> process id, of this process's locks
    _guard = Lock()

    def __init__(self, folder, what):
        self.folder = os.fspath(folder)
        self.what = what

    def __enter__(self):
        import fcntl

        path = os.path.join(self.folder, "lock")
        with self._guard:
            if os.path.islink(path):
                raise OSError(f"{path} is a symbolic link, which kmerl does not write through")
            if not os.path.exists(path):
                os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o666))
            status = os.stat(path)
            self._key = (status.st_dev, status.st_ino)
            if (
                self._held.get(self._key) == os.getpid()
            ):  # before opening: closing any handle would end the lock
                raise BlockingIOError(
                    f"{self.what} {self.folder!r} is being written by another thread of this process"
                )
            self._file = open(path, "r+b")
            try:
                fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                owner = self._file.read(20).decode("ascii", "replace").strip()
                self._file.close()
                raise BlockingIOError(
                    f"{self.what} {self.folder!r} is being written by another process"
                    + (f" (process id {owner})" if owner else "")
                ) from None
            self._file.truncate(0)
            self._file.write(str(os.getpid()).encode())
            self._file.flush()
            self._held[self._key] = os.getpid()
        return self

    def __exit__(self, *_):
        with self._guard:
            self._file.truncate(0)
            self._file.close()
            self._held.pop(self._key, None)
