"""Simulated ECGs that belong to no patient: docs/simulator.md."""

from __future__ import annotations

import functools
import hashlib
import json
import operator
from pathlib import Path

import numpy as np

from kmerl import _kmerl
from kmerl.build import build_info
from kmerl.leads import LEADS, lead_ids
from kmerl.record import Record
from kmerl.store import Embeddings
from kmerl.text import sample_embeddings
from kmerl.vocabulary import Vocabulary

__all__ = ["Simulator", "simulate"]

MECHANISMS, _PLACES, (_MECHANISM, _LABEL, _MOST) = _kmerl.simulate_names()
COUNT = 1 << 32  # recordings of a seed
REVISION = _kmerl.SIMULATE_REVISION  # of the ECGs that a seed gives
CHUNK = 32  # recordings made at once
_CONDITION = np.dtype(
    [("measure", "i4"), ("leads", "i4"), ("need", "i4"), ("above", "i4"), ("value", "f8")], align=True
)
_BENIGN, _ABNORMAL, _HEDGED = range(3)


class Table:
    """The criteria and phrases of a JSON file as the arrays that the core reads."""

    def __init__(self, document):
        self.document = document
        self.labels = list(document["criteria"])
        self.vocabulary = Vocabulary.default()
        if len(self.labels) > _MOST:
            raise ValueError(f"criteria name {len(self.labels)} findings, at most {_MOST} are possible")
        for name in (*self.labels, *document["hedged"]):
            if self.vocabulary[name].name != name:
                raise ValueError(f"criteria: {name!r} is not a canonical name of the vocabulary")
        self.prevalence = dict.fromkeys(MECHANISMS, 0.0) | document["prevalence"]
        self.arrays = {**self._criteria(), **self._phrases()}
        # Which entities of the vocabulary each label stands for: itself and all above it.
        self.entities = np.zeros((len(self.labels), len(list(self.vocabulary))), np.uint8)
        for row, name in enumerate(self.labels):
            for entity in (name, *self.vocabulary.above(name)):
                self.entities[row, self.vocabulary.index(entity)] = 1

    @classmethod
    @functools.lru_cache(maxsize=1)
    def default(cls):
        path = Path(__file__).parent / "data" / "simulator.json"
        return cls(json.loads(path.read_text(encoding="utf-8")))

    @functools.cached_property
    def shown(self):
        """The vocabulary without the entities that no label stands for."""
        seen = self.entities.any(axis=0)
        return self.vocabulary.without(name for name, one in zip(self.vocabulary, seen, strict=True) if not one)

    def _criteria(self):
        label, kind, alternative, condition, conditions = [], [], [0], [0], []
        benign = set(self.document["benign"])
        rules = [
            (name, _BENIGN if name in benign else _ABNORMAL, alternatives)
            for name, alternatives in self.document["criteria"].items()
        ]
        rules += [(name, _HEDGED, alternatives) for name, alternatives in self.document["hedged"].items()]
        for name, what, alternatives in rules:
            label.append(self.labels.index(name))
            kind.append(what)
            for text in alternatives:
                conditions += [self._condition(part.strip(), name) for part in text.split(",")]
                condition.append(len(conditions))
            alternative.append(len(condition) - 1)
        return {
            "label": np.array(label, np.int32),
            "kind": np.array(kind, np.int32),
            "alternative": np.array(alternative, np.int32),
            "condition": np.array(condition, np.int32),
            "conditions": np.ascontiguousarray(np.array(conditions, _CONDITION)).view(np.uint8),
        }

    def _condition(self, text, rule):
        """One condition as (measure, leads, need, above, value)."""
        for words, place, names, above in (
            ("no mechanism ", _MECHANISM, MECHANISMS, 0),
            ("mechanism ", _MECHANISM, MECHANISMS, 1),
            ("not found ", _LABEL, self.labels, 0),
            ("found ", _LABEL, self.labels, 1),
        ):
            if text.startswith(words):
                name = text[len(words) :]
                if name not in names:
                    raise ValueError(f"criteria of {rule!r}: {name!r} in {text!r} is unknown")
                return place + names.index(name), 0, 1, above, 0.5
        leads = need = 0
        measured = text
        if " of " in text:
            count, _, rest = text.partition(" of ")
            names, _, measured = rest.partition(":")
            need = int(count)
            leads = sum(1 << i for i in lead_ids(names.split()))
        words = measured.split()
        if len(words) != 3 or words[0] not in _PLACES or words[1] not in ("<", ">="):
            raise ValueError(
                f"criteria of {rule!r}: {text!r} is no condition; expected e.g. 'pr >= 200', "
                "'2 of V1 V2: st >= 0.1', 'mechanism NAME', 'found NAME'"
            )
        place, family = _PLACES[words[0]]
        if bool(family) != bool(leads):
            raise ValueError(
                f"criteria of {rule!r}: {text!r}: {words[0]} is measured "
                + ("in leads: '2 of V1 V2: ...'" if family else "once a recording")
            )
        return place, leads, need, int(words[1] == ">="), float(words[2])

    def _phrases(self):
        text, offset, denied = [], [0], []

        def add(phrase, denies=-1):
            data = phrase.encode()
            text.append(data)
            offset.append(offset[-1] + len(data))
            denied.append(denies)

        styles = self.document["styles"]
        said, first = [0], {"frames": [], "denials": [], "remarks": []}
        for style in styles:
            for name in self.labels:
                for phrase in self.said(style, name):
                    add(phrase)
                said.append(len(denied))
        for part, starts in first.items():
            starts.append(len(denied))
            for style in styles:
                for entry in style[part]:
                    phrase, denies = entry if isinstance(entry, list) else (entry, None)
                    add(phrase, self._label_of(denies))
                starts.append(len(denied))
        joint = []
        for style in styles:
            joint.append(len(denied))
            add(style["joint"])
        implied = np.zeros((len(self.labels), len(self.labels)), np.uint8)
        for row, name in enumerate(self.labels):
            for above in self.vocabulary.above(name):
                if above in self.labels:
                    implied[row, self.labels.index(above)] = 1
        return {
            "text": np.frombuffer(b"".join(text), np.uint8),
            "phrase": np.array(offset, np.int32),
            "denied": np.array(denied, np.int32),
            "said": np.array(said, np.int32),
            **{part: np.array(starts, np.int32) for part, starts in first.items()},
            "joint": np.array(joint, np.int32),
            "sentence": np.array([style["sentence"] for style in styles], np.int32),
            "weight": np.array([style["weight"] for style in styles], np.float64),
            "implied": implied.reshape(-1),
        }

    def said(self, style, name):
        """How a style names a finding: its own phrases, or the vocabulary's."""
        phrases = style["phrases"].get(name)
        if phrases:
            return phrases
        if style["language"] != "en":
            synonyms = self.vocabulary[name].languages.get(style["language"], ())
            if synonyms:
                return list(synonyms[:2])
        return [name]

    def _label_of(self, name):
        """A label, or one of those below an entity, whose presence forbids a denial."""
        return self.labels.index(name) if name in self.labels else -1


class Simulator:
    """Endless simulated ECGs with reports and labels.

    Recording ``i`` of a seed and of the same settings is the same whatever else is asked for, in any order,
    on any number of threads.

    Parameters
    ----------
    seed : int
        0 to 2**64 - 1.
    prevalence : dict of str to float, optional
        Changes to `Simulator.defaults`: how often each mechanism is drawn, by its name in the vocabulary, 0 to 1.
        "normal ECG" is drawn first (0.3) and excludes all others: set it to 0 to have 1 mean always. Of mechanisms
        of a kind (rhythms, AV blocks, infarctions, ...) one is drawn at most, so their sum should not exceed 1, and
        one that contradicts another of an earlier kind is left out. Labels are fewer still: they need the sign, too.
    findings : list of str, optional
        In place of prevalences: exactly these mechanisms in every recording. What hides another's sign is not
        known (no P wave in atrial fibrillation, no left ventricular hypertrophy at low voltage): its label is then
        missing, see `labels`.
    fs, seconds : float
        50 to 2000 Hz; 1 to 300 s.
    leads : list of str, optional
        All twelve by default.
    noise : float
        What electrodes, amplifier and filters add: 1 as in practice, 0 a perfect recorder.
    threads : int, optional
        Default: `OMP_NUM_THREADS`, else the processors that the process may use.
    epoch_size, validation_size : int
        For `KMERL.fit`: recordings in an epoch, each epoch the next ones, and how many to validate on, the last
        of the seed.
    teach : list of str, optional
        For `KMERL.fit`: the names taught, of the vocabulary's; by default all that some recording can show.

    Attributes
    ----------
    vocabulary : Vocabulary
        Of the label rows: the default one.
    shown : Vocabulary
        What `KMERL.fit` teaches: the entities that some recording can show, of these `teach`.
    findings : list of str or None
    prevalence : dict

    Raises
    ------
    KeyError
        A finding that the simulator does not know.
    ValueError
        A number out of range, or findings that contradict each other.

    Examples
    --------
    >>> ecgs = kmerl.Simulator(seed=0, findings=["atrial fibrillation"])
    >>> ecgs[7].report                                                              # doctest: +SKIP
    """

    def __init__(
        self,
        seed=0,
        *,
        prevalence=None,
        findings=None,
        fs=500,
        seconds=10,
        leads=None,
        noise=1.0,
        threads=None,
        epoch_size=65536,
        validation_size=1024,
        teach=None,
    ):
        self._table = Table.default()
        self.vocabulary = self._table.vocabulary
        self.seed = _whole("seed", seed, 0, 2**64 - 1)
        self.fs = _number("fs", fs, 50, 2000, "Hz")
        self.seconds = _number("seconds", seconds, 1, 300, "s")
        self.noise = _number("noise", noise, 0, 10, "")
        self.leads = list(LEADS) if leads is None else [LEADS[i] for i in lead_ids(leads)]
        self.threads = None if threads is None else _whole("threads", threads, 1, 4096)
        self.epoch_size = _whole("epoch_size", epoch_size, 1, COUNT)
        self.validation_size = _whole("validation_size", validation_size, 0, COUNT)
        self._embeddings = None
        self.shown = self._table.shown if teach is None else self._vocabulary_of(teach)
        if findings is not None and prevalence is not None:
            raise ValueError(
                "findings fixes what every recording shows, prevalence how often: give one of them"
            )
        self.prevalence = dict(self._table.prevalence)
        prevalence = {} if prevalence is None else prevalence
        if not hasattr(prevalence, "items"):
            raise TypeError(f"prevalence must be a mapping of findings to numbers, got {type(prevalence).__name__}")
        for name, value in prevalence.items():
            self.prevalence[self._mechanism(name, "prevalence")] = _number(
                f"prevalence[{name!r}]", value, 0, 1, ""
            )
        self.findings = None if findings is None else self._findings(findings)
        self._take(np.zeros(0, np.int64), signals=False)  # the core checks the settings

    @classmethod
    def defaults(cls):
        """Prevalences of all mechanisms, by their names in the vocabulary: a new dict."""
        return dict(Table.default().prevalence)

    def _mechanism(self, name, argument):
        if not isinstance(name, str):
            raise TypeError(f"{argument} must name findings, got {type(name).__name__}")
        try:
            canonical = self.vocabulary[name].name
        except KeyError:
            canonical = name
        if canonical not in MECHANISMS:
            raise KeyError(f"{argument}: {name!r} cannot be simulated; known are " + ", ".join(MECHANISMS))
        return canonical

    def _vocabulary_of(self, teach):
        """The vocabulary with these names alone."""
        if isinstance(teach, str):
            raise TypeError(f"teach must be a list of names, got a single str: [{teach!r}]")
        names = []
        for name in teach:
            if name not in self.vocabulary:
                raise KeyError(f"teach: {name!r} is not a name of the vocabulary")
            names.append(self.vocabulary[name].name)
            if names[-1] not in self._table.shown:
                raise ValueError(f"teach: no recording can show {name!r}; Simulator().shown lists what they can")
        if not names:
            raise ValueError("teach is empty: expected at least one name, or None for all")
        return self.vocabulary.without(name for name in self.vocabulary if name not in names)

    def _findings(self, findings):
        if isinstance(findings, str):
            raise TypeError(f"findings must be a list of names, got a single str: [{findings!r}]")
        names = []
        for name in findings:
            names.append(self._mechanism(name, "findings"))
        return names

    @property
    def samples(self):
        """Of a lead."""
        return round(self.fs * self.seconds)

    def __len__(self):
        return COUNT

    def __getitem__(self, index):
        """Recording `index`: a Record with `report` and `labels` (0/1 in the vocabulary's order)."""
        if isinstance(index, slice):
            return self.records(range(*index.indices(COUNT)))
        try:
            at = operator.index(index)
        except TypeError:
            raise TypeError(f"index is a {type(index).__name__}, expected an integer or a slice") from None
        if not -COUNT <= at < COUNT:
            raise IndexError(f"recording {at} of a simulator of {COUNT}")
        return self.records([at % COUNT])[0]

    def records(self, indices):
        """Recordings as a list of Records.

        Parameters
        ----------
        indices : iterable of int
            0 to 2**32 - 1, in any order.

        Returns
        -------
        list of Record
        """
        return [record for chunk in self._chunks(indices) for record in self._records(chunk)]

    def labels(self, indices):
        """Labels of recordings, without their signals: (n, entities) uint8, in the vocabulary's order."""
        rows = [self._entities(self._take(chunk, signals=False)[1]) for chunk in self._chunks(indices)]
        return np.concatenate(rows) if rows else np.zeros((0, self._table.entities.shape[1]), np.uint8)

    def reports(self, indices):
        """Reports of recordings, without their signals."""
        return [text for chunk in self._chunks(indices) for text in self._take(chunk, signals=False)[3]]

    def measurements(self, indices):
        """What was measured in the noiseless dominant beat: dict of arrays (n) or, by lead, (n, 12).

        Times in ms, voltages in mV, angles in degrees; `docs/simulator.md` says what each is.
        """
        parts = [self._take(chunk, signals=False)[2] for chunk in self._chunks(indices)]
        values = np.concatenate(parts) if parts else np.zeros((0, _LABEL), np.float32)
        return {
            name: values[:, place : place + 12] if family else values[:, place]
            for name, (place, family) in _PLACES.items()
            if name != "abnormal"
        }

    # ---- training on them ----

    def embed(self, encoder, report_pooling="mean", query_pooling="cls"):
        """Vectors of the names, for `KMERL.fit`. Without it those that ship with kmerl are taken.

        A report's vector is the mean of those of the findings that it asserts, by `report_pooling`: the texts
        themselves are as many as the recordings.

        Parameters
        ----------
        encoder : TextEncoder or TextEmbeddings
        report_pooling, query_pooling : str
            As in `Store.embed`.

        Returns
        -------
        Simulator
            self
        """
        from kmerl import store_text

        store_text.check_encoder(encoder, report_pooling, query_pooling)
        texts = store_text.names_to_embed(self.vocabulary, encoder)
        queries, contrast = (
            store_text.vectors(encoder, texts, pooling) for pooling in (query_pooling, report_pooling)
        )
        self._embeddings = Embeddings(
            str(encoder.id), int(encoder.width), report_pooling, query_pooling, None, texts, queries, contrast
        )
        return self

    @property
    def embeddings(self):
        """As `Store.embeddings`, without reports."""
        if self._embeddings is None:
            self.embed(sample_embeddings())
        return self._embeddings

    def fingerprint(self):
        """A hash of all that training sees: a run is not resumed on another simulator."""
        embeddings = self.embeddings
        settings = [
            build_info()["version"], REVISION, self._table.document, self.seed, self.prevalence, self.findings, self.fs,
            self.seconds, self.noise, self.leads, self.epoch_size, self.validation_size, embeddings.encoder,
            embeddings.texts, list(self.shown),
        ]  # fmt: skip
        sha = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
        for matrix in (embeddings.queries, embeddings.contrast):
            sha.update(matrix)
        return sha.hexdigest()

    def _feed(self):
        embeddings = self.embeddings
        real = _kmerl.build_info()["real"]
        row = {text: i for i, text in enumerate(embeddings.texts)}
        shown = [self.vocabulary.index(name) for name in self.shown]
        return _kmerl.Feed(
            *self._settings(),
            self.seed,
            self.fs,
            self.samples,
            self.noise,
            sum(1 << LEADS.index(lead) for lead in self.leads),
            self.epoch_size,
            np.ascontiguousarray(self._table.entities[:, shown]),
            np.ascontiguousarray(embeddings.contrast[[row[name] for name in self._table.labels]], dtype=real),
            np.ascontiguousarray(embeddings.queries[[row[name] for name in self.shown]], dtype=real),
        )

    def _chunks(self, indices):
        indices = np.fromiter((operator.index(i) for i in indices), np.int64)
        return [indices[i : i + CHUNK] for i in range(0, len(indices), CHUNK)]

    def _settings(self):
        """The first arguments of the core's `simulate` and `Feed`."""
        prevalence = np.array([self.prevalence[name] for name in MECHANISMS])
        forced, wanted = None, []
        if self.findings is not None:
            forced = np.array([name in self.findings for name in MECHANISMS], np.uint8)
            wanted = [self._table.labels.index(name) for name in self.findings if name in self._table.labels]
        return self._table.arrays, prevalence, forced, np.array(wanted, np.int32)

    def _take(self, indices, signals=True):
        threads = _kmerl.build_info()["threads"] if self.threads is None else self.threads
        return _kmerl.simulate(
            *self._settings(),
            indices,
            self.seed,
            self.fs,
            self.samples,
            self.noise,
            signals,
            threads,
        )

    def _entities(self, found):
        return ((found & 1) @ self._table.entities > 0).astype(np.uint8)

    def _records(self, indices):
        signals, found, _, reports = self._take(indices)
        labels = self._entities(found)
        rows = [LEADS.index(lead) for lead in self.leads]
        for k, index in enumerate(indices):
            signal = signals[k] if self.leads == list(LEADS) else signals[k][rows]
            name = f"simulated-{self.seed}-{index}"
            yield Record(
                signal.copy(),
                self.fs,
                self.leads,
                name=name,
                comments=["simulated"],
                report=reports[k],
                labels=labels[k],
                patient=name,
            )

    def __repr__(self):
        what = "" if self.findings is None else f", findings={self.findings}"
        return f"Simulator(seed={self.seed}{what}): {self.seconds:g} s at {self.fs:g} Hz"


def simulate(
    n,
    seed=0,
    findings=None,
    fs=500,
    seconds=10,
    leads=None,
    noise=1.0,
    start=0,
    threads=None,
    prevalence=None,
):
    """Simulated ECGs with reports and labels.

    Parameters
    ----------
    n : int
        How many.
    start : int
        Index of the first: recording i of a seed is the same whatever `n`, `start` and `threads`.
    seed, findings, fs, seconds, leads, noise, threads, prevalence
        See `Simulator`.

    Returns
    -------
    list of Record
        With `report` and `labels` (0/1 in the order of `Vocabulary.default()`).

    Examples
    --------
    >>> ecgs = kmerl.simulate(3, seed=0, findings=["atrial fibrillation"])
    >>> "atrial fibrillation" in {f.entity for f in kmerl.extract([ecgs[0].report])[0]}
    True
    """
    n = _whole("n", n, 0, COUNT)
    start = _whole("start", start, 0, COUNT - n)
    simulator = Simulator(
        seed,
        prevalence=prevalence,
        findings=findings,
        fs=fs,
        seconds=seconds,
        leads=leads,
        noise=noise,
        threads=threads,
    )
    return simulator.records(range(start, start + n))


def _whole(name, value, low, high):
    if isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} must be a whole number, got {value!r}")
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be a whole number, got {value!r:.80}") from None
    if not low <= number <= high:
        raise ValueError(f"{name} must be {low} to {high}, got {number}")
    return number


def _number(name, value, low, high, unit):
    if isinstance(value, (str, bytes, bool, np.bool_)) or value is None:
        raise TypeError(f"{name} must be a number, got {value!r:.80}")
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise TypeError(f"{name} must be a number, got {value!r:.80}") from None
    if not low <= number <= high:
        raise ValueError(f"{name} must be {low} to {high}{' ' + unit if unit else ''}, got {number:g}")
    return number
