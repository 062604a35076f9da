"""What an evaluation found: figures in memory, as a table, JSON, Markdown, CSV and a picture."""

import csv
import io
import json
import math

__all__ = ["Report", "Sweep"]

LABELS = {
    "roc_auc": "AUROC",
    "average_precision": "AUPRC",
    "f1": "F1",
    "oracle_f1": "oracle F1",
    "brier": "Brier",
    "expected_calibration_error": "ECE",
}


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
        interval = _interval(values["low"], values["high"])
        return f"macro {LABELS[metric]} {_number(values['macro'])} {interval}".rstrip()

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
                value, low, high = (
                    values[field][key] for field in ("per_class", "per_class_low", "per_class_high")
                )
            return [_number(value)] + ([_interval(low, high)] if name == "roc_auc" else [])

        rows = [
            [c, f"{self.support[c]:,}"] + [x for name in shown for x in cells(name, c)] for c in self.classes
        ]
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
        lines = [f"Zero-shot: {self._title()}", self._counts(), "", *_text_table(header, rows), ""]
        return "\n".join(lines + self._remarks())

    def to_markdown(self, path=None):
        """The figures as Markdown; written to `path` where one is given.

        Returns
        -------
        str
        """
        header, rows = self._rows()
        lines = [
            f"## Zero-shot: {self._title()}",
            "",
            self._counts() + ".",
            "",
            *_markdown_table(header, rows),
            "",
        ]
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
            f"Zero-shot by number of leads: {first.dataset}, {first.part}",
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
            f"## Zero-shot by number of leads: {first.dataset}, {first.part}",
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
