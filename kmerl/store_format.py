"""What a store's files are called and how they look; docs/store.md says the same in words."""

import contextlib
import functools
import os
import re

import numpy as np

from .leads import LEADS as LEADS

FORMAT = 1  # raised when an older kmerl could not read a newer store
FS = 500  # Hz
STEPS_PER_MV = 1000  # int16 in steps of 1 uV
MISSING = -32768
LARGEST = 32767
WINDOW = 10 * FS  # samples
SHORTEST = 100  # samples; less holds no segment of the default size

DATABASE = "store.sqlite"
UNFINISHED = "building.sqlite"
INDEX = "recordings.npy"
SHARD = "signals-{:05d}.npy"
SHARD_SAMPLES = 1 << 29  # 1 GiB; a longer recording has a shard of its own

SPLITS = ("train", "validation")
INDEX_DTYPE = np.dtype(
    [
        ("start", "<i8"),  # first sample in the shard
        ("samples", "<i4"),  # a lead
        ("report", "<i4"),  # row of the reports
        ("shard", "<i4"),
        ("leads", "<u2"),  # bit l: lead l of LEADS is there
        ("split", "u1"),  # index into SPLITS
        ("unused", "u1"),
    ]
)

SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE recordings (
    id INTEGER PRIMARY KEY,         -- 0, 1, ...: the index in the store
    position INTEGER NOT NULL,      -- in the input it was made from, what was skipped included
    name TEXT,                      -- NULL: a record in memory without one
    patient TEXT,                   -- NULL: a patient of its own
    report INTEGER NOT NULL REFERENCES reports(id),
    comments TEXT NOT NULL,         -- one a line
    leads INTEGER NOT NULL,         -- bit l: lead l of I II III aVR aVL aVF V1 .. V6 is there
    samples INTEGER NOT NULL,       -- a lead, at 500 Hz
    shard INTEGER NOT NULL,
    start INTEGER NOT NULL,         -- first sample in the shard
    missing INTEGER NOT NULL,       -- samples
    clipped INTEGER NOT NULL,       -- samples
    dropped INTEGER NOT NULL,       -- bit l: lead l was flat or missing throughout and left out
    split INTEGER NOT NULL,         -- 0 train, 1 validation
    digest BLOB NOT NULL,           -- hash of the samples as stored
    source BLOB NOT NULL            -- hash of the input: file name, or name and signal
);
CREATE TABLE reports (id INTEGER PRIMARY KEY, text TEXT NOT NULL, digest BLOB NOT NULL UNIQUE);
CREATE TABLE skipped (
    position INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    reason TEXT NOT NULL,
    patient TEXT,
    report BLOB NOT NULL,           -- digest of the text
    source BLOB NOT NULL
);
CREATE TABLE shards (id INTEGER PRIMARY KEY, samples INTEGER NOT NULL);
CREATE TABLE entities (
    id INTEGER PRIMARY KEY,         -- column of the labels
    name TEXT NOT NULL,
    reports INTEGER NOT NULL,       -- how many distinct reports have it
    recordings INTEGER NOT NULL
);
CREATE TABLE texts (id INTEGER PRIMARY KEY, text TEXT NOT NULL);
"""


def npy_header(dtype, shape):
    """The head of a .npy file (version 1.0); its length depends on the dtype and the number of dimensions
    alone."""
    dtype = np.dtype(dtype)
    descr = repr(dtype.descr if dtype.names else dtype.str)
    text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {tuple(int(n) for n in shape)!r}, }}"
    room = len(f"{{'descr': {descr}, 'fortran_order': False, 'shape': (), }}") + 22 * len(shape) + 1
    size = -(-(10 + room) // 64) * 64
    return b"\x93NUMPY\x01\x00" + (size - 10).to_bytes(2, "little") + text.ljust(size - 11).encode() + b"\n"


SHARD_HEAD = len(npy_header("<i2", (0,)))


# ---- what a database may say -------------------------------------------------------------------------------


def is_count(value):
    return type(value) is int and 0 <= value < 2**48


def _text(value):
    return isinstance(value, str) and value != ""


def _file(name):
    """A file of the store's own folder: nothing else may be named."""
    return lambda value: isinstance(value, str) and re.fullmatch(name + r"-[0-9a-f]{12}\.npy", value) is not None


_META = {
    "counts": dict.fromkeys(("recordings", "reports", "skipped", "patients"), is_count),
    "parameters": {
        "seconds": lambda value: value is None or type(value) in (int, float),
        "seed": lambda value: type(value) is int,
    },
    "labels": {
        "file": _file("labels"),
        "entities": is_count,
        **dict.fromkeys(("sha256", "vocabulary_name", "vocabulary_sha256"), _text),
    },
    "embeddings": {
        "reports": _file("reports"),
        "texts": _file("texts"),
        "width": is_count,
        **dict.fromkeys(("sha256", "encoder", "report_pooling", "query_pooling"), _text),
    },
}


def check_meta(meta, name):
    """ValueError unless the single values are of the kinds that a store writes, and its files its own."""
    needed = {"counts", "parameters", *({"labels", "embeddings"} & meta.keys())}
    faults = [key for key in needed if not isinstance(meta.get(key), dict)]
    faults += [
        f"{key}, {field}" for key in needed - set(faults) for field, good in _META[key].items()
        if not good(meta[key].get(field))
    ]  # fmt: skip
    texts = ("fingerprint", *(["vocabulary"] if "labels" in meta else []))
    faults += [key for key in texts if not _text(meta.get(key))]
    if faults:
        key, _, field = min(faults).partition(", ")
        value = meta.get(key)
        raise ValueError(
            f"{name} is damaged: {min(faults)} is {(value.get(field) if field else value)!r:.80}, which no store writes"
        )


@functools.lru_cache(maxsize=1)
def _tables():
    import sqlite3

    with contextlib.closing(sqlite3.connect(":memory:")) as db:
        db.executescript(SCHEMA)
        return set(db.execute("SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL"))


def check_tables(found, name):
    """ValueError unless the tables are a store's: no views, no triggers, nothing that does more than hold values."""
    different = sorted({str(row[1]) for row in _tables() ^ set(found)})
    if different:
        raise ValueError(f"{name} is damaged: {different[0]!r:.80} is not what a store has")


@contextlib.contextmanager
def database_errors(path):
    """sqlite3's errors as the usual ones."""
    import sqlite3

    try:
        yield
    except sqlite3.OperationalError as error:
        raise OSError(f"{os.fspath(path)}: {error}") from error
    except sqlite3.Error as error:
        raise ValueError(f"{os.fspath(path)} is damaged: {error}") from error


def connect(path, write):
    """An SQLite connection; a finished database never changes in place, so that reading it needs no locks."""
    import sqlite3
    from urllib.parse import quote

    if write:
        connection = sqlite3.connect(path, isolation_level=None)
        connection.execute("PRAGMA synchronous = EXTRA")  # the removal of the journal is a commit: synced too
        return connection
    uri = "file:" + quote(os.path.abspath(path)) + "?mode=ro&immutable=1"
    return sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False)
