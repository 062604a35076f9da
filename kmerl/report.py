"""What an evaluation found: figures in memory, as a table, JSON, Markdown, CSV and a picture."""

import csv
import io
import json
import math
import warnings
from dataclasses import dataclass, field, fields

import numpy as np

from kmerl import metrics as _metrics

__all__ = ["Comparison", "Figures", "Report", "Sweep", "describe", "load", "measure", "over_seeds"]

LABELS = {
    "roc_auc": "AUROC",
    "average_precision": "AUPRC",
    "f1": "F1",
    "oracle_f1": "oracle F1",
    "brier": "Brier",
    "expected_calibration_error": "ECE",
}
TITLES = {"zero_shot": "Zero-shot", "linear_probe": "Linear probe", "fine_tune": "Fine-tuning"}
UNTRAINED, RANDOM = "untrained model", "random encoder"  # the names in `Report.beside`
PATIENTS = "95 % over patients"
CALIBRATION = ("brier", "expected_calibration_error")
SHOWN = ("roc_auc", "average_precision", "f1", "oracle_f1")


@dataclass(kw_only=True)
class Figures:
    """Figures to stand beside a result where there is no whole report: means over seeds, or quoted ones.

    Attributes
    ----------
    metrics : dict
        ``{"roc_auc": {"macro", "low", "high"}, ...}`` of any of `kmerl.metrics.METRICS`; NaN where not known.
    spread : str
        What low and high are, such as "95 % of 10 initialisations".
    quoted : str
        Where figures stand that were not computed here, such as "Liu et al. 2025, Table 1"; else empty.
    note : str
        What a reader must know.
    """

    metrics: dict
    spread: str = ""
    quoted: str = ""
    note: str = ""

    def to_dict(self):
        """Of plain Python types."""
        return {"metrics": self.metrics, "spread": self.spread, "quoted": self.quoted, "note": self.note}


@dataclass(kw_only=True, eq=False, repr=False)
class Report:
    """What one evaluation found, whichever it was; `measure` makes one from scores.

    Attributes
    ----------
    evaluation : {"zero_shot", "linear_probe", "fine_tune"}
    dataset, part : str
        What was scored.
    leads : list of str
    classes : list of str
    scores : ndarray of float32, (n, classes)
    labels : ndarray of uint8, (n, classes)
    records, patients : list of str
        Name and patient of each scored recording.
    metrics : dict
        ``{"roc_auc": {"macro", "low", "high", "per_class": {class: value}, "per_class_low": {...},
        "per_class_high": {...}}, "average_precision": ..., "f1": ..., "oracle_f1": ..., "brier": ...,
        "expected_calibration_error": ...}``; low and high are 95 % intervals over patients, NaN where there
        is none.
    support : dict
        Positive recordings of each class.
    undefined : list of str
        Classes without both outcomes: NaN, and in no average of AUROC, AUPRC and F1.
    thresholds : dict or None
        Of F1, from the validation recordings; None without any.
    skipped : list of (str, str)
        Recordings that were not scored, and why.
    notes : list of str
        What a reader of the figures must know.
    model : str
        What was evaluated: size, hash of the weights, checkpoint.
    settings : dict
        How: ``{name: number or text}``, such as the score of a zero-shot result or the epochs of a probe.
    fraction : float or None
        Share of the training recordings a probe or fine-tuning saw.
    trained : dict or None
        What those were: ``{"recordings": n, "patients": n}``.
    seeds : dict or None
        Repetitions, `over_seeds`: mean and standard deviation over seeds are no intervals and labelled apart.
        The report's other figures are those of the first seed.
    beside : dict
        ``{name: Report or Figures}`` of what a result must be read against.
    seen : dict or None
        Which classes the model may know from its vocabulary (`kmerl.evaluate.seen_classes`), and the metrics of
        both groups: ``{"threshold", "nearest": {class: {"entity", "cosine", "by"}}, "metrics": {"seen": {metric:
        {"macro", "low", "high"}}, "unseen": ...}}``; a group without classes is not there.
    random, untrained : Report, Figures or None
        ``beside["random encoder"]`` and ``beside["untrained model"]``.
    protocol, version : str
    resamples, seed : int
        Of the bootstrap.
    classifier : kmerl.classifier.Classifier or None
        What a fine-tuning trained, of the first seed: ``report.classifier.save(path)``. In no file of the report.
    """

    evaluation: str
    dataset: str
    part: str
    leads: list
    classes: list
    scores: np.ndarray
    labels: np.ndarray
    records: list
    patients: list
    metrics: dict
    support: dict
    undefined: list
    thresholds: dict | None
    skipped: list = field(default_factory=list)
    notes: list = field(default_factory=list)
    model: str = ""
    settings: dict = field(default_factory=dict)
    fraction: float | None = None
    trained: dict | None = None
    seeds: dict | None = None
    beside: dict = field(default_factory=dict)
    seen: dict | None = None
    protocol: str = "exact"
    version: str = ""
    resamples: int = 1000
    seed: int = 0
    classifier: object = field(default=None, repr=False, compare=False)

    spread = PATIENTS
    quoted = note = ""

    @property
    def random(self):
        return self.beside.get(RANDOM)

    @property
    def untrained(self):
        return self.beside.get(UNTRAINED)

    def __repr__(self):
        return f"<Report {self._title()}: {self._line('roc_auc')}>"

    def __str__(self):
        return self.table()

    def _title(self):
        count = f"{len(self.leads)} lead{'s' if len(self.leads) > 1 else ''} ({' '.join(self.leads)})"
        share = "" if self.fraction is None else f", {100 * self.fraction:g} % of the training recordings"
        return f"{TITLES[self.evaluation]}: {self.dataset}, {self.part}, {count}{share}"

    def _line(self, metric):
        values = self.metrics[metric]
        interval = _interval(values["low"], values["high"])
        return f"macro {LABELS[metric]} {_number(values['macro'])} {interval}".rstrip()

    def _counts(self):
        return f"{len(self.scores):,} recordings of {len(set(self.patients)):,} patients"

    def _rows(self):
        shown = [name for name in SHOWN if name in self.metrics]
        header = ["class", "positive"]
        for name in shown:
            header += [LABELS[name]] + (["95 %"] if name == "roc_auc" else [])

        def cells(name, key):
            values = self.metrics[name]
            if key is None:
                value, low, high = values["macro"], values["low"], values["high"]
            else:
                value, low, high = (
                    values[field][key] for field in ("per_class", "per_class_low", "per_class_high")
                )
            return [_number(value)] + ([_interval(low, high)] if name == "roc_auc" else [])

        rows = [
            [c, f"{self.support[c]:,}"] + [x for name in shown for x in cells(name, c)] for c in self.classes
        ]
        rows.append(["macro average", ""] + [x for name in shown for x in cells(name, None)])
        return header, rows

    def _beside(self):
        """The result and what stands beside it, a row each; nothing where nothing does."""
        if not self.beside:
            return None
        shown = [name for name in SHOWN if name in self.metrics]
        rows = []
        for name, found in {"this model": self, **self.beside}.items():
            row = [f"{name} (quoted)" if found.quoted else name]
            for metric in shown:
                values = found.metrics.get(metric, {})
                low, high = (values.get(end, math.nan) for end in ("low", "high"))
                row.append(f"{_number(values.get('macro', math.nan))} {_interval(low, high)}".rstrip())
            rows.append([*row, "; ".join(filter(None, (found.spread, found.quoted, found.note)))])
        return ["macro average of", *(LABELS[name] for name in shown), "range"], rows

    def _facts(self):
        """What was evaluated and how: pairs of a name and a text."""
        trained = "{recordings:,} recordings of {patients:,} patients".format(**self.trained) if self.trained else ""
        return [
            ("Model", self.model),
            ("Settings", "; ".join(f"{name} {value}" for name, value in self.settings.items())),
            ("Trained on", trained),
            ("Leads", " ".join(self.leads)),
            ("Protocol", self.protocol),
            ("kmerl", self.version),
            ("Intervals", f"95 %, from {self.resamples:,} resamples of patients, seed {self.seed}"),
        ]

    def _seen_rows(self):
        """Figures of seen and unseen classes, and how each class was judged; None where nothing is known."""
        if self.seen is None:
            return None
        near = self.seen["nearest"]
        names = {"seen": [c for c in near if near[c]["by"]], "unseen": [c for c in near if not near[c]["by"]]}
        rows = []
        for group, metrics in self.seen["metrics"].items():
            cells = [group, str(len(names[group]))]
            for name in SHOWN:
                if name in self.metrics:
                    values = metrics[name]
                    cells.append(f"{_number(values['macro'])} {_interval(values['low'], values['high'])}".rstrip())
            rows.append(cells)
        header = ["macro average of", "classes", *(LABELS[name] for name in SHOWN if name in self.metrics)]
        return header, rows

    def _seen_remark(self):
        near = self.seen["nearest"]
        named = [c for c in near if near[c]["by"] == "name"]
        alike = [f"{c} ({near[c]['entity']}, {near[c]['cosine']:.3f})" for c in near if near[c]["by"] == "cosine"]
        new = [f"{c} ({near[c]['entity']}, {near[c]['cosine']:.3f})" for c in near if not near[c]["by"]]
        return "; ".join(
            f"{what}: {', '.join(found) if found else 'none'}"
            for what, found in (
                ("Seen by name", named),
                (f"seen by an embedding with cosine above {self.seen['threshold']:g}", alike),
                ("unseen, with the nearest entity", new),
            )
        )

    def _remarks(self):
        remarks = [f"{name}: {text}." for name, text in self._facts() if text and name in ("Model", "Settings")]
        if self.trained:
            remarks.append("Trained on {recordings:,} recordings of {patients:,} patients.".format(**self.trained))
        remarks.append(
            f"kmerl {self.version}, protocol {self.protocol}, seed {self.seed}, "
            f"intervals from {self.resamples:,} resamples of patients."
        )
        return remarks + self._warnings()

    def _warnings(self):
        """What a reader of the figures must know."""
        remarks = []
        if self.seeds:
            found = ", ".join(
                f"macro {LABELS[name]} {_number(row['mean'])} +- {_number(row['sd'])}"
                for name, row in self.seeds["metrics"].items()
                if name in SHOWN
            )
            seeds = ", ".join(map(str, self.seeds["seeds"]))
            remarks.append(
                f"Over seeds {seeds}: {found} (mean +- standard deviation, no interval); all else is of seed "
                f"{self.seeds['seeds'][0]}."
            )
        if self.seen is not None:
            remarks.append(self._seen_remark() + ".")
        if self.undefined:
            remarks.append(f"Without both outcomes, in no average: {', '.join(self.undefined)}.")
        if self.skipped:
            listed = "; ".join(f"{name}: {reason}" for name, reason in self.skipped[:5])
            more = f"; and {len(self.skipped) - 5} more" if len(self.skipped) > 5 else ""
            remarks.append(f"Not scored: {len(self.skipped):,} recordings ({listed}{more}).")
        if self.thresholds is None:
            remarks.append("No F1: it needs a threshold from validation recordings, and there are none.")
        remarks.append(
            "Oracle F1 takes its thresholds from the recordings it is scored on, as MERL does; it flatters."
        )
        return remarks + [note[0].upper() + note[1:] + "." for note in self.notes]

    def table(self):
        """The figures as plain text, a line a class.

        Returns
        -------
        str
        """
        header, rows = self._rows()
        lines = [self._title(), self._counts(), "", *text_table(header, rows), ""]
        for extra in (self._beside(), self._seen_rows()):
            if extra:
                lines += [*text_table(*extra), ""]
        return "\n".join(lines + self._remarks())

    def to_markdown(self, path=None):
        """The figures as Markdown; written to `path` where one is given.

        Returns
        -------
        str
        """
        header, rows = self._rows()
        lines = [
            f"## {self._title()}",
            "",
            self._counts() + ".",
            "",
            *markdown_table(header, rows),
            "",
        ]
        for extra in (self._beside(), self._seen_rows()):
            if extra:
                lines += [*markdown_table(*extra), ""]
        return write_text(path, "\n".join(lines + [f"- {remark}" for remark in self._remarks()]) + "\n")

    def to_dict(self, scores=False):
        """Everything, each recording's scores and labels only if asked for, of plain Python types."""
        found = {
            "evaluation": self.evaluation,
            "dataset": self.dataset,
            "part": self.part,
            "protocol": self.protocol,
            "leads": list(self.leads),
            "model": self.model,
            "settings": self.settings,
            "fraction": self.fraction,
            "trained": self.trained,
            "kmerl": self.version,
            "recordings": len(self.scores),
            "patients": len(set(self.patients)),
            "classes": self.classes,
            "support": self.support,
            "metrics": self.metrics,
            "seeds": self.seeds,
            "beside": {
                name: other.to_dict(scores) if isinstance(other, Report) else other.to_dict()
                for name, other in self.beside.items()
            },
            "seen": self.seen,
            "undefined": self.undefined,
            "thresholds": self.thresholds,
            "resamples": self.resamples,
            "seed": self.seed,
            "skipped": [{"record": name, "reason": reason} for name, reason in self.skipped],
            "notes": self.notes,
        }
        if scores:
            # str of a float32 is the shortest text that reads back as the same float32.
            found["rows"] = [
                [record, patient, [float(str(p)) for p in row], labels.tolist()]
                for record, patient, row, labels in zip(
                    self.records, self.patients, self.scores, self.labels, strict=True
                )
            ]
        return found

    def to_json(self, path=None, *, scores=False):
        """`to_dict` as JSON (NaN is null); written to `path` where one is given.

        Parameters
        ----------
        scores : bool
            Every recording's patient, scores and labels too, so that `load` reads the whole report back.

        Returns
        -------
        str
        """
        return write_text(path, as_json(self.to_dict(scores)))

    def compare(self, other, metric="roc_auc", *, resamples=None, seed=None):
        """Is this result better than another one on the same recordings? `kmerl.metrics.paired_bootstrap`.

        Parameters
        ----------
        other : Report
            Of the same data set; recordings and classes that only one of both has are left out and counted.
        metric : str
            One of `kmerl.metrics.METRICS`.
        resamples, seed : int, optional
            Of the bootstrap; those of this report by default.

        Returns
        -------
        Comparison

        Raises
        ------
        TypeError, ValueError
            No report; another data set; labels or patients that differ; a metric that one of both lacks; one
            patient only.
        """
        if not isinstance(other, Report):
            raise TypeError(f"other is {type(other).__name__}, expected a Report")
        if self.dataset != other.dataset:
            raise ValueError(f"other is of {other.dataset}, this report of {self.dataset}: expected the same data set")
        for report in (self, other):
            if metric not in report.metrics:
                raise ValueError(f"metric is {metric!r}, which one report lacks; it has {', '.join(report.metrics)}")
            if len(set(report.records)) < len(report.records):
                raise ValueError("a report names two recordings alike, so they cannot be told apart")
        places = {record: i for i, record in enumerate(other.records)}
        own = [i for i, record in enumerate(self.records) if record in places]
        theirs = [places[self.records[i]] for i in own]
        classes = [c for c in self.classes if c in other.classes]
        if not own or not classes:
            raise ValueError(f"the reports share {len(own)} recordings and {len(classes)} classes, expected some")
        columns = [[report.classes.index(c) for c in classes] for report in (self, other)]
        labels = self.labels[np.ix_(own, columns[0])]
        if not np.array_equal(labels, other.labels[np.ix_(theirs, columns[1])]):
            raise ValueError("the reports' labels differ: they are of other data, or of another protocol")
        patients = [self.patients[i] for i in own]
        if patients != [other.patients[i] for i in theirs]:
            raise ValueError("the reports' patients differ: they are of other data")
        threshold = None
        if metric == "f1":
            threshold = tuple([report.thresholds[c] for c in classes] for report in (self, other))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", _metrics.UndefinedMetricWarning)  # `skipped` lists them
            found = _metrics.paired_bootstrap(
                labels,
                self.scores[np.ix_(own, columns[0])],
                other.scores[np.ix_(theirs, columns[1])],
                groups=patients,
                n=self.resamples if resamples is None else resamples,
                seed=self.seed if seed is None else seed,
                metric=metric,
                classes=classes,
                threshold=threshold,
            )
        notes = []
        for what, shared, sizes in (
            ("recordings", len(own), (len(self.records), len(other.records))),
            ("classes", len(classes), (len(self.classes), len(other.classes))),
        ):
            if max(sizes) > shared:
                notes.append(f"{shared:,} {what} in both, of {sizes[0]:,} and {sizes[1]:,}: the others are left out")
        return Comparison(first=self, second=other, found=found, recordings=len(own), notes=notes)

    def to_csv(self, path=None):
        """Scores and labels, a line a recording; written to `path` where one is given.

        Returns
        -------
        str
        """
        rows = [["record", "patient", *self.classes, *(f"{c} (label)" for c in self.classes)]]
        for record, patient, scores, labels in zip(
            self.records, self.patients, self.scores, self.labels, strict=True
        ):
            rows.append([record, patient, *(f"{p:.6f}" for p in scores), *map(int, labels)])
        return write_text(path, _csv(rows))

    def plot(self, kind="classes"):
        """A picture.

        Parameters
        ----------
        kind : {"classes", "roc", "precision_recall", "reliability", "support", "beside"}
            AUROC of each class with its interval; curves of each class; positive recordings; the macro average
            and what stands beside it.

        Returns
        -------
        matplotlib.figure.Figure

        Raises
        ------
        ValueError
            Another kind; nothing to draw, such as reliability of scores that are no probabilities.
        ImportError
            matplotlib is not installed.
        """
        from kmerl import report_plot

        if kind not in report_plot.KINDS:
            raise ValueError(f"kind is {kind!r}, expected one of {', '.join(report_plot.KINDS)}")
        return report_plot.draw(report_plot.KINDS[kind], self)

    def to_html(self, path=None):
        """The figures as one HTML page with pictures, which loads nothing from elsewhere; written to `path` where
        one is given. Equal reports give equal pages with the same matplotlib.

        Returns
        -------
        str

        Raises
        ------
        ImportError
            matplotlib is not installed.
        """
        from kmerl import report_html as page

        cards = []
        for name in (*SHOWN, *CALIBRATION):
            if name in self.metrics:
                values = self.metrics[name]
                below = _interval(values["low"], values["high"])
                cards.append((f"macro {LABELS[name]}", _number(values["macro"]), below))
        body = [page.cards(cards), page.listing(self._warnings()), page.facts(self._facts())]
        for heading, extra, kind in (
            ("Compared with", self._beside(), "beside"),
            ("Seen and unseen classes", self._seen_rows(), None),
        ):
            if extra:
                picture = page.picture(self, kind) if kind else ""
                body += [page.section(heading, page.table(*extra, text=(len(extra[0]) - 1,) if kind else ()), picture)]
        body.append(page.section("Classes", page.table(*self._rows(), last=True)))
        if len(self.undefined) < len(self.classes):
            body += [page.picture(self, "classes"), page.section("ROC", page.picture(self, "roc"))]
            body.append(page.section("Precision and recall", page.picture(self, "precision_recall")))
        if "brier" in self.metrics:
            body.append(page.section("Reliability", page.picture(self, "reliability")))
        body.append(page.section("Support", page.picture(self, "support")))
        skipped = [f"{name}: {reason}" for name, reason in self.skipped]
        body.append(page.folded(f"Not scored: {len(skipped):,} recordings", skipped))
        return write_text(path, page.page(self._title(), self._counts(), body, self.version))


@dataclass(kw_only=True, eq=False)
class Comparison:
    """What `Report.compare` found.

    Attributes
    ----------
    first, second : Report
    found : kmerl.metrics.PairedBootstrap
        ``difference`` (first less second), ``low``, ``high``, ``p_value``, ``per_class``.
    recordings : int
        In both reports.
    notes : list of str
        What was left out.
    """

    first: Report
    second: Report
    found: _metrics.PairedBootstrap
    recordings: int
    notes: list

    def __repr__(self):
        return f"<Comparison {self.first.dataset}: {self.found}>"

    def __str__(self):
        return self.table()

    def _rows(self):
        def cells(row):
            if math.isnan(row["difference"]):
                return ["-", "", "-"]
            interval = f"[{row['low']:+.3f}, {row['high']:+.3f}]"
            return [f"{row['difference']:+.3f}", interval, f"{row['p_value']:.3g}"]

        rows = [[c, *cells(row)] for c, row in self.found.per_class.items()]
        found = self.found
        macro = {"difference": found.difference, "low": found.low, "high": found.high, "p_value": found.p_value}
        rows.append(["macro average", *cells(macro)])
        return ["class", f"difference of {LABELS[found.metric]}", "95 %", "p"], rows

    def _remarks(self):
        found = self.found
        remarks = [
            f"First: {self.first._title()}; {self.first.model}.",
            f"Second: {self.second._title()}; {self.second.model}.",
            f"{self.recordings:,} recordings of {found.patients:,} patients; first less second; {found.n:,} resamples "
            f"of patients, the same for both, seed {found.seed}.",
            "One test a class: of twenty classes without any difference one has p < 0.05 by chance.",
        ]
        if found.skipped:
            remarks.append(f"Without both outcomes, in no average: {', '.join(map(str, found.skipped))}.")
        return remarks + [note[0].upper() + note[1:] + "." for note in self.notes]

    def table(self):
        """As plain text, a line a class.

        Returns
        -------
        str
        """
        return "\n".join([f"Comparison: {self.first.dataset}", "", *text_table(*self._rows()), "", *self._remarks()])

    def to_markdown(self, path=None):
        """As Markdown; written to `path` where one is given.

        Returns
        -------
        str
        """
        lines = [f"## Comparison: {self.first.dataset}", "", *markdown_table(*self._rows()), ""]
        return write_text(path, "\n".join(lines + [f"- {remark}" for remark in self._remarks()]) + "\n")

    def to_dict(self):
        """Of plain Python types."""
        found = self.found
        return {
            "evaluation": "comparison",
            "dataset": self.first.dataset,
            "models": [self.first.model, self.second.model],
            "leads": [list(self.first.leads), list(self.second.leads)],
            "recordings": self.recordings,
            "patients": found.patients,
            "metric": found.metric,
            "difference": found.difference,
            "low": found.low,
            "high": found.high,
            "p_value": found.p_value,
            "per_class": found.per_class,
            "undefined": list(found.skipped),
            "resamples": found.n,
            "seed": found.seed,
            "notes": self.notes,
        }

    def to_json(self, path=None):
        """`to_dict` as JSON (NaN is null); written to `path` where one is given.

        Returns
        -------
        str
        """
        return write_text(path, as_json(self.to_dict()))


def load(path):
    """A report that ``to_json(path, scores=True)`` wrote.

    Parameters
    ----------
    path : path

    Returns
    -------
    Report

    Raises
    ------
    FileNotFoundError
        No such file.
    ValueError
        No JSON, no report, or one without scores.
    """
    found = read_json(path)
    if not isinstance(found, dict) or found.get("evaluation") not in list(TITLES):
        raise ValueError(f"{path} is no report of kmerl: expected one of one evaluation, written by to_json")
    if "rows" not in found:
        raise ValueError(f"{path} holds no scores: expected a report written by to_json(path, scores=True)")
    try:
        return _revived(found)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise ValueError(f"{path} is a damaged report: {type(error).__name__}: {error}") from None


_LARGEST = 1e9  # of any figure, number of resamples or seed


def _revived(found):
    """A report of what ``Report.to_dict(scores=True)`` gave."""
    for name in ("metrics", "seeds", "seen", "thresholds"):
        if found[name] is not None:
            found[name] = _numbers(found[name])
    rows, classes = found.pop("rows"), found["classes"]
    beside = {
        name: _revived(other) if "evaluation" in other else Figures(**_numbers(other))
        for name, other in found.pop("beside").items()
    }
    for name in ("recordings", "patients"):
        del found[name]
    shape = (len(rows), len(classes))
    labels = np.array([row[3] for row in rows]).reshape(shape)
    scores = np.array(_numbers([row[2] for row in rows]), np.float32).reshape(shape)
    if not np.isin(labels, (0, 1)).all():
        raise ValueError("labels other than 0 and 1")
    found["version"] = found.pop("kmerl")
    found["skipped"] = [(row["record"], row["reason"]) for row in found["skipped"]]
    for one in fields(Report):
        kind = int | float | None if one.name == "fraction" else one.type
        if one.name in found and (not isinstance(found[one.name], kind) or isinstance(found[one.name], bool)):
            raise ValueError(f"{one.name} is a {type(found[one.name]).__name__}")
    report = Report(
        **found,
        scores=scores,
        labels=labels.astype(np.uint8),
        records=[str(row[0]) for row in rows],
        patients=[str(row[1]) for row in rows],
        beside=beside,
    )
    if fault := _fault(report):
        raise ValueError(f"{fault} is not what a report has there")
    return report


_ENDS = ("macro", "low", "high")


def _is_number(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _has(value, names, good=_is_number):
    """A dict with a good value under each of the names."""
    return isinstance(value, dict) and all(name in value and good(value[name]) for name in names)


def _fault(report):
    """The first part of a report, or of one beside it, that it could not show; None where there is none."""

    def texts(value):
        return isinstance(value, list) and all(isinstance(text, str) for text in value)

    def each(metrics, more):
        return set(metrics) <= set(LABELS) and all(_has(of, _ENDS) and more(of) for of in metrics.values())

    def is_near(near):
        known = isinstance(near, dict) and isinstance(near.get("entity"), str) and _has(near, ("cosine",))
        return known and near.get("by") in ("", "name", "cosine")

    def is_seen(seen):
        near, groups = seen.get("nearest"), seen.get("metrics")
        return (
            _has(seen, ("threshold",))
            and _has(near, near or (), is_near)
            and set(near) <= classes
            and _has(groups, groups or (), lambda of: _has(of, shown, lambda values: _has(values, _ENDS)))
            and set(groups) <= {"seen", "unseen"}
        )

    def is_seeds(seeds):
        found, numbers = seeds.get("metrics"), seeds.get("seeds")
        return (
            _has(found, found or (), lambda of: _has(of, ("mean", "sd")))
            and set(found) <= set(LABELS)
            and isinstance(numbers, list)
            and numbers != []
            and all(map(_is_number, numbers))
        )

    for name in ("leads", "classes", "undefined", "notes"):
        if not texts(getattr(report, name)):
            return name
    classes, shown = set(report.classes), [name for name in SHOWN if name in report.metrics]
    per_class = ("per_class", "per_class_low", "per_class_high")
    checks = {
        "notes": all(report.notes),
        "support": _has(report.support, classes),
        "metrics": "roc_auc" in report.metrics
        and each(report.metrics, lambda of: _has(of, per_class, lambda values: _has(values, classes))),
        "thresholds": report.thresholds is None or _has(report.thresholds, classes),
        "trained": report.trained is None or _has(report.trained, ("recordings", "patients")),
        "skipped": all(texts(list(pair)) for pair in report.skipped),
        "settings": all(isinstance(value, (str, int, float, type(None))) for value in report.settings.values()),
    }
    for name, good in checks.items():
        if not good:
            return name
    for name, check in (("seeds", is_seeds), ("seen", is_seen)):
        if getattr(report, name) is not None and not check(getattr(report, name)):
            return name
    for name, other in report.beside.items():
        if isinstance(other, Figures) and not (
            isinstance(other.metrics, dict) and each(other.metrics, lambda of: True)
            and texts([other.spread, other.quoted, other.note])  # fmt: skip
        ):
            return name
    return None


def _numbers(value):
    """JSON's null is NaN again, where only a number can stand."""
    if isinstance(value, dict):
        return {name: _numbers(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_numbers(one) for one in value]
    if isinstance(value, (int, float)) and not abs(value) <= _LARGEST and value == value:
        raise ValueError(f"{value!r:.20} is no figure of a report")
    return math.nan if value is None else value


def measure(
    evaluation,
    dataset,
    indices,
    scores,
    *,
    model,
    leads,
    part,
    validation=None,
    resamples=1000,
    seed=0,
    probabilities=True,
    notes=(),
    **fields,
):
    """A report of scores: every metric with intervals over patients, thresholds from validation.

    Parameters
    ----------
    evaluation : str
        As in `Report`.
    dataset : kmerl.datasets.Dataset
        Gives classes, labels, patients, names and its own notes.
    indices : array_like of int, (n,)
        The scored recordings of the data set.
    scores : array_like, (n, classes)
        In [0, 1].
    model : str
        See `describe`.
    leads : sequence of str
    part : str
    validation : (indices, scores), optional
        Recordings to choose the thresholds of F1 on.
    resamples, seed : int
        Of the bootstrap.
    probabilities : bool
        False: scores that only rank have no Brier score and calibration error.
    notes : sequence of str
        More than the data set's own.
    **fields
        Other attributes of `Report`.

    Returns
    -------
    Report

    Raises
    ------
    ValueError, TypeError
        Scores of another shape, or NaN.
    """
    import kmerl

    indices, scores = np.asarray(indices, np.int64), np.asarray(scores, np.float32)
    classes, labels = list(dataset.classes), np.asarray(dataset.labels)
    patients = [str(dataset.patients[i]) for i in indices]
    notes = [*getattr(dataset, "notes", ()), *notes]
    if len(set(patients)) < 2:
        notes.append("one patient only: no intervals")
    found, thresholds = {}, None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", _metrics.UndefinedMetricWarning)  # `undefined` lists them
        if validation is not None and len(validation[0]):
            thresholds = _metrics.f1_threshold(labels[validation[0]], validation[1], classes=classes)
        for metric in _metrics.METRICS:
            if (metric == "f1" and thresholds is None) or (metric in CALIBRATION and not probabilities):
                continue
            options = {"classes": classes, "threshold": thresholds if metric == "f1" else None}
            found[metric] = with_interval(
                metric, labels[indices], scores, patients, resamples, seed, options
            )
    positives = labels[indices].sum(axis=0, dtype=np.int64).tolist()
    return Report(
        evaluation=evaluation,
        dataset=dataset.name,
        part=part,
        leads=list(leads),
        classes=classes,
        scores=scores,
        labels=labels[indices],
        records=[str(dataset.paths[i]).replace("\\", "/").rsplit("/", 1)[-1] for i in indices],
        patients=patients,
        metrics=found,
        support=dict(zip(classes, positives, strict=True)),
        undefined=[c for c, n in zip(classes, positives, strict=True) if n in (0, len(indices))],
        thresholds=None if thresholds is None else dict(zip(classes, thresholds.tolist(), strict=True)),
        notes=notes,
        model=model,
        protocol=getattr(dataset, "protocol", "exact"),
        version=kmerl.__version__,
        resamples=resamples,
        seed=seed,
        **fields,
    )


def with_interval(metric, labels, scores, patients, resamples, seed, options):
    """Macro average and classes with their intervals; without intervals where there is one patient only."""
    classes = options["classes"]
    if len(set(patients)) < 2:
        macro, low, high = _metrics.score(metric, labels, scores, **options), math.nan, math.nan
        each = _metrics.score(metric, labels, scores, average=None, **options).tolist()
        rows = {c: {"estimate": e, "low": low, "high": high} for c, e in zip(classes, each, strict=True)}
    else:
        found = _metrics.bootstrap(
            labels, scores, groups=patients, n=resamples, seed=seed, metric=metric, **options
        )
        macro, low, high, rows = found.estimate, found.low, found.high, found.per_class
    return {
        "macro": macro,
        "low": low,
        "high": high,
        "per_class": {c: row["estimate"] for c, row in rows.items()},
        "per_class_low": {c: row["low"] for c, row in rows.items()},
        "per_class_high": {c: row["high"] for c, row in rows.items()},
    }


def over_seeds(reports, seeds):
    """Macro averages over repetitions with other seeds.

    Parameters
    ----------
    reports : sequence of Report
    seeds : sequence of int
        One a report.

    Returns
    -------
    dict
        ``{"seeds": [...], "metrics": {metric: {"mean", "sd", "values"}}}``; sd is the sample standard deviation
        (divisor n - 1), NaN for one seed.
    """
    found = {}
    for metric in reports[0].metrics:
        values = [report.metrics[metric]["macro"] for report in reports]
        sd = float(np.std(values, ddof=1)) if len(values) > 1 else math.nan
        found[metric] = {"mean": float(np.mean(values)), "sd": sd, "values": values}
    return {"seeds": [int(seed) for _, seed in zip(reports, seeds, strict=True)], "metrics": found}


def describe(model):
    """What a model is, by its size, its weights and the file it came from; not where that lies.

    Returns
    -------
    str
    """
    import hashlib

    config = getattr(model, "config_", None)
    if config is None:
        return type(model).__name__
    digest = hashlib.sha256()
    for name, array in sorted(model.parameters().items()):
        digest.update(name.encode() + np.ascontiguousarray(array).tobytes())
    size = "ResNet-18" if config.encoder == "resnet18" else \
        f"size {config.size} (width {config.width}, depth {config.depth})"
    return f"{type(model).__name__}, {size}, weights {digest.hexdigest()[:12]}"


class Sweep:
    """What `lead_sweep` found.

    Attributes
    ----------
    k : list of int
        Numbers of leads.
    metrics : dict
        ``{k: metrics}``, each as in `Report`.
    reports : list of Report
        One for each k.
    single : dict
        ``{lead: Report}`` with ``single=True``, else empty.
    order : list of str
        The order in which leads are added.
    """

    def __init__(self, k, reports, single, order):
        self.order = list(order)
        self.k = list(k)
        self.reports = list(reports)
        self.single = dict(single)
        self.metrics = {count: report.metrics for count, report in zip(self.k, self.reports, strict=True)}

    def __repr__(self):
        first = self._first()
        sets = f"{len(self.k)} numbers of leads, {len(self.single)} single leads"
        return f"<Sweep {first.dataset}, {first.part}: {sets}>"

    def __str__(self):
        return self.table()

    def _all(self):
        return [*self.reports, *self.single.values()]

    def _first(self):
        return self._all()[0]

    def _title(self):
        first = self._first()
        return f"{TITLES[first.evaluation]} by number of leads: {first.dataset}, {first.part}"

    def _rows(self):
        beside = list(dict.fromkeys(name for report in self._all() for name in report.beside))
        header = ["leads", "k", "recordings", "macro AUROC", "95 %", "macro AUPRC", *(f"{b}, AUROC" for b in beside)]
        rows = []
        for report in self._all():
            roc, precision = report.metrics["roc_auc"], report.metrics["average_precision"]
            numbers = [_number(roc["macro"]), _interval(roc["low"], roc["high"]), _number(precision["macro"])]
            for name in beside:
                other = report.beside[name].metrics["roc_auc"] if name in report.beside else {"macro": math.nan}
                numbers.append(_number(other["macro"]))
            rows.append([" ".join(report.leads), str(len(report.leads)), f"{len(report.scores):,}", *numbers])
        return header, rows

    def table(self):
        """The figures as plain text, a line for each set of leads.

        Returns
        -------
        str
        """
        first = self._first()
        lines = [self._title(), "", *text_table(*self._rows()), ""]
        return "\n".join(lines + first._remarks())

    def to_markdown(self, path=None):
        """The figures as Markdown; written to `path` where one is given.

        Returns
        -------
        str
        """
        first = self._first()
        lines = [f"## {self._title()}", "", *markdown_table(*self._rows())]
        return write_text(path, "\n".join(lines + [""] + [f"- {remark}" for remark in first._remarks()]) + "\n")

    def to_dict(self, scores=False):
        """Everything, scores and labels only if asked for, of plain Python types."""
        return {
            "evaluation": "lead_sweep",
            "order": self.order,
            "k": self.k,
            "reports": [report.to_dict(scores) for report in self.reports],
            "single": {lead: report.to_dict(scores) for lead, report in self.single.items()},
        }

    def to_json(self, path=None, *, scores=False):
        """`to_dict` as JSON (NaN is null), with `scores` as in `Report.to_json`; written to `path` where one is given.

        Returns
        -------
        str
        """
        return write_text(path, as_json(self.to_dict(scores)))

    def to_csv(self, path=None):
        """A line for each set of leads: its macro averages with intervals; written to `path` where one is given.

        Returns
        -------
        str
        """
        names = [name for name in (*SHOWN, *CALIBRATION) if name in self._first().metrics]
        ends = ("macro", "low", "high")
        rows = [["leads", "k", "recordings", *(f"{name} {end}" for name in names for end in ends)]]
        for report in self._all():
            numbers = [f"{report.metrics[name][end]:.6f}" for name in names for end in ends]
            rows.append([" ".join(report.leads), len(report.leads), len(report.scores), *numbers])
        return write_text(path, _csv(rows))

    def plot(self):
        """Macro AUROC over the number of leads with its interval, beside it untrained models and each single lead.

        Returns
        -------
        matplotlib.figure.Figure

        Raises
        ------
        ImportError
            matplotlib is not installed.
        """
        from kmerl import report_plot

        return report_plot.draw(report_plot.sweep, self)

    def to_html(self, path=None):
        """The figures as one HTML page with pictures, which loads nothing from elsewhere; written to `path` where
        one is given.

        Returns
        -------
        str

        Raises
        ------
        ImportError
            matplotlib is not installed.
        """
        from kmerl import report_html as page

        first = self._first()
        facts = [(name, text) for name, text in first._facts() if name != "Leads"]
        body = [page.picture(self, "sweep"), page.table(*self._rows())]
        body += [page.section("What was evaluated", page.facts(facts), page.listing(first._warnings()))]
        body.append(page.section("Support", page.picture(first, "support")))
        return write_text(path, page.page(self._title(), first._counts(), body, first.version))


# ---- Writing ----


def _number(value):
    return "-" if math.isnan(value) else f"{value:.3f}"


def _interval(low, high):
    return "" if math.isnan(low) else f"[{low:.3f}, {high:.3f}]"


def text_table(header, rows):
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    lines = []
    for row in [header, *rows]:
        cells = [cell.rjust(width) for cell, width in zip(row, widths, strict=True)]
        cells[0] = row[0].ljust(widths[0])
        lines.append("  ".join(cells).rstrip())
    return [lines[0], "-" * (sum(widths) + 2 * len(widths) - 2), *lines[1:]]


def markdown_table(header, rows):
    escaped = [[cell.replace("|", "\\|") for cell in row] for row in [header, *rows]]
    lines = ["| " + " | ".join(row) + " |" for row in escaped]
    return [lines[0], "|" + "|".join(["---"] + ["---:"] * (len(header) - 1)) + "|", *lines[1:]]


def read_json(path):
    """What a JSON file holds; ValueError with its name where it is none."""
    try:
        with open(path, encoding="utf-8") as file:
            return json.load(file)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is no JSON file: {error}") from None


def as_json(value):
    def clean(x):
        if isinstance(x, dict):
            return {str(k): clean(v) for k, v in x.items()}
        if isinstance(x, (list, tuple)):
            return [clean(v) for v in x]
        return None if isinstance(x, float) and not math.isfinite(x) else x

    return json.dumps(clean(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _csv(rows):
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def write_text(path, text):
    if path is not None:
        from kmerl.durable import writing

        with writing(path) as file:
            file.write(text.encode("utf-8"))
    return text
