"""Recordings: one object, one reader, and the one place that turns what a caller has into Records."""

import errno
import os
import stat

import numpy as np

from kmerl import _kmerl
from kmerl.leads import LEADS, lead_ids

__all__ = ["Record", "read_record", "as_record", "as_records"]

HEADER_BYTES = 1 << 26  # no header is larger
PACKAGE_HINT = 'pip install "kmerl[wfdb]"'
WHAT = "expected a path, a kmerl.Record, an array (leads, samples) or (n, leads, samples), or a list of these"


class Record:
    """One ECG recording.

    Parameters
    ----------
    signal : array_like (leads, samples)
        Millivolts; NaN and infinities are missing samples. Converted to float32.
    fs : float
        Sampling frequency, 1 to 100,000 Hz.
    leads : list of str
        A name for each row, any order and case: I II III aVR aVL aVF V1-V6.
    name, comments : str, list of str
        What to call it in messages and tables; remarks of the file it came from.
    report, labels, patient : optional
        Report text, array of 0/1 labels, patient id: kept as they are.

    Raises
    ------
    TypeError, ValueError
        Naming the argument, what came and what was expected.

    Notes
    -----
    A lead travels by name (SPEC 1): rows keep the order given, `leads` holds the canonical spelling.
    """

    __slots__ = ("signal", "fs", "leads", "name", "comments", "report", "labels", "patient", "__weakref__")

    def __init__(self, signal, fs, leads, name=None, comments=(), report=None, labels=None, patient=None):
        self.fs = _rate(fs)
        ids = lead_ids(leads)
        self.signal = _signal(signal, len(ids))
        self.leads = [LEADS[i] for i in ids]
        self.name = None if name is None else str(name)
        self.comments = [comments] if isinstance(comments, str) else list(comments)
        self.report, self.labels, self.patient = report, labels, patient

    @classmethod
    def _of(cls, signal, fs, leads, name, comments):
        """A Record of parts that are known to be right."""
        record = cls.__new__(cls)
        record.signal, record.fs, record.leads, record.name, record.comments = (
            signal,
            fs,
            leads,
            name,
            comments,
        )
        record.report = record.labels = record.patient = None
        return record

    @property
    def seconds(self):
        """Length in seconds."""
        return self.signal.shape[1] / self.fs

    def select(self, leads):
        """The same recording with these leads only, in this order.

        Parameters
        ----------
        leads : list of str
            Names of leads it has.

        Returns
        -------
        Record
        """
        wanted = [LEADS[i] for i in lead_ids(leads)]
        lacking = [lead for lead in wanted if lead not in self.leads]
        if lacking:
            raise ValueError(
                f"leads: {self.name or 'the recording'} has no lead {', '.join(lacking)}; "
                f"it has {' '.join(self.leads)}"
            )
        record = self._of(
            self.signal[[self.leads.index(lead) for lead in wanted]],
            self.fs,
            wanted,
            self.name,
            list(self.comments),
        )
        record.report, record.labels, record.patient = self.report, self.labels, self.patient
        return record

    def __repr__(self):
        name = f"{self.name!r}, " if self.name is not None else ""
        return f"Record({name}{self.seconds:g} s at {self.fs:g} Hz, leads {' '.join(self.leads)})"


def _rate(fs):
    if isinstance(fs, (str, bytes, bool, np.bool_)) or fs is None:
        raise TypeError(f"fs must be a number of Hz, got {fs!r:.80}")
    try:
        value = float(fs)
    except (TypeError, ValueError):
        raise TypeError(f"fs must be a number of Hz, got {fs!r:.80}") from None
    except OverflowError:
        value = float("inf")
    if not 1 <= value <= 100_000:
        raise ValueError(f"fs must be between 1 and 100000 Hz, got {fs!r:.80}")
    return value


def _numbers(x, argument):
    """x as an array of real numbers, or an error that says what it is."""
    try:
        if isinstance(x, np.ma.MaskedArray):        # what is masked is missing
            x = np.ma.filled(x.astype(np.float64), np.nan)
        array = np.asarray(x)
    except ValueError:
        raise ValueError(f"{argument} has rows of different lengths; expected (leads, samples)") from None
    if array.dtype.kind not in "fiu":
        raise TypeError(f"{argument} must be real numbers in mV, got dtype {array.dtype}")
    return array


def _signal(signal, leads):
    """(leads, samples) float32, checked against the number of lead names."""
    array = _numbers(signal, "signal")
    _check_shape(array.shape, leads, "signal")
    with np.errstate(over="ignore", invalid="ignore"):
        return np.ascontiguousarray(array, dtype=np.float32)


def _check_shape(shape, leads, argument):
    """The last two axes must be (leads, samples), with as many leads as names."""
    if len(shape) == 1:
        raise ValueError(f"{argument} must be (leads, samples), got {shape}; one lead is x[None, :]")
    if len(shape) not in (2, 3) or (len(shape) == 3 and argument == "signal"):
        raise ValueError(f"{argument} must be (leads, samples), got {shape}")
    rows, samples = shape[-2:]
    if rows == 0 or samples == 0:
        raise ValueError(
            f"{argument} has {rows} leads and {samples} samples, got {shape}; expected (leads, samples)"
        )
    if samples <= 12 and rows > 12 or samples == leads != rows:
        raise ValueError(
            f"{argument} looks transposed: got {shape}, expected (leads, samples) for {leads} leads"
        )
    if rows != leads:
        raise ValueError(
            f"{argument} has {rows} leads, leads names {leads}; got {shape}, expected (leads, samples)"
        )


def _open(path):
    """A descriptor and the size of a regular file; pipes, devices and folders are refused."""
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        if stat.S_ISDIR(status.st_mode):
            raise IsADirectoryError(f"{path} is a folder, expected a file")
        raise OSError(f"{path} is a pipe or device, expected a regular file")
    return descriptor, status.st_size


def _read(path, wanted=-1):
    """(the first `wanted` bytes of a file, its size); all bytes for -1."""
    descriptor, size = _open(path)
    try:
        count = size if wanted < 0 else min(wanted, size)
        data = os.read(descriptor, count)
        if len(data) < count:  # one read gives 2 GB at most
            parts = [data]
            while (left := count - sum(map(len, parts))) > 0 and (part := os.read(descriptor, left)):
                parts.append(part)
            data = b"".join(parts)
        return data, size
    finally:
        os.close(descriptor)


def _missing(path, why):
    """FileNotFoundError as the system words it, and why the file was looked for."""
    return FileNotFoundError(errno.ENOENT, "No such file" + (f" ({why})" if why else ""), str(path))


def header_path(path):
    """The header's path for a record's name, its header, or (where that is what there is) its signal file."""
    path = os.fspath(path)
    if isinstance(path, bytes):
        path = os.fsdecode(path)
    if "\0" in path:
        raise ValueError(f"path holds a zero byte: {path!r:.200}")
    if path.endswith(".hea"):
        return path
    root, extension = os.path.splitext(path)
    if (
        extension.lower() in (".dat", ".mat")
        and not os.path.exists(path + ".hea")
        and os.path.exists(root + ".hea")
    ):
        return root + ".hea"
    return path + ".hea"


def read_record(path, verify=True, leads=None):
    """Read a WFDB recording.

    Parameters
    ----------
    path : str or path-like
        The record's path, with or without `.hea`.
    verify : bool
        Check the header's checksums and that no file is longer than the header says.
    leads : list of str or "known", optional
        Read these leads only, in this order; "known" reads those of the twelve leads that there are and
        leaves other signals out. By default every signal must be one of the twelve leads.

    Returns
    -------
    Record
        Samples as stored: own rate, order and length, in mV, missing ones NaN.

    Raises
    ------
    FileNotFoundError, OSError
        The header or a signal file is missing, unreadable, or no regular file.
    ValueError
        A malformed header, unknown, duplicate or missing lead names, unknown units, a file that is shorter
        or longer than the header says, a checksum that does not agree, a signal path that leaves the
        record's folder.
    ImportError
        A format other than 16 without the `wfdb` package.

    Notes
    -----
    Format 16 (`.dat`, and MATLAB v4 `.mat` as in the PhysioNet Challenges) is read by kmerl itself; every
    other format, signals of several rates, skewed signals and recordings in segments through `wfdb`.
    Gains and baselines are taken from the header as they stand; gain 0 or none means 200 steps per mV.
    """
    header = header_path(path)
    folder, base = os.path.split(header)
    name = base[:-4]
    chosen = (
        None if leads is None else False if isinstance(leads, str) and leads == "known" else lead_ids(leads)
    )
    try:
        text = _read(header, HEADER_BYTES)[0]
    except FileNotFoundError:
        raise _missing(header, f"{path} is a folder" if os.path.isdir(path) else None) from None

    def load(file, wanted):
        file = os.path.join(folder, file)
        try:
            return _read(file, wanted)
        except FileNotFoundError:
            raise _missing(file, f"the header {header} names it") from None

    try:
        parts = _kmerl.wfdb_read(text, load, bool(verify), chosen)
        if parts is None:
            return _read_with_package(folder, name, text, verify, chosen)
    except ValueError as error:
        raise ValueError(f"{header}: {error}") from None
    signal, fs, names, comments = parts
    return Record._of(signal, fs, names, name, comments)


def _read_with_package(folder, name, text, verify, chosen):
    """Formats that kmerl does not read itself, through the wfdb package."""
    try:
        import wfdb
    except ImportError:
        raise ImportError(
            f"{name} is not in WFDB format 16; other formats are read by the wfdb package: {PACKAGE_HINT}"
        ) from None
    info = _kmerl.wfdb_header(text, chosen)
    try:
        if info["segments"] > 1:
            return _read_segments(wfdb, folder, name, info, verify, chosen)
        _check_files(folder, name, info)
        return _read_signals(wfdb, os.path.join(folder, name), name, info, verify)
    except (ValueError, OSError, MemoryError):
        raise
    except Exception as error:  # whatever a library makes of a malformed file
        raise ValueError(f"the wfdb package cannot read it: {type(error).__name__}: {error}") from None


def _read_signals(wfdb, path, name, info, verify):
    rows = [row for row, _, _ in info["rows"]]
    record = wfdb.rdrecord(path, channels=rows, physical=False, smooth_frames=False, ignore_skew=True)
    if verify:
        _check_sums(record, "lead {}")
    if any(record.skew):
        record = wfdb.rdrecord(path, channels=rows, physical=False, smooth_frames=False)
    frames = [int(n) for n in record.samps_per_frame]
    top = info["fs"] * max(frames)
    signals = [
        np.asarray(x * scale, dtype=np.float32)[None]
        for x, (_, _, scale) in zip(record.dac(expanded=True), info["rows"], strict=True)
    ]
    if min(frames) != max(frames):  # several rates: all at the highest
        signals = [_kmerl.resample(x, info["fs"] * n, top) for x, n in zip(signals, frames, strict=True)]
    return Record(np.concatenate(signals), top, [lead for _, lead, _ in info["rows"]], name, info["comments"])


_FLAC = (508, 516, 524)  # formats that are compressed
_FLAC_SAMPLES = 8192  # in a byte, at most
_MOST_JOINED = 1 << 28  # samples a lead of a recording in segments, whose gaps need no bytes: 25 days at 125 Hz


def _check_files(folder, name, info):
    """What the package will open must be regular files, with room for the samples that it will make place for: a
    sample takes a byte at least in all formats that are not compressed."""
    samples = {}
    for file, form, frame in info["files"]:
        samples[file] = samples.get(file, 0) + info["samples"] * frame / (_FLAC_SAMPLES if form in _FLAC else 1)
    for file, least in samples.items():
        path = os.path.join(folder, file)
        try:
            descriptor, size = _open(path)
            os.close(descriptor)
        except FileNotFoundError:
            raise _missing(path, f"the header {name}.hea names it") from None
        if size < least:
            raise ValueError(
                f"file {file} is truncated: it has {size:,} bytes, the header says {info['samples']:,} samples a signal"
            )


def _read_segments(wfdb, folder, name, info, verify, chosen):
    """A recording in segments: each is a record of its own; the package joins them."""
    first = None  # the first segment, or the layout, lists the signals
    for segment in dict.fromkeys(info["segment_names"]):
        if segment == "~":
            continue
        text = _read(os.path.join(folder, segment + ".hea"), HEADER_BYTES)[0]
        inner = _kmerl.wfdb_header(text, chosen if first is None else False)
        if inner["segments"] > 1:
            raise ValueError(f"segment {segment} is itself in segments; this is not read")
        first = first or inner
        if any(file == "~" for file, _, _ in inner["files"]):
            continue
        _check_files(folder, segment, inner)
        if verify:
            part = wfdb.rdrecord(
                os.path.join(folder, segment), physical=False, smooth_frames=False, ignore_skew=True
            )
            _check_sums(part, segment + ", signal {}")
    if first is None:
        raise ValueError("the recording has no segment with signals")
    if info["samples"] > _MOST_JOINED:
        raise ValueError(
            f"the recording has {info['samples']:,} samples a lead in segments, at most {_MOST_JOINED:,} are read"
        )
    record = wfdb.rdrecord(os.path.join(folder, name), m2s=True)
    rows = [row for row, _, _ in first["rows"]]
    scales = np.array([scale for _, _, scale in first["rows"]])
    signal = np.ascontiguousarray((record.p_signal[:, rows] * scales).T, dtype=np.float32)
    return Record(signal, info["fs"], [lead for _, lead, _ in first["rows"]], name, info["comments"])


def _check_sums(record, label):
    """The checksums a header has, against the samples as the package read them."""
    for i, (said, got) in enumerate(zip(record.checksum, record.calc_checksum(expanded=True), strict=True)):
        if said is not None and (int(said) - int(got)) % 65536:
            raise ValueError(
                f"{label.format(record.sig_name[i])} fails its checksum: the header says {said}, the samples "
                f"give {got} (verify=False reads all the same)"
            )


def as_record(x, leads=None, fs=None):
    """One recording as a Record: `as_records` for exactly one.

    Parameters
    ----------
    x : str, path-like, Record or array_like (leads, samples)
        A path is read now.
    leads : list of str, optional
        Needed with arrays, where it names the rows; otherwise the leads to keep.
    fs : float, optional
        Hz. Needed with arrays; otherwise refused unless it is the recording's own.

    Returns
    -------
    Record
    """
    if isinstance(x, Record):
        return _chosen(x, leads, fs)
    if isinstance(x, (str, bytes, os.PathLike)):
        return _chosen(read_record(x, leads=leads), None, fs)
    if x is None or isinstance(x, (bool, int, float, complex, dict, set)):
        raise TypeError(
            f"expected a path, a kmerl.Record or an array (leads, samples), got {type(x).__name__}"
        )
    if leads is None:
        raise ValueError("leads= is missing: an array needs a name for each lead, such as leads=['I', 'II']")
    if fs is None:
        raise ValueError("fs= is missing: an array needs its sampling frequency in Hz")
    return Record(x, fs, leads)


def _chosen(record, leads, fs):
    if fs is not None and _rate(fs) != record.fs:
        raise ValueError(
            f"fs= is for arrays; {record.name or 'the recording'} has its own, {record.fs:g} Hz, got {fs!r}"
        )
    return record if leads is None else record.select(leads)


def as_records(x, leads=None, fs=None):
    """Whatever holds recordings as a list of Records.

    Parameters
    ----------
    x : path, Record, array_like or iterable of these
        An array is (leads, samples) for one recording, (n, leads, samples) for several.
    leads, fs : optional
        As for `as_record`, the same for all.

    Returns
    -------
    records : list of Record
    single : bool
        Whether x was one recording rather than several (a list of one is several).

    Raises
    ------
    TypeError, ValueError
        Naming what came and what was expected; an empty x is a ValueError.
    """
    if isinstance(x, (str, bytes, os.PathLike, Record)):
        return [as_record(x, leads, fs)], True
    if hasattr(x, "__array__") and np.asarray(x).ndim == 1 and np.asarray(x).dtype.kind in "OU":
        x = np.asarray(x).tolist()  # a column of paths or Records
    if not hasattr(x, "__array__"):
        if x is None or isinstance(x, (bool, int, float, complex, dict, set)):
            raise TypeError(f"{WHAT}, got {type(x).__name__}")
        try:
            x = list(x)
        except TypeError:
            raise TypeError(f"{WHAT}, got {type(x).__name__}") from None
        if not x:
            raise ValueError("there are no recordings: got an empty list")
        if not _is_plain(x):
            return [_numbered(i, item, leads, fs) for i, item in enumerate(x)], False
    array = _numbers(x, "x")
    if leads is None:
        raise ValueError("leads= is missing: an array needs a name for each lead, such as leads=['I', 'II']")
    if fs is None:
        raise ValueError("fs= is missing: an array needs its sampling frequency in Hz")
    rate, ids = _rate(fs), lead_ids(leads)
    if array.ndim == 3 and array.shape[0] == 0:
        raise ValueError(f"there are no recordings: x has shape {array.shape}")
    _check_shape(array.shape, len(ids), "x")
    single = array.ndim == 2
    with np.errstate(over="ignore", invalid="ignore"):
        array = np.ascontiguousarray(array[None] if single else array, dtype=np.float32)
    names = [LEADS[i] for i in ids]
    return [Record._of(signal, rate, list(names), None, []) for signal in array], single


def iter_records(x, leads=None, fs=None):
    """`as_records`, one recording after the other: of a list of paths only one is in memory at a time.

    Returns
    -------
    records : iterator of Record
    count : int
    single : bool
    """
    if isinstance(x, (list, tuple)) and x and not _is_plain(x):
        return (_numbered(i, item, leads, fs) for i, item in enumerate(x)), len(x), False
    records, single = as_records(x, leads, fs)
    return iter(records), len(records), single


def _is_plain(items):
    """Nested lists of numbers, or rows of one recording: an array that is not one yet."""
    first = items[0]
    if isinstance(first, (str, bytes)):
        return False
    if isinstance(first, (bool, int, float, complex, np.generic)):
        return True
    if isinstance(first, (list, tuple)):
        return bool(first) and not isinstance(first[0], (str, bytes, os.PathLike, Record))
    return hasattr(first, "__array__") and np.ndim(first) < 2


def _numbered(i, item, leads, fs):
    try:
        return as_record(item, leads, fs)
    except (TypeError, ValueError) as error:
        if isinstance(item, (str, bytes, os.PathLike)):
            raise
        kind = ValueError if isinstance(error, ValueError) else TypeError
        raise kind(f"recording {i}: {error}") from None
