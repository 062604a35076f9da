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
