"""How a store comes into being: recordings are prepared in any order, written in the order given, and kept in
batches. Paths are prepared in groups by threads (`prepare_paths`); what that does not read goes to processes of its
own, one recording at a time (`prepare`), and so does everything where the user gives an executor.

A batch is kept when its samples are synced in the shard and then its rows are committed to the database.
Whatever moment the process is killed at, what the database says was kept is there, and what lies behind it in
the shard is cut off when the next `create` goes on. Nothing depends on where batches end, so the finished
store is the same to the last byte."""

import collections
import concurrent.futures
import contextlib
import hashlib
import heapq
import itertools
import json
import math
import numbers
import operator
import os
import sys
import time
import warnings

import numpy as np

from . import _kmerl, durable
from . import store_format as fmt
from .leads import lead_ids
from .progress import Progress
from .record import Record, header_path, read_record
from .workers import Workers

BATCH = 256  # recordings, at most, until they are kept
BATCH_SECONDS = 1.0  # the same
KNOWN = 4096  # texts whose row is known without asking the database
IN_FLIGHT = 64  # recordings being prepared by an executor of the user's
GROUP = 16  # paths that are read in one call: small enough that their samples stay in the cache until they are written
ROOM = 1 << 20  # samples of such a group in memory; a recording that alone is larger is read by `prepare`


# ---- one recording -----------------------------------------------------------------------------------------

Prepared = collections.namedtuple(
    "Prepared", "name report patient comments leads dropped samples missing clipped data digest"
)
Unreadable = collections.namedtuple("Unreadable", "reason")


def digest(*parts):
    """The first 16 bytes of the SHA-256 of byte strings, each with its length before it."""
    h = hashlib.sha256()
    for part in parts:
        part = memoryview(part).cast("B") if not isinstance(part, bytes) else part
        size = len(part).to_bytes(8, "little")
        if len(part) < 512:
            h.update(size + part)
        else:
            h.update(size)
            h.update(part)
    return h.digest()[:16]


def text_digest(text):
    return digest(text.encode())


def pack(record, seconds):
    """What the store keeps of a recording: its first `seconds` at 500 Hz, the leads there are in canonical
    order, int16 in steps of 1 uV. ValueError where nothing is left to keep."""
    signal = first_seconds(np.asarray(record.signal, dtype=np.float32), float(record.fs), seconds)
    signal, ids = np.ascontiguousarray(signal), lead_ids(record.leads)
    data, kept, dropped, missing, clipped = _kmerl.pack(signal, np.array(ids, np.int32))
    return {
        "leads": kept,
        "dropped": dropped,
        "samples": signal.shape[1],
        "missing": missing,
        "clipped": clipped,
        "data": data.astype("<i2", copy=False),
        "digest": digest(data.astype("<i2", copy=False)),
    }


def first_seconds(signal, fs, seconds):
    """The first `seconds` (None: all) of a signal (leads, samples) at `fs` Hz, resampled to 500 Hz."""
    if fs == fmt.FS:
        return signal if seconds is None else signal[:, : round(seconds * fmt.FS)]
    if seconds is not None:  # and what the filter sees beyond them: 10 samples of the slower rate (SPEC 1)
        signal = signal[:, : math.ceil(seconds * fs + 10 * max(1, fs / fmt.FS)) + 2]
    signal = _kmerl.resample(np.ascontiguousarray(signal), fs, float(fmt.FS))
    return signal if seconds is None else signal[:, : round(seconds * fmt.FS)]


def prepare(task):
    """(path or Record, seconds, verify) -> Prepared, or Unreadable with the reason. Runs in the worker
    processes."""
    item, seconds, verify = task
    try:
        record = item if isinstance(item, Record) else read_record(item, verify=verify)
        return Prepared(
            name=record.name,
            report=record.report,
            patient=checked_patient(record.patient, "patient"),
            comments=joined(record.comments),
            **pack(record, seconds),
        )
    except Exception as error:  # one bad file is listed, and the rest goes on
        return Unreadable(reason(error))


def prepare_paths(paths, seconds, verify, spare):
    """The same for many paths, most of the time without the interpreter: (list of Prepared, or None for those
    that `prepare` must be asked for: what is wrong with them or not format 16), and the arrays that the samples
    are in. `spare`: arrays to use again."""
    headers = []
    for path in paths:
        try:
            header = os.fsencode(header_path(path))
        except ValueError:
            header = b""
        headers.append(b"" if b"\0" in header else header)  # no path: not found
    prepared, used = [], []
    while len(prepared) < len(headers):
        try:
            out = spare.pop()
        except IndexError:
            out = np.empty(ROOM, np.int16)
        used.append(out)
        rest = headers[len(prepared) :]
        rows = _kmerl.wfdb_pack(rest, -1.0 if seconds is None else seconds, verify, out)
        for header, row in zip(rest, rows, strict=False):
            if row is None:
                prepared.append(None)
                continue
            comments, leads, dropped, samples, missing, clipped, start, count = row
            data = out[start : start + count].astype("<i2", copy=False)
            name = os.fsdecode(os.path.basename(header)[: -len(".hea")])
            comments = joined(comments)
            about = (name, None, None, comments, leads, dropped, samples, missing, clipped)
            prepared.append(Prepared(*about, data, digest(data)))
    return prepared, used


def joined(comments):
    """A recording's remarks as the store keeps them: one a line."""
    return "\n".join(" ".join(str(line).split()) for line in comments or ())


def reason(error):
    text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    return " ".join(text.split()) or type(error).__name__


def item_name(path):
    name = os.path.basename(os.fspath(path).rstrip("/"))
    return name[: -len(".hea")] if name.endswith(".hea") else name


# ---- the input ---------------------------------------------------------------------------------------------

Item = collections.namedtuple("Item", "position item name report patient source")


def inputs(records, reports, patients):
    """The three iterables in step, checked: Items."""
    end = object()
    feeds = [iter(records)]
    names = ["records"]
    for name, feed in (("reports", reports), ("patients", patients)):
        if feed is not None:
            feeds.append(iter(feed))
            names.append(name)
    for position in itertools.count():
        row = [next(feed, end) for feed in feeds]
        if row[0] is end or end in [value for value in row if value is end]:
            ended = [name for name, value in zip(names, row, strict=True) if value is end]
            if len(ended) < len(names):
                going = [name for name in names if name not in ended]
                raise ValueError(
                    f"{' and '.join(ended)} ended after {position} items, {' and '.join(going)} did not: "
                    "they must be as many, in the same order"
                )
            return
        row = dict(zip(names, row, strict=True))
        item = row["records"]
        if isinstance(item, Record):
            name = item.name or f"records[{position}]"
            signal = np.ascontiguousarray(item.signal, dtype=np.float32)
            about = [name, repr(float(item.fs)), *map(str, item.leads), *map(str, signal.shape)]
            source = digest(b"record", "\0".join(about).encode("utf-8", "surrogatepass"), signal)
        elif isinstance(item, (str, os.PathLike)):
            name = item_name(item)
            source = digest(b"path", name.encode("utf-8", "surrogatepass"))
        else:
            raise TypeError(
                f"records[{position}] is a {type(item).__name__}, expected a path or a kmerl.Record"
            )
        report = row["reports"] if reports is not None else getattr(item, "report", None)
        patient = row["patients"] if patients is not None else getattr(item, "patient", None)
        where = f"records[{position}].{{}}" if reports is None else f"{{}}s[{position}]"
        report = checked_report(report, where.format("report"))
        if report is None and reports is not None:
            report = ""
        where = f"records[{position}].{{}}" if patients is None else f"{{}}s[{position}]"
        patient = checked_patient(patient, where.format("patient"))
        yield Item(position, item, name, report, patient, source)


def checked_report(text, where):
    """The report as text; None stays None (not given)."""
    if text is None:
        return None
    if not isinstance(text, str):
        # What came is not shown: bytes or a list may hold a report, which is a patient's.
        came, hint = type(text).__name__, ""
        if isinstance(text, float):
            came, hint = f"float ({text})", "; a missing report is an empty text or None"
        raise TypeError(f"{where} is a {came}, expected the report's text{hint}")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{where} is not valid text: {error.reason} at character {error.start}") from None
    return str(text)


def checked_patient(patient, where):
    """The patient as text; None, NaN and a blank text are None: a patient of its own. 15709.0, as pandas has it, is
    "15709"."""
    is_nan = isinstance(patient, numbers.Real) and patient != patient
    if patient is None or is_nan or isinstance(patient, str) and not patient.strip():
        return None
    if isinstance(patient, numbers.Real) and not isinstance(patient, bool) and patient == int(patient):
        return str(int(patient))
    if not isinstance(patient, str):
        raise TypeError(
            f"{where} is a {type(patient).__name__} ({patient!r:.40}), expected a text or a whole number"
        )
    try:
        patient.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{where} is not valid text: {error}") from None
    return str(patient)


# ---- the parameters ----------------------------------------------------------------------------------------


def checked_parameters(seconds, validation, seed, verify, reports, patients):
    """The parameters that a store is made with, as they are kept in it."""
    if seconds is not None:
        if isinstance(seconds, bool) or not isinstance(seconds, numbers.Real):
            raise TypeError(f"seconds is {seconds!r}, expected a number of seconds or None (keep all)")
        least = fmt.SHORTEST / fmt.FS
        if not least <= seconds <= sys.float_info.max:
            raise ValueError(
                f"seconds is {seconds!r}, expected at least {least:g} s (one segment), or None (keep all)"
            )
        seconds = float(seconds)
    if isinstance(validation, bool) or not isinstance(validation, numbers.Real):
        raise TypeError(f"validation is {validation!r}, expected a fraction of the patients")
    if not 0 <= validation < 1:
        raise ValueError(
            f"validation is {validation!r}, expected a fraction of the patients from 0 to less than 1"
        )
    if isinstance(seed, bool) or not hasattr(seed, "__index__"):
        raise TypeError(f"seed is {seed!r}, expected an integer")
    if not isinstance(verify, (bool, np.bool_)):
        raise TypeError(f"verify is {verify!r}, expected True or False")
    return {
        "seconds": seconds,
        "validation": float(validation),
        "seed": operator.index(seed),
        "verify": bool(verify),
        "reports": reports is not None,
        "patients": patients is not None,
    }


def check_same_parameters(path, stored, given):
    """ValueError that names the first field in which `given` differs from the store's."""
    for field, value in given.items():
        if stored.get(field) != value:
            if field in ("reports", "patients"):
                was, now = ("with" if v else "without" for v in (stored.get(field), value))
                raise ValueError(
                    f"store {path!r} was made {was} {field}=, asked for now is one {now} it; {OTHER}"
                )
            raise ValueError(
                f"store {path!r} was made with {field}={stored.get(field)!r}, asked for now is "
                f"{field}={value!r}; {OTHER}"
            )


def check_same_inputs(path, connection, items):
    """Goes over what `connection`'s store was made of and over `items` in step; ValueError at the first
    difference. Returns the number of inputs done."""
    kept = connection.execute(
        "SELECT position, patient, source, reports.digest FROM recordings "
        "JOIN reports ON reports.id = report ORDER BY recordings.id"
    )
    skipped = connection.execute("SELECT position, patient, source, report FROM skipped ORDER BY position")
    done = 0
    with contextlib.closing(heapq.merge(kept, skipped, key=operator.itemgetter(0))) as rows:
        for position, patient, source, report in rows:
            item = next(items, None)
            if item is None:
                raise ValueError(
                    f"records ended after {position} items, but store {path!r} was made of more; {OTHER}"
                )
            if item.source != source:
                raise ValueError(
                    f"records[{position}] ({item.name!r}) is not what store {path!r} was made of; {OTHER}"
                )
            if item.report is not None and text_digest(item.report) != report:
                raise ValueError(
                    f"the report of records[{position}] ({item.name!r}) is not store {path!r}'s; {OTHER}"
                )
            if item.patient != patient:
                raise ValueError(
                    f"the patient of records[{position}] ({item.name!r}) is {item.patient!r}, "
                    f"in store {path!r} it is {patient!r}; {OTHER}"
                )
            done = position + 1
    return done


OTHER = "use another folder"


# ---- the store being built ---------------------------------------------------------------------------------


class Builder:
    """The unfinished store in a folder: opened where the last run left it."""

    def __init__(self, folder, parameters):
        self.folder = folder
        self.path = os.path.join(folder, fmt.UNFINISHED)
        self.file = None
        for entry in os.scandir(folder):
            if entry.is_symlink():
                raise ValueError(
                    f"store {folder!r}: {entry.name} is a symbolic link, which kmerl does not write through"
                )
        with fmt.database_errors(self.path):
            self.db = fmt.connect(self.path, write=True)
            if self.db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0:
                self.db.execute("PRAGMA page_size = 4096")
                self.db.execute("BEGIN IMMEDIATE")
                for statement in fmt.SCHEMA.split(";\n"):
                    self.db.execute(statement)
                for key, value in (("format", fmt.FORMAT), ("fs", fmt.FS), ("parameters", parameters)):
                    self.db.execute("INSERT INTO meta VALUES (?, ?)", (key, json.dumps(value)))
                self.db.execute("COMMIT")
                durable.sync_folder(folder)
            check_format(folder, self.db)
            self.count = self.db.execute("SELECT count(*) FROM recordings").fetchone()[0]
            self.skipped = self.db.execute("SELECT count(*) FROM skipped").fetchone()[0]
            self.reports = self.db.execute("SELECT count(*) FROM reports").fetchone()[0]
            if self.count + self.skipped:
                check_same_parameters(folder, stored_parameters(folder, self.db), parameters)
            else:  # nothing was kept with the parameters it was begun with
                self.db.execute(
                    "UPDATE meta SET value = ? WHERE key = 'parameters'", (json.dumps(parameters),)
                )
            last = self.db.execute("SELECT id, samples FROM shards ORDER BY id DESC LIMIT 1").fetchone()
        self.kept = self.count + self.skipped
        self.shard, self.samples = last or (0, 0)
        self.waiting = 0  # inputs since the last batch, in these rows
        self.rows, self.skips, self.texts = [], [], []
        self.known = {}  # digest of a text -> row of reports, of the last ones met
        self.midway = False
        self.since = time.monotonic()
        self.parameters = parameters
        self._open_shard()

    # -- shards

    def _shard_path(self, part=False):
        return os.path.join(self.folder, fmt.SHARD.format(self.shard)) + (durable.PART if part else "")

    def _open_shard(self):
        """Opens the current shard and cuts off what was not kept."""
        part, whole = self._shard_path(part=True), self._shard_path()
        if os.path.exists(whole) and not os.path.exists(part):  # closed, and then killed before that was kept
            os.replace(whole, part)
        new = not os.path.exists(part)
        self.file = open(part, "w+b" if new else "r+b")
        if new:  # its rows are reported as kept soon: its name must not be lost either
            durable.sync_folder(self.folder)
        size = fmt.SHARD_HEAD + 2 * self.samples
        there = self.file.seek(0, os.SEEK_END)
        if self.samples and there < size:
            raise ValueError(
                f"{part} has {there:,} bytes, {size:,} were kept: it was changed or the disk lost data; "
                "remove the folder and build the store again"
            )
        self.file.truncate(size if self.samples else 0)
        self.file.seek(0)
        self.file.write(fmt.npy_header("<i2", (0,)))
        self.file.seek(size)

    def _close_shard(self):
        """Gives the current shard its header and its name."""
        self.file.seek(0)
        self.file.write(fmt.npy_header("<i2", (self.samples,)))
        self.file.flush()
        os.fsync(self.file.fileno())
        self.file.close()
        os.replace(self._shard_path(part=True), self._shard_path())
        durable.sync_folder(self.folder)

    # -- recordings, in order

    def skip(self, item, why):
        self.midway = True
        report = text_digest(item.report or "")
        self.skips.append((item.position, clean(item.name), clean(why), item.patient, report, item.source))
        self.waiting += 1
        self.skipped += 1
        self.midway = False

    def add(self, item, prepared):
        size = prepared.data.size
        if self.samples and self.samples + size > fmt.SHARD_SAMPLES:
            self.keep()
            self._close_shard()
            self.shard, self.samples = self.shard + 1, 0
            self._open_shard()
        self.midway = True
        text = item.report if item.report is not None else prepared.report or ""
        given = self.parameters["patients"] or item.patient is not None
        self.file.write(prepared.data)
        self.rows.append(
            (
                self.count,
                item.position,
                None if prepared.name is None else clean(prepared.name),
                item.patient if given else prepared.patient,
                self._report(text),
                clean(prepared.comments),
                prepared.leads,
                prepared.samples,
                self.shard,
                self.samples,
                prepared.missing,
                prepared.clipped,
                prepared.dropped,
                prepared.digest,
                item.source,
            )
        )
        self.waiting += 1
        self.samples += size
        self.count += 1
        self.midway = False

    def _report(self, text):
        """Row of the report; distinct ones are numbered as they come."""
        key = text_digest(text)
        row = self.known.get(key)
        if row is not None:
            return row
        with fmt.database_errors(self.path):
            found = self.db.execute("SELECT id FROM reports WHERE digest = ?", (key,)).fetchone()
        if found is None:
            found = (self.reports,)
            self.texts.append((self.reports, text, key))
            self.reports += 1
        self.known[key] = found[0]
        return found[0]

    def full(self):
        return self.waiting >= BATCH or (self.waiting and time.monotonic() - self.since >= BATCH_SECONDS)

    def keep(self):
        """Makes what was added durable; returns how many inputs that was. A batch in which an addition was
        broken off is given up whole."""
        if not self.waiting or self.midway:
            return 0
        self.midway = True
        self.file.flush()
        os.fsync(self.file.fileno())
        with fmt.database_errors(self.path):
            self.db.execute("BEGIN IMMEDIATE")
            self.db.executemany("INSERT INTO reports VALUES (?, ?, ?)", self.texts)
            row = "INSERT INTO recordings VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0, ?, ?)"
            self.db.executemany(row, self.rows)
            self.db.executemany("INSERT INTO skipped VALUES (?, ?, ?, ?, ?, ?)", self.skips)
            self.db.execute("INSERT OR REPLACE INTO shards VALUES (?, ?)", (self.shard, self.samples))
            self.db.execute("COMMIT")
        self.rows, self.skips, self.texts = [], [], []
        if len(self.known) >= KNOWN:
            self.known.clear()
        self.midway = False
        count, self.waiting = self.waiting, 0
        self.kept += count
        self.since = time.monotonic()
        return count

    def close(self):
        if self.file is not None:
            self.file.close()
        self.db.close()

    def discard(self):
        """Removes a store that holds nothing."""
        self.close()
        remove_unfinished(self.folder)
        os.unlink(self._shard_path(part=True))

    # -- the end

    def finish(self):
        """Split, index, fingerprint; the database gets its final name last."""
        self.keep()
        self._close_shard()
        with fmt.database_errors(self.path):
            validation, patients = self._split()
            index = np.zeros(self.count, fmt.INDEX_DTYPE)
            rows = self.db.execute("SELECT start, samples, report, shard, leads FROM recordings ORDER BY id")
            for i, row in enumerate(rows):
                index[i] = (*row, validation[i], 0)
            with durable.writing(os.path.join(self.folder, fmt.INDEX)) as file:
                file.write(fmt.npy_header(fmt.INDEX_DTYPE, index.shape))
                file.write(index)
            counts = {
                "recordings": self.count,
                "reports": self.reports,
                "skipped": self.skipped,
                "patients": patients,
            }
            self.db.execute("BEGIN IMMEDIATE")
            self.db.execute("UPDATE recordings SET split = 0 WHERE split != 0")
            chosen = ((int(i),) for i in np.flatnonzero(validation))
            self.db.executemany("UPDATE recordings SET split = 1 WHERE id = ?", chosen)
            for key, value in (
                ("fingerprint", fingerprint(self.db, self.parameters)),
                ("index_sha256", hashlib.sha256(index).hexdigest()),
                ("counts", counts),
            ):
                self.db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, json.dumps(value)))
            self.db.execute("COMMIT")
            replace_database(self.db, self.folder)
        self.db.close()
        remove_unfinished(self.folder)

    def _split(self):
        """(recordings,) bool, true for validation, and the number of patients. Each patient has a number from
        (seed, patient); the validation fraction of the patients with the smallest ones are the validation
        patients."""
        keys = np.empty(self.count, np.uint64)
        seed = str(self.parameters["seed"]).encode()
        for i, (patient, position) in enumerate(
            self.db.execute("SELECT patient, position FROM recordings ORDER BY id")
        ):
            who = (
                (b"recording", str(position).encode()) if patient is None else (b"patient", patient.encode())
            )
            keys[i] = int.from_bytes(digest(seed, *who)[:8], "little")
        patients = np.unique(keys)
        fraction = self.parameters["validation"]
        count = math.floor(fraction * len(patients) + 0.5)
        if fraction > 0 and len(patients) > 1:
            count = min(max(count, 1), len(patients) - 1)
        elif len(patients) <= 1:
            count = 0
        if count == 0:
            return np.zeros(self.count, bool), len(patients)
        return keys <= patients[count - 1], len(patients)


def fingerprint(db, parameters):
    """A hash of all that a database says about its recordings, of their signals and of their reports."""
    h = hashlib.sha256(json.dumps([fmt.FORMAT, parameters], sort_keys=True).encode())
    for text in db.execute("SELECT digest FROM reports ORDER BY id"):
        h.update(text[0])
    rows = db.execute("SELECT report, leads, samples, split, name, patient, digest FROM recordings ORDER BY id")
    for *about, data in rows:
        h.update(json.dumps(about).encode() + data)
    return h.hexdigest()


def remove_unfinished(folder):
    for name in (fmt.UNFINISHED, fmt.UNFINISHED + "-journal"):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(folder, name))


def clean(text):
    """Text that a database can hold, whatever a header says."""
    return text.encode("utf-8", "replace").decode("utf-8")


def check_format(folder, connection):
    """ValueError unless the database is one this version reads."""
    row = connection.execute("SELECT value FROM meta WHERE key = 'format'").fetchone()
    if row is None or json.loads(row[0]) != fmt.FORMAT:
        found = "none" if row is None else row[0]
        raise ValueError(f"store {folder!r} has format {found}, this version of kmerl reads {fmt.FORMAT}")


def stored_parameters(folder, connection):
    """What the store was made with."""
    row = connection.execute("SELECT value FROM meta WHERE key = 'parameters'").fetchone()
    stored = None if row is None else json.loads(row[0])
    if not isinstance(stored, dict):
        raise ValueError(f"store {folder!r} is damaged: its parameters are {stored!r:.80}, which no store writes")
    return stored


def replace_database(connection, folder, change=None):
    """Writes `connection`'s database as the folder's `store.sqlite`, changed by `change(connection)`. It is
    written anew and renamed: a reader of the old one is not disturbed, and its bytes depend on its contents
    alone."""
    part = os.path.join(folder, fmt.DATABASE + durable.PART)
    for stale in (part, part + "-journal"):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(stale)
    connection.execute("VACUUM INTO ?", (part,))
    if change is not None:
        copy = fmt.connect(part, write=True)
        with contextlib.closing(copy):
            copy.execute("BEGIN IMMEDIATE")
            change(copy)
            copy.execute("PRAGMA schema_version = 1")  # each VACUUM adds one: bytes would tell how many there were
            copy.execute("COMMIT")
            copy.execute("VACUUM")  # what was labelled again leaves no gaps
    with open(part, "r+b") as file:
        os.fsync(file.fileno())
    os.replace(part, os.path.join(folder, fmt.DATABASE))
    durable.sync_folder(folder)


# ---- create ------------------------------------------------------------------------------------------------


def create(folder, records, reports, patients, *, parameters, executor, progress):
    """Builds the store in `folder`, or goes on with it, or finds it finished and made of the same."""
    total = common_length(records, reports, patients)
    make_folder(folder)
    if hasattr(records, "recordings"):  # a data set for pretraining says itself what the workers read
        records = records.recordings()
    items = inputs(records, reports, patients)
    with durable.FolderLock(folder, "store"):
        finished = os.path.join(folder, fmt.DATABASE)
        if os.path.exists(finished):
            with fmt.database_errors(finished), contextlib.closing(fmt.connect(finished, write=False)) as db:
                check_format(folder, db)
                check_same_parameters(folder, stored_parameters(folder, db), parameters)
                done = check_same_inputs(folder, db, items)
            if next(items, None) is not None:
                raise ValueError(
                    f"records goes on after the {done} items that store {folder!r} was made of; {OTHER}"
                )
            remove_unfinished(folder)
            return
        builder = Builder(folder, parameters)
        try:
            with fmt.database_errors(builder.path):
                check_same_inputs(folder, builder.db, items)
            fill(builder, items, total, executor, progress)
            if builder.count == 0:
                first = builder.db.execute(
                    "SELECT name, reason FROM skipped ORDER BY position LIMIT 1"
                ).fetchone()
                builder.discard()
                if first is None:
                    raise ValueError("records is empty, expected at least one recording")
                raise ValueError(
                    f"none of the {builder.skipped} recordings could be kept; "
                    f"the first, {first[0]!r}: {first[1]}"
                )
            builder.finish()
        finally:
            builder.close()
    if builder.skipped:
        db = contextlib.closing(fmt.connect(finished, write=False))
        with db as connection:
            first = connection.execute(
                "SELECT name, reason FROM skipped ORDER BY position LIMIT 1"
            ).fetchone()
        warnings.warn(
            f"{builder.skipped} of {builder.kept} recordings were skipped, see store.skipped; "
            f"the first, {first[0]!r}: {first[1]}",
            stacklevel=3,
        )


def make_folder(folder):
    """Makes the folder, or checks that it is empty or a store's."""
    try:
        os.mkdir(folder)
        durable.sync_folder(os.path.dirname(os.path.abspath(folder)))
    except FileExistsError:
        if not os.path.isdir(folder):
            raise FileExistsError(
                f"{folder!r} is a file, expected the folder of a store or a new name"
            ) from None
        names = set(os.listdir(folder))
        if names - {"lock"} and not names & {fmt.DATABASE, fmt.UNFINISHED}:
            raise FileExistsError(
                f"folder {folder!r} holds no store but other files ({sorted(names)[0]!r}, ...); "
                "give a new or an empty folder"
            ) from None


def common_length(records, reports, patients):
    """The number of recordings where it is known; ValueError where the iterables are known to differ."""
    if isinstance(records, (str, bytes, os.PathLike, Record)):
        raise TypeError(
            f"records is a {type(records).__name__}, expected an iterable of paths or Records, "
            "for example sorted(pathlib.Path(folder).glob('**/*.hea'))"
        )
    if isinstance(reports, str):
        raise TypeError("reports is one text, expected an iterable with a text for each recording")
    if isinstance(patients, str):
        raise TypeError("patients is one text, expected an iterable with a patient for each recording")
    total = len(records) if hasattr(records, "__len__") else None
    for name, feed in (("records", records), ("reports", reports), ("patients", patients)):
        if feed is None and name != "records":
            continue
        try:
            iter(feed)
        except TypeError:
            raise TypeError(f"{name} is a {type(feed).__name__}, expected an iterable") from None
        if total is not None and hasattr(feed, "__len__") and len(feed) != total:
            raise ValueError(f"{name} has {len(feed)} items, records has {total}")
    return total


def cores():
    """How many processors this process may use."""
    return _kmerl.build_info()["processors"]


def fill(builder, items, total, executor, progress):
    """Prepares what `items` still holds, and adds it in order."""
    seconds, verify = builder.parameters["seconds"], builder.parameters["verify"]
    processes = cores()
    pending = collections.deque()  # (items, what is or will be prepared of them), in order
    bar = Progress(total, "store", "recordings", show=progress, initial=builder.kept)
    spare = []  # arrays of groups that were added
    threads = own = None
    if executor is None and processes > 1:
        threads = concurrent.futures.ThreadPoolExecutor(processes)

    def add(item, result):
        if hasattr(result, "result"):
            result = collect(item, result)
        if isinstance(result, Unreadable):
            builder.skip(item, result.reason)
        else:
            builder.add(item, result)
        if builder.full():
            bar.update(builder.keep(), skipped=builder.skipped)

    def take():
        nonlocal own
        group, result = pending.popleft()
        if isinstance(group, Item):
            add(group, result)
            return
        prepared, used = result.result() if hasattr(result, "result") else result
        others = collections.deque(i for i, one in enumerate(prepared) if one is None)
        for i, item in enumerate(group):
            while others and others[0] <= i + (4 * processes if threads else 0):
                k = others.popleft()
                task = (group[k].item, seconds, verify)
                if threads:
                    own = own or Workers(processes)
                prepared[k] = own.submit(prepare, task) if own else prepare(task)
            add(item, prepared[i])
            prepared[i] = None
        spare.extend(used)

    def prepare_group(group):
        given = ([item.item for item in group], seconds, verify, spare)
        pending.append((group, threads.submit(prepare_paths, *given) if threads else prepare_paths(*given)))
        while len(pending) > 2 * processes or (pending and not threads):
            take()

    try:
        group = []
        for item in items:
            if executor is None and not isinstance(item.item, Record):
                group.append(item)
                if len(group) == GROUP:
                    prepare_group(group)
                    group = []
                continue
            if group:
                prepare_group(group)
                group = []
            task = (item.item, seconds, verify)
            result = prepare(task) if executor is None else executor.submit(prepare, task)
            pending.append((item._replace(item=None), result))
            while len(pending) >= IN_FLIGHT or (pending and not hasattr(pending[0][1], "result")):
                take()
        if group:
            prepare_group(group)
        while pending:
            take()
    finally:
        try:
            bar.update(builder.keep(), skipped=builder.skipped)
        finally:
            bar.close()
            for _, result in pending:
                if hasattr(result, "cancel"):
                    result.cancel()
            if own is not None:
                own.shutdown(cancel_futures=True)
            if threads is not None:
                threads.shutdown(cancel_futures=True)


def collect(item, future):
    """The future's result; a worker that died on it makes the recording unreadable."""
    from .workers import WorkerDied

    try:
        return future.result()
    except WorkerDied as error:
        return Unreadable(str(error))
