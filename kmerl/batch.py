"""Batches: packed tokens of recordings, as the model takes them (SPEC 2)."""

import numbers

import numpy as np

from kmerl import _kmerl

__all__ = ["Batch", "sample_batch", "sample_windows"]


class Batch:
    """Packed tokens of B recordings, and the texts that belong to them.

    Parameters
    ----------
    patches : array_like (T, P)
        Normalised samples, one row a token; (T, 12 P) for lead-agnostic tokens, lead after lead, absent ones 0.
        ResNet-18 lays them side by side by `segment`, with zeros where there is none.
    lead : array_like (T,)
        Canonical lead ids, 0 to 11 in the order I II III aVR aVL aVF V1-V6; 0 for lead-agnostic tokens.
    segment : array_like (T,)
        Which segment of the lead, 0 to M - 1.
    offset : array_like (B + 1,)
        Recording b owns tokens ``offset[b]`` to ``offset[b + 1] - 1``: from 0 to T, none empty.
    report : array_like (B, D), optional
        Text embeddings of the reports.
    labels : array_like (B, Q), optional
        0 or 1.
    entities : array_like (Q, D), optional
        Text embeddings of the entity names.
    report_id : array_like (B,), optional
        Equal numbers for equal reports (`mask_duplicates`).
    recording : array_like (B,), optional
        Numbers that the recordings' dropout masks are made from; without them their places in the batch.

    Attributes
    ----------
    patches, report, labels, entities : float32 arrays or None
    lead, segment, offset : int32 arrays
    report_id, recording : int64 array or None

    Raises
    ------
    TypeError
        An array of another kind of number: integers are converted to another width when every value fits.
    ValueError
        A shape, value or combination that is not allowed; the message names the array.
    """

    __slots__ = ("patches", "lead", "segment", "offset", "report", "labels", "entities", "report_id",
                 "recording")

    def __init__(
        self, *, patches, lead, segment, offset, report=None, labels=None, entities=None, report_id=None,
        recording=None
    ):
        self.patches = _real(patches, "patches", 2, "(T, P)")
        T, P = self.patches.shape
        if T == 0 or P == 0:
            raise ValueError(f"patches is empty: got {self.patches.shape}, expected (T, P)")
        self.lead = _integer(lead, "lead", T, "T")
        self.segment = _integer(segment, "segment", T, "T")
        self.offset = _integer(offset, "offset", None, "B + 1")
        _between(self.lead, "lead", 0, 11)
        _between(self.segment, "segment", 0, None)
        B = len(self.offset) - 1
        if B < 1:
            raise ValueError(f"offset has {len(self.offset)} entries, expected B + 1: the batch is empty")
        if self.offset[0] != 0 or self.offset[-1] != T:
            raise ValueError(
                f"offset must go from 0 to the {T} tokens of patches, got {self.offset[0]} to "
                f"{self.offset[-1]}"
            )
        steps = np.diff(self.offset.astype(np.int64))
        if (steps <= 0).any():
            b = int(np.argmax(steps <= 0))
            raise ValueError(
                f"offset must increase: recording {b} owns tokens {self.offset[b]} to "
                f"{self.offset[b + 1]} - 1"
            )
        self.report = None if report is None else _real(report, "report", 2, "(B, D)", rows=B)
        self.entities = None if entities is None else _real(entities, "entities", 2, "(Q, D)")
        self.labels = None if labels is None else _real(labels, "labels", 2, "(B, Q)", rows=B)
        if self.labels is not None:
            bad = (self.labels != 0) & (self.labels != 1)
            if bad.any():
                at = tuple(int(i) for i in np.argwhere(bad)[0])
                raise ValueError(f"labels must be 0 or 1, got {self.labels[at]} at {at}")
            if self.entities is None:
                raise ValueError("labels need entities: the text embeddings of what they are labels of")
            if self.entities.shape[0] != self.labels.shape[1]:
                raise ValueError(
                    f"labels has {self.labels.shape[1]} columns, entities {self.entities.shape[0]} rows; "
                    "expected (B, Q) and (Q, D)"
                )
        if (
            self.report is not None
            and self.entities is not None
            and self.report.shape[1] != self.entities.shape[1]
        ):
            raise ValueError(
                f"report is {self.report.shape[1]} wide, entities {self.entities.shape[1]}; expected the "
                "same text width D"
            )
        self.report_id = None if report_id is None else _integer(report_id, "report_id", B, "B", np.int64)
        self.recording = None if recording is None else _integer(recording, "recording", B, "B", np.int64)

    @classmethod
    def _of(cls, arrays):
        """A Batch of the core's own arrays (float32 whatever the core's build)."""
        batch = cls.__new__(cls)
        for name in cls.__slots__:
            array = arrays.get(name)
            if array is not None and array.dtype == np.float64:
                array = array.astype(np.float32)
            setattr(batch, name, array)
        return batch

    def __len__(self):
        """How many recordings."""
        return len(self.offset) - 1

    def __repr__(self):
        T, P = self.patches.shape
        texts = "" if self.labels is None else f", {self.labels.shape[1]} entities"
        return f"Batch({len(self)} recordings, {T} tokens of {P} samples{texts})"

    def arrays(self):
        """The arrays by name, those that are there: what the core takes.

        Returns
        -------
        dict of str to numpy.ndarray
        """
        return {name: getattr(self, name) for name in self.__slots__ if getattr(self, name) is not None}

    def check(self, config):
        """Whether a model of this configuration can take the batch.

        Parameters
        ----------
        config : kmerl.Config

        Raises
        ------
        ValueError
            Another number of samples a token, a segment the model does not have, another text width.
        """
        agnostic = config.tokenisation == "agnostic"
        P = config.segment_samples * (12 if agnostic else 1)
        M = round(config.fs * config.seconds) // config.segment_samples
        if self.patches.shape[1] != P:
            raise ValueError(f"patches has {self.patches.shape[1]} samples a token, the model takes {P}")
        _between(self.segment, "segment", 0, M - 1)
        for name in ("report", "entities"):
            array = getattr(self, name)
            if array is not None and config.text_width is not None and array.shape[1] != config.text_width:
                raise ValueError(
                    f"{name} is {array.shape[1]} wide, the model's text width is {config.text_width}"
                )


def _real(x, name, ndim, shape, rows=None):
    try:
        array = np.asarray(x)
    except ValueError:
        raise ValueError(f"{name} has rows of different lengths; expected {shape}") from None
    if array.dtype.kind not in "fiub":
        raise TypeError(f"{name} must be real numbers {shape}, got dtype {array.dtype}")
    if array.ndim != ndim:
        raise ValueError(f"{name} must be {shape}, got shape {array.shape}")
    if rows is not None and array.shape[0] != rows:
        raise ValueError(
            f"{name} has {array.shape[0]} rows, offset tells of {rows} recordings; expected {shape}"
        )
    with np.errstate(over="ignore"):
        array = np.ascontiguousarray(array, dtype=np.float32)
    bad = ~np.isfinite(array)
    if bad.any():
        at = tuple(int(i) for i in np.argwhere(bad)[0])
        raise ValueError(f"{name} must be finite (in float32), got {np.asarray(x)[at]} at {at}")
    return array


def _integer(x, name, length, size, dtype=np.int32):
    array = np.asarray(x)
    if array.size and array.dtype.kind not in "iu":
        raise TypeError(f"{name} must be integers ({size},), got dtype {array.dtype}")
    if array.ndim != 1:
        raise ValueError(f"{name} must be ({size},), got shape {array.shape}")
    if length is not None and len(array) != length:
        raise ValueError(f"{name} has {len(array)} entries, expected {size} = {length}")
    limits = np.iinfo(dtype)
    if array.size and (int(array.min()) < limits.min or int(array.max()) > limits.max):
        raise ValueError(
            f"{name} does not fit {np.dtype(dtype)}: it goes from {array.min()} to {array.max()}, "
            f"expected {limits.min} to {limits.max}"
        )
    return np.ascontiguousarray(array, dtype=dtype)


def _between(array, name, low, high):
    bad = array < low if high is None else (array < low) | (array > high)
    if bad.any():
        at = int(np.argmax(bad))
        expected = f"{low} or more" if high is None else f"{low} to {high}"
        raise ValueError(f"{name}[{at}] is {array[at]}, expected {expected}")


def _indices(indices, count):
    array = np.asarray(indices)
    if array.ndim == 0:
        array = array[None]
    if array.size == 0:
        raise ValueError("indices is empty: a batch needs at least one recording")
    array = _integer(array, "indices", None, "B", np.int64)
    array = np.where(array < 0, array + count, array)
    if ((array < 0) | (array >= count)).any():
        raise IndexError(
            f"indices must be in 0 to {count - 1}, got {np.asarray(indices).ravel()[:8].tolist()}"
        )
    return array


def _natural(value, name, bits):
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise TypeError(f"{name} must be an integer, got {value!r:.80}")
    if not 0 <= value < 2**bits:
        raise ValueError(f"{name} must be between 0 and 2^{bits} - 1, got {value}")
    return int(value)


def check_rate(config):
    """A ValueError unless the configuration's rate is that of stores."""
    from kmerl.store_format import FS

    if config.fs != FS:
        raise ValueError(f"fs is {config.fs:g} Hz, but stores hold recordings at {FS} Hz: training at another rate is "
                         "not possible")


def _core_corpus(arrays):
    """_kmerl.Corpus of a store's arrays, whose real numbers take the core's type."""
    real = _kmerl.build_info()["real"]
    kinds = {
        "shard": np.int32,
        "start": np.int64,
        "leads": np.uint16,
        "samples": np.int32,
        "report": np.int32,
        "labels": np.uint8,
        "embeddings": real,
        "entities": real,
    }
    converted = {name: np.ascontiguousarray(arrays[name], dtype=kind) for name, kind in kinds.items()}
    return _kmerl.Corpus({"shards": list(arrays["shards"]), **converted})


def sample_batch(store, indices, seed=0, epoch=0, config=None, threads=None):
    """What training sees of these recordings: a window each, masked, normalised and packed (SPEC 1 and 2).

    Parameters
    ----------
    store : kmerl.Store
        Labelled and embedded.
    indices : array_like of int (B,)
        Which recordings; the same may come twice.
    seed, epoch : int
        Masks and random windows are pure functions of (seed, epoch, index).
    config : kmerl.Config, optional
        Default: ``kmerl.Config()``.
    threads : int, optional
        Default: ``config.threads``, else all. Does not change the result.

    Returns
    -------
    Batch

    Raises
    ------
    IndexError, ValueError, RuntimeError
        No such recording; one without a usable lead or shorter than a segment; a store without labels or
        embeddings.
    """
    from kmerl.config import Config

    config = Config() if config is None else config
    if not isinstance(config, Config):
        raise TypeError(f"config must be a kmerl Config, got {type(config).__name__}")
    if not hasattr(store, "corpus"):
        raise TypeError(f"store must be a kmerl.Store, got {type(store).__name__}")
    check_rate(config)
    if threads is not None and not 1 <= _natural(threads, "threads", 32) <= 4096:
        raise ValueError(f"threads must be between 1 and 4096, got {threads}")
    corpus = getattr(store, "_core", None)
    if corpus is None:
        corpus = store._core = _core_corpus(store.corpus())     # kept: its making takes as long as the store is large
    arrays = _kmerl.sample_batch(
        corpus,
        _indices(indices, len(corpus)),
        config.to_core(corpus.arrays["embeddings"].shape[1]),
        _natural(seed, "seed", 64),
        _natural(epoch, "epoch", 32),
        threads or config.threads or _kmerl.build_info()["threads"],
    )
    return Batch._of(arrays)


def _signal(record, i):
    """A record's signal as the core takes it, whatever was put there since the record was made."""
    x = np.asarray(record.signal)
    if x.ndim != 2 or x.shape[0] != len(record.leads) or x.dtype.kind not in "fiu":
        raise ValueError(
            f"{record.name or f'recording {i}'}: signal must be real numbers (leads, samples) for its "
            f"{len(record.leads)} leads, got shape {x.shape} and dtype {x.dtype}"
        )
    return np.ascontiguousarray(x, dtype=np.float32)


def sample_windows(records, config, first=False, threads=None, apart=False):
    """Unmasked windows of recordings: what an answer is computed from.

    Parameters
    ----------
    records : list of kmerl.Record
        Of any rates, lengths and leads; resampled to `config.fs` here.
    config : kmerl.Config
    first : bool
        Only the first window of each instead of all consecutive ones. The last window of a recording is what
        is left of it, a whole segment at least.
    threads : int, optional
    apart : bool
        A row for each visible lead of a window, as if the recording had that lead alone.

    Returns
    -------
    batch : Batch
        One row a window, in the order of the recordings; with `apart` one row a lead, in the order of LEADS.
    rows : dict of arrays (rows,)
        "recording" (index in `records`), "start" (sample at `config.fs`), "segments" (whole segments a
        lead), "repaired" (missing samples interpolated), "dropped" and "visible" (sets of leads: bit i is
        canonical lead i; "dropped" is the window's in all its rows).

    Raises
    ------
    ValueError
        Naming the recording that is shorter than one segment or has no usable lead.
    """
    from kmerl.leads import lead_ids

    threads = threads or config.threads or _kmerl.build_info()["threads"]
    signals = [_signal(r, i) for i, r in enumerate(records)]
    signals = [
        x if r.fs == config.fs else _kmerl.resample(x, r.fs, config.fs, threads)
        for x, r in zip(signals, records, strict=True)
    ]
    leads = [np.array(lead_ids(r.leads), dtype=np.int32) for r in records]
    names = [r.name or f"recording {i}" for i, r in enumerate(records)]
    arrays = _kmerl.sample_windows(
        signals, leads, names, config.to_core(config.text_width or 1), first, apart, threads
    )
    rows = {
        name: arrays[name] for name in ("recording", "start", "segments", "repaired", "dropped", "visible")
    }
    return Batch._of(arrays), rows
