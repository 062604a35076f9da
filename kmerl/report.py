"""What an evaluation found: figures in memory, as a table, JSON, Markdown, CSV and a picture."""

import csv
import io
import json
import math
import warnings
from dataclasses import dataclass, field

import numpy as np

from kmerl import metrics as _metrics

__all__ = ["Figures", "Report", "Sweep", "measure", "over_seeds"]

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
    random, untrained : Report, Figures or None
        ``beside["random encoder"]`` and ``beside["untrained model"]``.
    protocol, version : str
    resamples, seed : int
        Of the bootstrap.
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
    protocol: str = "exact"
    version: str = ""
    resamples: int = 1000
    seed: int = 0

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

    def _remarks(self):
        remarks = [f"Model: {self.model}." if self.model else ""]
        if self.settings:
            remarks.append("; ".join(f"{name}: {value}" for name, value in self.settings.items()) + ".")
        if self.trained:
            remarks.append("Trained on {recordings:,} recordings of {patients:,} patients.".format(**self.trained))
        remarks.append(
            f"kmerl {self.version}, protocol {self.protocol}, seed {self.seed}, "
            f"intervals from {self.resamples:,} resamples of patients."
        )
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
        remarks += [note[0].upper() + note[1:] + "." for note in self.notes]
        return [remark for remark in remarks if remark]

    def table(self):
        """The figures as plain text, a line a class.

        Returns
        -------
        str
        """
        header, rows = self._rows()
        lines = [self._title(), self._counts(), "", *_text_table(header, rows), ""]
        if self.beside:
            lines += [*_text_table(*self._beside()), ""]
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
            *_markdown_table(header, rows),
            "",
        ]
        if self.beside:
            lines += [*_markdown_table(*self._beside()), ""]
        return _write(path, "\n".join(lines + [f"- {remark}" for remark in self._remarks()]) + "\n")

    def to_dict(self):
        """Everything but scores and labels, of plain Python types."""
        return {
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
            "beside": {name: found.to_dict() for name, found in self.beside.items()},
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
        for record, patient, scores, labels in zip(
            self.records, self.patients, self.scores, self.labels, strict=True
        ):
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
            axes.plot(
                [values["per_class_low"][c], values["per_class_high"][c]],
                [row, row],
                color="#8aa0dc",
                linewidth=3,
            )
            axes.plot(values["per_class"][c], row, "o", color="#2a52be", markersize=5)
        axes.axvline(
            values["macro"], color="#2a52be", linewidth=1, linestyle="--", label=self._line("roc_auc")
        )
        axes.axvline(0.5, color="#999999", linewidth=0.8)
        axes.set_yticks(range(len(known)), [f"{c} ({self.support[c]:,})" for c in known], parse_math=False)
        axes.set(xlabel="AUROC, 95 % interval over patients", title=self._title())
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1.08), frameon=False, borderaxespad=0, fontsize=9)
        return figure


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
            found[metric] = _with_interval(
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


def _with_interval(metric, labels, scores, patients, resamples, seed, options):
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
    size = f"size {config.size} (width {config.width}, depth {config.depth})"
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
    """

    def __init__(self, k, reports, single):
        self.k = list(k)
        self.reports = list(reports)
        self.single = dict(single)
        self.metrics = {count: report.metrics for count, report in zip(self.k, self.reports, strict=True)}

    def __repr__(self):
        first = self.reports[0]
        sets = f"{len(self.k)} numbers of leads, {len(self.single)} single leads"
        return f"<Sweep {first.dataset}, {first.part}: {sets}>"

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
        lines = [
            f"{TITLES[first.evaluation]} by number of leads: {first.dataset}, {first.part}",
            "",
            *_text_table(*self._rows()),
            "",
        ]
        return "\n".join(lines + first._remarks())

    def to_markdown(self, path=None):
        """The figures as Markdown; written to `path` where one is given.

        Returns
        -------
        str
        """
        first = self.reports[0]
        lines = [
            f"## {TITLES[first.evaluation]} by number of leads: {first.dataset}, {first.part}",
            "",
            *_markdown_table(*self._rows()),
        ]
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
        axes.fill_between(
            self.k, [v["low"] for v in values], [v["high"] for v in values], color="#d5dcf3", linewidth=0
        )
        axes.plot(self.k, [v["macro"] for v in values], "o-", color="#2a52be", label="first k leads")
        if self.single:
            singles = [report.metrics["roc_auc"]["macro"] for report in self.single.values()]
            axes.plot(
                [1] * len(singles), singles, "_", color="#c0504d", markersize=12, label="each single lead"
            )
            axes.legend(frameon=False)
        axes.set_xticks(self.k)
        first = self.reports[0]
        axes.set(xlabel="leads, in the order I II III aVF aVR aVL V1-V6", ylabel="macro AUROC, 95 % interval")
        axes.set_title(f"{first.dataset}, {first.part}")
        return figure


# ---- Writing ----


def _number(value):
    return "-" if math.isnan(value) else f"{value:.3f}"


def _interval(low, high):
    return "" if math.isnan(low) else f"[{low:.3f}, {high:.3f}]"


def _text_table(header, rows):
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    lines = []
    for row in [header, *rows]:
        cells = [cell.rjust(width) for cell, width in zip(row, widths, strict=True)]
        cells[0] = row[0].ljust(widths[0])
        lines.append("  ".join(cells).rstrip())
    return [lines[0], "-" * (sum(widths) + 2 * len(widths) - 2), *lines[1:]]


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
