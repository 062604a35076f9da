"""MERL's protocol [1]_: its splits and its 1 % and 10 % training subsets, to compare with its figures.

`data/merl_splits.npz` holds what no rule gives, from MERL's published tables (MIT licence, (c) 2024 Che Liu): the
order in which CPSC2018's files were listed, CSN's split (its 23,026 recordings, in the tables' order), and which
recordings of PTB-XL have a label of a task and a fold of 1 to 8.

References
----------
.. [1] Liu et al. 2024, "Zero-shot ECG classification with multimodal learning and test-time clinical knowledge
   enhancement", arXiv:2403.06659.
"""

import functools
import pathlib

import numpy as np

from kmerl import _kmerl
from kmerl.record import Record

SEED = 42  # of every random choice in MERL


@functools.lru_cache(maxsize=1)
def _tables():
    with np.load(pathlib.Path(__file__).parent / "data" / "merl_splits.npz", allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def draw(n, train, test, seed=SEED):
    """``train`` and ``test`` of n items as scikit-learn's ``train_test_split(random_state=seed)`` draws them.

    The first `test` places of a permutation by NumPy's legacy generator are the test items, the next `train` the
    training items: ndarrays of int64, in that order.
    """
    order = np.random.RandomState(seed).permutation(n).astype(np.int64)
    return order[test : test + train], order[:test]


def subset(n, fraction, seed=SEED):
    """The places of a training subset among n recordings: ``train_test_split(train_size=fraction)``."""
    train = int(fraction * n)
    return draw(n, train, n - train, seed)[0]


def cpsc2018():
    """``{part: numbers}`` of the files A0001 to A6877, in the order of MERL's tables: 4,950, 551 and 1,376."""
    files = _tables()["cpsc2018"].astype(np.int64)
    rest, test = draw(len(files), 5501, 1376)
    train, validation = draw(len(rest), 4950, 551)
    return {"train": files[rest[train]], "validation": files[rest[validation]], "test": files[test]}


def csn():
    """``{part: numbers}`` of the files JSnnnnn, in the order of MERL's tables: 16,546, 1,860 and 4,620."""
    return {part: _tables()[f"csn-{part}"].astype(np.int64) for part in ("train", "validation", "test")}


def ptbxl(task):
    """The ecg_ids of a task's training part, in the order of MERL's table."""
    name = "diagnostic" if task in ("super", "sub") else task
    return np.flatnonzero(np.unpackbits(_tables()[f"ptbxl-{name}"])).astype(np.int64)


# ---- Its signals ----

PROTOCOLS = ("default", "merl")
FS, SAMPLES = 500, 5000


def check_protocol(protocol):
    """ValueError unless it is one of the two."""
    if protocol not in PROTOCOLS:
        raise ValueError(f"protocol is {protocol!r}, expected one of {', '.join(PROTOCOLS)}")


def prepared(record, taken=SAMPLES, stored=False):
    """A recording as MERL gives it to a model: 5,000 samples a lead from 0 to 1 (SPEC 1).

    The first `taken` samples, zeros behind them up to 5,000, then min-max over all leads of the recording:
    (x - min) / (max - min + 1e-8). Leads that are not there stay out: lead-agnostic tokens have zeros in their place.

    Parameters
    ----------
    record : Record
        At 500 Hz.
    taken : int
        5,000; 2,500 for CPSC2018.
    stored : bool
        As MERL stores MIMIC-IV-ECG: without the 1e-8, times 1,000, cut to whole numbers, divided by 1,000. A store
        keeps these exactly.

    Returns
    -------
    Record

    Raises
    ------
    ValueError
        Another sampling rate; no sample that is there.

    Notes
    -----
    Missing samples are interpolated first: MERL's own repair looks at the first twelve samples only, by its index.
    MERL changes aVL and aVF over where data sets order them otherwise than MIMIC-IV-ECG; here leads go by name.
    """
    if record.fs != FS:
        raise ValueError(f"{record.name}: protocol 'merl' is for 500 Hz, the recording has {record.fs:g} Hz")
    signal = _kmerl.merl_signal(np.ascontiguousarray(record.signal), int(taken), SAMPLES, bool(stored))
    return Record(
        signal, FS, record.leads, record.name, record.comments, record.report, record.labels, record.patient
    )
