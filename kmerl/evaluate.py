"""Zero-shot evaluation of a model on a labelled data set, with any leads (SPEC 9).

A class is asked by its name, its score is the model's probability. Every figure comes with a bootstrap interval over
patients; what was left out is listed in the report.
"""

import csv
import io
import json
import math
import warnings

import numpy as np

from kmerl import metrics as _metrics
from kmerl.leads import LEADS, ORDERS, lead_ids

__all__ = ["PAPER_ORDER", "Report", "Sweep", "answers", "lead_sweep", "zero_shot"]

# Fig. 6 of the paper adds leads in this order.
PAPER_ORDER = tuple(ORDERS["paper"])

LABELS = {
    "roc_auc": "AUROC",
    "average_precision": "AUPRC",
    "f1": "F1",
    "oracle_f1": "oracle F1",
    "brier": "Brier",
    "expected_calibration_error": "ECE",
}


def zero_shot(model, dataset, leads=12, *, part=None, resamples=1000, seed=0, batch_size=64, progress=True):
    """Score every recording of a data set for every one of its classes, by name, and measure.

    Parameters
    ----------
    model : KMERL
        Anything with ``predict_proba(records, classes) -> (n, classes)``.
    dataset : kmerl.datasets.Dataset
    leads : int or sequence of str
        The first k leads of the paper's order I II III aVF aVR aVL V1-V6, or lead names. The model sees only these,
        of each recording those that it has; a recording with none of them is skipped and listed.
    part : {"test", "validation", "train", "all"}, optional
        The test recordings by default; all of a data set that has none, which the report notes.
    resamples, seed : int
        Of the bootstrap over patients.
    batch_size : int
        Recordings read and scored at a time. Changes no score.
    progress : bool
        Show a progress bar.

    Returns
    -------
    Report
        F1 uses for each class the threshold that is best on the validation recordings; without any there is no "f1"
        among the metrics. "oracle_f1" takes the threshold from the very recordings it is scored on, as MERL does.

    Raises
    ------
    TypeError, ValueError
        Bad arguments; a data set without recordings in ``part``; a model that cannot answer the classes.

    Warns
    -----
    UndefinedMetricWarning
        Classes without both outcomes: listed, and left out of the averages.
    UserWarning
        Recordings that could not be scored: listed in ``report.skipped`` with the reason.
    """
    chosen = _leads(leads)
    (report,) = _evaluate(model, dataset, [chosen], part, resamples, seed, batch_size, progress)
    return report


def lead_sweep(
    model, dataset, k=range(1, 13), *, single=False, part=None, resamples=1000, seed=0, batch_size=64, progress=True
):
    """`zero_shot` with the first k leads of the paper's order, for each k; recordings are read once.

    Parameters
    ----------
    k : iterable of int
        Numbers of leads, 1 to 12.
    single : bool
        Each single lead too.
    model, dataset, part, resamples, seed, batch_size, progress
        As in `zero_shot`.

    Returns
    -------
    Sweep
    """
    counts = list(k) if not isinstance(k, (int, np.integer)) else [k]
    if not counts:
        raise ValueError("k is empty, expected numbers of leads, 1 to 12")
    sets = [_leads(count) for count in counts] + ([(lead,) for lead in PAPER_ORDER] if single else [])
    reports = _evaluate(model, dataset, sets, part, resamples, seed, batch_size, progress)
    return Sweep(counts, reports[: len(counts)], dict(zip(PAPER_ORDER, reports[len(counts) :])))


def answers(model, records, classes):
    """Probabilities for each recording, or why it has none: one that cannot be scored does not spoil its batch.

    Parameters
    ----------
    model : KMERL
        Anything with ``predict_proba(records, classes) -> (n, classes)``.
    records : dict
        ``{key: Record}``.
    classes : list of str

    Returns
    -------
    dict
        ``{key: ndarray (classes,) or ValueError}``.

    Raises
    ------
    ValueError
        What the model says where it refuses every one of them.
    """
    if not records:
        return {}
    try:
        return dict(zip(records, _checked(model.predict_proba(list(records.values()), classes), len(records), classes)))
    except ValueError:
        if len(records) == 1:
            raise
    found, refused = {}, 0
    for key, record in records.items():
        try:
            found.update(answers(model, {key: record}, classes))
        except ValueError as error:
            found[key], refused = error, refused + 1
    if refused == len(records):  # not the recordings' fault
        raise next(iter(found.values()))
    return found


class Report:
    """What `zero_shot` found.

    Attributes
    ----------
    classes : list of str
    scores : ndarray of float32, (n, classes)
    labels : ndarray of uint8, (n, classes)
    records, patients : list of str
        Name and patient of each scored recording.
    metrics : dict
        ``{"roc_auc": {"macro", "low", "high", "per_class": {class: value}, "per_class_low": {...},
        "per_class_high": {...}}, "average_precision": ..., "f1": ..., "oracle_f1": ..., "brier": ...,
        "expected_calibration_error": ...}``; low and high are 95 % intervals over patients, NaN where there is none.
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
    dataset, part, leads, model, resamples, seed, version
        What was evaluated, and how.
    """

    def __init__(self, **fields):
        self.__dict__.update(fields)

    def __repr__(self):
        return f"<Report {self._title()}: {self._line('roc_auc')}>"

    def __str__(self):
        return self.table()

    def _title(self):
        count = f"{len(self.leads)} lead{'s' if len(self.leads) > 1 else ''} ({' '.join(self.leads)})"
        return f"{self.dataset}, {self.part}, {count}"

    def _line(self, metric):
        values = self.metrics[metric]
        return f"macro {LABELS[metric]} {_number(values['macro'])} {_interval(values['low'], values['high'])}".rstrip()

    def _counts(self):
        return f"{len(self.scores):,} recordings of {len(set(self.patients)):,} patients"

    def _rows(self):
        shown = [name for name in ("roc_auc", "average_precision", "f1", "oracle_f1") if name in self.metrics]
        header = ["class", "positive"]
        for name in shown:
            header += [LABELS[name]] + (["95 %"] if name == "roc_auc" else [])

        def cells(name, key):
            values = self.metrics[name]
            if key is None:
                value, low, high = values["macro"], values["low"], values["high"]
            else:
                value, low, high = (values[field][key] for field in ("per_class", "per_class_low", "per_class_high"))
            return [_number(value)] + ([_interval(low, high)] if name == "roc_auc" else [])

        rows = [[c, f"{self.support[c]:,}"] + [x for name in shown for x in cells(name, c)] for c in self.classes]
        rows.append(["macro average", ""] + [x for name in shown for x in cells(name, None)])
        return header, rows

    def _remarks(self):
        remarks = [f"Model: {self.model}." if self.model else "", f"kmerl {self.version}, seed {self.seed}, "]
        remarks[1] += f"intervals from {self.resamples:,} resamples of patients."
        if self.undefined:
            remarks.append(f"Without both outcomes, in no average: {', '.join(self.undefined)}.")
        if self.skipped:
            listed = "; ".join(f"{name}: {reason}" for name, reason in self.skipped[:5])
            more = f"; and {len(self.skipped) - 5} more" if len(self.skipped) > 5 else ""
            remarks.append(f"Not scored: {len(self.skipped):,} recordings ({listed}{more}).")
        if self.thresholds is None:
            remarks.append("No F1: it needs a threshold from validation recordings, and there are none.")
        remarks.append("Oracle F1 takes its thresholds from the recordings it is scored on, as MERL does; it flatters.")
        remarks += [note[0].upper() + note[1:] + "." for note in self.notes]
        return [remark for remark in remarks if remark]

    def table(self):
        """The figures as plain text, a line a class.

        Returns
        -------
        str
        """
        header, rows = self._rows()
        lines = [f"Zero-shot: {self._title()}", self._counts(), "", *_text_table(header, rows), ""]
        return "\n".join(lines + self._remarks())

    def to_markdown(self, path=None):
        """The figures as Markdown; written to `path` where one is given.

        Returns
        -------
        str
        """
        header, rows = self._rows()
        lines = [f"## Zero-shot: {self._title()}", "", self._counts() + ".", "", *_markdown_table(header, rows), ""]
        return _write(path, "\n".join(lines + [f"- {remark}" for remark in self._remarks()]) + "\n")

    def to_dict(self):
        """Everything but scores and labels, of plain Python types."""
        return {
            "evaluation": "zero_shot",
            "dataset": self.dataset,
            "part": self.part,
            "leads": list(self.leads),
            "model": self.model,
            "kmerl": self.version,
            "recordings": len(self.scores),
            "patients": len(set(self.patients)),
            "classes": self.classes,
            "support": self.support,
            "metrics": self.metrics,
            "undefined": self.undefined,
            "thresholds": self.thresholds,
            "resamples": self.resamples,
            "seed": self.seed,
            "skipped": [{"record": name, "reason": reason} for name, reason in self.skipped],
            "notes": self.notes,
        }

    def to_json(self, path=None):
        """`to_dict` as JSON (NaN is null); written to `path` where one is given.

        Returns
        -------
        str
        """
        return _write(path, _json(self.to_dict()))

    def to_csv(self, path=None):
        """Scores and labels, a line a recording; written to `path` where one is given.

        Returns
        -------
        str
        """
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["record", "patient", *self.classes, *(f"{c} (label)" for c in self.classes)])
        for record, patient, scores, labels in zip(self.records, self.patients, self.scores, self.labels):
            writer.writerow([record, patient, *(f"{p:.6f}" for p in scores), *map(int, labels)])
        return _write(path, text.getvalue())

    def plot(self):
        """AUROC of each class with its interval, and the macro average.

        Returns
        -------
        matplotlib.figure.Figure
        """
        figure, axes = _figure(6.5, 1.2 + 0.28 * len(self.classes))
        values = self.metrics["roc_auc"]
        known = [c for c in self.classes if not math.isnan(values["per_class"][c])]
        known.sort(key=lambda c: values["per_class"][c])
        for row, c in enumerate(known):
            axes.plot([values["per_class_low"][c], values["per_class_high"][c]], [row, row], color="#8aa0dc", linewidth=3)
            axes.plot(values["per_class"][c], row, "o", color="#2a52be", markersize=5)
        axes.axvline(values["macro"], color="#2a52be", linewidth=1, linestyle="--", label=self._line("roc_auc"))
        axes.axvline(0.5, color="#999999", linewidth=0.8)
        axes.set_yticks(range(len(known)), [f"{c} ({self.support[c]:,})" for c in known])
        axes.set(xlabel="AUROC, 95 % interval over patients", title=self._title())
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1.08), frameon=False, borderaxespad=0, fontsize=9)
        return figure


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
    """

    def __init__(self, k, reports, single):
        self.k = list(k)
        self.reports = list(reports)
        self.single = dict(single)
        self.metrics = {count: report.metrics for count, report in zip(self.k, self.reports)}

    def __repr__(self):
        first = self.reports[0]
        return f"<Sweep {first.dataset}, {first.part}: {len(self.k)} numbers of leads, {len(self.single)} single leads>"

    def __str__(self):
        return self.table()

    def _rows(self):
        header = ["leads", "k", "recordings", "macro AUROC", "95 %", "macro AUPRC"]
        rows = []
        for report in [*self.reports, *self.single.values()]:
            roc, precision = report.metrics["roc_auc"], report.metrics["average_precision"]
            numbers = [_number(roc["macro"]), _interval(roc["low"], roc["high"]), _number(precision["macro"])]
            rows.append([" ".join(report.leads), str(len(report.leads)), f"{len(report.scores):,}", *numbers])
        return header, rows

    def table(self):
        """The figures as plain text, a line for each set of leads.

        Returns
        -------
        str
        """
        first = self.reports[0]
        lines = [f"Zero-shot by number of leads: {first.dataset}, {first.part}", "", *_text_table(*self._rows()), ""]
        return "\n".join(lines + first._remarks())

    def to_markdown(self, path=None):
        """The figures as Markdown; written to `path` where one is given.

        Returns
        -------
        str
        """
        first = self.reports[0]
        lines = [f"## Zero-shot by number of leads: {first.dataset}, {first.part}", "", *_markdown_table(*self._rows())]
        return _write(path, "\n".join(lines + [""] + [f"- {remark}" for remark in first._remarks()]) + "\n")

    def to_dict(self):
        """Everything but scores and labels, of plain Python types."""
        return {
            "evaluation": "lead_sweep",
            "k": self.k,
            "reports": [report.to_dict() for report in self.reports],
            "single": {lead: report.to_dict() for lead, report in self.single.items()},
        }

    def to_json(self, path=None):
        """`to_dict` as JSON (NaN is null); written to `path` where one is given.

        Returns
        -------
        str
        """
        return _write(path, _json(self.to_dict()))

    def plot(self):
        """Macro AUROC over the number of leads with its interval, and the single leads as points.

        Returns
        -------
        matplotlib.figure.Figure
        """
        figure, axes = _figure(6.5, 4.0)
        values = [self.metrics[count]["roc_auc"] for count in self.k]
        axes.fill_between(self.k, [v["low"] for v in values], [v["high"] for v in values], color="#d5dcf3", linewidth=0)
        axes.plot(self.k, [v["macro"] for v in values], "o-", color="#2a52be", label="first k leads")
        if self.single:
            singles = [report.metrics["roc_auc"]["macro"] for report in self.single.values()]
            axes.plot([1] * len(singles), singles, "_", color="#c0504d", markersize=12, label="each single lead")
            axes.legend(frameon=False)
        axes.set_xticks(self.k)
        first = self.reports[0]
        axes.set(xlabel="leads, in the order I II III aVF aVR aVL V1-V6", ylabel="macro AUROC, 95 % interval")
        axes.set_title(f"{first.dataset}, {first.part}")
        return figure


# ---- Scoring ----


def _evaluate(model, dataset, lead_sets, part, resamples, seed, batch_size, progress):
    if not callable(getattr(model, "predict_proba", None)):
        raise TypeError(f"model is {type(model).__name__}, expected a model with predict_proba")
    if not hasattr(dataset, "split") or not hasattr(dataset, "labels"):
        raise TypeError(f"dataset is {type(dataset).__name__}, expected a kmerl.datasets.Dataset")
    for name, value in (("resamples", resamples), ("batch_size", batch_size)):
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
            raise ValueError(f"{name} is {value!r}, expected a whole number above 0")
    indices, part, notes = _part(dataset, part)
    validation = dataset.split["validation"] if part == "test" else indices[:0]
    together = np.concatenate([indices, validation]).astype(np.int64)
    scored = _score(model, dataset, lead_sets, together, batch_size, progress)
    reports = []
    for leads, (scores, reasons, fewer) in zip(lead_sets, scored):
        known = np.array([reason is None for reason in reasons])
        here, there = known.copy(), known.copy()
        here[len(indices) :], there[: len(indices)] = False, False
        if not here.any():
            first = next(reason for reason in reasons if reason is not None)
            raise ValueError(f"no recording of {dataset.name} could be scored with leads {' '.join(leads)}: {first}")
        skipped = [(_name(dataset, i), reason) for i, reason in zip(together, reasons) if reason is not None]
        own = list(notes)
        if fewer:
            own.append(f"{fewer:,} recordings lack some of the {len(leads)} leads and were scored with those they have")
        labels = dataset.labels[together]
        reports.append(
            _report(
                dataset.classes, scores[here], labels[here], scores[there], labels[there], resamples, seed,
                records=[_name(dataset, i) for i in together[here]],
                patients=[str(dataset.patients[i]) for i in together[here]],
                skipped=skipped, notes=own, dataset=dataset.name, part=part, leads=list(leads), model=_describe(model),
            )
        )  # fmt: skip
    undefined = reports[0].undefined
    if undefined:
        warnings.warn(
            f"{len(undefined)} of {len(dataset.classes)} classes have only one outcome and are in no average: "
            + ", ".join(undefined),
            _metrics.UndefinedMetricWarning,
            stacklevel=3,
        )
    failed = max((report.skipped for report in reports), key=len)
    if failed:
        warnings.warn(
            f"{len(failed)} of {len(together)} recordings could not be scored; the first: {failed[0][0]}: {failed[0][1]}",
            stacklevel=3,
        )
    return reports


def _part(dataset, part):
    """Indices to score, what to call them, and notes."""
    notes = list(getattr(dataset, "notes", ()))
    if part is None and len(dataset.split["test"]):
        part = "test"
    elif part is None:
        part = "all"
        notes.append("no test recordings here, so all were scored: no held-out result if the model was trained on them")
    if part == "all":
        indices = np.arange(len(dataset))
    elif part in dataset.split:
        indices = np.asarray(dataset.split[part])
    else:
        raise ValueError(f"part is {part!r}, expected test, validation, train or all")
    if not len(indices):
        sizes = ", ".join(f"{len(v)} {k}" for k, v in dataset.split.items())
        raise ValueError(f"{dataset.name} has no {part} recordings ({sizes})")
    return indices, part, notes


def _score(model, dataset, lead_sets, indices, batch_size, progress):
    """For each set of leads: scores (n, classes), why a recording has none (n), how many lack some of the leads."""
    from kmerl.progress import Progress

    shape = (len(lead_sets), len(indices), len(dataset.classes))
    scores = np.full(shape, np.nan, np.float32)
    reasons = [[None] * len(indices) for _ in lead_sets]
    fewer = [0] * len(lead_sets)
    with Progress(len(indices) * len(lead_sets), dataset.name, "recordings", show=progress) as bar:
        for begin in range(0, len(indices), batch_size):
            places = range(begin, min(begin + batch_size, len(indices)))
            records = {}
            for place in places:
                try:
                    records[place] = dataset[indices[place]]
                except (ValueError, OSError) as error:
                    for reason in reasons:
                        reason[place] = str(error)
            for s, leads in enumerate(lead_sets):
                given = {}
                for place, record in records.items():
                    cut = _cut(record, leads)
                    if cut is None:
                        reasons[s][place] = f"has none of the leads {' '.join(leads)}"
                    else:
                        given[place] = cut
                        fewer[s] += len(cut.leads) < len(leads)
                try:
                    found = answers(model, given, dataset.classes)
                except ValueError as error:
                    if len(given) > 1 or begin == 0:
                        raise
                    found = dict.fromkeys(given, error)  # a last batch of one
                for place, answer in found.items():
                    if isinstance(answer, Exception):
                        reasons[s][place] = str(answer)
                    else:
                        scores[s, place] = answer
                bar.update(len(places))
    return list(zip(scores, reasons, fewer))


def _checked(scores, n, classes):
    scores = np.asarray(scores)
    if scores.shape != (n, len(classes)):
        raise TypeError(f"predict_proba returned shape {scores.shape}, expected ({n}, {len(classes)})")
    if not np.isfinite(scores).all():
        raise ValueError("predict_proba returned NaN or infinite scores")
    return scores


def _cut(record, leads):
    """The record with only these leads, in this order; None where it has none of them."""
    present = [lead for lead in leads if lead in record.leads]
    return record.select(present) if present else None


def _leads(leads):
    if isinstance(leads, (int, np.integer)) and not isinstance(leads, bool):
        if not 1 <= leads <= len(PAPER_ORDER):
            raise ValueError(f"leads is {leads}, expected a number from 1 to {len(PAPER_ORDER)} or lead names")
        return PAPER_ORDER[:leads]
    return tuple(LEADS[i] for i in lead_ids(leads))


def _name(dataset, index):
    return str(dataset.paths[index]).replace("\\", "/").rsplit("/", 1)[-1]


def _describe(model):
    name = getattr(model, "name", None)
    return name if isinstance(name, str) else ""


def _report(classes, scores, labels, scores_validation, labels_validation, resamples, seed, **fields):
    import kmerl

    found, thresholds = {}, None
    notes = fields["notes"]
    patients = fields["patients"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", _metrics.UndefinedMetricWarning)  # one warning for all metrics comes later
        if len(scores_validation):
            thresholds = _metrics.f1_threshold(labels_validation, scores_validation, classes=classes)
        for metric in _metrics.METRICS:
            if metric == "f1" and thresholds is None:
                continue
            found[metric] = _measure(metric, labels, scores, patients, classes, thresholds, resamples, seed)
    if len(set(patients)) < 2:
        notes.append("one patient only: no intervals")
    positives = labels.sum(axis=0, dtype=np.int64)
    return Report(
        classes=list(classes),
        scores=scores,
        labels=labels,
        metrics=found,
        support={c: int(n) for c, n in zip(classes, positives)},
        undefined=[c for c, n in zip(classes, positives) if n in (0, len(labels))],
        thresholds=None if thresholds is None else {c: float(t) for c, t in zip(classes, thresholds)},
        resamples=resamples,
        seed=seed,
        version=kmerl.__version__,
        **fields,
    )


def _measure(metric, labels, scores, patients, classes, thresholds, resamples, seed):
    options = {"classes": classes, "threshold": thresholds if metric == "f1" else None}
    if len(set(patients)) < 2:
        macro = _metrics.score(metric, labels, scores, **options)
        each = dict(zip(classes, _metrics.score(metric, labels, scores, average=None, **options).tolist()))
        unknown = dict.fromkeys(classes, math.nan)
        return {"macro": macro, "low": math.nan, "high": math.nan, "per_class": each, "per_class_low": unknown,
                "per_class_high": unknown}  # fmt: skip
    found = _metrics.bootstrap(labels, scores, groups=patients, n=resamples, seed=seed, metric=metric, **options)
    return {
        "macro": found.estimate,
        "low": found.low,
        "high": found.high,
        "per_class": {c: values["estimate"] for c, values in found.per_class.items()},
        "per_class_low": {c: values["low"] for c, values in found.per_class.items()},
        "per_class_high": {c: values["high"] for c, values in found.per_class.items()},
    }


# ---- Writing ----


def _number(value):
    return "-" if math.isnan(value) else f"{value:.3f}"


def _interval(low, high):
    return "" if math.isnan(low) else f"[{low:.3f}, {high:.3f}]"


def _text_table(header, rows):
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    line = ["  ".join(c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths))) for row in
            [header, *rows]]  # fmt: skip
    return [line[0].rstrip(), "-" * len(line[0]), *(text.rstrip() for text in line[1:])]


def _markdown_table(header, rows):
    escaped = [[cell.replace("|", "\\|") for cell in row] for row in [header, *rows]]
    lines = ["| " + " | ".join(row) + " |" for row in escaped]
    return [lines[0], "|" + "|".join(["---"] + ["---:"] * (len(header) - 1)) + "|", *lines[1:]]


def _json(value):
    def clean(x):
        if isinstance(x, dict):
            return {str(k): clean(v) for k, v in x.items()}
        if isinstance(x, (list, tuple)):
            return [clean(v) for v in x]
        return None if isinstance(x, float) and not math.isfinite(x) else x

    return json.dumps(clean(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _write(path, text):
    if path is not None:
        from kmerl.durable import writing

        with writing(path) as file:
            file.write(text.encode("utf-8"))
    return text


def _figure(width, height):
    try:
        from matplotlib import pyplot
    except ImportError:
        raise ImportError("plot needs matplotlib: pip install matplotlib") from None
    figure, axes = pyplot.subplots(figsize=(width, height), layout="constrained")
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes
