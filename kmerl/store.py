"""The store: recordings and their reports as training wants them, in a folder (docs/store.md describes the
files).

store = kmerl.Store.create("store", records, reports=reports, patients=patients)
store.label(kmerl.Vocabulary.default())
store.embed(encoder)
"""

import collections
import contextlib
import hashlib
import json
import math
import operator
import os

import numpy as np

from . import store_format as fmt
from .lock import Lock
from .progress import Progress
from .record import Record

__all__ = ["Store"]

Skipped = collections.namedtuple("Skipped", "name reason")
Embeddings = collections.namedtuple(
    "Embeddings", "encoder width report_pooling query_pooling reports texts queries contrast"
)


class Store:
    """Recordings, reports, labels and embeddings in a folder. Made by `Store.create`, opened by `Store.open`.

    ``len(store)`` is the number of recordings, ``store[i]`` is a `kmerl.Record` with ``report`` and
    ``labels``, in mV at 500 Hz, missing samples NaN; ``store[a:b]`` is a list of them. A store can be read
    from several threads, and be sent to other processes."""

    def __init__(self, path):
        self.path = os.fspath(path)
        self._lock = Lock()
        self._db = None
        self._db_process = None
        self._load()

    # ---- making and opening --------------------------------------------------------------------------------

    @classmethod
    def create(
        cls,
        path,
        records,
        reports=None,
        patients=None,
        *,
        seconds=10,
        validation=0.1,
        seed=0,
        executor=None,
        verify=True,
        progress=True,
    ):
        """Makes a store of recordings and their reports, or goes on with one that was broken off.

        Every readable recording is kept, in the order given, whatever its report (an empty one too): its
        leads that are there, its first `seconds`, resampled to 500 Hz, as int16 in steps of 1 uV. What cannot
        be read, is shorter than 0.2 s or has no lead left (all flat or more than 20 % missing) is listed in
        `Store.skipped` with the reason, and warned of. Leads that are flat or missing throughout are left
        out. Memory does not depend on the number of recordings but for 24 bytes each.

        It may be killed at any moment: what the progress bar counted is kept, the same call goes on behind
        it, and the finished store is the same to the last byte. On a finished store the same call opens it.

        Parameters
        ----------
        path : path-like
            The store's folder: new, empty, or that of the store to go on with. Its parent must exist.
        records : iterable of path-like or Record
            Paths of WFDB records (with or without ".hea"), or records in memory; a generator will do. Or a data set
            for pretraining with reports and patients of its own, such as `kmerl.datasets.mimic_iv_ecg`.
        reports : iterable of str, optional
            A report for each recording; None or "": none. By default the records' own (`Record.report`).
        patients : iterable of str or int, optional
            The patient of each recording; None, NaN or a blank text: unknown, a patient of its own. By default the
            records' own (`Record.patient`).
        seconds : float or None
            How much of each recording to keep from its beginning, in seconds; None keeps all.
        validation : float
            Fraction of the patients in the validation split, at least one where there are two; 0: none. Which
            ones depends on `seed` and the patients alone.
        seed : int
            Seed of the split.
        executor : concurrent.futures.Executor or alike, optional
            Where recordings are read and resampled: anything with ``submit``. By default a pool of processes,
            one for each core, that are started afresh (not forked); records in memory are prepared in this
            process.
        verify : bool
            Check WFDB checksums.
        progress : bool
            Show a progress bar on standard error.

        Returns
        -------
        Store

        Raises
        ------
        ValueError
            If a parameter is out of range; if `records`, `reports` and `patients` are not equally many; if
            the folder holds a store made with other parameters or of other recordings; if no recording can be
            kept.
        TypeError
            If something is no path, record, text or number where it should be.
        FileExistsError
            If the folder holds something else.
        BlockingIOError
            If another process or thread is writing the store.
        OSError
            If the folder cannot be written; what was kept remains.
        """
        from . import store_build

        path = os.fspath(path)
        if executor is not None and not callable(getattr(executor, "submit", None)):
            raise TypeError(
                f"executor is a {type(executor).__name__}, expected an object with submit(function, task)"
            )
        parameters = store_build.checked_parameters(seconds, validation, seed, verify, reports, patients)
        store_build.create(
            path,
            records,
            reports,
            patients,
            parameters=parameters,
            executor=executor,
            progress=bool(progress),
        )
        return cls(path)

    @classmethod
    def open(cls, path):
        """Opens a finished store for reading.

        Raises
        ------
        FileNotFoundError
            If there is no store.
        ValueError
            If the store is unfinished, was cut off or damaged, or was written by a newer version; the message
            says which. Labels and embeddings are compared with their hashes when they are first used, signals and
            reports by `verify`.
        """
        return cls(path)

    def _load(self):
        """Reads the index and the small tables, and checks that they and the files fit together."""
        path = self.path
        name = os.path.join(path, fmt.DATABASE)
        if not os.path.exists(name):
            if os.path.exists(os.path.join(path, fmt.UNFINISHED)):
                raise ValueError(
                    f"store {path!r} is unfinished ({self._kept()} so far): it was cut off while it was "
                    "written, or still is written; call Store.create again with the same recordings to go on"
                )
            raise FileNotFoundError(f"no store in {path!r}: there is no {fmt.DATABASE}")
        if not os.path.isfile(name):
            raise ValueError(f"store {path!r} is damaged: {fmt.DATABASE} is no regular file")
        self.close()
        self._core = None       # sample_batch's view of the corpus
        with fmt.database_errors(name):
            meta = self._read_meta(name)
            if meta["format"] != fmt.FORMAT:
                raise ValueError(f"store {path!r} has format {meta['format']}, this kmerl reads {fmt.FORMAT}")
            fmt.check_tables(self._rows("SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL"), name)
            shards = self._rows("SELECT id, samples FROM shards ORDER BY id")
            fmt.check_meta(meta, name)
            if [i for i, _ in shards] != list(range(len(shards))) or not all(fmt.is_count(n) for _, n in shards):
                raise ValueError(f"{name} is damaged: its table shards is not what a store writes")
        self._meta = meta
        self._checked = set()   # files whose hash was compared
        self._reports = meta["counts"]["reports"]
        self._shards = [samples for _, samples in shards]
        self._index = np.asarray(self._array(fmt.INDEX, fmt.INDEX_DTYPE, (meta["counts"]["recordings"],)))
        for shard, samples in shards:
            self._array(fmt.SHARD.format(shard), "<i2", (samples,))
        self._check_index()
        # Stores made before it was kept have no hash of the index.
        if "index_sha256" in meta and hashlib.sha256(self._index).hexdigest() != meta["index_sha256"]:
            raise ValueError(f"store {path!r} is damaged: {fmt.INDEX} is not what was written")

    def _read_meta(self, name):
        """The database's table of single values."""
        try:
            meta = {key: json.loads(value) for key, value in self._rows("SELECT key, value FROM meta")}
            meta["format"]
            return meta
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise ValueError(f"{name} is damaged: its table meta cannot be read ({error!r:.200})") from None

    def _kept(self):
        """How many recordings an unfinished store holds, in words."""
        import sqlite3

        with contextlib.suppress(sqlite3.Error):
            db = fmt.connect(os.path.join(self.path, fmt.UNFINISHED), write=False)
            with contextlib.closing(db):
                return f"{db.execute('SELECT count(*) FROM recordings').fetchone()[0]:,} recordings"
        return "no recordings"

    def _check_index(self):
        """ValueError unless every recording lies within its shard and has a report."""
        index = self._index
        leads = popcount(index["leads"])
        size = leads * index["samples"]
        shard = index["shard"]
        good = (shard >= 0) & (shard < len(self._shards)) & (leads > 0) & (index["leads"] < 4096)
        good &= (index["samples"] > 0) & (index["start"] >= 0)
        good &= (
            (index["report"] >= 0) & (index["report"] < self._reports) & (index["split"] < len(fmt.SPLITS))
        )
        ends = np.array(self._shards + [0], np.int64)[np.where(good, shard, -1)]
        good &= index["start"] <= ends - size
        if not good.all():
            i = int(np.flatnonzero(~good)[0])
            raise ValueError(
                f"store {self.path!r} is damaged: {fmt.INDEX} puts recording {i} where there is none"
            )

    def _array(self, name, dtype, shape):
        """Maps an array of the store for reading; ValueError where the file is not what it should be."""
        path = os.path.join(self.path, name)
        head = fmt.npy_header(dtype, shape)
        expected = len(head) + np.dtype(dtype).itemsize * math.prod(shape)
        try:
            size = os.path.getsize(path)
            if size == expected:
                with open(path, "rb") as file:
                    if file.read(len(head)) != head:
                        raise ValueError(f"{path} is damaged: its header is not {head[10:].strip().decode()}")
        except FileNotFoundError:
            raise ValueError(
                f"store {self.path!r}: {name} is missing; it is damaged, or was changed since it was opened"
            ) from None
        if size != expected:
            raise ValueError(f"{path} has {size:,} bytes, expected {expected:,}: it was cut off or changed")
        if math.prod(shape) == 0:
            return np.zeros(shape, dtype)
        return np.memmap(path, dtype=dtype, mode="r", offset=len(head), shape=shape).view(np.ndarray)

    def _rows(self, statement, values=()):
        """All rows of a query. One connection a process, one query at a time."""
        with fmt.database_errors(os.path.join(self.path, fmt.DATABASE)), self._lock:
            if self._db is None or self._db_process != os.getpid():
                self._db = fmt.connect(os.path.join(self.path, fmt.DATABASE), write=False)
                self._db_process = os.getpid()
            return self._db.execute(statement, values).fetchall()

    def _compare(self, key, *parts):
        """ValueError unless the hash of bytes or arrays is the one that was kept; once for each opening."""
        if key not in self._checked:
            h = hashlib.sha256()
            for part in parts:
                h.update(part)
            if h.hexdigest() != self._meta[key]["sha256"]:
                raise ValueError(f"store {self.path!r} is damaged: its {key} are not what was written; make them anew")
            self._checked.add(key)

    def close(self):
        """Closes the database; the next use opens it again."""
        with self._lock:
            if self._db is not None and self._db_process == os.getpid():
                self._db.close()
            self._db = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def __getstate__(self):
        return {"path": os.path.abspath(self.path)}

    def __setstate__(self, state):
        self.__init__(state["path"])

    # ---- reading -------------------------------------------------------------------------------------------

    def __len__(self):
        return len(self._index)

    def __repr__(self):
        return f"<kmerl.Store {self.path!r}: {len(self):,} recordings>"

    def __iter__(self):
        return (self[i] for i in range(len(self)))

    def __getitem__(self, index):
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        try:
            i = operator.index(index)
        except TypeError:
            raise TypeError(f"index is a {type(index).__name__}, expected an integer or a slice") from None
        if not -len(self) <= i < len(self):
            raise IndexError(f"recording {i} of a store of {len(self)}")
        i %= len(self)
        row = self._index[i]
        found = self._rows(
            "SELECT CAST(name AS TEXT), CAST(patient AS TEXT), CAST(comments AS TEXT), CAST(text AS TEXT), reports.id "
            "FROM recordings JOIN reports ON reports.id = report WHERE recordings.id = ?",
            (i,),
        )
        if not found or found[0][4] != row["report"]:
            raise ValueError(
                f"store {self.path!r} is damaged: {fmt.DATABASE} and {fmt.INDEX} differ about recording {i}"
            )
        name, patient, comments, report, _ = found[0]
        steps = self._samples(i)
        signal = steps.astype(np.float32) / np.float32(fmt.STEPS_PER_MV)
        signal[steps == fmt.MISSING] = np.nan
        return Record(
            signal,
            fs=fmt.FS,
            leads=[lead for bit, lead in enumerate(fmt.LEADS) if row["leads"] >> bit & 1],
            name=name,
            comments=comments.split("\n") if comments else [],
            report=report,
            labels=np.array(self.report_labels[row["report"]]) if "labels" in self._meta else None,
            patient=patient,
        )

    def _samples(self, i):
        """Recording i as stored: (leads, samples) int16. Read, not mapped: memory stays what one recording
        needs."""
        row = self._index[i]
        shape = (int(popcount(row["leads"])), int(row["samples"]))
        with open(os.path.join(self.path, fmt.SHARD.format(row["shard"])), "rb") as file:
            file.seek(fmt.SHARD_HEAD + 2 * int(row["start"]))
            data = np.fromfile(file, "<i2", shape[0] * shape[1])
        if data.size != shape[0] * shape[1]:
            raise ValueError(f"store {self.path!r} is damaged: recording {i} is cut off")
        return data.reshape(shape)

    def _texts(self, table, count, column="text", start=0):
        """`count` texts of a table whose ids are 0, 1, ..., from `start`."""
        found = self._rows(
            f"SELECT CAST({column} AS TEXT), id FROM {table} WHERE id >= ? AND id < ? ORDER BY id",
            (start, start + count),
        )
        if [i for _, i in found] != list(range(start, start + count)):
            raise ValueError(f"store {self.path!r} is damaged: {count} {table} from {start} are not all there")
        return [text for text, _ in found]

    @property
    def split(self):
        """dict: "train" and "validation", each the indices of its recordings, ascending, int64. No patient is
        in both."""
        return {name: np.flatnonzero(self._index["split"] == i) for i, name in enumerate(fmt.SPLITS)}

    @property
    def skipped(self):
        """list of (name, reason): the recordings that could not be kept, in the order given."""
        return [Skipped(*row) for row in self._rows("SELECT name, reason FROM skipped ORDER BY position")]

    @property
    def patients(self):
        """list of str or None: the patient of each recording; None where it was not given."""
        found = self._rows("SELECT CAST(patient AS TEXT) FROM recordings ORDER BY id")
        if len(found) != len(self):
            raise ValueError(f"store {self.path!r} is damaged: it has {len(found)} rows for {len(self)} recordings")
        return [row[0] for row in found]

    @property
    def reports(self):
        """list of str: the distinct reports, numbered as ``corpus()["report"]`` has it."""
        return self._texts("reports", self._reports)

    def fingerprint(self):
        """A hash (hexadecimal text) of all that training sees and of the names: parameters, signals, reports,
        patients, split, labels, embeddings. A run is not resumed on a store with another one.

        It is put together from what was hashed while the store was written; `verify` compares the signals
        with it."""
        parts = [self._meta["fingerprint"]]
        parts += [self._meta.get(key, {}).get("sha256") for key in ("labels", "embeddings")]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def verify(self, progress=True):
        """Reads everything and compares it with the hashes that were kept when it was written.

        Returns
        -------
        list of int
            The recordings whose samples or report have changed.

        Raises
        ------
        ValueError
            If labels, embeddings, or what the database says about the recordings, have changed.
        """
        from .store_build import digest, fingerprint, text_digest

        with fmt.database_errors(os.path.join(self.path, fmt.DATABASE)):
            rows = self._rows("SELECT digest, CAST(text AS TEXT) FROM reports ORDER BY id")
            changed = {i for i, (kept, text) in enumerate(rows) if text_digest(text) != kept}
            with contextlib.closing(fmt.connect(os.path.join(self.path, fmt.DATABASE), write=False)) as db:
                if fingerprint(db, self._meta["parameters"]) != self._meta["fingerprint"]:
                    raise ValueError(
                        f"store {self.path!r} is damaged: {fmt.DATABASE} is not what was written about the recordings"
                    )
        if "labels" in self._meta:
            self.report_labels  # noqa: B018
        if "embeddings" in self._meta:
            self.embeddings  # noqa: B018
        bad = []
        with Progress(len(self), "verify", "recordings", show=progress) as bar:
            for i in range(len(self)):
                kept = self._rows("SELECT digest FROM recordings WHERE id = ?", (i,))[0][0]
                if digest(self._samples(i)) != kept or self._index["report"][i] in changed:
                    bad.append(i)
                bar.update(1)
        return bad

    def corpus(self):
        """All that a sampler needs, as plain arrays; what is large is mapped, not read.

        Returns
        -------
        dict
            n recordings, R distinct reports, Q entities, D the width of the text embeddings:

            - "shards": list of int16 arrays (one-dimensional), samples in steps of 1 uV, -32768 missing
            - "shard" (n) int32, "start" (n) int64: a recording is (leads, samples) in C order from there
            - "leads" (n) uint16: bit l is set where lead l of I II III aVR aVL aVF V1-V6 is there
            - "samples" (n) int32: a lead, at 500 Hz
            - "report" (n) int32: row in "embeddings" and "labels"
            - "embeddings" (R, D) float32, "labels" (R, Q) uint8, "entities" (Q, D) float32

        Raises
        ------
        RuntimeError
            If `label` or `embed` has not been run.
        """
        embeddings = self.embeddings
        labels = self.report_labels
        row = {text: i for i, text in enumerate(embeddings.texts)}
        names = [row.get(name) for name in self.entities]
        if None in names:
            raise RuntimeError(
                f"store {self.path!r} was labelled with another vocabulary after it was embedded: with "
                f"{self.vocabulary.name!r}, while the embeddings are those of "
                f"{self._meta['embeddings'].get('vocabulary_name', 'an earlier one')!r}; "
                "run store.embed again"
            )
        index = self._index
        return {
            "shards": [self._array(fmt.SHARD.format(i), "<i2", (n,)) for i, n in enumerate(self._shards)],
            **{
                name: np.ascontiguousarray(index[name])
                for name in ("shard", "start", "leads", "samples", "report")
            },
            "embeddings": embeddings.reports,
            "labels": labels,
            "entities": np.ascontiguousarray(embeddings.queries[names]),
        }

    def describe(self):
        """What is in the store, in numbers.

        Returns
        -------
        Description
            A dict that prints as a table: recordings, patients, reports, hours, splits, leads, missing and
            clipped samples, what was skipped, and, where there are, entities with how many recordings have
            them, and the text encoder.
        """
        index = self._index
        sums = "SELECT sum(missing), sum(clipped), sum(dropped != 0) FROM recordings"
        missing, clipped, dropped = self._rows(sums)[0]
        values = popcount(index["leads"]) * index["samples"]
        about = {
            "path": self.path,
            "recordings": len(self),
            "skipped": self._meta["counts"]["skipped"],
            "patients": self._meta["counts"]["patients"],
            "reports": self._reports,
            "empty_reports": self._empty_reports(),
            "train": int(np.count_nonzero(index["split"] == 0)),
            "validation": int(np.count_nonzero(index["split"] == 1)),
            "hours": float(index["samples"].sum(dtype=np.int64)) / fmt.FS / 3600,
            "leads": {
                lead: int(np.count_nonzero(index["leads"] >> bit & 1)) for bit, lead in enumerate(fmt.LEADS)
            },
            "samples": int(values.sum()),
            "missing_samples": missing,
            "clipped_samples": clipped,
            "recordings_with_dropped_leads": dropped,
            "gigabytes": sum(entry.stat().st_size for entry in os.scandir(self.path)) / 1e9,
            "seconds": self._meta["parameters"]["seconds"],
            "seed": self._meta["parameters"]["seed"],
        }
        if "labels" in self._meta:
            rows = self._rows("SELECT name, recordings FROM entities ORDER BY recordings DESC, id")
            labels = self._meta["labels"]
            about["vocabulary"] = f"{labels['vocabulary_name']} ({labels['vocabulary_sha256'][:12]})"
            if labels.get("phrases_sha256"):
                about["phrases"] = f"{labels['phrases_name']} ({labels['phrases_sha256'][:12]})"
            if labels.get("hold_out"):
                about["held_out"] = ", ".join(labels["hold_out"])
            about["entities"] = dict(rows)
        if "embeddings" in self._meta:
            about["encoder"] = self._meta["embeddings"]["encoder"]
            about["width"] = self._meta["embeddings"]["width"]
        return Description(about)

    def _empty_reports(self):
        """How many recordings have no report."""
        count = "SELECT count(*) FROM recordings JOIN reports ON reports.id = report WHERE trim(text) = ''"
        return self._rows(count)[0][0]

    # ---- labels --------------------------------------------------------------------------------------------

    def label(
        self,
        vocabulary=None,
        *,
        extractor="lexicon",
        hedged="drop",
        superclasses=True,
        merge_synonyms=True,
        hold_out=(),
        phrases=None,
        progress=True,
    ):
        """Labels every distinct report with the vocabulary's entities (SPEC 8) and keeps the vocabulary in
        the store.

        An entity is 1 where a report asserts it, or asserts something that has it as a superclass. Labels
        made before are replaced when the new ones are complete.

        Parameters
        ----------
        vocabulary : Vocabulary, optional
            By default `kmerl.Vocabulary.default()`; with an extractor that can mine one, such as
            `kmerl.LLMExtractor`, the vocabulary that it mines from the store's reports.
        extractor
            As in `kmerl.extract`. The answers of an `LLMExtractor` without a cache of its own are kept in the
            store (``llm.sqlite``): a run that was cut off goes on.
        hedged : {"drop", "keep"}
            Whether what a report only considers ("possible", "cannot rule out") counts as asserted.
        superclasses : bool
            Without (Table 2b of the paper), a label implies no superclass, and superclasses that no report
            names in its own words are no columns. Of two names in the same words the longer counts.
        merge_synonyms : bool
            Without (Table 2b), each name that the reports use is an entity of its own, lower case, under the
            superclasses of what it stands for. What no report names is no column.
        hold_out : list of str
            Entities that training must not know, for a zero-shot claim about them: taken out with their
            synonyms and superclass links (`Vocabulary.without`); asked for later, they are texts like any
            other. Their subclasses stay: name those too. Reports are not changed: the contrast still sees
            their words.
        phrases : Phrases or path, optional
            Negations, hedges and remarks in place of the vocabulary's (`Vocabulary.with_phrases`).
        progress : bool
            Show a progress bar on standard error.

        Returns
        -------
        Store
            The store itself.

        Raises
        ------
        KeyError
            `hold_out` names no entity of the vocabulary.
        ValueError
            No recording has a report; a file of phrases has faults.
        """
        from . import store_text

        store_text.label(
            self,
            vocabulary,
            extractor=extractor,
            hedged=hedged,
            superclasses=superclasses,
            merge_synonyms=merge_synonyms,
            hold_out=hold_out,
            phrases=phrases,
            progress=progress,
        )
        self._load()
        return self

    def _need(self, key):
        if key not in self._meta:
            how = {
                "labels": "no labels yet: run store.label(kmerl.Vocabulary.default())",
                "embeddings": "no text embeddings yet: run store.embed(kmerl.TextEncoder.load(folder))",
            }
            raise RuntimeError(f"store {self.path!r} has {how[key]} first")
        return self._meta[key]

    @property
    def vocabulary(self):
        """The Vocabulary that the store was labelled with. RuntimeError where it was not."""
        from .vocabulary import Vocabulary

        self._need("labels")
        return Vocabulary.from_json(self._meta["vocabulary"])

    @property
    def entities(self):
        """list of str: the entities' canonical names, in the order of the labels' columns."""
        return self._texts("entities", self._need("labels")["entities"], "name")

    @property
    def report_labels(self):
        """(R, Q) uint8: a row for each distinct report, a column for each entity. Mapped; read once, to compare it
        with the hash that was kept."""
        about = self._need("labels")
        array = self._array(about["file"], "u1", (self._reports, about["entities"]))
        self._compare("labels", self._meta["vocabulary"].encode(), array)
        return array

    @property
    def labels(self):
        """(n, Q) uint8: a row for each recording, a column for each entity (a copy; `report_labels` is the
        smaller one)."""
        return self.report_labels[self._index["report"]]

    def prevalence(self):
        """How often each entity is asserted.

        Returns
        -------
        Prevalence
            Most frequent first; prints as a table, ``to_csv(path)`` writes it.
        """
        from .prevalence import Prevalence

        self._need("labels")
        query = "SELECT name, reports, recordings FROM entities ORDER BY recordings DESC, id"
        columns = [list(column) for column in zip(*self._rows(query), strict=True)]
        per_report = np.bincount(self._index["report"], minlength=self._reports)
        bare = sum(int(weight[~rows.any(axis=1)].sum()) for rows, weight in self._label_chunks(per_report))
        return Prevalence(*columns, total=len(self), bare=bare)

    def cooccurrence(self):
        """(Q, Q) int64: how many recordings have both entities; the diagonal: how many have one."""
        per_report = np.bincount(self._index["report"], minlength=self._reports)
        together = np.zeros((len(self.entities), len(self.entities)))
        for rows, weight in self._label_chunks(per_report):
            together += rows.T @ (rows * weight[:, None].astype(np.float64))
        return together.astype(np.int64)

    def _label_chunks(self, per_report, size=8192):
        """Label rows of so many reports at a time, with what belongs to them: memory stays small."""
        labels = self.report_labels
        for start in range(0, len(labels), size):
            yield labels[start : start + size], per_report[start : start + size]

    # ---- embeddings ----------------------------------------------------------------------------------------

    def embed(self, encoder, *, report_pooling="mean", query_pooling="cls", progress=True):
        """Embeds each distinct report once, and the vocabulary's names and synonyms and the class names of
        SPEC 9.

        What was done is kept where it is broken off; the same call goes on. Embeddings made before are
        replaced when the new ones are complete.

        Parameters
        ----------
        encoder : TextEncoder, TextEmbeddings or alike
            With ``embed(texts, pooling)`` -> (n, width) float32, ``id`` and ``width``. Of one with a fixed
            list of texts (``text in encoder``) the reports and canonical names are demanded, synonyms and
            class names taken where there.
        report_pooling : str
            Pooling of reports, and of names where they are compared with ECGs by cosine.
        query_pooling : str
            Pooling of names as queries.
        progress : bool
            Show a progress bar on standard error.

        Returns
        -------
        Store
            The store itself.

        Raises
        ------
        RuntimeError
            If the store has no labels yet.
        ValueError
            If the encoder's output has another shape than it says or is not finite.
        """
        from . import store_text

        store_text.embed(
            self, encoder, report_pooling=report_pooling, query_pooling=query_pooling, progress=progress
        )
        self._load()
        return self

    @property
    def embeddings(self):
        """The text embeddings, a named tuple.

        `encoder` (its id), `width`, `report_pooling`, `query_pooling`; `reports` (R, D) float32, a row for
        each distinct report; `texts`, a list of N names, synonyms and class names, `queries` (N, D) float32
        their embeddings as queries, `contrast` (N, D) float32 with the reports' pooling."""
        about = self._need("embeddings")
        width = about["width"]
        texts = self._texts("texts", self._rows("SELECT count(*) FROM texts")[0][0])
        both = self._array(about["texts"], "<f4", (2, len(texts), width))
        reports = self._array(about["reports"], "<f4", (self._reports, width))
        self._compare("embeddings", both, fmt.npy_header("<f4", reports.shape), reports)
        return Embeddings(
            about["encoder"], width, about["report_pooling"], about["query_pooling"], reports, texts, both[0], both[1]
        )


class Description(dict):
    """A dict that prints as a table."""

    def __str__(self):
        lines = []
        for key, value in self.items():
            if isinstance(value, dict):
                shown = [f"{name} {count:,}" for name, count in value.items() if count][:12]
                more = [f"and {len(value) - len(shown)} more"] if len(value) > len(shown) else []
                value = ", ".join(shown + more)
            elif isinstance(value, float):
                value = f"{value:,.6g}"
            elif isinstance(value, int):
                value = f"{value:,}"
            lines.append(f"{key.replace('_', ' '):<30} {value}")
        return "\n".join(lines)

    __repr__ = __str__


def popcount(bits):
    """Number of ones in each uint16."""
    bits = np.asarray(bits, dtype=np.uint16)
    return sum((bits >> b & 1).astype(np.int64) for b in range(16))
